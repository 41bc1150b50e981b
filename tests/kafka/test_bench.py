"""``statestore bench --kafka``: topics of a real broker, filled once, restored, and deleted at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from statestore.bench import running
from statestore.bench.messages import Job, Message
from statestore.bench.results import read_results
from statestore.cli import main
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Eventually = Callable[..., None]


def arguments(broker: Broker, out: Path) -> list[str]:
    small = ["--keys", "2e2", "--value-size", "10", "--seconds", "0.02", "--out", str(out)]
    who = ["--backends", "memory", "--references", "discard"]
    return ["bench", "--kafka", broker.bootstrap, "--workload", "restore", *who, *small]


def topics(broker: Broker) -> list[str]:
    found = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=60).topics
    return [name for name in found if name.startswith("statestore-bench-")]


def test_topics_are_restored_and_deleted(
    broker: Broker, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    measure = running.told

    def told(job: Job) -> Iterator[Message]:
        seen.append(topics(broker))
        return measure(job)

    monkeypatch.setattr(running, "told", told)
    assert main(arguments(broker, tmp_path)) == 0
    samples = [
        (turn.candidate, one.workload)
        for turn in read_results(tmp_path / "results.json").turns
        for one in turn.samples
    ]
    memory, discard = ("memory", "restore"), ("discard", "restore")
    assert samples == [memory, discard, discard, memory]
    assert {len(names) for names in seen} == {1}
    assert len({name for names in seen for name in names}) == 1  # the same one for all
    eventually(lambda: topics(broker) == [])


def test_topics_are_deleted_when_the_run_is_interrupted(
    broker: Broker, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def interrupted(_: Job) -> Iterator[Message]:
        seen.append(topics(broker))
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "told", interrupted)
    assert main(arguments(broker, tmp_path)) == 1
    assert [len(names) for names in seen] == [1]
    eventually(lambda: topics(broker) == [])
