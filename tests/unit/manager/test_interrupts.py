"""A signal handler that raises, or that closes, at any instant of a call on a manager or a store of bytes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statestore import KeyValueStore, StoreClosedError, StoreManager, core
from statestore.runtime import interrupts
from statestore.testing.interrupts import Interrupt, instants, interrupted, raise_interrupt

SOAK = os.environ.get("STATESTORE_SOAK") == "1"
QUICK = 5.0  # seconds, of which a close takes a small part; waiting for its own thread it takes sixty

pytestmark = [
    pytest.mark.parametrize("backend", ["memory", "rocksdb", "lmdb"]),
    # What Python itself leaves open, such as a directory that is being read.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def batch(rows: KeyValueStore) -> None:
    with rows.batch() as changes:
        changes.put(b"b", b"1")
        changes.delete(b"c")


def snapshot(rows: KeyValueStore) -> None:
    with rows.snapshot() as view:
        assert view.get(b"0001") is not None
        assert len(list(view.scan(limit=20))) == 20


CALLS: dict[str, Callable[[KeyValueStore], object]] = {
    "get": lambda rows: rows.get(b"0001"),
    "get_many": lambda rows: rows.get_many([b"0001", b"0002"]),
    "put": lambda rows: rows.put(b"a", b"1"),
    "delete": lambda rows: rows.delete(b"a"),
    "batch": batch,
    "scan": lambda rows: list(rows.scan()),
    "reverse": lambda rows: list(rows.scan(reverse=True, limit=100)),
    "count": lambda rows: rows.count(),
    "items": lambda rows: dict(rows.items()),
    "pop": lambda rows: rows.pop(b"a", None),
    "snapshot": snapshot,
    "flush": lambda rows: rows.flush(),
    "size": lambda rows: rows.size(),
    "compact": lambda rows: rows.compact(),
}


def filled(manager: StoreManager) -> KeyValueStore:
    rows = manager.open("rows")
    with rows.batch() as changes:
        for number in range(300):
            changes.put(b"%04d" % number, b"x" * 100)
    return rows


def closed_quickly(manager: StoreManager) -> None:
    began = time.monotonic()
    manager.close()
    assert time.monotonic() - began < QUICK


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "GRACE", 0.02)


def test_a_handler_that_raises_leaves_everything_right(backend: str, tmp_path: Path) -> None:
    manager = StoreManager(tmp_path, backend=backend)
    rows = filled(manager)
    for name, call in CALLS.items():
        for instant in instants(3000 if SOAK else 25):
            try:
                if not interrupted(lambda: call(rows), raise_interrupt, instant):  # noqa: B023 - called at once
                    break
            except Interrupt:
                pass
            rows.put(b"after", name.encode())
            assert rows.get(b"after") == name.encode()
        assert len(list(rows.scan(stop=b"1"))) == 300
    # Others can read and write: no lock is left taken.
    other = threading.Thread(target=lambda: [call(rows) for call in CALLS.values()], daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()
    closed_quickly(manager)
    with StoreManager(tmp_path, backend=backend) as again:
        assert again.open("rows").get(b"0001") == (None if backend == "memory" else b"x" * 100)


@pytest.mark.skipif(
    core.IMPLEMENTATION == "pure" or not core.uses("scan"),
    reason="an iterator in Python loses the pair that it has in hand",
)
def test_a_scan_goes_on_where_it_was_interrupted(backend: str, tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend=backend) as manager:
        rows = filled(manager)
        wanted = [b"%04d" % number for number in range(300)]
        for reverse in (False, True):
            for instant in instants(3000 if SOAK else 40):
                found: list[bytes] = []
                scan = rows.scan(reverse=reverse)

                def take() -> None:
                    found.extend(key for key, _ in scan)  # noqa: B023

                more = True
                try:
                    more = interrupted(take, raise_interrupt, instant)
                except Interrupt:
                    take()
                assert found == (wanted[::-1] if reverse else wanted)
                if not more:
                    break


@pytest.mark.usefixtures("short_grace")
def test_a_handler_may_close_in_the_middle_of_a_call(backend: str, tmp_path: Path) -> None:
    number = itertools.count()
    for call in CALLS.values():
        for instant in instants(200 if SOAK else 2, seed=next(number)):
            place = tmp_path / str(next(number))
            manager = StoreManager(place, backend=backend)
            rows = filled(manager)
            more = True
            with contextlib.suppress(StoreClosedError):
                more = interrupted(lambda: call(rows), lambda: closed_quickly(manager), instant)  # noqa: B023
            if more:
                with pytest.raises(StoreClosedError):
                    rows.get(b"0001")
                with pytest.raises(StoreClosedError):
                    rows.put(b"a", b"1")
                with pytest.raises(StoreClosedError):
                    manager.open("other")
            closed_quickly(manager)
            with StoreManager(place, backend=backend) as again:  # which waits for the end of the other
                assert again.open("rows").get(b"0001") == (None if backend == "memory" else b"x" * 100)
            if not more:
                break


def test_opening_and_closing_survive_a_handler_that_raises(backend: str, tmp_path: Path) -> None:
    def life() -> None:
        with StoreManager(tmp_path, backend=backend) as manager:
            rows = manager.open("rows")
            rows.put(b"a", b"1")
            rows.close()
            assert manager.open("rows").get(b"a") == (None if backend == "memory" else b"1")

    for instant in instants(2000 if SOAK else 20, seed=1):
        try:
            if not interrupted(life, raise_interrupt, instant):
                break
        except Interrupt:
            pass
        life()


def test_an_interrupted_close_is_finished_by_the_next_manager(backend: str, tmp_path: Path) -> None:
    for instant in range(12):
        manager = StoreManager(tmp_path, backend=backend)
        filled(manager)
        with contextlib.suppress(Interrupt):
            interrupted(manager.close, raise_interrupt, instant)
        del manager
        began = time.monotonic()
        StoreManager(tmp_path, backend=backend).close()
        assert time.monotonic() - began < QUICK


@pytest.fixture
def alarm() -> Iterator[Callable[[float, Callable[..., Any]], None]]:
    """Set a real handler of SIGALRM, and when it is to run."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(seconds: float, handler: Callable[..., Any]) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# Python tells of an exception in the middle of a weak reference's callback, and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_real_signals(backend: str, tmp_path: Path, alarm: Callable[..., None]) -> None:
    def stop(*_: object) -> None:
        raise Interrupt

    manager = StoreManager(tmp_path, backend=backend)
    rows = filled(manager)
    came = 0
    turns = 2000 if SOAK else 60
    for turn in range(turns):
        try:
            alarm(0.0002 + turn % 50 * 0.0001, stop)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for call in (CALLS["put"], CALLS["get"], CALLS["scan"], CALLS["batch"], CALLS["snapshot"]):
                    call(rows)
        except Interrupt:
            came += 1
    assert came > turns * 0.8
    with pytest.raises(StoreClosedError):
        alarm(0.01, lambda *_: closed_quickly(manager))
        while True:
            CALLS["batch"](rows)
    closed_quickly(manager)
