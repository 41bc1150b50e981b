"""Rows that end by their age, and stores that may not grow beyond a size."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statestore import State, StoreFullError, StoreIdentityError, StoreManager
from statestore.backends import KeyRange
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]
HOUR = 3600


def aged(broker: Broker, topic: str, rows: list[tuple[bytes, bytes]], seconds: float) -> None:
    broker.produce(topic, rows, timestamp=int((time.time() - seconds) * 1000))


def stored(table: Any) -> set[bytes]:
    """Return the keys that are in the files, hidden or not."""
    inner = table._binding.mirror.store._backend.inner
    return {key[1:] for key, _ in inner.scan(KeyRange(b"\x01", b"\x02"))}


def test_old_rows_are_hidden_removed_and_stay_away(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    aged(broker, name, [(b"%d" % number, b"old") for number in range(5000)], 2 * HOUR)
    aged(broker, name, [(b"new", b"1"), (b"7", b"written again")], 0)
    end = broker.end_offsets(name)
    settings = {"tables": {name: {"ttl": HOUR}}}
    with managers(broker, backend=backend, settings=settings) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        assert table.to_list() == [(b"7", b"written again"), (b"new", b"1")]
        assert (table.count(), table.get(b"8"), b"8" in table, table.get(b"new")) == (2, None, False, b"1")
        eventually(lambda: table.health().expired == 4999)
        assert stored(table) == {b"7", b"new"}
        table.flush()
    with managers(broker, backend=backend, settings=settings) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        assert table.to_list() == [(b"7", b"written again"), (b"new", b"1")]
    assert broker.end_offsets(name) == end


def test_a_row_ends_while_it_is_read(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    """The record cache must not keep it, nor may a row come back that was written anew."""
    name = topic()
    broker.create_topic(name)
    aged(broker, name, [(b"a", b"1")], 0)
    with managers(broker, backend="rocksdb", settings={"tables": {name: {"ttl": 1.5}}}) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        eventually(lambda: table.get(b"a") is None)
        assert table.to_list() == []

        def seen_when_written_anew() -> bool:
            aged(broker, name, [(b"a", b"2")], 0)
            found: bytes | None = table.get(b"a")
            return found == b"2"

        eventually(seen_when_written_anew)
        eventually(lambda: table.get(b"a") is None)


def test_a_longer_life_needs_the_rows_that_are_gone(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name)
    aged(broker, name, [(b"a", b"1")], 0)

    def bound(ttl: float | None) -> Any:
        tables = {} if ttl is None else {name: {"ttl": ttl}}
        return managers(broker, backend=persistent, settings={"tables": tables})

    for ttl in (None, 2.0 * HOUR, 1.0 * HOUR):  # less is fine
        with bound(ttl) as manager:
            manager.bind(name).wait_until_ready(60)
    for ttl in (2.0 * HOUR, None):
        with bound(ttl) as manager, pytest.raises(StoreIdentityError, match="no rows older than ttl=3600 s"):
            manager.bind(name).wait_until_ready(60)


def test_a_store_that_outgrows_its_limit_fails_the_table_and_drops_nothing(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    noise = [bytes((number * factor) % 251 for factor in range(1, 2001)) for number in range(1, 251)]
    tables = {name: {"max_bytes": 1_000_000}}
    defaults = {"flush_bytes": 100_000}
    manager = managers(broker, backend=backend, defaults=defaults, settings={"tables": tables})
    table = manager.bind(name)
    broker.produce(name, [(b"%d" % number, noise[number]) for number in range(20)])
    table.wait_until_ready(60)
    eventually(lambda: table.count() == 20)
    for round_ in range(20):
        broker.produce(name, [(b"%d.%d" % (round_, number), noise[number]) for number in range(250)])
    eventually(lambda: table.state is State.FAILED)
    with pytest.raises(StoreFullError, match=r"more than max_bytes=1000000; nothing was dropped; open the"):
        table.get(b"1")
    assert table.get(b"19", allow_stale=True) == noise[19]
    table.restart()
    eventually(lambda: table.state is State.FAILED)
    manager.close()
    wider = managers(broker, backend=backend).bind(name)
    wider.wait_until_ready(60)
    assert wider.count() == 20 + 20 * 250


def test_a_table_that_is_not_cached_is_read_anew_and_leaves_no_file(
    broker: Broker, topic: NewTopic, managers: Managers, tmp_path: Path
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1"), (b"b", b"2")])
    for expected in (2, 3):
        settings = {"tables": {name: {"cache": False}}}
        with managers(broker, backend="rocksdb", settings=settings) as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            assert table.count() == expected
            assert table.health().records == expected
        broker.produce(name, [(b"c", b"3")])
        assert {entry.name for entry in (tmp_path / "state").iterdir()} == {"LOCK", "manifest.json"}
