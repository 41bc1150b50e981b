"""A store knows which topic it is of, however soon it is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from statestore import StoreManager, StorePositionError
from statestore.changelog.binder import Binder
from statestore.kafka.answers import TopicInfo
from statestore.kafka.source import KafkaSource
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[..., str]


def test_recreated_after_a_busy_moment(
    broker: Broker, topic: NewTopic, managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first description of the topic came too late, and the store was closed as soon as it was ready."""
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"old%03d" % i, b"1") for i in range(100)])
    describe = KafkaSource._described
    asked: list[str] = []

    def late(source: KafkaSource, about: str) -> TopicInfo | None:
        asked.append(about)
        return None if len(asked) == 1 else describe(source, about)

    with monkeypatch.context() as patched, managers(broker, backend="rocksdb") as manager:
        patched.setattr(KafkaSource, "_described", late)
        patched.setattr(Binder, "_identified", lambda *_: None)  # what is asked meanwhile is not answered
        manager.bind(name).wait_until_ready(60)
        assert len(asked) == 2
    broker.recreate_topic(name)
    broker.produce(name, [(b"new%03d" % i, b"2") for i in range(150)])
    table = managers(broker, backend="rocksdb").bind(name)
    with pytest.raises(StorePositionError, match="deleted and created again"):
        table.wait_until_ready(60)
