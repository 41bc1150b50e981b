"""Rows with a time in their keys: the bytes of ``storage/layout.py``, which changes count, and the rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.core import IMPLEMENTATION, KeyRange, pure_scan, pure_segments
from statestore.core.common import END_OF_TIME, FIRST_TIME
from statestore.serde.window_times import exact_time

SEGMENT = 120_000
KEYS = st.lists(st.sampled_from([b"\0", b"\1", b"a", b"\xff"]), max_size=4).map(b"".join)
TIMES = st.one_of(st.integers(FIRST_TIME, END_OF_TIME - 1), st.integers(-3, 3).map(lambda n: n * SEGMENT - 1))
UNHURRIED = settings(deadline=None, max_examples=60)


def modules() -> list[ModuleType]:
    return (
        [pure_segments] if IMPLEMENTATION == "pure" else [pure_segments, import_module("statestore._native")]
    )


@pytest.fixture(scope="module", params=modules(), ids=lambda module: module.__name__.rpartition(".")[2])
def segments(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


def test_the_bytes_are_those_of_the_layout(segments: ModuleType) -> None:
    keys = segments.SegmentKeys(SEGMENT)
    assert keys.window(b"a\0b", 1) == b"\x02\x80\0\0\0a\0\xffb\0\0\x80\0\0\0\0\0\0\1"
    session = b"\x02\x7f\xff\xff\xffa\0\0\x7f" + b"\xff" * 7 + b"\x7f" + b"\xff" * 6 + b"\xfe"
    assert keys.session(b"a", -2, -1) == session
    assert keys.of_key(3, b"a", 1, 2).start == b"\x02\x80\0\0\3a\0\0\x80\0\0\0\0\0\0\1"
    with pytest.raises(ValueError, match="a segment of 0 ms"):
        segments.SegmentKeys(0)
    for bad in (True, 1.0, "1", END_OF_TIME, FIRST_TIME - 1, 1 << 70, None):
        with pytest.raises(ValueError, match="no milliseconds"):
            keys.window(b"a", bad)
    with pytest.raises(TypeError):
        keys.window("a", 1)


@UNHURRIED
@given(rows=st.lists(st.tuples(KEYS, TIMES, TIMES), min_size=1, max_size=8), reverse=st.booleans())
def test_ranges_have_the_rows_of_a_key_in_their_order(
    segments: ModuleType, rows: list[tuple[bytes, int, int]], reverse: bool
) -> None:
    keys = segments.SegmentKeys(1 << 44)
    stored = {keys.window(key, time): (key, time) for key, time, _ in rows}
    sessions = {keys.session(key, start, max(start, end)): (key, start, end) for key, start, end in rows}
    assert len(sessions) == len({(key, start, max(start, end)) for key, start, end in rows})
    key, low, high = rows[0][0], min(rows[0][1:]), max(rows[0][1:])
    ranges = keys.ranges_of(key, low, high, reverse)
    found = [
        pair for keys in ranges for pair in sorted(stored, reverse=reverse) if keys.start <= pair < keys.stop
    ]
    wanted = {(one, time) for one, time, _ in rows if one == key and low <= time < high}
    assert [stored[pair] for pair in found] == sorted(wanted, reverse=reverse)
    both = [module.SegmentKeys(1 << 44) for module in modules()]
    assert all(
        [(own.start, own.stop) for own in one.ranges_of(key, low, high, reverse)]
        == [(own.start, own.stop) for own in ranges]
        for one in both
    )


@UNHURRIED
@given(rows=st.lists(st.tuples(KEYS, TIMES, TIMES), max_size=8), keyed=st.booleans())
def test_rows_come_back(segments: ModuleType, rows: list[tuple[bytes, int, int]], keyed: bool) -> None:
    keys = segments.SegmentKeys(SEGMENT)
    front = 5 if keyed else 0
    windows = [(keys.window(key, time)[front:], b"%d" % time) for key, time, _ in rows]
    assert list(segments.SegmentRows(iter(windows), False, keyed, None)) == [
        (*((key,) if keyed else ()), time, b"%d" % time) for key, time, _ in rows
    ]
    sessions = [(keys.session(key, start, end)[front:], key) for key, start, end in rows]
    assert list(segments.SegmentRows(iter(sessions), True, keyed, None)) == [
        (*((key,) if keyed else ()), start, end, key) for key, start, end in rows
    ]


def test_rows_release_what_they_read_once(segments: ModuleType) -> None:
    released: list[int] = []
    stored = segments.SegmentKeys(SEGMENT).window(b"a", 1)
    rows = segments.SegmentRows(iter([(stored, b"")]), False, False, lambda: released.append(1))
    assert (list(rows), list(rows), released) == ([(1, b"")], [], [1])
    scan = pure_scan.ChainedPairs([], lambda: released.append(2))
    rows = segments.SegmentRows(scan, False, False, lambda: released.append(3))
    rows.close()
    rows.close()
    assert released == [1, 2, 3]
    with pytest.raises(ValueError, match="without a time"):
        next(segments.SegmentRows(iter([(b"short", b"")]), False, False, None))


CHANGE = st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 40), st.booleans())


@UNHURRIED
@given(changes=st.lists(CHANGE, max_size=12), first=st.integers(0, 30))
def test_what_counts_of_a_batch(
    segments: ModuleType, changes: list[tuple[bytes, int, bool]], first: int
) -> None:
    keys = segments.SegmentKeys(SEGMENT)
    batch = segments.WindowChanges(keys, 100, None, exact_time, True)
    newest, kept, late = first, first, 0
    rows: dict[bytes, bytes | None] = {}
    for key, time, is_put in changes:
        value = b"%d" % len(rows) if is_put else None
        batch.put(key, time, value) if is_put else batch.delete(key, time)
        if time < kept:
            late += is_put
            continue
        rows[keys.window(key, time)] = value
        if is_put and time > newest:
            newest = time
            kept = max(kept, newest - 10 + 1)
    assert len(batch) == len(changes)
    found = batch.accepted(first, first, 10)
    assert found[:3] == (newest, kept, late)
    assert dict(found[3]) == {stored: value for stored, value in rows.items() if value is not None}
    assert set(found[4]) == {stored for stored, value in rows.items() if value is None}


def test_changes_are_checked(segments: ModuleType) -> None:
    def misused(_: object) -> RuntimeError:
        return RuntimeError("outside")

    def too_long(key: bytes, stored: bytes) -> Exception:
        return OverflowError(f"{key!r} takes {len(stored)}")

    keys = segments.SegmentKeys(SEGMENT)
    windows = segments.WindowChanges(keys, 20, too_long, exact_time, True)
    outside: Any = type("Outside", (segments.SessionChanges,), {"_misused": misused})
    sessions = outside(keys, 20, too_long, exact_time)
    with pytest.raises(RuntimeError, match="outside"):
        sessions.put(b"a", 1, 2, b"")
    with pytest.raises(RuntimeError, match="outside"):
        sessions.delete(b"a", 1, 2)
    with pytest.raises(TypeError, match="a key must be bytes, not str"):
        windows.put("a", 1, b"")
    with pytest.raises(TypeError, match="a value must be bytes, not None"):
        windows.put(b"a", 1, None)
    with pytest.raises(TypeError, match="start must be a datetime"):
        windows.delete(b"a", "1")
    with pytest.raises(OverflowError, match="b'abcdef' takes 21"):
        windows.put(b"abcdef", 1, b"")
    assert len(windows) == 0


class Cursor:
    """An iterator of rocksdict over keys, each of which is its own value; it fails after ``fails``."""

    def __init__(self, keys: list[bytes], fails: bytes | None = None) -> None:
        self.keys, self.fails, self.at = sorted(keys), fails, 0

    def seek(self, key: bytes) -> None:
        self.at = bisect_left(self.keys, key)

    def seek_for_prev(self, key: bytes) -> None:
        self.at = bisect_right(self.keys, key) - 1

    def seek_to_last(self) -> None:
        self.at = len(self.keys) - 1

    def next(self) -> None:
        self.at += 1

    def prev(self) -> None:
        self.at -= 1

    def key(self) -> bytes | None:
        found = self.keys[self.at] if 0 <= self.at < len(self.keys) else None
        return None if found == self.fails else found

    def value(self) -> bytes | None:
        return self.key()

    def status(self) -> None:
        if self.fails is not None and self.keys[self.at] == self.fails:
            raise OSError("corrupt block")


def test_a_cursor_reads_ranges_and_tells_an_error_from_an_end(segments: ModuleType) -> None:
    of_cursor = pure_scan.CursorPairs if segments is pure_segments else segments.CursorPairs
    keys = [b"%02d" % number for number in range(20)]
    ranges = [KeyRange(None, b"02"), KeyRange(b"05", b"05"), KeyRange(b"055", b"07"), KeyRange(b"18", None)]
    found = [b"00", b"01", b"06", b"18", b"19"]
    assert list(of_cursor(Cursor(keys), ranges, False)) == [(key, key) for key in found]
    assert list(of_cursor(Cursor(keys), ranges[::-1], True)) == [(key, key) for key in found[::-1]]
    assert list(of_cursor(Cursor([]), ranges, False)) == []
    broken = of_cursor(Cursor(keys, fails=b"06"), ranges, False)
    assert [next(broken)[0], next(broken)[0]] == found[:2]
    with pytest.raises(OSError, match="corrupt block"):
        next(broken)
