"""What the events of a log say of a position that is sought in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, TopicPartition

from statestore.kafka import position_check
from statestore.kafka.position_check import lost_positions


def event(partition: int, code: int | None) -> Any:
    error = None if code is None else Code(code, "as the broker says")
    return SimpleNamespace(partition=lambda: partition, error=lambda: error)


class FakeConsumer:
    """Gives events once all partitions were sought; the first seeks come before the assignment began."""

    events: ClassVar[list[Any]] = []
    too_early: ClassVar[int] = 0
    made: ClassVar[list[FakeConsumer]] = []

    def __init__(self, properties: dict[str, Any], logger: Any) -> None:
        self.properties = properties
        self.sought: list[TopicPartition] = []
        self.closed = False
        self.made.append(self)

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    def seek(self, place: TopicPartition) -> None:
        if FakeConsumer.too_early:
            FakeConsumer.too_early -= 1
            raise KafkaException(Code(Code._STATE))
        self.sought.append(place)

    def poll(self, timeout: float) -> Any:
        assert self.sought == self.assigned, "without a seek librdkafka may not ask for the epoch"
        return FakeConsumer.events.pop(0) if FakeConsumer.events else None

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def consumer(monkeypatch: pytest.MonkeyPatch) -> type[FakeConsumer]:
    monkeypatch.setattr(position_check, "Consumer", FakeConsumer)
    FakeConsumer.events, FakeConsumer.made, FakeConsumer.too_early = [], [], 0
    return FakeConsumer


def test_a_record_or_the_end_confirms_a_position(consumer: type[FakeConsumer]) -> None:
    consumer.too_early = 3
    consumer.events = [event(7, None), event(0, None), event(1, Code._PARTITION_EOF)]
    assert lost_positions({}, "t", {0: (5, 2), 1: (6, 3)}, 60.0) == {}
    (made,) = consumer.made
    assert made.closed
    assert [(one.topic, one.partition, one.offset, one.leader_epoch) for one in made.sought] == [
        ("t", 0, 5, 2),
        ("t", 1, 6, 3),
    ]


@pytest.mark.parametrize("code", [Code._LOG_TRUNCATION, Code._AUTO_OFFSET_RESET, Code.OFFSET_OUT_OF_RANGE])
def test_a_position_that_the_log_does_not_have(code: int, consumer: type[FakeConsumer]) -> None:
    consumer.events = [event(1, Code._TRANSPORT), event(1, code), event(0, None)]
    assert lost_positions({}, "t", {0: (5, 2), 1: (6, 3)}, 60.0) == {1: "as the broker says"}


@pytest.mark.parametrize("too_early", [0, 1 << 30])
def test_no_answer_is_an_error(too_early: int, consumer: type[FakeConsumer]) -> None:
    consumer.too_early = too_early
    consumer.events = [event(0, Code._TRANSPORT)]
    with pytest.raises(KafkaException):
        lost_positions({}, "t", {0: (5, 2)}, 0.01)
    assert all(made.closed for made in consumer.made)


@pytest.mark.parametrize("too_early", [0, 1 << 30])
def test_an_answer_that_is_not_wanted_any_more_is_not_waited_for(
    too_early: int, consumer: type[FakeConsumer]
) -> None:
    consumer.too_early = too_early
    with pytest.raises(KafkaException):
        lost_positions({}, "t", {0: (5, 2)}, 1e9, lambda: False)
