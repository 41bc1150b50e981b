"""Only what was committed reaches a store, and no marker keeps it from becoming ready."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from typing import Annotated, Any

import pytest
from confluent_kafka import Message, Producer

from statestore import Key, ReadyTimeoutError, StoreManager, entity
from statestore.kafka.topics import Topics
from statestore.producing.sending import SendTracker
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]

TIMEOUT = 60


@pytest.fixture
def producer(broker: Broker) -> Iterator[Producer]:
    made = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": uuid.uuid4().hex})
    made.init_transactions(TIMEOUT)
    yield made
    made.flush(TIMEOUT)


def begin(producer: Producer, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    """Write records in a transaction that stays open."""
    producer.begin_transaction()
    for key, value in records:
        producer.produce(topic, value, key)
    producer.flush(TIMEOUT)


def is_stable(broker: Broker, topic: str) -> bool:
    """Tell whether each transaction has its marker in the topic, which its end does not wait for."""
    return broker.end_offsets(topic) == broker.end_offsets(topic, read_committed=False)


def test_committed_and_aborted(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
    producer: Producer,
) -> None:
    name = topic()
    broker.create_topic(name)
    begin(producer, name, (b"a", b"1"), (b"b", b"1"), (b"c", b"1"))
    producer.commit_transaction(TIMEOUT)
    begin(producer, name, (b"a", b"never"), (b"d", b"never"), (b"b", None))
    producer.abort_transaction(TIMEOUT)
    begin(producer, name, (b"c", None), (b"e", b"2"))
    producer.commit_transaction(TIMEOUT)
    eventually(lambda: is_stable(broker, name))
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert dict(table.scan()) == {b"a": b"1", b"b": b"1", b"e": b"2"} == fold(broker, name)
    assert table.lag == 0


def test_a_topic_of_nothing_but_an_aborted_transaction(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually, producer: Producer
) -> None:
    name = topic()
    broker.create_topic(name)
    begin(producer, name, *[(b"%d" % i, b"never") for i in range(5)])
    producer.abort_transaction(TIMEOUT)
    eventually(lambda: is_stable(broker, name))
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == []
    assert table.lag == 0
    assert table.health().positions == {0: 6}, "the marker was not passed"


def test_an_open_transaction_is_not_waited_for(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    producer: Producer,
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    begin(producer, name, (b"a", b"2"), (b"b", b"2"))
    broker.produce(name, [(b"held", b"after the open one")])
    assert broker.end_offsets(name, read_committed=False) == {0: 4}
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == [(b"a", b"1")]
    assert table.lag == 0, "what is not stable yet is no lag"
    producer.commit_transaction(TIMEOUT)
    eventually(lambda: table.get(b"held"))
    assert table.to_list() == [(b"a", b"2"), (b"b", b"2"), (b"held", b"after the open one")]


def test_a_later_abort_never_appears(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually, producer: Producer
) -> None:
    name = topic()
    broker.create_topic(name)
    begin(producer, name, (b"a", b"never"), (b"b", b"never"))
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    assert table.health().positions == {0: 0}
    producer.abort_transaction(TIMEOUT)
    eventually(lambda: table.health().positions == {0: 3})
    assert table.to_list() == []
    assert table.lag == 0
    broker.produce(name, [(b"a", b"1")])
    eventually(lambda: table.to_list() == [(b"a", b"1")])


@pytest.mark.parametrize("begun", ["before", "after"])
def test_a_record_of_unknown_place_counts_as_applied_when_the_open_transaction_has_ended(
    begun: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its offset is taken for the last one, which is its own or a later one: the wait may be too long."""
    name = topic()
    broker.create_topic(name)
    cls: Any = entity(make_dataclass("Row", [("key", Annotated[str, Key]), ("text", str)]), topic=name)
    last_offset, reported = Topics.last_offset, SendTracker._reported

    class Unplaced:
        def __init__(self, message: Message) -> None:
            self.partition, self.timestamp = message.partition, message.timestamp

        def offset(self) -> None:
            return None

    def asked(topics: Topics, *place: Any) -> int:
        if begun == "after":
            begin(producer, name, (b"k", b"1"))
        return last_offset(topics, *place)

    def told(tracker: SendTracker, index: int, error: Any, message: Message) -> None:
        unplaced: Any = Unplaced(message)
        reported(tracker, index, error, unplaced)

    monkeypatch.setattr(SendTracker, "_reported", told)
    monkeypatch.setattr(Topics, "last_offset", asked)
    table = managers(broker).bind(cls)
    table.wait_until_ready(60)
    if begun == "before":
        begin(producer, name, (b"k", b"1"))
    delivery = table.add(cls("a", "mine"), timeout=60)
    with pytest.raises(ReadyTimeoutError):
        table.wait_for(delivery, timeout=0.5)
    if begun == "before":
        assert table.get("a") is None
    producer.abort_transaction(TIMEOUT)
    table.wait_for(delivery, timeout=60)
    assert table.get("a") == cls("a", "mine")
