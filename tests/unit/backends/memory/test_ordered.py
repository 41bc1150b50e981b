"""Edges of the sorted map that chance finds rarely, on the native map and on its twin."""

from __future__ import annotations

import inspect
import random
import sys
import threading
from collections.abc import Callable

import pytest

from statestore.backends import KeyRange
from statestore.backends.memory import ordered as pure
from statestore.backends.memory.ordered import OrderedMap
from statestore.errors import StateStoreError, StoreClosedError
from statestore.testing.conformance.model import Pairs
from statestore.testing.threads import run_threads


def pairs(count: int, value: bytes = b"v") -> Pairs:
    return [(b"%06d" % number, value) for number in range(count)]


def backwards(items: Pairs) -> Pairs:
    return items[::-1]


def shuffled(items: Pairs) -> Pairs:
    return random.Random(3).sample(items, len(items))


def gone() -> StateStoreError:
    return StoreClosedError("gone")


@pytest.mark.parametrize("sort", [list, backwards, shuffled])
def test_one_by_one_up_and_down_through_every_size(
    ordered_map: type[OrderedMap], sort: Callable[[Pairs], Pairs]
) -> None:
    map_ = ordered_map()
    content = pairs(5000)
    for count, (key, value) in enumerate(sort(content), 1):
        map_.change([(key, value)], [])
        if count % 64 in (0, 1, 63) and count < 700:
            assert len(list(map_.scan())) == count
    assert list(map_.scan()) == content
    for count, (key, _) in enumerate(sort(content), 1):
        map_.change([], [key])
        assert map_.get(key) is None
        if count % 64 in (0, 1, 63) and count > 4300:
            assert len(list(map_.scan(reverse=True))) == 5000 - count
    assert (list(map_.scan()), map_.size(), map_.approximate_count()) == ([], 0, 0)


def test_every_bound_of_every_leaf(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    content = [(b"%04d" % (2 * number), b"") for number in range(400)]
    map_.change(random.Random(5).sample(content, 400), [])
    keys = [key for key, _ in content]
    for bound in [b"%04d" % number for number in range(-1, 801)]:
        above = [key for key in keys if key >= bound]
        below = [key for key in keys if key < bound]
        assert [key for key, _ in map_.scan(KeyRange(bound))] == above
        assert [key for key, _ in map_.scan(KeyRange(stop=bound))] == below
        assert [key for key, _ in map_.scan(KeyRange(bound), reverse=True)] == above[::-1]
        assert [key for key, _ in map_.scan(KeyRange(stop=bound), reverse=True)] == below[::-1]
        assert [key for key, _ in map_.scan(KeyRange(bound, bound))] == []


def test_keys_of_any_length(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    keys = sorted([b"", b"\x00", b"\xff" * 65537, b"\xff" * 65536, *(b"k" * n for n in (1, 7, 8, 9, 65537))])
    map_.change([(key, key[:3]) for key in keys], [])
    assert [key for key, _ in map_.scan()] == keys
    assert [key for key, _ in map_.scan(KeyRange(prefix=b"\xff"))] == [b"\xff" * 65536, b"\xff" * 65537]
    assert map_.get_many(keys) == [key[:3] for key in keys]
    map_.change([], keys[::2])
    assert [key for key, _ in map_.scan()] == keys[1::2]


class Bytes(bytes):
    """A subclass that must not get into the map: it does not compare as bytes do."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")


def test_wrong_types_are_refused_and_nothing_of_the_list_is_applied(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    map_.change([(b"a", b"1")], [])
    calls: list[Callable[[], object]] = [
        lambda: map_.get("a"),  # type: ignore[arg-type]
        lambda: map_.get_many([b"a", None]),  # type: ignore[list-item]
        lambda: map_.scan(KeyRange("a")),  # type: ignore[arg-type]
        lambda: map_.scan(KeyRange(stop=1)),  # type: ignore[arg-type]
        lambda: map_.scan(KeyRange(prefix=bytearray(b"a"))),  # type: ignore[arg-type]
        lambda: map_.change([(b"b", b"2"), (b"c", "3")], [b"a"]),  # type: ignore[list-item]
        lambda: map_.change([(b"b", b"2"), ("c", b"3")], [b"a"]),  # type: ignore[list-item]
        lambda: map_.change([(b"b", b"2")], [b"a", 7]),  # type: ignore[list-item]
        lambda: map_.change([(b"b", b"2"), None], [b"a"]),  # type: ignore[list-item]
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    for wrong in [(b"b",), (b"b", b"2", b"3")]:
        with pytest.raises(ValueError, match="unpack"):
            map_.change([(b"c", b"3"), wrong], [b"a"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="limit must be None or >= 0, not -1"):
        map_.scan(limit=-1)
    assert list(map_.scan()) == [(b"a", b"1")]


def test_the_native_map_takes_copies_of_subclasses(native_map: type[OrderedMap]) -> None:
    map_ = native_map()
    map_.change([(Bytes(b"a"), Bytes(b"1"))], [Bytes(b"b")])
    assert map_.get(Bytes(b"a")) == b"1"
    assert map_.get_many((Bytes(b"a"), Bytes(b"b"))) == [b"1", None]
    (pair,) = map_.scan(KeyRange(Bytes(b""), Bytes(b"b"), Bytes(b"a")))
    assert [type(item) for item in pair] == [bytes, bytes]


def test_a_prefix_does_not_change_bytes_that_python_shares(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    for number in range(256):
        map_.scan(KeyRange(prefix=bytes([number]))).close()
        map_.scan(KeyRange(prefix=bytes([number, 255]))).close()
    assert [bytes([number])[0] for number in range(256)] == list(range(256))


def test_what_was_ended_says_so_and_the_end_comes_once(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    map_.change(pairs(1000), [])
    fresh, finished, closed = map_.scan(), map_.scan(limit=1), map_.scan()
    snapshot, of_snapshot = map_.snapshot(), map_.snapshot().scan()
    list(finished)
    closed.close()
    map_.end(gone)
    map_.end(lambda: StateStoreError("another"))
    calls: list[Callable[[], object]] = [
        map_.check,
        lambda: map_.get(b""),
        lambda: map_.get_many([]),
        map_.scan,
        map_.snapshot,
        map_.size,
        map_.approximate_count,
        lambda: map_.change([], []),
        lambda: map_.change(pairs(6000), []),
        lambda: next(fresh),
        lambda: snapshot.get(b""),
        lambda: next(of_snapshot),
    ]
    for call in calls:
        with pytest.raises(StoreClosedError):
            call()
    assert list(finished) == list(closed) == []


def test_snapshots_outlive_the_map(ordered_map: type[OrderedMap]) -> None:
    map_ = ordered_map()
    map_.change(pairs(3000), [])
    snapshot, scan = map_.snapshot(), map_.scan()
    del map_
    assert list(scan) == pairs(3000)
    assert snapshot.get(b"000007") == b"v"
    assert list(snapshot.scan()) == pairs(3000)


@pytest.mark.parametrize("count", [500, 20_000])
def test_readers_see_a_change_as_a_whole(ordered_map: type[OrderedMap], count: int) -> None:
    map_ = ordered_map()
    map_.change(pairs(count, b"%06d" % 0), [])
    half = [key for key, _ in pairs(count)][::2]
    last = b"%06d" % (count - 1)
    read_enough = threading.Event()

    def write() -> None:
        for turn in range(1, 1_000_000):
            map_.change(pairs(count, b"%06d" % turn), [])
            map_.change([], half)
            if read_enough.is_set():
                return

    def read() -> None:
        seen = b""
        try:
            for _ in range(60):
                with map_.snapshot() as snapshot:
                    content = dict(snapshot.scan())
                    assert len(content) in (count, count // 2)
                    assert len(set(content.values())) == 1
                    assert snapshot.get_many(half[:50]) == [content.get(key) for key in half[:50]]
                values = [value for _, value in map_.scan(limit=20)]
                values += [value for value in map_.get_many([b"000001", last]) if value is not None]
                for value in (content[last], values[0], values[-1], map_.get(last)):
                    assert value is not None
                    assert value >= seen
                    seen = value
                assert len(set(values[:20])) == len(set(values[20:])) == 1
        finally:
            read_enough.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        run_threads([write, read])
    finally:
        sys.setswitchinterval(interval)


def test_changes_of_several_threads_take_turns(ordered_map: type[OrderedMap]) -> None:
    """Long ones, during which other threads run, and short ones, which must not come in between."""
    map_ = ordered_map()
    ended = threading.Event()

    def change(prefix: bytes, count: int) -> None:
        for number in range(20):
            map_.change([(prefix + b"%02d" % number + key, value) for key, value in pairs(count)], [])
        ended.set()

    def change_a_little() -> None:
        number = 0
        while not ended.is_set():
            map_.change([(b"c%06d" % number, b"")], [])
            number += 1
        assert map_.approximate_count() >= number
        assert [key for key, _ in map_.scan(KeyRange(prefix=b"c"))] == [b"c%06d" % i for i in range(number)]

    run_threads([lambda: change(b"a", 5_000), lambda: change(b"b", 5_000), change_a_little])
    for prefix in (b"a", b"b"):
        assert len(list(map_.scan(KeyRange(prefix=prefix)))) == 100_000


class Fed:
    """Writes that come in the order given, and fail at the end where they shall."""

    def __init__(
        self, changes: list[tuple[bytes, bytes | None]], counted: int, failure: bool = False
    ) -> None:
        self.changes = changes
        self.counted = counted
        self.failure = failure
        self.size = 0

    def __len__(self) -> int:
        return self.counted

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        for key, value in self.changes:
            if value is None:
                delete(key)
            else:
                put(key, value)
        if self.failure:
            raise LookupError("fed badly")


@pytest.mark.parametrize("count", [100, 20_000])
def test_several_sorted_runs_at_once(ordered_map: type[OrderedMap], count: int) -> None:
    map_ = ordered_map()
    map_.change(pairs(count), [])
    before = list(map_.scan())
    changes = [(key, None if at % 3 else b"w") for at, (key, _) in enumerate(pairs(count + count // 2))]
    own = Fed([(b"\x00", b"1"), (b"~", b"2")], 2)
    with pytest.raises(LookupError):
        map_.change_sorted([own, Fed(changes, len(changes), failure=True)])
    assert map_.change_sorted([Fed(changes, len(changes)), own], 10) is None  # it shrinks
    expected = {key: b"w" for key, value in changes if value} | dict(own.changes)
    assert list(map_.scan()) == sorted(expected.items())
    assert map_.get_many([key for key, _ in before]) == [expected.get(key) for key, _ in before]
    refused = map_.change_sorted([Fed([(b"x", b"x" * 10)], 1)], 10)
    assert refused == map_.size() + 11
    assert map_.get(b"x") is None


def test_the_native_map_bounds_what_it_is_fed(native_map: type[OrderedMap]) -> None:
    map_ = native_map()
    with pytest.raises(RuntimeError, match="became more"):
        map_.change_sorted([Fed([(b"a", b""), (b"b", b""), (b"c", b"")], 2)])
    with pytest.raises(TypeError, match="value must be bytes"):
        map_.change_sorted([Fed([(b"a", b""), (b"b", 7)], 2)])  # type: ignore[list-item]
    assert map_.change_sorted([Fed([(b"a", b""), (b"b", b"")], 9)]) is None
    assert map_.approximate_count() == 2


def test_the_end_comes_in_the_middle_of_a_change(ordered_map: type[OrderedMap]) -> None:
    for _ in range(5):
        map_ = ordered_map()
        map_.change(pairs(20_000), [])
        begun = threading.Event()

        def write(map_: OrderedMap = map_, begun: threading.Event = begun) -> None:
            with pytest.raises(StoreClosedError):
                while True:
                    begun.set()
                    map_.change(pairs(20_000, b"w"), [b"%06d" % number for number in range(0, 30_000, 3)])

        def end(map_: OrderedMap = map_, begun: threading.Event = begun) -> None:
            begun.wait(60)
            assert map_.get(b"000001") in (b"v", b"w")
            map_.end(gone)

        run_threads([write, end])
        with pytest.raises(StoreClosedError):
            map_.size()


@pytest.mark.parametrize(
    "name",
    [
        "get",
        "get_many",
        "scan",
        "snapshot",
        "size",
        "approximate_count",
        "change",
        "change_sorted",
        "check",
        "end",
    ],
)
def test_both_maps_say_the_same_about_themselves(native_map: type[OrderedMap], name: str) -> None:
    assert inspect.getdoc(getattr(native_map, name)) == inspect.getdoc(getattr(pure.OrderedMap, name))
