"""Mirrors of windowed topics on a real broker: event time, restarts, readers of the directory, clear()."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from statestore import F, Hopping, Key, StoreManager, WindowEnd, WindowSize, WindowStart, entity
from statestore.core import place_of
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]
MINUTE = 60_000
NOW = int(time.time() * 1000) // MINUTE * MINUTE - 600 * MINUTE


Row = tuple[str, int, int]
"""A key, its window's start in minutes, and its value."""


def declared(topic: str) -> Any:
    @entity(
        topic=topic,
        windows=[Hopping(5, 1)],
        window_layout="sink",
        key_format="kafka",
        value_format="kafka",
        retention=60,
    )
    @dataclass(frozen=True, slots=True)
    class Count:
        symbol: Annotated[str, Key]
        start: Annotated[int, WindowStart]
        end: Annotated[int, WindowEnd]
        size: Annotated[int, WindowSize]
        n: int

    return Count


def produce(broker: Broker, topic: str, rows: list[Row]) -> None:
    """Write rows as Kafka Streams does: the partition is that of the key without its window."""
    for symbol, minutes, n in rows:
        key, start = symbol.encode(), NOW + minutes * MINUTE
        record = (key + struct.pack(">q", start), struct.pack(">q", n) if n else None)
        broker.produce(topic, [record], partition=place_of(0, key, 3), timestamp=start)


def seen(table: Any) -> list[Row]:
    """Return the rows of a table, and check what their windows fill."""
    found = []
    for one in table:
        assert (one.end - one.start, one.size) == (5 * MINUTE, 5 * MINUTE)
        found.append((one.symbol, (one.start - NOW) // MINUTE, one.n))
    return found


def test_a_mirror_of_windows(
    backend: str, broker: Broker, topic: Callable[..., str], managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, 3)
    cls = declared(name)
    old = [(symbol, minutes, minutes) for symbol in "ABCDEF" for minutes in (1, 2, 3)]
    produce(broker, name, old)

    shared = backend != "memory"
    manager = managers(broker, backend=backend, role="auto" if shared else "owner")
    table = manager.bind(cls).window("5min_by_1min")
    table.wait_until_ready(60)
    assert seen(table) == old
    assert seen(table.fetch("B", start=NOW + 2 * MINUTE, stop=NOW + 3 * MINUTE)) == [("B", 2, 2)]
    assert seen(table.where(F.symbol == "C", F.start > NOW + 2 * MINUTE)) == [("C", 3, 3)]
    assert (table.health().stray_records, table.latest("D").n, table.latest("Z")) == (0, 3, None)

    produce(broker, name, [("A", 3, 0), ("B", 62, 9)])
    table.sync(60)
    left = [("B", 3, 3), ("B", 62, 9), *[one for one in old if one[0] > "B" and one[1] == 3]]
    assert seen(table) == left
    assert table.get("A", NOW + 2 * MINUTE) is None
    if backend == "rocksdb":  # LMDB opens no file twice in one process
        with managers(broker, backend=backend, role="reader") as other:
            reader = other.bind(cls).window()
            reader.wait_until_ready(60)
            eventually(lambda: seen(reader) == left)
            assert (reader.get("C", NOW + MINUTE), reader.count()) == (None, len(left))
            assert reader.stats().newest == NOW + 62 * MINUTE
    eventually(lambda: table.stats().expired == 12)
    table.clear()
    table.wait_until_ready(60)
    stats = table.stats()
    assert (seen(table), stats.newest, sum(stats.positions.values())) == (left, NOW + 62 * MINUTE, 20)
    manager.close()
    if not shared:
        return
    again = managers(broker, backend=backend).bind(cls).window()
    again.wait_until_ready(60)
    assert seen(again) == left
    produce(broker, name, [("E", 2, 7), ("E", 3, 8)])
    again.sync(60)
    assert seen(again) == [("E", 3, 8) if one == ("E", 3, 3) else one for one in left]
    assert again.stats().late == 1
