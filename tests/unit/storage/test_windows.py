"""Stores of windows and sessions: what each call gives, on every engine."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from statestore import SessionStore, StoreManager, WindowStore
from statestore.backends import Backend
from statestore.errors import (
    ConfigError,
    EncodeError,
    StoreClosedError,
    StoreFullError,
    StoreIdentityError,
    StoreUnavailableError,
)
from statestore.storage.user_store import UserStore

Eventually = Callable[..., None]

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
T = 1_700_000_000_000 // HOUR * HOUR
"""A full hour of the year 2023, in milliseconds."""


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stores(tmp_path: Path, backend: str) -> Iterator[StoreManager]:
    with StoreManager(tmp_path / "state", backend=backend) as manager:
        yield manager


@pytest.fixture
def windows(stores: StoreManager) -> WindowStore:
    return stores.open_window("Trades_5min_Store", 5, "1h")


@pytest.fixture
def sessions(stores: StoreManager) -> SessionStore:
    return stores.open_session("Visits_Store", "1h")


def inner(store: UserStore) -> Backend:
    return store._backend


def test_windows_of_one_key_come_oldest_first(windows: WindowStore) -> None:
    for minute in (40, 5, 20, 10, 0):
        assert windows.put(b"AAPL", T + minute * MINUTE, b"%d" % minute)
        assert windows.put(b"AAPLX", T + minute * MINUTE, b"other")
    starts = [T + minute * MINUTE for minute in (0, 5, 10, 20, 40)]
    assert [start for start, _ in windows.fetch(b"AAPL")] == starts
    assert [start for start, _ in windows.fetch(b"AAPL", reverse=True)] == starts[::-1]
    assert list(windows.fetch(b"AAPL", starts[1], starts[3])) == [(starts[1], b"5"), (starts[2], b"10")]
    assert list(windows.fetch(b"AAPL", starts[1], starts[3], reverse=True)) == [
        (starts[2], b"10"),
        (starts[1], b"5"),
    ]
    assert list(windows.fetch(b"AAPL", starts[3], starts[1])) == []
    assert list(windows.fetch(b"AAP")) == []
    assert windows.latest(b"AAPL") == (starts[-1], b"40")
    assert windows.latest(b"AAP") is None
    assert windows.get(b"AAPL", starts[2]) == b"10"
    assert windows.get(b"AAPL", starts[2] + 1) is None
    assert windows.count() == 10


def test_all_keys_come_by_key_and_start(windows: WindowStore) -> None:
    keys = [
        b"",
        b"\x00",
        b"\x00\xff",
        b"a",
        b"a\x00",
        b"a\x00\x00\x01",
        b"a\x01",
        b"ab",
        b"\xff",
        b"\xff\xff",
    ]
    rows = [(key, T + minute * MINUTE) for key in keys for minute in (0, 14, 15, 16, 31, 59)]
    with windows.batch() as batch:
        for key, start in reversed(rows):
            batch.put(key, start, key)
    assert [(key, start) for key, start, _ in windows.fetch_all()] == rows
    assert [(key, start) for key, start, _ in windows.fetch_all(reverse=True)] == rows[::-1]
    low, high = T + 14 * MINUTE, T + 31 * MINUTE
    between = [(key, start, key) for key, start in rows if low <= start < high]
    assert list(windows.fetch_all(low, high)) == between
    assert list(windows.fetch_all(low, high, reverse=True)) == between[::-1]
    for key in keys:
        assert [start for start, _ in windows.fetch(key)] == [start for one, start in rows if one == key]


def test_a_window_is_visible_until_its_retention_ends_to_the_millisecond(windows: WindowStore) -> None:
    windows.put(b"a", T, b"old")
    windows.put(b"b", T + HOUR - 1, b"new")
    assert windows.get(b"a", T) == b"old"
    windows.put(b"b", T + HOUR, b"newer")
    assert windows.get(b"a", T) is None
    assert windows.latest(b"a") is None
    assert list(windows.fetch(b"a")) == list(windows.fetch(b"a", T)) == []
    assert [key for key, _, _ in windows.fetch_all()] == [b"b", b"b"]
    assert windows.count() == 2


def test_a_late_window_is_refused_and_counted(windows: WindowStore) -> None:
    assert windows.put(b"a", T + HOUR, b"1")
    assert not windows.put(b"a", T, b"late")
    assert windows.put(b"a", T + 1, b"just in time")
    with windows.batch() as batch:
        batch.put(b"a", T + 2 * HOUR, b"2")
        batch.put(b"a", T + HOUR, b"late by the row before")
        batch.delete(b"a", T)
    assert list(windows.fetch(b"a")) == [(T + 2 * HOUR, b"2")]
    stats = windows.stats()
    assert (stats.late, stats["newest"], stats.first) == (2, T + 2 * HOUR, T + HOUR + 1)
    assert "Late: 2" in str(stats)


def test_deleting_moves_no_time(windows: WindowStore) -> None:
    windows.put(b"a", T, b"1")
    windows.delete(b"a", T + 10 * HOUR)
    windows.delete(b"absent", T)
    assert windows.get(b"a", T) == b"1"
    windows.delete(b"a", T)
    assert windows.get(b"a", T) is None
    assert windows.stats().newest == T


def test_times_may_have_zones_and_lie_anywhere(windows: WindowStore) -> None:
    start = datetime(1969, 12, 31, 23, 50, tzinfo=UTC)
    east = start.astimezone(timezone(timedelta(hours=5, minutes=30)))
    for minute in range(0, 25, 5):
        windows.put(b"a", east + timedelta(minutes=minute), b"%d" % minute)
    assert [at for at, _ in windows.fetch(b"a")] == [minute * MINUTE for minute in range(-10, 15, 5)]
    assert [key for key, _, _ in windows.fetch_all(start, start + timedelta(minutes=10, microseconds=1))] == [
        b"a"
    ] * 3
    assert windows.get(b"a", start) == b"0"
    assert list(windows.fetch(b"a", -(10**30), 10**30)) == list(windows.fetch(b"a"))
    windows.put(b"a", datetime(1, 1, 1, tzinfo=UTC), b"late")
    assert windows.put(b"a", datetime(9999, 12, 31, tzinfo=UTC), b"last")
    assert windows.count() == 1


@pytest.mark.parametrize(
    ("start", "error", "text"),
    [
        (datetime(2026, 1, 1), EncodeError, "a time needs a zone"),
        (datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), EncodeError, "whole milliseconds"),
        (1 << 62, EncodeError, "years 1 to 9999"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), EncodeError, "years 1 to 9999"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))), EncodeError, "years 1 to 9999"),
        ("2026-01-01", TypeError, "must be a datetime or an int"),
        (True, TypeError, "must be a datetime or an int"),
        (1.5, TypeError, "must be a datetime or an int"),
    ],
)
def test_what_is_no_time_is_refused(tmp_path: Path, start: Any, error: type[Exception], text: str) -> None:
    with StoreManager(tmp_path, backend="memory") as stores:
        windows = stores.open_window("w", 5, "1h")
        for call in (lambda: windows.put(b"a", start, b""), lambda: windows.get(b"a", start)):
            with pytest.raises(error, match=text):
                call()
        with windows.batch() as batch, pytest.raises(error, match=text):
            batch.put(b"a", start, b"")
        assert windows.count() == 0


def test_keys_and_values_are_bytes_and_not_too_long(stores: StoreManager, windows: WindowStore) -> None:
    wrong: Any = "a"
    for call in (
        lambda: windows.put(wrong, T, b""),
        lambda: windows.put(b"a", T, wrong),
        lambda: windows.delete(wrong, T),
        lambda: windows.get(wrong, T),
        lambda: windows.latest(wrong),
        lambda: windows.fetch(wrong),
    ):
        with pytest.raises(TypeError, match="must be bytes"):
            call()
    with pytest.raises(EncodeError, match=r"a key of 70000 bytes takes .* shorten it"):
        windows.put(b"k" * 70_000, T, b"")
    longest = windows._max_key_size - 14
    assert windows.put(b"k" * longest, T, b"1")
    assert windows.latest(b"k" * longest) == (T, b"1")
    with pytest.raises(EncodeError, match="shorten it"):
        windows.put(b"k" * longest + b"k", T, b"")


def test_a_batch_is_written_as_a_whole_or_not_at_all(windows: WindowStore) -> None:
    with pytest.raises(ZeroDivisionError), windows.batch() as batch:
        batch.put(b"a", T, b"1")
        raise ZeroDivisionError
    assert windows.count() == 0
    with windows.batch() as batch:
        batch.put(b"a", T, b"1")
        batch.put(b"a", T, b"2")
        batch.put(b"b", T, b"1")
        batch.delete(b"b", T)
        assert windows.count() == 0
    assert list(windows.fetch_all()) == [(b"a", T, b"2")]
    with pytest.raises(RuntimeError, match="after its `with` block"):
        batch.put(b"a", T, b"3")


def test_a_snapshot_and_an_iterator_keep_their_moment(windows: WindowStore) -> None:
    windows.put(b"a", T, b"1")
    with windows.snapshot() as snapshot:
        fetched, fetched_all = windows.fetch(b"a"), windows.fetch_all()
        windows.put(b"a", T + 5 * HOUR, b"2")  # the segment of the first one goes
        assert list(fetched) == [(T, b"1")]
        assert list(fetched_all) == list(snapshot.fetch_all()) == [(b"a", T, b"1")]
        assert (snapshot.get(b"a", T), snapshot.latest(b"a"), snapshot.count()) == (b"1", (T, b"1"), 1)
    assert list(windows.fetch(b"a")) == [(T + 5 * HOUR, b"2")]
    with pytest.raises(StoreClosedError):
        list(snapshot.fetch(b"a"))


def test_a_closed_store_says_so(windows: WindowStore) -> None:
    windows.put(b"a", T, b"1")
    windows.put(b"a", T + 1, b"1")
    began, not_begun = windows.fetch(b"a"), windows.fetch_all()
    next(began)
    windows.close()
    windows.close()
    for call in (
        lambda: next(not_begun),
        lambda: list(windows.fetch(b"a")),
        lambda: windows.put(b"a", T, b""),
        lambda: windows.put(b"a", T - HOUR, b"late"),
        lambda: windows.delete(b"a", T - HOUR),
        lambda: windows.get(b"a", T),
        windows.count,
        windows.stats,
        windows.snapshot,
        windows.flush,
    ):
        with pytest.raises(StoreClosedError):
            call()
    assert repr(windows) == "<WindowStore 'Trades_5min_Store' closed>"


def test_expired_rows_leave_the_backend(windows: WindowStore, eventually: Eventually) -> None:
    value = bytes(range(256)) * 8
    for minute in range(600):
        windows.put(b"%d" % minute, T + minute * MINUTE, value)
    visible = [T + minute * MINUTE for minute in range(540, 600)]
    assert sorted(start for _, start, _ in windows.fetch_all()) == visible

    def left() -> int:
        windows.delete(b"absent", T + 599 * MINUTE)  # where removing takes steps, each write has one
        return sum(1 for _ in inner(windows).scan())

    eventually(lambda: left() <= 60 + 30 + 3)  # a segment has 30 minutes; times and identity are two more


def test_removing_goes_on_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statestore.backends.contract.RANGE_PAIRS", 7)
    monkeypatch.setattr("statestore.storage.window_store._PAUSES", 0)
    with StoreManager(tmp_path, backend="lmdb") as stores:
        windows = stores.open_window("w", 5, "1h")
        with windows.batch() as batch:
            for second in range(40):
                batch.put(b"a", T + second * SECOND, b"")
        sizes = []
        for second in range(8):
            windows.put(b"b", T + 10 * HOUR + second, b"")
            sizes.append(sum(key[:1] == b"\x02" for key, _ in inner(windows).scan()) - second - 1)
            assert windows.count() == second + 1
        assert sizes == [33, 26, 19, 12, 5, 0, 0, 0]


def test_a_failed_removal_is_told_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("statestore.storage.window_store._PAUSES", 0)
    with StoreManager(tmp_path, backend="lmdb") as stores:
        windows = stores.open_window("w", 5, "1h")
        windows.put(b"a", T, b"")

        def fail(*_: object) -> bool:
            raise StoreFullError(tmp_path, "no space left", "free some")

        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "statestore.store"):
            patched.setattr(type(inner(windows)), "delete_range", fail)
            assert windows.put(b"b", T + 10 * HOUR, b"")
        assert "store 'w': expired rows cannot be removed yet: " in caplog.text
        assert list(windows.fetch_all()) == [(b"b", T + 10 * HOUR, b"")]
        windows.put(b"b", T + 10 * HOUR + 1, b"")
        assert sum(key[:1] == b"\x02" for key, _ in inner(windows).scan()) == 2


def test_a_write_that_failed_moves_no_time(windows: WindowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.put(b"a", T, b"1")
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(inner(windows), "write", lambda _: 1 / 0)
        windows.put(b"a", T + 10 * HOUR, b"2")
    assert list(windows.fetch(b"a")) == [(T, b"1")]
    assert windows.get(b"a", T) == b"1"
    assert windows.put(b"a", T + 1, b"3")
    assert windows.stats().newest == T + 1


def test_a_write_inside_of_a_write_does_not_take_the_times_back(windows: WindowStore) -> None:
    backend, write = inner(windows), inner(windows).write
    nested = iter([T + 10 * HOUR])

    def write_twice(batch: Any) -> None:  # as a signal handler may
        for start in nested:
            windows.put(b"b", start, b"")
        write(batch)

    vars(backend)["write"] = write_twice
    windows.put(b"a", T, b"")
    del vars(backend)["write"]
    assert windows.stats().newest == T + 10 * HOUR
    assert list(windows.fetch_all()) == [(b"b", T + 10 * HOUR, b"")]
    with windows.snapshot() as snapshot:
        assert snapshot.count() == 1


def test_a_fetch_is_of_one_moment_beside_writes(windows: WindowStore) -> None:
    starts = [T + minute * MINUTE for minute in (0, 20, 40)]
    for start in starts:
        windows.put(b"a", start, b"1")
    backend, scan = inner(windows), inner(windows).scan_ranges

    def scan_and_write(*arguments: Any) -> Any:
        vars(backend).pop("scan_ranges")
        found = scan(*arguments)
        with windows.batch() as batch:
            for start in starts:
                batch.put(b"a", start, b"2")
        return found

    vars(backend)["scan_ranges"] = scan_and_write
    assert list(windows.fetch(b"a")) == [(start, b"2") for start in starts]


def test_sessions(sessions: SessionStore) -> None:
    assert sessions.put(b"ann", T, T + 10, b"1")
    assert sessions.put(b"ann", T + 100, T + 130, b"2")
    assert sessions.put(b"ann", T + 50, T + 200, b"3")
    assert sessions.put(b"ann\x00", T, T, b"4")
    ann = [(T, T + 10, b"1"), (T + 100, T + 130, b"2"), (T + 50, T + 200, b"3")]
    assert list(sessions.fetch(b"ann")) == ann
    assert list(sessions.fetch(b"ann", reverse=True)) == ann[::-1]
    assert list(sessions.fetch(b"ann", T + 50, T + 100)) == [ann[2]]
    assert list(sessions.fetch_all()) == [(b"ann", *row) for row in ann] + [(b"ann\x00", T, T, b"4")]
    assert list(sessions.fetch_all(stop=T + 1, reverse=True)) == [(b"ann\x00", T, T, b"4"), (b"ann", *ann[0])]
    assert sessions.get(b"ann", T, T + 10) == b"1"
    assert sessions.get(b"ann", T, T + 11) is None
    assert sessions.latest(b"ann") == ann[2]
    sessions.delete(b"ann", T, T + 10)
    with sessions.batch() as batch:
        batch.put(b"bob", T, T + 5, b"5")
        batch.delete(b"ann", T + 50, T + 200)
    assert [key for key, *_ in sessions.fetch_all()] == [b"ann", b"ann\x00", b"bob"]
    assert (sessions.count(), repr(sessions)) == (3, "<SessionStore 'Visits_Store'>")
    with pytest.raises(EncodeError, match="before its start"):
        sessions.put(b"ann", T, T - 1, b"")


def test_a_session_lives_by_its_end(sessions: SessionStore) -> None:
    sessions.put(b"ann", T, T + HOUR, b"long")
    sessions.put(b"bob", T, T + 1, b"short")
    assert sessions.put(b"ann", T, T + HOUR + 1, b"longer")
    assert sessions.latest(b"bob") is None
    assert not sessions.put(b"bob", T, T + 1, b"late")
    with sessions.snapshot() as snapshot:
        sessions.put(b"ann", T, T + 3 * HOUR, b"longest")
        assert [end for _, end, _ in snapshot.fetch(b"ann")] == [T + HOUR, T + HOUR + 1]
    assert list(sessions.fetch(b"ann")) == [(T, T + 3 * HOUR, b"longest")]


def described(tmp_path: Path, physical: str) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((tmp_path / "state" / physical / "store.json").read_text())
    return file


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_a_store_keeps_what_it_is(tmp_path: Path, backend: str) -> None:
    def manager() -> StoreManager:
        return StoreManager(tmp_path / "state", backend=backend)

    with manager() as stores:
        windows = stores.open_window("w", "5min", "1h")
        windows.put(b"a", T, b"1")
        windows.put(b"b", T + HOUR, b"2")
        assert stores.open_window("w", 5, timedelta(hours=1)) is windows is stores.store("w")
        with pytest.raises(ConfigError, match=r"already open as .*size='5min'.* asks for .*'10min'"):
            stores.open_window("w", 10, "1h")
        with pytest.raises(ConfigError, match="asks for a store of keys and values"):
            stores.open("w")
        stores.open_session("s", "1h")
        (entry,) = (one for one in stores.describe() if one["logical"] == "w")
        assert (entry["window"], entry["retention"], entry["orphan"]) == ("5min", 3600.0, False)
    assert described(tmp_path, "w")["window"] == {
        "size_ms": 5 * MINUTE,
        "retention_ms": HOUR,
        "segment_ms": 30 * MINUTE,
    }
    assert (described(tmp_path, "w")["values"], described(tmp_path, "s")["values"]) == ("windows", "sessions")
    with manager() as stores:
        with pytest.raises(StoreIdentityError, match="of 5min, opened for windows of 1min; open it with"):
            stores.open_window("w", 1, "1h")
        with pytest.raises(StoreIdentityError, match="holds values 'sessions', opened for values 'windows'"):
            stores.open_window("s", 1, "1h")
        with pytest.raises(StoreIdentityError, match="holds values 'windows', opened for values 'raw'"):
            stores.open("w")
        windows = stores.open_window("w", 5, "1h")
        assert list(windows.fetch_all()) == [(b"b", T + HOUR, b"2")]
        assert not windows.put(b"a", T, b"late, after a restart, too")


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_another_retention(tmp_path: Path, backend: str) -> None:
    def starts(retention: str) -> list[int]:
        with StoreManager(tmp_path, backend=backend) as stores:
            return [start // MINUTE for start, _ in stores.open_window("w", 5, retention).fetch(b"a")]

    with StoreManager(tmp_path, backend=backend) as stores:
        windows = stores.open_window("w", 5, "1h")
        for minute in range(0, 180, 20):
            windows.put(b"a", minute * MINUTE, b"")
    assert starts("2h") == starts("1h") == [120, 140, 160]  # what had ended does not come back
    assert starts("30min") == [140, 160]
    assert starts("1h") == [140, 160]
    with StoreManager(tmp_path, backend=backend) as stores:
        windows = stores.open_window("w", 5, "2h")
        windows.put(b"a", 220 * MINUTE, b"")
        assert [start // MINUTE for start, _ in windows.fetch(b"a")] == [140, 160, 220]


def test_a_retention_is_a_window_at_least(tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend="memory") as stores:
        with pytest.raises(ConfigError, match="retention='5min' is less than one window of size='1h'"):
            stores.open_window("w", "1h", "5min")
        with pytest.raises(ConfigError, match="retention 'soon': not a size"):
            stores.open_session("s", "soon")


def test_a_write_that_a_reader_tries_leaves_its_reads_as_they_are(tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend="rocksdb", role="auto") as owner:
        written = owner.open_window("w", 5, "1h")
        written.put(b"a", T, b"1")
        with StoreManager(tmp_path, backend="rocksdb", role="reader") as other:
            read = other.open_window("w", 5, "1h")
            for start in (T, T + 1, T - HOUR):  # the last one is late
                with pytest.raises(StoreUnavailableError, match="another process owns"):
                    read.put(b"a", start, b"mine")
            written.put(b"a", T + HOUR, b"2")
            read.follow()
            assert list(read.fetch(b"a")) == [(T + HOUR, b"2")]
            assert (read.stats().newest, read.stats().late) == (T + HOUR, 0)
