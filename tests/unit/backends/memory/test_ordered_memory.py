"""What the native map does with memory: nothing leaks, and where there is none it stays as it was."""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from typing import Any

import pytest

from statestore.backends import KeyRange
from statestore.backends.memory.ordered import OrderedMap
from statestore.errors import StoreClosedError

pytestmark = pytest.mark.slow

KEYS = [b"key-%d" % number for number in range(3000)]
VALUES = [b"value-%d" % number for number in range(50)]


def work(kind: type[OrderedMap], changes: int) -> None:
    """Change, read and refuse in every way, about ``changes`` times."""
    chance = random.Random(7)
    map_ = kind()
    live: list[Any] = []
    done = 0
    while done < changes:
        size = chance.choice([1, 10, 400, 5000])
        share = chance.choice([0.0, 0.3, 1.0])
        chosen = chance.choices(KEYS, k=size)
        deletes = [key for key in chosen if chance.random() < share]
        puts = [(key, chance.choice(VALUES)) for key in chosen[len(deletes) :]]
        map_.change(puts, deletes, chance.choice([None, None, 1]))
        done += size
        if chance.random() < 0.2:
            map_.delete_range(KeyRange(*sorted(chance.choices(KEYS, k=2))))
        if chance.random() < 0.4:
            live.append(map_.snapshot())
        else:
            scan = map_.scan(KeyRange(chance.choice([None, KEYS[7]])), reverse=chance.random() < 0.5)
            scan.read(chance.randrange(100))
            live.append(scan)
        if len(live) > 5:
            live.pop(chance.randrange(6))
        map_.get_many(chosen)
    map_.end(lambda: StoreClosedError("gone"))


def test_a_million_changes_leave_no_reference(native_map: type[OrderedMap]) -> None:
    before = [sys.getrefcount(item) for item in (*KEYS, *VALUES)]
    work(native_map, 1_000_000)
    gc.collect()
    assert [sys.getrefcount(item) for item in (*KEYS, *VALUES)] == before


def test_nothing_allocated_is_left(native_map: type[OrderedMap]) -> None:
    work(native_map, 20_000)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work(native_map, 100_000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 16_000  # less than one node for each list
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [30, 900, pytest.param(6000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["new", "mixed", "delete"])
def test_a_failing_allocation_leaves_the_content(
    native_map: type[OrderedMap], shared: bool, size: int, kind: str
) -> None:
    testcapi = pytest.importorskip("_testcapi")
    chance = random.Random(size)
    content = {b"%05d" % number: b"old" for number in range(0, 14_000, 2)}
    puts = [(b"%05d" % number, b"new") for number in chance.sample(range(14_000), size)]
    deletes = chance.sample(sorted(content), size)
    if kind == "new":
        deletes = []
    elif kind == "delete":
        puts = []
    gone = set(deletes)
    after = {key: value for key, value in content.items() if key not in gone} | dict(puts)
    in_order = [list(content.items())[start : start + 500] for start in range(0, 7000, 500)]
    keys = [b"%05d" % number for number in range(14_000)]
    # What the map holds before and after the change: its pairs, what is read of each key, and its size.
    before_and_after = [
        (sorted(one.items()), [one.get(key) for key in keys], sum(len(key) + len(one[key]) for key in one))
        for one in (content, after)
    ]
    failed = 0
    allowed = 0
    while True:
        map_ = native_map()
        for part in in_order:
            map_.change(part, [])
        snapshot = map_.snapshot() if shared else None
        ended = False
        testcapi.set_nomemory(allowed, 0)
        try:
            map_.change(puts, deletes)
            ended = True
        except MemoryError:
            pass
        finally:
            testcapi.remove_mem_hooks()
        pairs, values, size_of_all = before_and_after[ended]
        assert list(map_.scan()) == pairs
        assert map_.get_many(keys) == values
        assert map_.size() == size_of_all
        if snapshot is not None:
            assert list(snapshot.scan()) == before_and_after[0][0]
        if ended:
            # Deletes need memory only where a snapshot shares the nodes.
            assert failed > 2 or (kind == "delete" and not shared)
            break
        failed += 1
        assert map_.change(puts, deletes) is None
        assert list(map_.scan()) == before_and_after[1][0]
        allowed += 1 + allowed // 8


def test_a_failing_allocation_of_the_index_takes_it_back(native_map: type[OrderedMap]) -> None:
    testcapi = pytest.importorskip("_testcapi")
    keys = [b"%05d" % number for number in range(5200)]
    content = dict.fromkeys(keys[::50], b"old")
    puts = [(key, b"new") for key in keys]
    for allowed in range(1000):  # each one fails once: those of the tree, then those of the index
        map_ = native_map()
        map_.change(list(content.items()), [])
        testcapi.set_nomemory(allowed, 0)
        try:
            map_.change(puts, [])
            break
        except MemoryError:
            pass
        finally:
            testcapi.remove_mem_hooks()
        assert map_.get_many(keys) == [content.get(key) for key in keys]
        map_.change([], [keys[0]])
        assert map_.get_many(keys[:51]) == [None] * 50 + [b"old"]
    assert 90 < allowed < 1000
    assert map_.get_many(keys) == [b"new"] * len(keys)


@pytest.mark.parametrize("at_once", [100, 20_000])
def test_deleting_gives_memory_back(native_map: type[OrderedMap], at_once: int) -> None:
    keys = [b"%05d" % number for number in range(20_000)]
    puts = [(key, b"") for key in keys]
    deletes = [key for number, key in enumerate(keys) if number % 100]
    gc.collect()
    tracemalloc.start()
    try:
        map_ = native_map()
        before = tracemalloc.get_traced_memory()[0]
        map_.change(puts, [])
        assert tracemalloc.get_traced_memory()[0] - before > 500_000
        for start in range(0, len(deletes), at_once):
            map_.change([], deletes[start : start + at_once])
        assert map_.approximate_count() == 200
        assert tracemalloc.get_traced_memory()[0] - before < 60_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shared", [False, True])
def test_a_failing_allocation_leaves_the_rest_of_a_range(native_map: type[OrderedMap], shared: bool) -> None:
    testcapi = pytest.importorskip("_testcapi")
    content = {b"%05d" % number: b"" for number in range(3000)}
    keys = KeyRange(b"00100", b"02900")
    outside = {key: value for key, value in content.items() if not b"00100" <= key < b"02900"}
    steps = 0
    for allowed in range(100):
        map_ = native_map()
        map_.change(list(content.items()), [])
        snapshot = map_.snapshot() if shared else None
        testcapi.set_nomemory(allowed, 0)
        try:
            is_all = map_.delete_range(keys)
        except MemoryError:
            is_all = False
        finally:
            testcapi.remove_mem_hooks()
        left = [pair for pair in sorted(content.items())[100:2900] if map_.get(pair[0]) is not None]
        assert left == sorted(content.items())[2900 - len(left) : 2900]
        assert list(map_.scan()) == sorted([*outside.items(), *left])
        assert map_.approximate_count() == len(outside) + len(left)
        if snapshot is not None:
            assert list(snapshot.scan()) == sorted(content.items())
        if is_all:
            break
        steps += 1
        assert map_.delete_range(keys)
    assert list(map_.scan()) == sorted(outside.items())
    assert (steps > 0) == shared
