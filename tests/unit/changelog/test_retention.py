"""What a topic's configuration means for the rows of its table."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from statestore.changelog.retention import TopicRetention
from statestore.kafka.answers import TopicState
from statestore.settings import TableOptions
from statestore.storage.directory import DataDirectory, StoreFile

BOTH = "compact,delete"


def learned(found: TopicState, ttl: float | None = None) -> TopicRetention:
    retention = TopicRetention("t", "topic", TableOptions(ttl=ttl))
    retention.learn(found, None, None)
    return retention


@pytest.mark.parametrize(
    ("policy", "retention_ms", "ttl", "life"),
    [
        (BOTH, 5000, None, 5.0),
        (BOTH, 5000, 3.0, 3.0),
        (BOTH, 5000, 7.0, 5.0),
        (BOTH, 0, None, 0.0),
        (BOTH, -1, None, None),
        (BOTH, -1, 7.0, 7.0),
        ("compact", 5000, None, None),
        (None, None, None, None),
    ],
)
def test_the_lesser_life_counts(
    policy: str | None, retention_ms: int | None, ttl: float | None, life: float | None
) -> None:
    retention = learned(TopicState(cleanup_policy=policy, retention_ms=retention_ms), ttl)
    assert retention.row_life == life
    assert retention.decides == (life != ttl)


def test_no_answer_changes_nothing() -> None:
    retention = learned(TopicState(cleanup_policy=BOTH, retention_ms=5000))
    assert retention.learn(TopicState(topic_id="x"), None, None) is None
    assert retention.row_life == 5.0


@pytest.mark.parametrize("later", [7000, -1])
@pytest.mark.parametrize("on_missing", ["fail", "rebuild"])
def test_a_longer_retention_needs_the_rows_that_are_gone(
    later: int, on_missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = TableOptions(on_missing=on_missing)  # type: ignore[arg-type]
    retention = TopicRetention("t", "topic", options)
    for number in (5000, 4000, 4000):
        lost = retention.learn(TopicState(cleanup_policy=BOTH, retention_ms=number), None, None)
        assert lost is None
    lost = retention.learn(TopicState(cleanup_policy=BOTH, retention_ms=later), None, None)
    assert (lost is not None) == (on_missing == "rebuild")
    assert ("rebuild it to have them" in caplog.text) == (on_missing == "fail")


def test_what_cannot_be_known_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    retention = learned(TopicState(config_error="no rights"))
    retention.learn(TopicState(config_error="no rights"), None, None)
    retention.learn(TopicState(cleanup_policy="compact", retention_bytes=10), None, None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "grant the client DescribeConfigs on the topic" in caplog.text
    for _ in range(2):
        retention.learn(TopicState(cleanup_policy=BOTH, retention_ms=-1, retention_bytes=10), None, None)
    assert caplog.text.count("deletes records beyond retention.bytes=10") == 1


def test_every_later_store_knows_the_retention(tmp_path: Path) -> None:
    """One that replaces a store whose directory was deleted, too."""
    file = StoreFile("t", "memory", "timestamped", "bytes", topic="topic")
    with closing(DataDirectory(tmp_path)) as data:
        first = data.store("t", file)
        retention = TopicRetention("t", "topic", TableOptions())
        retention.learn(TopicState(cleanup_policy=BOTH, retention_ms=5000), None, first)
        shutil.rmtree(first.path)
        retention.opening(data.store("t", file))
        assert data.store("t", file).file.retention_ms == 5000


def test_a_store_keeps_its_retention_until_it_is_rebuilt(tmp_path: Path) -> None:
    """A kill before the rebuild leaves a store without rows that the topic may have."""
    file = StoreFile("t", "memory", "timestamped", "bytes", topic="topic")
    options, longer = TableOptions(on_missing="rebuild"), TopicState(cleanup_policy=BOTH, retention_ms=7000)
    with closing(DataDirectory(tmp_path)) as data:
        first = data.store("t", file)
        TopicRetention("t", "topic", options).learn(
            TopicState(cleanup_policy=BOTH, retention_ms=5000), None, first
        )
        for _ in range(2):  # the first one is killed
            retention = TopicRetention("t", "topic", options)
            directory = data.store("t", file)
            retention.opening(directory)
            assert retention.learn(longer, None, directory) is not None
        directory.start_generation()
        retention.opening(directory)
        assert data.store("t", file).file.retention_ms == 7000
