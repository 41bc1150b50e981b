"""A topic that also deletes: its rows end by its retention, so that old and fresh mirrors agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from statestore import StoreManager
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def name(broker: Broker, topic: NewTopic) -> str:
    """A topic that deletes after a day, with a row of two days and one of now."""
    made = topic()
    broker.create_topic(made, config={"cleanup.policy": "compact,delete", "retention.ms": str(DAY * 1000)})
    rows(broker, made, {b"new": 0, b"old": 2 * DAY})
    return made


def rows(broker: Broker, topic: str, ages: dict[bytes, int]) -> None:
    for key, seconds in ages.items():
        broker.produce(topic, [(key, b"1")], timestamp=int((time.time() - seconds) * 1000))


def test_rows_end_by_the_retention_of_the_topic(
    backend: str, broker: Broker, name: str, managers: Managers, eventually: Eventually
) -> None:
    manager = managers(broker, backend=backend)
    table = manager.bind(name)
    table.wait_until_ready(60)
    eventually(lambda: table.to_list() == [(b"new", b"1")])
    assert (table.get(b"old"), b"old" in table, table.count(), table.get(b"new")) == (None, False, 1, b"1")
    eventually(lambda: table.health().expired == 1)
    health = table.health()
    assert (health.ttl, health.retention_ms) == (DAY, DAY * 1000)
    explained = manager.explain()[f"tables.{table.name}.ttl"]
    assert explained == {"value": float(DAY), "from": f"retention.ms of topic {name}"}
    rows(broker, name, {b"late": 2 * DAY, b"later": HOUR})
    table.sync(60)
    assert [key for key, _ in table.scan()] == [b"later", b"new"]
    broker.configure_topic(name, {"retention.ms": str(HOUR * 500)})
    eventually(lambda: table.to_list() == [(b"new", b"1")])
    assert table.get(b"later") is None


def test_a_lesser_ttl_wins_and_no_retention_ends_nothing(
    broker: Broker, name: str, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    settings = {"tables": {name: {"ttl": HOUR}}}
    with managers(broker, directory="a", settings=settings) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        eventually(lambda: table.health().retention_ms == DAY * 1000)
        assert table.health().ttl == HOUR
        assert manager.explain()[f"tables.{table.name}.ttl"]["value"] == HOUR
    for config in (
        {"cleanup.policy": "compact,delete", "retention.ms": "-1"},
        {"cleanup.policy": "compact", "retention.ms": "1000"},
    ):
        kept = topic()
        broker.create_topic(kept, config=config)
        rows(broker, kept, {b"old": 2 * DAY})
        table = managers(broker, directory=kept).bind(kept)
        table.wait_until_ready(60)
        eventually(lambda: table.health().cleanup_policy == config["cleanup.policy"])  # noqa: B023
        assert (table.count(), table.health().ttl, table.health().retention_ms) == (1, None, None)


def test_it_is_remembered_while_the_broker_is_away(
    persistent: str, broker: Broker, name: str, managers: Managers, eventually: Eventually
) -> None:
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        eventually(lambda: table.health().retention_ms == DAY * 1000)
    away = managers("127.0.0.1:1", backend=persistent, connect="lazy").bind(name)
    eventually(lambda: away._binding.mirror.store is not None)
    assert away.to_list(allow_stale=True) == [(b"new", b"1")]
    assert away.health().ttl == DAY


@pytest.mark.parametrize("on_missing", ["fail", "rebuild"])
def test_a_longer_retention_brings_back_what_the_topic_still_has(
    broker: Broker,
    name: str,
    managers: Managers,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    on_missing: Any,
) -> None:
    table = managers(broker).bind(name, on_missing=on_missing)
    table.wait_until_ready(60)
    eventually(lambda: table.health().expired == 1)
    broker.configure_topic(name, {"retention.ms": str(9 * DAY * 1000)})
    eventually(lambda: table.health().ttl == 9 * DAY)
    if on_missing == "fail":
        assert "rebuild it to have them" in caplog.text
        assert table.to_list() == [(b"new", b"1")]
    else:
        table.wait_until_ready(60)
        assert [key for key, _ in table.scan()] == [b"new", b"old"]


def test_what_no_timestamp_tells_is_warned_of(
    broker: Broker, name: str, managers: Managers, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    broker.configure_topic(name, {"retention.bytes": "1000000000"})
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    eventually(lambda: "deletes records beyond retention.bytes=1000000000" in caplog.text)
    time.sleep(0.5)  # a second answer, and a third
    assert caplog.text.count("retention.bytes=1000000000") == 1
