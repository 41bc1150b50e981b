"""The test driver against a real broker: the same history gives the same rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, Phase, given, settings

from statestore import Key, StoreManager, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.testing import TestDriver
from statestore.testing.kafka import Broker
from statestore.testing.strategies import Compaction, History, Together, Tombstone, Write, histories

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]

TIMEOUT = 60
TOPIC = "driver.rows"
PARTITIONS = 2


@entity(topic=TOPIC)
@dataclass(frozen=True, slots=True)
class Row:
    name: Annotated[str, Key]
    value: int


CODEC: EntityCodec[Any] = EntityCodec(model_of(Row))


@pytest.fixture
def producer(broker: Broker) -> Iterator[Producer]:
    properties = {"partitioner": "murmur2_random", "transactional.id": uuid.uuid4().hex}
    made = Producer({"bootstrap.servers": broker.bootstrap, **properties})
    made.init_transactions(TIMEOUT)
    yield made
    made.flush(TIMEOUT)


def write(producer: Producer, steps: tuple[Write | Tombstone, ...], *, commit: bool) -> None:
    producer.begin_transaction()
    for one in steps:
        if isinstance(one, Write):
            key, value = CODEC.encode(one.entity)
        else:
            key, value = CODEC.encode_key(one.key), None
        partition = -1 if one.partition is None else one.partition
        producer.produce(TOPIC, value, key, partition, timestamp=one.timestamp)
    producer.flush(TIMEOUT)
    (producer.commit_transaction if commit else producer.abort_transaction)(TIMEOUT)


def play(history: History[Row], broker: Broker, producer: Producer, eventually: Eventually) -> None:
    """Do what a history says to a topic of the broker."""

    def is_stable() -> bool:
        return broker.end_offsets(TOPIC) == broker.end_offsets(TOPIC, read_committed=False)

    for step in history.steps:
        match step:
            case Write() | Tombstone():
                write(producer, (step,), commit=True)
            case Together(steps, commit):
                write(producer, steps, commit=commit)
            case Compaction():
                eventually(is_stable)  # the cleaner ends before a transaction without its marker
                broker.force_compaction(TOPIC, timeout=TIMEOUT)
            case _:
                raise AssertionError(step)
    eventually(is_stable)


@pytest.mark.slow(seconds=20)
def test_the_same_history_gives_the_same_rows(
    broker: Broker, managers: Managers, producer: Producer, eventually: Eventually
) -> None:
    phases = [Phase.explicit, Phase.generate]  # with a broker, shrinking would take minutes

    @settings(max_examples=4, phases=phases, suppress_health_check=list(HealthCheck), database=None)
    # A broker takes no null keys in a compacted topic, and a producer goes by the number of partitions that
    # the topic had before it was created anew.
    @given(histories(Row, partitions=PARTITIONS, null_keys=False))
    def same(history: History[Row]) -> None:
        with TestDriver(entities=[Row], partitions=PARTITIONS) as driver:
            history.play(driver)
            expected = driver.table(Row).to_list()
        broker.create_topic(TOPIC, PARTITIONS)
        try:
            with managers(broker, directory=uuid.uuid4().hex) as stores:
                following = stores.bind(Row)
                following.wait_until_ready(TIMEOUT)
                play(history, broker, producer, eventually)
                following.sync(TIMEOUT)
                assert following.to_list() == expected
            with managers(broker, directory=uuid.uuid4().hex) as stores:
                restored = stores.bind(Row)
                restored.wait_until_ready(TIMEOUT)
                assert restored.to_list() == expected
        finally:
            broker.delete_topic(TOPIC)

    same()


def test_what_the_broker_refuses_the_driver_refuses(broker: Broker, topic: Callable[..., str]) -> None:
    config = {"cleanup.policy": "compact", "max.message.bytes": "1000"}
    headers: list[Any] = [("trace", b"1"), ("none", None)]
    records: list[tuple[bytes | None, bytes | None, list[Any]]] = [
        (None, b"v", []),
        (b"", b"v", []),
        *[(b"k", b"v" * size, []) for size in (929, 930)],
        *[(b"k" * 64, b"v" * size, headers) for size in (849, 850, 851, 852)],
    ]
    name = topic()
    broker.create_topic(name, config=config)
    answers: list[int | None] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap})

    def on_delivery(error: Any, _: Any) -> None:
        answers.append(None if error is None else error.code())

    for key, value, given_headers in records:
        producer.produce(name, value, key, headers=given_headers, on_delivery=on_delivery)
        assert not producer.flush(TIMEOUT)
    with TestDriver(entities=[Row]) as driver:
        driver.create_topic(name, 1, config)
        log = driver._cluster.topics[name]
        refusals = [log.refusal(*one) for one in records]
        assert [None if one is None else one.code for one in refusals] == answers
    assert 0 < answers.count(None) < len(answers)
