"""Entities are written to Kafka and found in the mirror; what is not written is told. On the real broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from confluent_kafka import Message
from confluent_kafka import Producer as Client

from statestore import (
    Delivery,
    DeliveryError,
    EntityRejectedError,
    Key,
    ReadyTimeoutError,
    StoreClosedError,
    StoreManager,
    StoreNotReadyError,
    StoreUnavailableError,
    entity,
)
from statestore.changelog.machine import TableMachine
from statestore.fields.attributes import EventTime
from statestore.producing.producer import Producer, ProducerHealth
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[[str], str]
Eventually = Callable[..., None]


def orders_of(topic: str) -> type[Any]:
    """Return an entity class of its own for one topic."""

    @entity(topic=topic)
    @dataclass(frozen=True, slots=True)
    class Order:
        number: Annotated[int, Key]
        text: str = ""

    return Order


@pytest.fixture
def orders(broker: Broker, topic: NewTopic) -> type[Any]:
    """An entity class whose topic has four partitions."""
    name = topic("orders")
    broker.create_topic(name, 4)
    return orders_of(name)


def topic_of(cls: type[Any]) -> str:
    return str(cls.__statestore_entity__.arguments["topic"])


def records(broker: Broker, topic: str) -> int:
    """Return how many records are in ``topic``."""
    return sum(broker.end_offsets(topic).values())


def test_what_was_added_is_found(backend: str, broker: Broker, orders: type[Any], managers: Managers) -> None:
    table = managers(broker, backend=backend).bind(orders)
    table.wait_until_ready(60)
    delivery = table.add(orders(1, "one"))
    table.wait_for(delivery)
    assert table.get(1) == orders(1, "one")
    (message,) = broker.read(delivery.topic, delivery.partition)
    assert delivery == (message.topic(), message.partition(), message.offset(), message.timestamp()[1])
    table.add(orders(1, "uno"), wait=True)
    table.add_all([orders(2, "two"), orders(3, "three")], wait=True)
    assert table.to_list() == [orders(1, "uno"), orders(2, "two"), orders(3, "three")]
    deleted = table.delete(2, wait=True)
    assert table.get(2) is None
    tombstone = broker.read(deleted.topic, deleted.partition)[-1]
    assert (tombstone.offset(), tombstone.value()) == (deleted.offset, None)


def test_the_same_awaited(broker: Broker, orders: type[Any], managers: Managers) -> None:
    table = managers(broker).bind(orders)

    async def main() -> None:
        await table.add_async(orders(1, "one"), wait=True, timeout=60)
        deliveries = await table.add_all_async(orders(n, str(n)) for n in range(2, 1000))
        await table.wait_for_async(deliveries, timeout=60)
        await table.delete_async(3, wait=True, timeout=60)
        both = await asyncio.gather(*(table.add_async(orders(n), wait=True) for n in (2000, 2001)))
        assert [table.get(n, allow_stale=True) for n in (2000, 2001)] == [orders(2000), orders(2001)]
        assert len(set(both)) == 2

    asyncio.run(main())
    table.wait_until_ready(60)
    assert table.count() == 1000
    assert table.get(3) is None


def test_the_manager_writes_entities_that_are_not_bound(
    broker: Broker, topic: NewTopic, managers: Managers, fold: Callable[..., Any]
) -> None:
    one, other = orders_of(topic("one")), orders_of(topic("other"))
    for cls in (one, other):
        broker.create_topic(topic_of(cls))
    manager = managers(broker)
    manager.add(one(1))
    deliveries = manager.add_all([one(2), other(1), one(3), other(2)])
    assert [(delivery.topic, delivery.offset) for delivery in deliveries] == [
        (topic_of(one), 1),
        (topic_of(other), 0),
        (topic_of(one), 2),
        (topic_of(other), 1),
    ]
    manager.delete(one, 1)
    manager.delete(other(2, "whatever else it holds"))
    assert len(fold(broker, topic_of(one))) == 2
    assert len(fold(broker, topic_of(other))) == 1
    with pytest.raises(TypeError, match="delete"):
        manager.delete(one(1), 1)
    assert manager.health().producer == ProducerHealth(sent=7, delivered=7, failed=0, in_flight=0)


def test_records_of_a_stream_without_a_key(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic("lines")
    broker.create_topic(name, 2, {"cleanup.policy": "delete"})

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Line:
        text: str

    manager = managers(broker)
    given = [Line(str(number)) for number in range(50)]
    deliveries = manager.add_all(given)
    assert len(set(deliveries)) == 50
    written = [message for partition in (0, 1) for message in broker.read(name, partition)]
    assert {message.key() for message in written} == {None}
    assert sorted(manager.stream(Line).to_list(), key=lambda line: int(line.text)) == given
    with pytest.raises(EntityRejectedError, match="a stream has no key to delete"):
        manager.delete(given[0])


@pytest.mark.parametrize(
    ("key_format", "value_format", "keys"),
    [
        ("kafka", "json", [-3, 0, 7]),
        ("json", "avro", ["", "a", "é"]),
        ("avro", "msgpack", [-3, 0, 7]),
        ("raw", "raw", [b"", b"a", b"b"]),
    ],
)
def test_every_format_is_written_and_found(
    key_format: str, value_format: str, keys: list[Any], broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic("rows")
    broker.create_topic(name, 3)
    fields = [("key", Annotated[type(keys[0]), Key]), ("value", bytes)]
    row: Any = entity(
        make_dataclass("Row", fields, frozen=True),
        topic=name,
        key_format=key_format,
        value_format=value_format,
    )
    table = managers(broker, settings={"schema_registry": {"url": f"mock://{name}"}}).bind(row)
    table.wait_until_ready(60)
    table.add_all([row(key, b"value") for key in reversed(keys)], wait=True, timeout=60)
    assert table.to_list() == [row(key, b"value") for key in keys]
    table.delete(keys[1], wait=True, timeout=60)
    assert [one.key for one in table.to_list()] == [keys[0], keys[2]]


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_many_keep_their_order_where_the_queue_is_small(
    limit: int, broker: Broker, orders: type[Any], managers: Managers
) -> None:
    kafka = {"bootstrap.servers": broker.bootstrap, "queue.buffering.max.messages": limit}
    manager = managers(broker, kafka=kafka)
    total = 10_000 if limit > 100 else 300
    taken = 0
    ahead = 0

    def entities() -> Iterator[Any]:
        nonlocal taken, ahead
        for number in range(total):
            taken += 1
            ahead = max(ahead, taken - manager.health().producer.delivered)
            yield orders(number, "x")

    deliveries = manager.add_all(entities())
    assert ahead <= limit + 1, "an iterator is not taken from faster than Kafka takes"
    asyncio.run(manager.add_all_async(orders(number, "y") for number in range(total)))
    assert len(deliveries) == total
    read = {
        (partition, message.offset()): message.key()
        for partition in range(4)
        for message in broker.read(topic_of(orders), partition)
    }
    table = manager.bind(orders)
    table.wait_until_ready(60)
    keys = [table._codec.encode_key((number,)) for number in range(total)]
    assert [read[delivery.partition, delivery.offset] for delivery in deliveries] == keys
    for partition in range(4):
        offsets = [delivery.offset for delivery in deliveries if delivery.partition == partition]
        assert offsets == sorted(offsets)
    assert len(read) == 2 * total
    assert table.to_list() == [orders(number, "y") for number in range(total)]


def test_a_collection_with_one_that_is_refused_is_not_sent(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    manager = managers(broker)
    given = [orders(1), orders(2), orders("three"), orders(4)]
    for write in (manager.add_all, lambda them: asyncio.run(manager.add_all_async(them))):
        with pytest.raises(
            EntityRejectedError, match=r"index 2: Order\(number='three'\).*nothing was sent"
        ) as error:
            write(given)
        assert error.value.undelivered == tuple(given)
        assert error.value.delivered == ()
    assert records(broker, topic_of(orders)) == 0


def test_an_iterator_is_sent_up_to_the_one_that_is_refused(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    given = iter([orders(1), orders(2), orders("three"), orders(4)])
    with pytest.raises(EntityRejectedError, match=r"index 2: .*2 are delivered") as error:
        managers(broker).add_all(given)
    assert error.value.undelivered == (orders("three"),)
    assert len(error.value.delivered) == 2
    assert next(given) == orders(4), "it was taken without need"
    assert records(broker, topic_of(orders)) == 2


def test_an_iterator_that_fails_raises_its_own_error(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    def failing() -> Iterator[Any]:
        yield orders(1)
        raise LookupError("of the user's own")

    with pytest.raises(LookupError) as error:
        managers(broker).add_all(failing())
    assert error.value.__notes__ == ["1 entities before it were delivered"]
    assert records(broker, topic_of(orders)) == 1


def test_what_the_broker_refuses_is_told(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    small = orders_of(topic("small"))
    broker.create_topic(topic_of(small), config={"cleanup.policy": "compact", "max.message.bytes": "500"})
    manager = managers(broker)
    given = [small(1, "x"), small(2, "x" * 1000), small(3, "x")]
    with pytest.raises(DeliveryError, match=r"Order\(number=2\).*too large.*max\.message\.bytes") as error:
        manager.add(given[1])
    assert error.value.undelivered == (given[1],)
    with pytest.raises(DeliveryError) as error:
        manager.add_all(given)
    assert given[1] in error.value.undelivered
    assert len(error.value.delivered) + len(error.value.undelivered) == 3
    manager.add(given[0])


def test_an_unknown_topic_is_told_at_once_and_known_once_it_is_there(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    missing = orders_of(topic("missing"))
    manager = managers(broker)
    with pytest.raises(DeliveryError, match=r"missing.*[Uu]nknown topic.*ensure_topics"):
        manager.add(missing(1))
    assert not broker.has_topic(topic_of(missing))
    broker.create_topic(topic_of(missing))
    assert manager.add(missing(1)).offset == 0


def test_a_record_has_the_event_time(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic("ticks")
    broker.create_topic(name)

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Tick:
        symbol: Annotated[str, Key]
        at: Annotated[datetime, EventTime]

    delivery = managers(broker).add(Tick("A", datetime(2013, 1, 1, 12, 0, 0, 345_678, UTC)))
    (message,) = broker.read(name)
    assert delivery.timestamp == message.timestamp()[1] == 1_357_041_600_345


def test_many_threads_share_the_producer(broker: Broker, orders: type[Any], managers: Managers) -> None:
    table = managers(broker).bind(orders)
    table.wait_until_ready(60)
    wrong: list[object] = []

    def write(first: int) -> None:
        for number in range(first, first + 40):
            table.add(orders(number, "x"), wait=True)
            if table.get(number) != orders(number, "x"):
                wrong.append(number)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 240, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert table.count() == 240


# Waiting for what was written


def test_waiting_ends_when_time_is_up_or_the_table_goes_on(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    table = managers(broker).bind(orders)
    table.wait_until_ready(60)
    table.add(orders(0))  # the first one takes longer
    table.pause()
    before = records(broker, topic_of(orders))
    with pytest.raises(ReadyTimeoutError, match=r"not applied after 4 s") as late:
        table.add(orders(1), wait=True, timeout=4)
    with pytest.raises(ReadyTimeoutError) as later:
        table.add_all([orders(2), orders(3)], wait=True, timeout=4)
    assert [len(error.value.delivered) for error in (late, later)] == [1, 2]
    assert records(broker, topic_of(orders)) == before + 3
    waiting = threading.Thread(target=table.wait_for, args=(late.value.delivered + later.value.delivered, 60))
    waiting.start()
    table.resume()
    waiting.join()
    assert [table.get(number) for number in (1, 2, 3)] == [orders(1), orders(2), orders(3)]
    assert not table._binding._awaited


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda table: table.stop(), StoreNotReadyError),
        (lambda table: table.close(), StoreNotReadyError),
        (
            lambda table: table._binding.fail("made up", "none"),
            StoreUnavailableError,
        ),
    ],
    ids=["stopped", "closed", "failed"],
)
def test_waiting_ends_with_the_table(
    end: Callable[[Any], None],
    error: type[Exception],
    broker: Broker,
    orders: type[Any],
    managers: Managers,
    eventually: Eventually,
) -> None:
    table = managers(broker).bind(orders)
    table.wait_until_ready(60)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            table.wait_for(Delivery(topic_of(orders), 3, 10**9, 0), timeout=None)
        except Exception as error:  # noqa: BLE001 - looked at below
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: table._binding._awaited)
    end(table)
    waiting.join()
    assert [type(one) for one in raised] == [error]
    before = records(broker, topic_of(orders))
    with pytest.raises((error, StoreClosedError)):  # nothing is written for a wait that would be in vain
        table.add(orders(1), wait=True)
    assert records(broker, topic_of(orders)) == before


def test_waiting_for_another_topic(broker: Broker, orders: type[Any], managers: Managers) -> None:
    table = managers(broker).bind(orders)
    with pytest.raises(ValueError, match=r"mirrors .*, not 'elsewhere'"):
        table.wait_for(Delivery("elsewhere", 0, 0, 0))


def test_a_record_behind_which_a_transaction_ends_counts_as_applied(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    table = managers(broker).bind(orders)
    table.wait_until_ready(60)
    producer = Client({"bootstrap.servers": broker.bootstrap, "transactional.id": topic_of(orders)})
    producer.init_transactions(60)
    for commit in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(topic_of(orders), key=b"k", partition=0)
        producer.flush(60)
        commit(60)
    # The aborted record never arrives: that its place is passed is all there is to wait for.
    table.wait_for([Delivery(topic_of(orders), 0, offset, 0) for offset in (0, 2)], timeout=60)


def test_a_cancelled_wait_leaves_nothing_behind(
    broker: Broker, orders: type[Any], managers: Managers
) -> None:
    table = managers(broker).bind(orders)
    table.wait_until_ready(60)

    async def main() -> None:
        waiting = asyncio.create_task(table.wait_for_async(Delivery(topic_of(orders), 0, 10**9, 0), None))
        while not table._binding._awaited:
            await asyncio.sleep(0.01)
        assert len(table._binding._awaited) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(ReadyTimeoutError):
            await table.wait_for_async(Delivery(topic_of(orders), 0, 10**9, 0), 0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert not table._binding._awaited


def test_a_record_of_which_the_broker_cannot_tell_where_it_is(
    broker: Broker, orders: type[Any], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplaced:
        """The report of a retry that the broker takes for a duplicate, and no more is known."""

        def __init__(self, message: Message) -> None:
            self.partition, self.timestamp = message.partition, message.timestamp

        def offset(self) -> None:
            return None

    table = managers(broker).bind(orders)
    table.wait_until_ready(60)
    known = [table.add(orders(1)) for _ in range(3)]
    send = Producer.send

    def unplaced(producer: Producer, record: Any, on_report: Any) -> Any:
        return send(producer, record, lambda error, message: on_report(error, Unplaced(message)))

    monkeypatch.setattr(Producer, "send", unplaced)
    delivery = table.add(orders(1, "last"), wait=True, timeout=60)
    assert table.get(1) == orders(1, "last")
    assert (delivery.partition, delivery.offset) == (known[2].partition, known[2].offset + 1)


def test_one_mapping_serves_reading_and_writing(
    broker: Broker, orders: type[Any], managers: Managers, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = {"bootstrap.servers": broker.bootstrap, "compression.type": "gzip", "session.timeout.ms": 9_000}
    table = managers(broker, kafka=kafka).bind(orders)
    table.add(orders(1, "x"), wait=True, timeout=60)
    assert "CONFWARN" not in caplog.text


def test_nothing_is_applied_before_a_read_would_find_it(
    broker: Broker,
    orders: type[Any],
    managers: Managers,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table that restores gives no row, also where the partition that was written is at its end already."""
    complete = threading.Event()
    advanced = TableMachine.advanced
    monkeypatch.setattr(TableMachine, "advanced", lambda *now: advanced(*now) if complete.is_set() else ())
    table = managers(broker).bind(orders)
    delivery = table.add(orders(1, "one"))
    eventually(lambda: table.get(1, allow_stale=True) == orders(1, "one"))
    with pytest.raises(ReadyTimeoutError):
        table.wait_for(delivery, timeout=0.2)
    complete.set()
    table.add(orders(2), wait=True, timeout=60)
    table.wait_for(delivery, timeout=60)
    assert table.get(1) == orders(1, "one")


@pytest.mark.parametrize("queue", [{}, {"queue.buffering.max.kbytes": 1}], ids=["ours", "too short"])
def test_a_record_larger_than_the_queue_is_taken_or_refused(
    queue: dict[str, int], broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    """It must not wait for room that there will never be."""
    cls = orders_of(topic("orders"))
    broker.create_topic(topic_of(cls), config={"max.message.bytes": "40000000"})
    properties = {"bootstrap.servers": broker.bootstrap, "message.max.bytes": 40_000_000, **queue}
    manager = managers(broker, kafka=properties)
    if queue:
        with pytest.raises(EntityRejectedError, match=r"the limit is 1024: .* queue\.buffering\.max\.kbytes"):
            manager.add(cls(1, "x" * 2000), timeout=60)
    manager.add(cls(1, "x" * (500 if queue else 34_000_000)), timeout=60)
    assert records(broker, topic_of(cls)) == 1
