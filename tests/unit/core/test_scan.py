"""The steps of a scan: the extension and its twin (fixture ``core`` runs both)."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.core import pure_scan as twin

Pair = tuple[bytes, bytes]


@pytest.fixture(scope="session")
def scans(core: ModuleType) -> ModuleType:
    return core if core.__name__.endswith("_native") else twin


class Source:
    """A backend's scan: ``steps`` are pairs, made when they are asked for, or errors to raise."""

    def __init__(self, *steps: Callable[[], Pair] | Exception) -> None:
        self.steps = list(steps)
        self.closed = 0

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        if not self.steps:
            raise StopIteration
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step()

    def close(self) -> None:
        self.closed += 1


def fresh(pair: Pair) -> Callable[[], Pair]:
    """Return what makes a pair that nobody else has."""
    return lambda: (bytes(bytearray(pair[0])), bytes(bytearray(pair[1])))


PAIRS = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=600)), max_size=30)


@given(pairs=PAIRS, header=st.integers(0, 12))
def test_fresh_and_shared_pairs_lose_namespace_and_header(
    scans: ModuleType, pairs: list[Pair], header: int
) -> None:
    stripped = [(key[1:], value[header:]) for key, value in pairs]
    copies = [fresh(pair)() for pair in pairs]
    hashes = [(hash(key), hash(value)) for key, value in copies]
    assert list(scans.Pairs(Source(*map(fresh, pairs)), 1, header)) == stripped
    assert list(scans.Pairs(iter(copies), 1, header)) == stripped
    assert copies == pairs  # somebody else has them
    assert [(hash(key), hash(value)) for key, value in copies] == hashes


@given(pair=st.tuples(st.binary(min_size=2, max_size=600), st.binary(max_size=600)), which=st.integers(0, 1))
def test_a_part_that_somebody_keeps_is_not_changed(scans: ModuleType, pair: Pair, which: int) -> None:
    kept: list[bytes] = []

    def make() -> Pair:
        made = fresh(pair)()
        kept.append(made[which])
        return made

    assert list(scans.Pairs(Source(make), 1, 8)) == [(pair[0][1:], pair[1][8:])]
    assert kept == [pair[which]]


def test_what_was_hashed_before_is_hashed_anew(scans: ModuleType) -> None:
    def make() -> Pair:
        made = fresh((b"\x01a key", b"12345678a value"))()
        hash(made[0]), hash(made[1])
        return made

    ((key, value),) = scans.Pairs(Source(make), 1, 8)
    assert {key: value}[b"a key"] == b"a value"
    assert hash(value) == hash(b"a value")


@pytest.mark.parametrize("pair", [[b"\x01key", b"value"], (bytearray(b"\x01key"), b"value")])
def test_other_sequences_of_two_are_taken(scans: ModuleType, pair: Any) -> None:
    assert list(scans.Pairs(iter([pair]), 1, 1)) == [(b"key", b"alue")]


@pytest.mark.parametrize("pair", [(b"\x01key",), (b"\x01", b"", b""), None, (b"\x01key", None)])
def test_no_pair_is_an_error(scans: ModuleType, pair: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        next(scans.Pairs(iter([pair]), 1, 1))


def test_an_error_of_the_source_comes_out_at_each_step(scans: ModuleType) -> None:
    one = fresh((b"\x01a", b"1"))
    pairs = scans.Pairs(Source(one, OSError("first"), OSError("second"), one), 1, 0)
    assert next(pairs) == (b"a", b"1")
    for said in ("first", "second"):
        with pytest.raises(OSError, match=said):
            next(pairs)
    assert list(pairs) == [(b"a", b"1")]
    assert list(pairs) == []


def test_closing_closes_the_source(scans: ModuleType) -> None:
    source = Source()
    pairs = scans.Pairs(source, 1, 0)
    pairs.close()
    pairs.close()
    assert source.closed == 2


def test_what_is_no_iterator_is_refused(scans: ModuleType) -> None:
    for call in (scans.Pairs, scans.count_pairs):
        with pytest.raises(TypeError):
            call(*((7, 0) if call is scans.Pairs else (7,)))


def test_pairs_are_counted(scans: ModuleType) -> None:
    assert scans.count_pairs(iter([])) == 0
    assert scans.count_pairs(iter([(b"", b"")] * 1_000)) == 1_000
    with pytest.raises(OSError, match="broken"):
        scans.count_pairs(Source(fresh((b"", b"")), OSError("broken")))


class Cursor:
    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs, self.at = pairs, 0

    def key(self) -> bytes | None:
        return self.pairs[self.at][0] if self.at < len(self.pairs) else None

    def value(self) -> bytes:
        return self.pairs[self.at][1]

    def step(self) -> None:
        self.at += 1


@given(pairs=PAIRS, count=st.integers(0, 40))
def test_pairs_are_read_from_a_cursor(scans: ModuleType, pairs: list[Pair], count: int) -> None:
    cursor = Cursor(pairs)
    assert scans.read_pairs(cursor.key, cursor.value, cursor.step, count) == pairs[:count]
    assert cursor.at == min(count, len(pairs))


@given(pairs=PAIRS.filter(bool))
def test_the_mean_size_is_that_of_a_sample(scans: ModuleType, pairs: list[Pair]) -> None:
    sizes = [len(key) + len(value) for key, value in pairs]
    assert min(sizes) <= scans.mean_size(pairs) <= max(sizes)
    assert scans.mean_size(pairs) == twin.mean_size(pairs)


def test_a_queue_is_filled_when_it_is_empty(scans: ModuleType) -> None:
    class Queue(scans.PairQueue):  # type: ignore[misc, name-defined]
        def __init__(self, chunks: list[list[Pair]]) -> None:
            self.chunks = chunks

        def _fill(self) -> None:
            if not self.chunks:
                raise StopIteration
            self._pairs = self.chunks.pop(0)

    queue = Queue([[(b"b", b"2"), (b"a", b"1")], [], [(b"c", b"3")]])
    assert iter(queue) is queue
    assert next(queue) == (b"a", b"1")
    assert len(queue._pairs) == 1
    assert list(queue) == [(b"b", b"2"), (b"c", b"3")]
    assert list(queue) == []


class BarredError(Exception):
    pass


def guarded(scans: ModuleType, source: Source, **attributes: Any) -> Any:
    """Return a scan of ``source`` that takes notes: what failed, and how often it was released."""

    class Scan(scans.GuardedPairs):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._guard = scans.CallGuard()
            self._guard.inside = [None]
            self._source = iter(source)
            self.released = 0
            for name, value in attributes.items():
                setattr(self, name, value)

        def _failed(self, error: Exception) -> None:
            assert len(self._guard.inside) == 2
            raise LookupError("told") from error

        def release(self) -> None:
            self.released += 1

    return Scan()


ABCD = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")]


@pytest.mark.parametrize(
    ("attributes", "pairs"),
    [
        ({}, ABCD),
        ({"_left": 0}, []),
        ({"_left": 2}, ABCD[:2]),
        ({"_left": 9}, ABCD),
        ({"_stop": b"c"}, ABCD[:2]),
        ({"_stop": b"bb"}, ABCD[:2]),
        ({"_stop": b"a"}, []),
        ({"_stop": b""}, []),
        ({"_start": b"b"}, []),
        ({"_start": b"a"}, ABCD),
        ({"_start": b"a\0"}, []),
        ({"_stop": b"d", "_left": 3}, ABCD[:3]),
    ],
)
def test_a_guarded_scan_ends_with_its_range(
    scans: ModuleType, attributes: dict[str, Any], pairs: list[Pair]
) -> None:
    for consume in (list, lambda scan: list(scans.Pairs(scan, 1, 0))):
        scan = guarded(scans, Source(*map(fresh, ABCD)), **attributes)
        expected = pairs if consume is list else [(key[1:], value) for key, value in pairs]
        assert consume(scan) == expected
        assert list(scan) == []
        assert scan.released == 1
        assert scan._guard.inside == [None]


@given(key=st.binary(max_size=4), stop=st.binary(max_size=4))
def test_the_end_of_a_range_is_found_by_the_order_of_bytes(
    scans: ModuleType, key: bytes, stop: bytes
) -> None:
    make = fresh((key, b""))
    assert list(guarded(scans, Source(make), _stop=stop)) == [(key, b"")] * (key < stop)
    assert list(guarded(scans, Source(make), _start=stop)) == [(key, b"")] * (key >= stop)


def test_the_limit_releases_at_once(scans: ModuleType) -> None:
    scan = guarded(scans, Source(*map(fresh, ABCD)), _left=1)
    assert next(scan) == ABCD[0]
    assert scan.released == 1


def test_a_barrier_is_passed_by_each_step(scans: ModuleType) -> None:
    scan = guarded(scans, Source(*map(fresh, ABCD)))
    waited: list[int] = []

    def pause() -> None:
        waited.append(len(scan._guard.inside))
        scan._guard.barrier = None

    def bar() -> None:
        raise BarredError

    assert next(scan) == ABCD[0]
    scan._guard.barrier = pause
    assert next(scan) == ABCD[1]
    assert waited == [1]  # nobody counts as inside who waits
    scan._guard.barrier = bar
    for steps in (scan, scans.Pairs(scan, 1, 0)):
        for _ in range(2):
            with pytest.raises(BarredError):
                next(steps)
    assert scan._guard.inside == [None]
    scan.close()
    assert list(scan) == []


def test_an_error_of_the_engine_is_told_at_each_step(scans: ModuleType) -> None:
    scan = guarded(scans, Source(fresh(ABCD[0]), OSError("one"), OSError("two"), fresh(ABCD[1])))
    assert next(scan) == ABCD[0]
    for said in ("one", "two"):
        with pytest.raises(LookupError, match="told") as caught:
            next(scan)
        assert str(caught.value.__cause__) == said
        assert scan._guard.inside == [None]
    assert list(scan) == [ABCD[1]]


def test_a_step_of_its_own_is_not_passed_over(scans: ModuleType) -> None:
    class Doubled(scans.PairQueue):  # type: ignore[misc, name-defined]
        def _fill(self) -> None:
            raise StopIteration

        def __next__(self) -> Pair:
            key, value = super().__next__()
            return key, value * 2

    queue = Doubled()
    queue._pairs = [(b"\x01a", b"1")]
    assert list(scans.Pairs(queue, 1, 0)) == [(b"a", b"11")]
    assert scans.count_pairs(queue) == 0


def test_a_guarded_scan_without_a_gate_is_an_error(native: ModuleType) -> None:
    with pytest.raises(TypeError):
        next(native.GuardedPairs())


def test_others_get_their_turn_where_the_source_gives_none(
    native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[None] = []
    monkeypatch.setattr("statestore.core.common.pause_point", lambda: turns.append(None))
    pairs = [(b"\x01key", b"value")] * 10_000
    for call in (lambda: list(native.Pairs(iter(pairs), 1, 0)), lambda: native.count_pairs(iter(pairs))):
        turns.clear()
        call()
        assert len(turns) >= 10


def test_an_interrupt_in_a_turn_comes_out(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("statestore.core.common.pause_point", interrupt)
    with pytest.raises(KeyboardInterrupt):
        native.count_pairs(iter([(b"", b"")] * 10_000))


def test_nothing_leaks(scans: ModuleType) -> None:
    value = b"x" * 1_000

    def blocks() -> int:
        for _ in range(200):
            kept = fresh((b"\x01key", value))()
            list(scans.Pairs(iter([kept]), 1, 8))
            list(scans.Pairs(Source(fresh((b"\x01key", value))), 1, 8))
            scans.count_pairs(iter([kept]))
            scans.read_pairs(*(getattr(Cursor([kept]), name) for name in ("key", "value", "step")), 2)
            for broken in ((b"\x01key",), (b"\x01key", None)):
                with pytest.raises((TypeError, ValueError)):
                    next(scans.Pairs(iter([broken]), 1, 1))
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()
    assert blocks() - before < 100


def test_the_fast_path_is_chosen_by_name() -> None:
    core = importlib.import_module("statestore.core")
    native = core.IMPLEMENTATION == "native" and core.uses("scan")
    assert core.Pairs.__module__ == ("statestore._native" if native else "statestore.core.pure_scan")


@given(
    pairs=st.lists(st.tuples(st.binary(max_size=14), st.binary(max_size=14)), max_size=20),
    back=st.integers(8, 12),
    first=st.binary(min_size=8, max_size=8),
    limit=st.none() | st.integers(0, 4),
)
def test_rows_that_have_ended_are_left_out(
    scans: ModuleType, pairs: list[Pair], back: int, first: bytes, limit: int | None
) -> None:
    pairs = [(b"\1\2\3"[len(key) % 3 : len(key) % 3 + 1] + key, value) for key, value in pairs]

    def stays(key: bytes, value: bytes) -> bool:
        timed = {1: key, 3: value}.get(key[0])
        return timed is None or len(timed) <= back or timed[-back:][:8] >= first

    source = Source(*map(fresh, pairs))
    found = list(scans.UnendedPairs(source, back, first, b"\1", b"\3", limit))
    assert found == [pair for pair in pairs if stays(*pair)][:limit]
    assert limit is None or len(found) < limit or source.closed == 1


def test_a_scan_of_rows_that_ended_is_closed_and_tells_errors(scans: ModuleType) -> None:
    source = Source(fresh((b"\1" + bytes(8), b"")), fresh((b"\2", b"")), KeyError("no page"))
    rows = scans.UnendedPairs(source, 8, b"\0" * 7 + b"\1", b"\1", b"\3", None)
    assert next(rows) == (b"\2", b"")
    with pytest.raises(KeyError, match="no page"):
        next(rows)
    rows.close()
    assert source.closed == 1
    for back, first in ((7, bytes(8)), (8, bytes(7))):
        with pytest.raises(ValueError, match="a time of 8 bytes cannot be"):
            scans.UnendedPairs(source, back, first, b"\1", b"\3", None)


@given(
    pairs=st.lists(
        st.tuples(st.text("\0ab", max_size=4).map(str.encode), st.binary(max_size=3)), max_size=12
    ),
    front=st.integers(0, 2),
    back=st.integers(0, 2),
)
def test_plain_pairs_end_with_the_first_zero(
    scans: ModuleType, pairs: list[Pair], front: int, back: int
) -> None:
    def others(first: Pair, rest: Iterator[Pair]) -> Iterator[Pair]:
        yield (b"others", b"")
        yield first
        yield from rest

    source = Source(*map(fresh, pairs))
    rows = scans.PlainPairs(source, front, back, others)
    zeros = [0 in key[front : max(front, len(key) - back)] for key, _ in pairs]
    place = zeros.index(True) if True in zeros else len(pairs)
    others_of = [(b"others", b"")] if True in zeros else []
    assert list(rows) == [*pairs[:place], *others_of, *pairs[place:]]
    rows.close()
    assert source.closed == 1
