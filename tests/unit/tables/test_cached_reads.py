"""Reads of bound tables with the record cache in front: only while they are allowed, and never old."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

from statestore import (
    BytesTable,
    Key,
    State,
    StoreClosedError,
    StoreManager,
    StoreNotReadyError,
    StoreUnavailableError,
    entity,
)
from statestore.changelog.status import read_together
from statestore.core import IMPLEMENTATION, uses
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

LIMIT = 60.0


@pytest.fixture
def producer() -> Producer:
    """A producer that is a broker, too: librdkafka's in-process mock."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture(params=["rocksdb", "lmdb"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, producer: Producer) -> Iterator[StoreManager]:
    address = ",".join(
        f"{one.host}:{one.port}" for one in producer.list_topics(timeout=LIMIT).brokers.values()
    )
    with StoreManager(tmp_path / "state", kafka=address, backend=request.param) as manager:
        yield manager


def produce(producer: Producer, topic: str, *pairs: tuple[bytes, bytes | None]) -> None:
    for key, value in pairs:
        producer.produce(topic, key=key, value=value, partition=0)
    assert producer.flush(LIMIT) == 0


def hot(manager: StoreManager, producer: Producer, topic: str = "t", **how: Any) -> BytesTable:
    """Return a table whose ``k`` is 1, and has been read."""
    produce(producer, topic, (b"k", b"1"), (b"l", b"2"))
    table: BytesTable = manager.bind(topic, **how)
    table.wait_until_ready(LIMIT)
    assert table.get(b"k") == table.get(b"k") == b"1"
    assert table.get(b"absent") is None
    assert (manager._opener.cache.count > 0) is (IMPLEMENTATION == "native" and uses("cache"))
    return table


@contextmanager
def being(table: BytesTable, state: State) -> Iterator[None]:
    """Have the table be in ``state``, which nobody else can change meanwhile."""
    binding = table._binding
    with binding.changed:
        for entered in (state, State.READY):
            binding.publish(binding.machine._enter(entered, "as a test has it", time.time()))
            if entered is state:
                yield


def test_health_counts_what_the_cache_answered_also_after_a_restart(
    manager: StoreManager, producer: Producer
) -> None:
    table = hot(manager, producer)  # three reads: of k, of k again, of a key that is absent
    if IMPLEMENTATION == "pure" or not uses("cache"):
        assert (table.health().cache_hits, table.health().cache_misses) == (None, None)
        return
    assert (table.health().cache_hits, table.health().cache_misses) == (1, 2)
    assert table.get_many([b"k", b"absent", b"other"]) == [b"1", None, None]
    assert (table.health().cache_hits, table.health().cache_misses) == (3, 3)
    table.restart()
    table.wait_until_ready(LIMIT)
    assert table.get(b"k") == b"1"
    health = manager.health()
    assert health.tables[table.name]["cache_hits"] + health.tables[table.name]["cache_misses"] == 7
    assert health.cache.hits == health.tables[table.name].cache_hits
    assert health.cache.rows >= 1


@pytest.mark.parametrize("state", [State.LAGGING, State.RESTORING, State.STOPPED])
def test_a_table_that_is_not_ready_does_not_answer_from_the_cache(
    manager: StoreManager, producer: Producer, state: State
) -> None:
    table = hot(manager, producer)
    with being(table, state):
        with pytest.raises(StoreNotReadyError):
            table.get(b"k")
        with pytest.raises(StoreNotReadyError):
            table.get(b"absent", default=1)
        with pytest.raises(StoreNotReadyError):
            b"k" in table  # noqa: B015 - it raises
        assert table.get(b"k", allow_stale=True) == b"1"
        with pytest.raises(StoreNotReadyError):
            table.snapshot()
        with table.snapshot(allow_stale=True) as snapshot:
            assert snapshot.get(b"k") == b"1"
    assert table.get(b"k") == b"1"


def test_a_failed_table_answers_only_who_takes_stale_values(
    manager: StoreManager, producer: Producer
) -> None:
    table = hot(manager, producer)
    table._binding.fail("as a test has it", "nothing")
    with pytest.raises(StoreUnavailableError, match="as a test has it"):
        table.get(b"k")
    assert table.get(b"k", allow_stale=True) == b"1"


def test_a_closed_table_does_not_answer(manager: StoreManager, producer: Producer) -> None:
    table = hot(manager, producer)
    table.close()
    for allow_stale in (False, True):
        with pytest.raises(StoreClosedError):
            table.get(b"k", allow_stale=allow_stale)
    assert manager._opener.cache.count == 0


@pytest.mark.slow
def test_a_table_is_read_only_together_with_its_group(manager: StoreManager, producer: Producer) -> None:
    one, other = hot(manager, producer, "one"), hot(manager, producer, "other")
    read_together((one._binding, other._binding))
    with (
        being(other, State.LAGGING),
        pytest.raises(StoreNotReadyError, match="'one_Store' is read only together with 'other_Store'"),
    ):
        one.get(b"k")
    assert one.get(b"k") == other.get(b"k") == b"1"


def test_a_rebuild_forgets_what_was_read(manager: StoreManager, producer: Producer) -> None:
    table = hot(manager, producer, on_missing="rebuild")
    snapshot = table.snapshot()
    assert snapshot.positions[0] == 2
    assert snapshot.to_list() == [(b"k", b"1"), (b"l", b"2")]
    produce(producer, "t", (b"k", b"2"), (b"absent", b"3"), (b"l", None))
    table._binding.host.following.call(lambda: table._binding.lost("as a test has it")).result(LIMIT)
    table.wait_until_ready(LIMIT)
    assert (table.get(b"k"), table.get(b"absent"), table.get(b"l")) == (b"2", b"3", None)
    with pytest.raises(StoreClosedError):
        snapshot.get(b"k")


@pytest.mark.slow
def test_readers_of_a_following_table_never_go_back(manager: StoreManager, producer: Producer) -> None:
    table = hot(manager, producer)
    keys = [b"%d" % number for number in range(5)]
    rounds = 300
    faults: list[str] = []
    over = threading.Event()

    def read() -> None:
        last = dict.fromkeys(keys, 0)
        while not over.is_set():
            for key in keys:
                number = int(table.get(key, default=b"0"))
                if number < last[key]:
                    faults.append(f"{key!r}: {number} was read after {last[key]}")
                last[key] = number

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, rounds + 1):
        produce(producer, "t", *((key, b"%d" % number) for key in keys))
    deadline = time.monotonic() + LIMIT
    while table.get(keys[-1]) != b"%d" % rounds and time.monotonic() < deadline:
        time.sleep(0.01)
    over.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert {table.get(key) for key in keys} == {b"%d" % rounds}
    assert dict(table.scan()) == {b"k": b"1", b"l": b"2"} | dict.fromkeys(keys, b"%d" % rounds)


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str


def test_tables_of_entities_read_through_it_too(manager: StoreManager, producer: Producer) -> None:
    codec: EntityCodec[Order] = EntityCodec(model_of(Order))
    first, second = Order(1, "ann"), Order(1, "bob")
    produce(producer, "orders", codec.encode(first))
    table = manager.bind(Order)
    table.wait_until_ready(LIMIT)
    assert table.get(1) == table.get(1) == first
    assert table.get(2) is None
    assert (1 in table, 2 in table) == (True, False)
    produce(producer, "orders", codec.encode(second))
    deadline = time.monotonic() + LIMIT
    while table.get(1) != second and time.monotonic() < deadline:
        time.sleep(0.01)
    assert table.get(1) == table.get(1) == second
