"""One key in several partitions, by two partitioners or in a topic that has grown: all mirrors are alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from statestore import BytesTable, ConfigError, Key, StoreManager, StorePositionError, entity
from statestore.backends import Batch, StoreOptions, find_engine
from statestore.kafka import source
from statestore.storage.layout import PARTITIONING
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]
Pairs = Iterable[tuple[bytes, bytes | None]]

KEYS = [b"key-%04d" % number for number in range(600)]
LIBRDKAFKA, JAVA = "consistent_random", "murmur2_random"


def send(broker: Broker, topic: str, pairs: Pairs, partitioner: str, timestamp: int = 0) -> None:
    """Write ``pairs`` where ``partitioner`` puts them; ``timestamp`` 0 is now."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": partitioner, "linger.ms": 5})
    for key, value in pairs:
        producer.produce(topic, value, key, timestamp=timestamp)
    assert producer.flush(60) == 0


def two_writers(broker: Broker, name: str, partitions: int = 6) -> dict[bytes, bytes]:
    """Have one program write all keys, and another update and delete some, with its own partitioner.

    Returns the rows of the first 400 keys.
    """
    broker.create_topic(name, partitions)
    now = int(time.time() * 1000)
    send(broker, name, [(key, b"old") for key in KEYS], LIBRDKAFKA, now - 10_000)
    # Counts only where both put the key into one partition.
    send(broker, name, [(key, b"late") for key in KEYS[400:]], JAVA, now - 20_000)
    want = dict.fromkeys(KEYS[:200], b"new")
    send(broker, name, [*want.items(), *((key, None) for key in KEYS[200:400])], JAVA, now - 5_000)
    return want


@pytest.mark.parametrize("reader", ["native", "ordinary"])
def test_two_partitioners_restored_followed_and_restarted(
    backend: str,
    reader: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if reader == "ordinary":
        monkeypatch.setattr(source, "why_not_native", lambda properties: "a test")
    name = topic()
    want = two_writers(broker, name)
    with caplog.at_level(logging.WARNING, "statestore.changelog"):
        manager = managers(broker, backend=backend)
        table = manager.bind(name)
        table.wait_until_ready(60)
    rows = dict(table.scan())
    assert rows == fold(broker, name)
    assert {key: rows[key] for key in KEYS[:400] if key in rows} == want
    assert table.count() == len(rows)
    warnings = [one for one in caplog.messages if "several partitions" in one]
    assert len(warnings) == 1
    assert "confluent-kafka's default is crc32" in warnings[0]
    health = table.health()
    assert 0 < health.keys_in_several_partitions <= 600
    assert health.stray_records > 0

    # While following: each partitioner deletes what the other wrote, and comes late with what does not count.
    send(broker, name, [(key, None) for key in KEYS[:100]], LIBRDKAFKA)
    send(broker, name, [(key, b"late") for key in KEYS[:100]], JAVA, 1_000_000)
    send(broker, name, [(key, b"again") for key in KEYS[400:500]], JAVA)
    send(broker, name, [(b"last", b"")], JAVA)
    want = fold(broker, name)
    eventually(lambda: dict(table.scan()) == want)
    manager.close()
    send(broker, name, [(key, b"back") for key in KEYS[50:150]], LIBRDKAFKA)
    again = managers(broker, backend=backend).bind(name)
    fresh = managers(broker, backend="memory", directory="fresh").bind(name)
    for one in (again, fresh):
        one.wait_until_ready(60)
        assert dict(one.scan()) == fold(broker, name)


def grow(broker: Broker, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_partitions([NewPartitions(name, partitions)])[name].result(60)
    broker.end_offsets(name)


def test_a_grown_topic_is_rebuilt_right(
    broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, partitions=2)
    send(broker, name, [(key, b"old") for key in KEYS], JAVA)
    table = managers(broker, backend="rocksdb").bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    grow(broker, name, 6)
    send(broker, name, [(key, b"new" if number % 2 else None) for number, key in enumerate(KEYS)], JAVA)
    want = fold(broker, name)
    assert want == dict.fromkeys(KEYS[1::2], b"new")
    eventually(lambda: table.is_ready and dict(table.scan()) == want)
    assert table.health().partitions == 6


def test_a_store_from_before_is_rebuilt_when_it_cannot_tell(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, tmp_path: Path
) -> None:
    name = topic()
    two_writers(broker, name)
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
        path = Path(manager.bind(name).health().path)
    engine = find_engine(persistent)(16 << 20)
    backend = engine.open(next(path.glob("g0*")), StoreOptions(changelog=True))
    backend.write(Batch([], [PARTITIONING]))
    backend.flush()
    backend.close()
    send(broker, name, [(key, b"newer") for key in KEYS[:50]], LIBRDKAFKA)
    send(broker, name, [(key, b"newest") for key in KEYS[:50]], JAVA)
    manager = managers(broker, backend=persistent)
    table: BytesTable = manager.bind(name)
    with pytest.raises(StorePositionError, match="did not take note of partitions"):
        table.wait_until_ready(60)
    table.close()
    table = manager.bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)


@pytest.mark.parametrize("writers", [1, 2])
def test_the_record_of_a_row_tells_where_it_is(
    writers: int, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    if writers == 2:
        two_writers(broker, name)
    else:
        broker.create_topic(name, 6)
        send(broker, name, [(key, b"v") for key in KEYS], JAVA)
    last: dict[bytes, dict[int, tuple[int, int, bytes | None]]] = {}
    for partition in range(6):
        for message in broker.read(name, partition):
            where = message.timestamp()[1], partition, message.value()
            last.setdefault(message.key() or b"", {})[partition] = where
    counting = {key: max(records.values(), key=lambda one: one[:2]) for key, records in last.items()}
    table = managers(broker, backend="lmdb").bind(name)
    table.wait_until_ready(60)
    with table.snapshot() as snapshot:
        for key, (timestamp, partition, value) in counting.items():
            for one in (table.get_record(key), snapshot.get_record(key)):
                if value is None:
                    assert one is None
                    continue
                assert one is not None
                assert one.timestamp is not None
                assert (one.value, round(one.timestamp.timestamp() * 1000), one.partition, one.offset) == (
                    value,
                    timestamp,
                    partition,
                    None,
                )


# Writers


@dataclass(frozen=True)
class Item:
    name: Annotated[str, Key]
    count: int = 0


def items(name: str, partitioner: Any = None) -> Any:
    """Return a class of the topic ``name``, written with ``partitioner``."""
    stated = {} if partitioner is None else {"partitioner": partitioner}
    cls = make_dataclass("Item", [], bases=(Item,), frozen=True)
    return entity(cls, topic=name, value_format="json", **stated)


@pytest.fixture
def by_crc32(broker: Broker, topic: NewTopic) -> str:
    """A topic of five partitions that a program on librdkafka has written."""
    name = topic()
    broker.create_topic(name, 5)
    send(broker, name, [(key, b'{"count":1}') for key in KEYS[:100]], LIBRDKAFKA)
    return name


def test_a_writer_with_another_partitioner_is_refused_by_name(
    backend: str, broker: Broker, by_crc32: str, managers: Managers
) -> None:
    cls = items(by_crc32)
    manager = managers(broker, backend=backend, entities=[cls], wait=60)
    table = manager.bind(cls)
    told = (
        f"topic '{by_crc32}': its records lie where consistent_random puts their keys, but Item is written "
        "with murmur2_random, .* state partitioner='consistent_random' at the entity"
    )
    writes: list[Callable[[], object]] = [
        lambda: table.add(cls("a")),
        lambda: table.add_all([cls("a")]),
        lambda: table.add_all(iter([cls("a")])),
        lambda: table.delete("key-0001"),
    ]
    for write in writes:
        with pytest.raises(ConfigError, match=told):
            write()
    with pytest.raises(ConfigError, match=told), manager.transaction() as transaction:
        transaction.add(cls("a"))
    with pytest.raises(ConfigError, match=told), manager.transaction() as transaction:
        transaction.delete(cls, "key-0001")
    health = table.health()
    assert (health.partitioner, health.records) == ("consistent_random", 100)


@pytest.mark.parametrize("partitioner", ["consistent_random", "consistent", "fnv1a", "murmur2"])
def test_a_writer_puts_each_key_where_the_stated_partitioner_does(
    partitioner: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, 5)
    send(broker, name, [(key, b'{"count":1}') for key in KEYS[:40]], partitioner)
    theirs = where(broker, name)
    cls = items(name)
    settings = {"topics": {name: {"partitioner": partitioner}}}
    manager = managers(broker, settings=settings, entities=[cls], wait=60)
    table = manager.bind(cls)
    written = table.add_all([cls(key.decode(), 2) for key in KEYS[:20]], wait=True, timeout=60)
    with manager.transaction() as transaction:
        transaction.add_all([cls(key.decode(), 2) for key in KEYS[20:40]])
    table.wait_for(transaction.deliveries, 60)
    ours = [delivery.partition for delivery in [*written, *transaction.deliveries]]
    assert ours == [theirs[key] for key in KEYS[:40]]
    assert table.delete("key-0000", wait=True, timeout=60).partition == theirs[KEYS[0]]
    assert table.count() == 39
    assert table.health().keys_in_several_partitions == 0
    assert [row.count for row in table.to_list()] == [2] * 39


def where(broker: Broker, name: str) -> dict[bytes, int]:
    """Return in which partition each key is."""
    return {
        bytes(message.key() or b""): partition
        for partition in broker.end_offsets(name)
        for message in broker.read(name, partition)
    }


def test_what_is_not_known_is_allowed(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    """Few records, several partitioners, one partition, a table that is not bound here."""
    few, mixed, single = topic("few"), topic("mixed"), topic("single")
    for name, partitions in ((few, 5), (mixed, 2), (single, 1)):
        broker.create_topic(name, partitions)
    send(broker, few, [(key, b'{"count":1}') for key in KEYS[:10]], LIBRDKAFKA)
    send(broker, mixed, [(key, b'{"count":1}') for key in KEYS[:60]], LIBRDKAFKA)
    send(broker, mixed, [(key, b'{"count":1}') for key in KEYS[60:120]], JAVA)
    send(broker, single, [(key, b'{"count":1}') for key in KEYS[:60]], LIBRDKAFKA)
    for name in (few, mixed, single):
        cls = items(name)
        manager = managers(broker, directory=name, entities=[cls], wait=60)
        table = manager.bind(cls)
        assert table.health().partitioner is None
        table.add(cls("a"), wait=True, timeout=60)
    unbound = managers(broker, directory="unbound")
    unbound.add(items(few)("b"), timeout=60)


def test_the_topic_decides_although_the_first_record_is_a_strangers(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    """What explains the first record alone is not what explains nine of ten."""
    name = topic()
    broker.create_topic(name, 5)
    send(broker, name, [(b"stranger-%d" % number, b'{"count":1}') for number in range(3)], LIBRDKAFKA)
    send(broker, name, [(key, b'{"count":1}') for key in KEYS[:200]], JAVA)
    cls = items(name)
    table = managers(broker, entities=[cls], wait=60).bind(cls)
    assert table.health().partitioner == "murmur2_random"
    table.add(cls("a"), wait=True, timeout=60)
