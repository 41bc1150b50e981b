"""Streams: a topic read from its beginning to where it ends at the call, and nothing is left over."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import (
    ConfigError,
    DecodeError,
    ForkedProcessError,
    KafkaError,
    Key,
    StateStoreError,
    StoreClosedError,
    StoreManager,
    Stream,
    StreamHealth,
    entity,
)
from statestore.kafka import topic_records
from statestore.kafka.source import KafkaSource
from statestore.testing.kafka import Broker, KafkaBroker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[..., str]
Eventually = Callable[..., None]

DELETE = {"cleanup.policy": "delete", "retention.ms": "-1"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def trade_entity(topic: str, **declared: Any) -> type[Any]:
    @entity(topic=topic, **declared)
    @dataclass(frozen=True, slots=True)
    class Trade:
        symbol: str
        price: int

    return Trade


def keyed_entity(topic: str, **declared: Any) -> type[Any]:
    @entity(topic=topic, kind="stream", **declared)
    @dataclass(frozen=True, slots=True)
    class Keyed:
        symbol: Annotated[str, Key]
        price: int

    return Keyed


def payload(symbol: str, price: int) -> bytes:
    return msgspec.msgpack.encode({"symbol": symbol, "price": price})


def prices(stream: Stream[Any], **bounds: Any) -> list[int]:
    return [trade.price for trade in stream.to_list(**bounds)]


def write(broker: Broker, topic: str, *numbers: int, partition: int = 0) -> None:
    broker.produce(topic, [(None, payload("x", number)) for number in numbers], partition)


def client_threads() -> list[str]:
    """The threads of librdkafka that fetch, by name; each client has some."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except OSError:
            continue
        if name.startswith("rdk:"):
            found.append(name)
    return sorted(found)


@pytest.fixture
def nothing_left() -> Iterator[Callable[[], None]]:
    """Note which clients there are when called; after the test there must be no more."""
    noted: list[int] = []
    yield lambda: noted.append(len(client_threads()))
    deadline = time.monotonic() + 60
    while noted and len(client_threads()) > noted[0]:
        assert time.monotonic() < deadline, client_threads()
        time.sleep(0.02)


# What is read


def test_a_stream_is_read_to_its_end_each_time(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, 3, DELETE)
    trade = trade_entity(name)
    stream = managers(broker).stream(trade)
    assert stream.to_list() == []
    stream.for_each(lambda _: pytest.fail("there is nothing"))
    for partition in range(3):
        write(broker, name, *range(100 * partition, 100 * partition + 40), partition=partition)
    found = prices(stream)
    assert sorted(found) == [100 * partition + number for partition in range(3) for number in range(40)]
    for partition in range(3):
        mine = [price for price in found if price // 100 == partition]
        assert mine == sorted(mine), "each partition in its order"
    seen: list[Any] = []
    write(broker, name, 7)
    stream.for_each(seen.append)
    assert len(seen) == 121
    assert trade("x", 7) in seen
    health = stream.health()
    assert StreamHealth(**json.loads(json.dumps(asdict(health)))) == health
    assert (health.reads, health.records, health.errors) == (4, 241, 0)


def test_what_is_written_meanwhile_belongs_to_the_next_call(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, 1, 2)
    stream = managers(broker).stream(trade_entity(name))
    seen: list[int] = []

    def see(trade: Any) -> None:
        seen.append(trade.price)
        write(broker, name, 10 + trade.price)

    stream.for_each(see)
    assert seen == [1, 2]
    assert prices(stream) == [1, 2, 11, 12]


def test_only_what_was_committed_and_no_marker_is_waited_for(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    stream = managers(broker).stream(trade_entity(name))
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(60)

    def begin(*numbers: int) -> None:
        producer.begin_transaction()
        for number in numbers:
            producer.produce(name, payload("x", number))
        assert producer.flush(60) == 0

    begin(1, 2)
    producer.abort_transaction(60)
    assert stream.to_list() == [], "nothing but a marker"
    begin(3)
    producer.commit_transaction(60)  # returns before its marker is in the topic
    eventually(lambda: prices(stream) == [3])
    begin(4)
    write(broker, name, 5)
    assert prices(stream) == [3], "what is not stable yet belongs to a later call"
    producer.commit_transaction(60)
    eventually(lambda: prices(stream) == [3, 4, 5])


def test_a_compacted_topic_with_gaps(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name)
    keyed = keyed_entity(name, on_undecodable="skip")
    manager = managers(broker)
    stream = manager.stream(keyed)
    value = msgspec.msgpack.encode({"price": 1})
    broker.produce(name, [(b"%d" % (number % 5), value) for number in range(50)])
    assert len(stream.to_list()) == 50
    broker.force_compaction(name)
    found = stream.to_list()
    assert {one.symbol for one in found} == {"0", "1", "2", "3", "4"}
    assert len(found) < 50
    assert stream.health().null_values > 0, "the fillers of the compaction"


def test_a_log_that_begins_later(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, *range(10))
    broker.truncate(name, 0, 7)
    stream = managers(broker).stream(trade_entity(name))
    assert prices(stream) == [7, 8, 9]
    broker.truncate(name, 0, 10)
    assert stream.to_list() == []


def test_limit_and_until(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    times = [5, 3, 9, 7, 3, 8, 1, 9]  # in seconds; they need not ascend
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number, seconds in enumerate(times):
        producer.produce(name, payload("x", number), timestamp=1000 * seconds)
    assert producer.flush(60) == 0
    stream = managers(broker).stream(trade_entity(name))

    @settings(max_examples=12, deadline=None)
    @given(limit=st.none() | st.integers(0, 9), until=st.none() | st.integers(0, 10_001))
    def check(limit: int | None, until: int | None) -> None:
        before = None if until is None else EPOCH + timedelta(milliseconds=until)
        expected = [
            number for number, seconds in enumerate(times) if until is None or 1000 * seconds < until
        ][:limit]
        assert prices(stream, limit=limit, until=before) == expected
        seen: list[Any] = []
        stream.for_each(seen.append, limit=limit, until=before)
        assert [trade.price for trade in seen] == expected

    check()
    assert prices(stream, until=EPOCH + timedelta(seconds=3, microseconds=1)) == [1, 4, 6]
    with pytest.raises(ValueError, match="limit"):
        stream.to_list(limit=-1)
    with pytest.raises(ValueError, match="time zone"):
        stream.to_list(until=datetime(2020, 1, 1))


# Records that are none


def test_a_record_that_does_not_decode_is_located(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, 2, DELETE)
    broker.produce(name, [(b"k", payload("x", 1)), (None, None), (b"k", b"\xc1"), (None, payload("x", 2))], 1)
    raising = managers(broker, directory="a").stream(trade_entity(name))
    seen: list[Any] = []
    with pytest.raises(DecodeError, match=rf"'Trade_Store', {name} \[1\] @ 2, key b'k'") as failed:
        raising.for_each(seen.append)
    assert [trade.price for trade in seen] == [1]
    assert raising.health().errors == 1
    assert raising.health().last_error == str(failed.value)
    skipping = managers(broker, directory="b").stream(trade_entity(name, on_undecodable="skip"))
    assert prices(skipping) == [1, 2]
    health = skipping.health()
    assert (health.records, health.null_values, health.skipped, health.errors) == (4, 1, 1, 0)
    assert health.last_skipped is not None
    assert (health.last_skipped.partition, health.last_skipped.offset) == (1, 2)


def test_a_stream_with_a_key_needs_it(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    value = msgspec.msgpack.encode({"price": 1})
    broker.produce(name, [(b"a", value), (None, value)])
    keyed = keyed_entity(name)
    stream = managers(broker).stream(keyed)
    assert stream.to_list(limit=1) == [keyed("a", 1)]
    with pytest.raises(DecodeError, match=r"@ 1, no key.*the record has no key"):
        stream.to_list()


# Ends of a read


def test_a_read_leaves_nothing_behind(
    broker: Broker, topic: NewTopic, managers: Managers, nothing_left: Callable[[], None]
) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, *range(2000))
    manager = managers(broker)
    stream = manager.stream(trade_entity(name))
    nothing_left()

    def stop(trade: Any) -> None:
        if trade.price == 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream.for_each(stop)
    assert prices(stream, limit=3) == [0, 1, 2]
    assert stream.health().errors == 0
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # held: its answer ends with it
    groups = admin.list_consumer_groups().result(timeout=60)
    assert [group.group_id for group in groups.valid if group.group_id.startswith("statestore")] == []


def test_several_threads_read_at_once(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, *range(300))
    stream = managers(broker).stream(trade_entity(name))
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(prices(stream))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(300))] * 4
    assert stream.health().records == 1200


def test_closing_the_manager_ends_a_read(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, 1, 2)
    manager = managers(broker)
    stream = manager.stream(trade_entity(name))
    seen: list[Any] = []

    def see(trade: Any) -> None:
        seen.append(trade)
        manager.close()

    with pytest.raises(StoreClosedError):
        stream.for_each(see)
    assert len(seen) == 1
    with pytest.raises(StoreClosedError):
        stream.to_list()


def test_a_forked_child_reads_no_further(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, 1, 2)
    stream = managers(broker).stream(trade_entity(name))
    parent = os.getpid()
    children: list[int] = []

    def see(_trade: Any) -> None:
        if os.getpid() == parent and not children:
            child = os.fork()
            children.append(child)

    try:
        stream.for_each(see)
    except ForkedProcessError:
        os._exit(0 if os.getpid() != parent else 3)
    finally:
        if os.getpid() != parent:
            os._exit(2)
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_records_deleted_before_they_were_read_are_an_error(
    broker: Broker, topic: NewTopic, managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic()
    broker.create_topic(name, config=DELETE)
    write(broker, name, *range(10))
    stream = managers(broker).stream(trade_entity(name))
    starts = KafkaSource.starts

    def starts_before_the_deletion(source: KafkaSource, partitions: Any) -> Any:
        answers = starts(source, partitions)
        for answer in answers.values():
            answer.result(timeout=60)
        broker.truncate(name, 0, 6)
        return answers

    monkeypatch.setattr(KafkaSource, "starts", starts_before_the_deletion)
    with pytest.raises(KafkaError, match="offset 0 of partition 0 was deleted before it was read"):
        stream.to_list()
    monkeypatch.undo()
    assert prices(stream) == [6, 7, 8, 9]


def test_a_topic_that_is_not_there(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    trade = trade_entity(topic())
    with pytest.raises(KafkaError, match="topic"):
        managers(broker, directory="eager").bind(trade)
    lazy = managers(broker, directory="lazy", connect="lazy").stream(trade)
    for read in (lazy.to_list, lambda: lazy.for_each(print)):
        with pytest.raises(KafkaError, match="topic"):
            read()
    assert lazy.health().errors == 2


def test_a_broker_that_is_not_there(managers: Managers, nothing_left: Callable[[], None]) -> None:
    trade = trade_entity("t")
    with pytest.raises(KafkaError, match=r"127\.0\.0\.1:1"):
        managers("127.0.0.1:1", directory="eager", defaults={"request_timeout": 1.0}).bind(trade)
    lazy = managers("127.0.0.1:1", directory="lazy", connect="lazy", defaults={"request_timeout": 1.0})
    stream = lazy.stream(trade)
    nothing_left()
    with pytest.raises(KafkaError, match=r"127\.0\.0\.1:1"):
        stream.to_list()


def test_a_broker_that_goes_away_meanwhile(
    own_broker: KafkaBroker,
    topic: NewTopic,
    managers: Managers,
    nothing_left: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = topic()
    own_broker.create_topic(name, config=DELETE)
    own_broker.produce(name, [(None, payload("x" * 10_000, number)) for number in range(1000)])
    monkeypatch.setattr(topic_records, "QUEUE", 1 << 16)
    stream = managers(own_broker, defaults={"request_timeout": 5.0}).stream(trade_entity(name))
    nothing_left()
    seen: list[int] = []

    def see(trade: Any) -> None:
        if not seen:
            own_broker.kill()
        seen.append(trade.price)

    with pytest.raises(KafkaError, match=r"no record arrived for .* partition 0 stands at \d+ of 1000"):
        stream.for_each(see)
    assert seen == list(range(len(seen)))


# Binding


def test_a_stream_is_bound_like_a_table_and_has_no_store(
    broker: Broker, topic: NewTopic, managers: Managers, tmp_path: Path
) -> None:
    name, beside = topic(), topic("beside")
    broker.create_topic(name, config=DELETE)
    broker.create_topic(beside)
    write(broker, name, 1)
    trade = trade_entity(name)
    manager = managers(broker, backend="rocksdb", entities=[trade, beside], wait=60)
    stream = manager.stream(trade)
    bound: Any = manager.bind(trade)
    assert bound is stream
    assert (stream.name, stream.topic, stream.entity) == ("Trade_Store", name, trade)
    assert "Trade" in repr(stream)
    assert name in repr(stream)
    for method in ("get", "scan", "count", "wait_until_ready", "restart"):
        assert not hasattr(stream, method)
    assert manager.health().streams == {"Trade_Store": stream.health()}
    assert [entry["topic"] for entry in manager.describe()] == [beside]
    assert not [path for path in (tmp_path / "state").iterdir() if "trade" in path.name]
    with pytest.raises(ConfigError, match="no store"):
        manager.bind(trade, backend="lmdb")
    with pytest.raises(ConfigError, match="Trade_Store"):
        manager.stream(trade_entity(name))
    assert prices(manager.stream(trade_entity(name), name="again")) == prices(stream) == [1]
    assert managers(broker, directory="alone", entities=[trade], wait=60).is_ready


def test_a_table_is_no_stream(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    @entity(topic=topic())
    @dataclass
    class Row:
        id: Annotated[int, Key]

    with pytest.raises(StateStoreError, match="Row is a table"):
        managers(broker).stream(Row)
