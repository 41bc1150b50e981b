"""A store whose rows end is a store like any other, but for the rows that have ended."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore.backends import Backend, BackendIterator, Batch, Engine, KeyRange, StoreOptions, find_engine
from statestore.backends.memory import MemoryEngine
from statestore.storage.expiry import ExpiringBackend, Sweep
from statestore.testing import BackendConformance

TTL = 10.0
NEVER = 1e12


class NeverEndingEngine(MemoryEngine):
    """Every store of it goes through the filter, which has nothing to hide."""

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        return ExpiringBackend(super().open(directory, options), NEVER, time.time)


class TestUnderTheFilter(BackendConformance):
    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        return partial(NeverEndingEngine, memory_budget=16 << 20)


class Clock:
    """Seconds since the epoch, as the test wants them."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    engine = find_engine(request.param)(16 << 20)
    with engine.open(tmp_path / "store", StoreOptions(changelog=True)) as opened:
        yield opened
    engine.close()


@pytest.fixture
def store(inner: Backend, clock: Clock) -> ExpiringBackend:
    return ExpiringBackend(inner, TTL, clock)


def row(name: bytes, seconds: float | None) -> tuple[bytes, bytes]:
    """Return a row whose record has this timestamp, ``None``: it has none."""
    return b"\x01" + name, struct.pack(">q", -1 if seconds is None else round(seconds * 1000)) + name


def names(rows: BackendIterator) -> list[bytes]:
    return [key[1:] for key, _ in rows]


def test_a_row_ends_exactly_at_its_age(store: ExpiringBackend, clock: Clock) -> None:
    key, value = row(b"a", 1000.0)
    store.write(Batch([(key, value)]))
    clock.now = 1009.999
    assert (store.get(key), store.get_many([key, key]), list(store.scan())) == (
        value,
        [value] * 2,
        [(key, value)],
    )
    clock.now = 1010.0
    assert (store.get(key), store.get_many([key, key]), list(store.scan())) == (None, [None] * 2, [])


def test_a_row_without_a_timestamp_and_positions_never_end(store: ExpiringBackend, clock: Clock) -> None:
    position = (b"\x00pos\0\0\0\0", bytes(20))
    store.write(Batch([row(b"a", None), position]))
    clock.now = 1e9
    assert names(store.scan(KeyRange(b"\x01"))) == [b"a"]
    assert store.get(position[0]) == position[1]
    assert store.remove_expired(None, 10) == (None, 0)
    assert list(store.scan(KeyRange(stop=b"\x01"))) == [position]


def test_a_snapshot_and_a_scan_keep_the_moment_of_their_making(store: ExpiringBackend, clock: Clock) -> None:
    store.write(Batch([row(b"a", 1000.0), row(b"b", 1005.0)]))
    clock.now = 1009.0
    with store.snapshot() as snapshot:
        scan = store.scan()
        clock.now = 1010.0
        assert names(scan) == names(snapshot.scan()) == [b"a", b"b"]
        assert snapshot.get(b"\x01a") is not None
        assert names(store.scan()) == [b"b"]


rows = st.dictionaries(
    st.binary(min_size=1, max_size=2), st.one_of(st.none(), st.integers(980, 1010)), max_size=12
)
keys = st.one_of(st.none(), st.binary(max_size=2))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, keys, keys, keys, st.booleans(), st.one_of(st.none(), st.integers(0, 5)), st.integers(1, 4))
def test_reads_are_those_of_a_store_that_has_only_what_has_not_ended(
    inner: Backend,
    store: ExpiringBackend,
    clock: Clock,
    content: dict[bytes, int | None],
    start: bytes | None,
    stop: bytes | None,
    prefix: bytes | None,
    reverse: bool,
    limit: int | None,
    most: int,
) -> None:
    inner.write(Batch([], [key for key, _ in inner.scan()]))
    clock.now = 1000.0
    inner.write(Batch([row(*one) for one in content.items()]))
    left = {row(name, at)[0] for name, at in content.items() if at is None or at > clock.now - TTL}
    first, last, begin = (None if bound is None else b"\x01" + bound for bound in (start, stop, prefix))
    expected = [pair for pair in inner.scan(KeyRange(first, last, begin), reverse) if pair[0] in left][:limit]
    assert list(store.scan(KeyRange(first, last, begin), reverse, limit)) == expected
    for key, value in inner.scan():
        assert store.get(key) == (value if key in left else None)
    seen: bytes | None = None
    removed = 0
    while True:
        seen, count = store.remove_expired(seen, most)
        removed += count
        if seen is None:
            break
    assert {key for key, _ in inner.scan()} == left
    assert removed == len(content) - len(left)


def test_a_sweep_goes_on_where_it_was_and_begins_anew(
    inner: Backend, store: ExpiringBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.storage.expiry.ROWS", 3)
    ticks = iter(range(0, 10**6, 100))
    monkeypatch.setattr("statestore.storage.expiry.time.monotonic", lambda: next(ticks))
    sweep = Sweep(store, TTL)
    inner.write(Batch([row(b"%d" % number, 1000.0) for number in range(8)]))
    clock.now = 1020.0
    assert [sweep.step() for _ in range(3)] != [0, 0, 0]
    for _ in range(60):
        sweep.step()
    assert list(inner.scan()) == []
    inner.write(Batch([row(b"x", 1001.0), row(b"y", 1015.0)]))
    for _ in range(60):
        sweep.step()
    assert names(inner.scan()) == [b"y"]
