"""Any sequence of changes, snapshots and scans against a dict, on the native map and on its twin."""

from __future__ import annotations

import os
import random
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from statestore.backends.contract import Snapshot
from statestore.backends.memory.ordered import OrderedIterator, OrderedMap
from statestore.testing.conformance.model import Pairs, Range, select

# Edges of bytes, and a long row that fills leaves, inner nodes and segments of the index.
EDGES = [b"", b"\x00", b"\x00\x00", b"\xff", b"\xff\xff", b"k", b"k" * 300, b"k" * 299 + b"l", b"0100\x00"]
ROW = 8_000

edges = st.sampled_from(EDGES)
places = st.integers(0, ROW - 1)
keys = edges | places.map(lambda place: b"%05d" % place)
values = st.sampled_from([b"", b"1", b"two", b"x" * 100])
# Short enough to be applied in place, long enough to be applied beside it (native: 4500), and between.
lengths = st.sampled_from([1, 2, 63, 64, 65, 200, 1000, 4499, 4501, 6000])
ranges = st.builds(
    Range,
    start=st.none() | keys,
    stop=st.none() | keys,
    prefix=st.none() | st.sampled_from([b"", b"0", b"01", b"0100", b"k", b"\xff"]),
    reverse=st.booleans(),
    limit=st.none() | st.integers(0, 300),
)


class LiveScan(NamedTuple):
    iterator: OrderedIterator
    rest: Pairs


class LiveSnapshot(NamedTuple):
    snapshot: Snapshot
    content: dict[bytes, bytes]


def row(start: int, length: int, step: int, seed: int | None) -> list[bytes]:
    """Return keys of the row: in order, or in any order."""
    chosen = [b"%05d" % ((start + step * number) % ROW) for number in range(length)]
    if seed is not None:
        random.Random(seed).shuffle(chosen)
    return chosen


rows = st.builds(row, places, lengths, st.sampled_from([1, -1, 7]), st.none() | st.integers(0, 2**32))


class Machine(RuleBasedStateMachine):
    kind: type[OrderedMap]

    def __init__(self) -> None:
        super().__init__()
        self.map = self.kind()
        self.model: dict[bytes, bytes] = {}
        self.snapshots: list[LiveSnapshot] = []
        self.scans: list[LiveScan] = []

    def change(self, puts: Pairs, deletes: list[bytes], most: int | None = None) -> None:
        gone = set(deletes)
        after = {key: value for key, value in self.model.items() if key not in gone} | dict(puts)
        size = size_of(after)
        if most is not None and size > most and size > size_of(self.model):
            assert self.map.change(puts, deletes, most) == size
        else:
            assert self.map.change(puts, deletes, most) is None
            self.model = after

    @rule(
        puts=st.lists(st.tuples(keys, values), max_size=8),
        deletes=st.lists(keys, max_size=8),
        most=st.none() | st.integers(0, 3000),
    )
    def change_few(self, puts: Pairs, deletes: list[bytes], most: int | None) -> None:
        self.change(puts, deletes, most)

    @rule(chosen=rows, value=values)
    def put_row(self, chosen: list[bytes], value: bytes) -> None:
        self.change([(key, value + key[-1:]) for key in chosen], [])

    @rule(chosen=rows)
    def delete_row(self, chosen: list[bytes]) -> None:
        self.change([], chosen)

    @rule(chosen=rows, others=rows)
    def change_rows(self, chosen: list[bytes], others: list[bytes]) -> None:
        self.change([(key, b"1") for key in chosen] + [(key, b"22") for key in chosen[::3]], others)

    @rule(range_=ranges)
    def delete_range(self, range_: Range) -> None:
        keys = range_.arguments()[0]
        is_all = False
        while not is_all:
            is_all = self.map.delete_range(keys)
            left = sum(1 for _ in self.map.scan(keys))
            there = select(self.model, *range_[:3])
            gone = dict(there[: len(there) - left])
            self.model = {key: value for key, value in self.model.items() if key not in gone}
        assert not select(self.model, *range_[:3])

    @rule(chosen=rows)
    def refuse_rows(self, chosen: list[bytes]) -> None:
        self.change([(key, b"y" * 500) for key in chosen], list(self.model)[::2], 0)

    @precondition(lambda self: len(self.snapshots) < 6)
    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append(LiveSnapshot(self.map.snapshot(), dict(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), wanted=ranges, chosen=st.lists(keys, max_size=5))
    def read_snapshot(self, data: st.DataObject, wanted: Range, chosen: list[bytes]) -> None:
        snapshot, content = data.draw(st.sampled_from(self.snapshots))
        assert list(snapshot.scan(*wanted.arguments())) == select(content, *wanted)
        assert snapshot.get_many(chosen) == [content.get(key) for key in chosen]

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def close_snapshot(self, data: st.DataObject) -> None:
        live = data.draw(st.sampled_from(self.snapshots))
        assert list(live.snapshot.scan()) == sorted(live.content.items())
        self.snapshots.remove(live)
        live.snapshot.close()

    @precondition(lambda self: len(self.scans) < 6)
    @rule(wanted=ranges)
    def begin_scan(self, wanted: Range) -> None:
        iterator = self.map.scan(*wanted.arguments())
        self.scans.append(LiveScan(iterator, select(self.model, *wanted)))

    @precondition(lambda self: self.scans)
    @rule(data=st.data(), count=st.integers(0, 200), at_once=st.booleans())
    def go_on_with_scan(self, data: st.DataObject, count: int, at_once: bool) -> None:
        live = data.draw(st.sampled_from(self.scans))
        expected = live.rest[:count]
        if at_once:
            assert live.iterator.read(count) == expected
        else:
            assert [next(live.iterator) for _ in expected] == expected
        del live.rest[:count]
        if not live.rest:
            assert list(live.iterator) == []
            self.scans.remove(live)

    @invariant()
    def counts_are_right(self) -> None:
        assert self.map.approximate_count() == len(self.model)
        assert self.map.size() == size_of(self.model)

    @rule(chosen=st.lists(keys, max_size=30))
    def read(self, chosen: list[bytes]) -> None:
        assert [self.map.get(key) for key in chosen] == [self.model.get(key) for key in chosen]
        assert self.map.get_many(list(self.model)) == list(self.model.values())
        assert list(self.map.scan()) == sorted(self.model.items())

    def teardown(self) -> None:
        self.read([])
        for snapshot, content in self.snapshots:
            assert list(snapshot.scan()) == sorted(content.items())
        for iterator, rest in self.scans:
            assert list(iterator) == rest


def size_of(content: dict[bytes, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in content.items())


@pytest.mark.slow
def test_any_sequence_of_calls(ordered_map: type[OrderedMap]) -> None:
    class Chosen(Machine):
        kind = ordered_map

    run_state_machine_as_test(
        Chosen,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=80 if os.environ.get("STATESTORE_SOAK") == "1" else 30,
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
