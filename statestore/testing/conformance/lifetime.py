"""Conformance: opening, closing, forking (*Lifetime*, *Threads* and *Fork* of the contract)."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from statestore.backends.contract import Backend, BackendReader, Batch, Engine, KeyRange, StoreOptions
from statestore.backends.options import EngineOptions
from statestore.errors import StateStoreError, StoreClosedError
from statestore.testing.conformance.loading import SampleRun
from statestore.testing.forking import outcomes, outcomes_in_child
from statestore.testing.threads import LIVENESS, run_threads

CONTENT = {b"%03d" % number: b"x" * 100 for number in range(200)}

Calls = dict[str, Callable[[], object]]


def reader_calls(reader: BackendReader) -> Calls:
    return {
        "get": lambda: reader.get(b"000"),
        "get_many": lambda: reader.get_many([b"000", b"001"]),
        "get_many_of_none": lambda: reader.get_many([]),
        "scan": lambda: reader.scan(),
        "scan_limit_0": lambda: reader.scan(limit=0),
    }


def backend_calls(backend: Backend, copy: Path) -> Calls:
    return reader_calls(backend) | {
        "load": lambda: backend.load([SampleRun({b"000": b"lost"})]),
        "load_nothing": lambda: backend.load([]),
        "write": lambda: backend.write(Batch([(b"000", b"lost")])),
        "write_nothing": lambda: backend.write(Batch([])),
        "delete_range": lambda: backend.delete_range(KeyRange(b"000")),
        "delete_range_of_nothing": lambda: backend.delete_range(KeyRange(b"001", b"000")),
        "snapshot": backend.snapshot,
        "flush": backend.flush,
        "size": backend.size,
        "approximate_count": backend.approximate_count,
        "checkpoint": lambda: backend.checkpoint(copy),
        "compact": backend.compact,
    }


def repeat_until_closed(step: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIVENESS / 2
    while time.monotonic() < deadline:
        try:
            assert step(), "a wrong answer instead of StoreClosedError"
        except StoreClosedError:
            return
    raise AssertionError("the backend never said that it is closed")


class LifetimeTests:
    @pytest.fixture
    def full(self, backend: Backend) -> Backend:
        """``backend`` with ``CONTENT`` in it."""
        backend.write(Batch(list(CONTENT.items())))
        return backend

    def test_the_engine_describes_itself(self, engine: Engine) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", engine.name)
        assert engine.max_key_size >= 1
        assert isinstance(engine.persistent, bool)
        assert issubclass(engine.options_type, EngineOptions)
        assert engine.options_type() == engine.options_type()  # each option has a default

    def test_closing_twice_is_fine(self, engine: Engine, full: Backend) -> None:
        snapshot, scan = full.snapshot(), full.scan()
        for thing in (scan, snapshot, full, engine):
            thing.close()
            thing.close()
        snapshot.close()
        scan.close()

    def test_leaving_the_context_closes(self, full: Backend) -> None:
        with full, full.snapshot() as snapshot:
            pass
        with pytest.raises(StoreClosedError):
            full.get(b"000")
        with pytest.raises(StoreClosedError):
            snapshot.get(b"000")

    def test_every_call_on_a_closed_backend_says_so(self, full: Backend, tmp_path: Path) -> None:
        full.close()
        calls = backend_calls(full, tmp_path / "copy")
        assert outcomes(calls) == dict.fromkeys(calls, "StoreClosedError")
        assert not (tmp_path / "copy").exists()

    def test_every_call_on_a_snapshot_of_a_closed_backend_says_so(self, full: Backend) -> None:
        calls = reader_calls(full.snapshot())
        full.close()
        assert outcomes(calls) == dict.fromkeys(calls, "StoreClosedError")

    def test_every_call_on_a_closed_snapshot_says_so(self, full: Backend) -> None:
        snapshot = full.snapshot()
        snapshot.close()
        calls = reader_calls(snapshot)
        assert outcomes(calls) == dict.fromkeys(calls, "StoreClosedError")
        assert full.get(b"000") == CONTENT[b"000"]

    @pytest.mark.parametrize("steps", [0, 1, 199])
    def test_a_live_scan_of_a_closed_backend_says_so(self, full: Backend, steps: int) -> None:
        snapshot = full.snapshot()
        scans = [full.scan(), full.scan(reverse=True), snapshot.scan()]
        for scan in scans:
            for _ in range(steps):
                next(scan)
        full.close()
        for scan in scans:
            for _ in range(2):
                with pytest.raises(StoreClosedError):
                    next(scan)

    def test_an_exhausted_scan_stays_exhausted(self, full: Backend) -> None:
        scan = full.scan()
        assert len(list(scan)) == len(CONTENT)
        full.write(Batch([(b"zzz", b"")]))
        assert list(scan) == []
        full.close()
        assert list(scan) == []

    def test_a_scan_closed_by_its_user_is_at_its_end(self, full: Backend) -> None:
        fresh, half_read = full.scan(), full.scan()
        next(half_read)
        for scan in (fresh, half_read):
            scan.close()
            assert list(scan) == []
        full.close()
        for scan in (fresh, half_read):
            assert list(scan) == []

    def test_abandoned_snapshots_and_scans_hold_nothing(self, engine: Engine, directory: Path) -> None:
        with engine.open(directory, StoreOptions()) as backend:
            backend.write(Batch(list(CONTENT.items())))
            for _ in range(300):
                next(backend.scan())
                backend.snapshot().get(b"000")
                next(backend.snapshot().scan())
            gc.collect()
            backend.write(Batch([(b"000", b"after")]))
            assert backend.get(b"000") == b"after"
            next(backend.scan())
        engine.open(directory, StoreOptions()).close()

    def test_close_gives_the_directory_back_under_live_readers(
        self, engine: Engine, full: Backend, directory: Path
    ) -> None:
        snapshot, scan = full.snapshot(), full.scan()
        next(scan)
        full.close()
        with engine.open(directory, StoreOptions()) as again:
            again.write(Batch([(b"000", b"after")]))
            assert again.get(b"000") == b"after"
            calls: Calls = {"scan": lambda: next(scan), "snapshot": lambda: snapshot.get(b"000")}
            assert outcomes(calls) == dict.fromkeys(calls, "StoreClosedError")
            scan.close()
            snapshot.close()
            assert again.get(b"000") == b"after"

    @pytest.mark.parametrize("changelog", [False, True])
    def test_close_while_threads_read_and_write(
        self, engine: Engine, directory: Path, changelog: bool
    ) -> None:
        backend = engine.open(directory, StoreOptions(changelog=changelog))
        backend.write(Batch(list(CONTENT.items())))
        shared = backend.snapshot()

        def snapshot_and_get() -> bool:
            with backend.snapshot() as snapshot:
                return snapshot.get(b"000") == CONTENT[b"000"]

        def write() -> bool:
            backend.write(Batch([(b"zzz", b"y" * 100)], [b"zz"]))
            return True

        def close_soon() -> None:
            time.sleep(0.03)
            backend.close()

        steps: list[Callable[[], bool]] = [
            lambda: backend.get_many([b"100", b"zz"]) == [CONTENT[b"100"], None],
            lambda: list(backend.scan(KeyRange(stop=b"zz"))) == list(CONTENT.items()),
            lambda: list(shared.scan(reverse=True)) == list(CONTENT.items())[::-1],
            lambda: backend.size() >= 0 and backend.approximate_count() >= 0,
            snapshot_and_get,
            write,
        ]
        run_threads([partial(repeat_until_closed, step) for step in steps], meanwhile=close_soon)

    def test_several_threads_may_close(self, full: Backend) -> None:
        run_threads([full.close] * 4)
        with pytest.raises(StoreClosedError):
            full.get(b"000")

    def test_opening_one_directory_twice_is_an_error(
        self, engine: Engine, full: Backend, directory: Path
    ) -> None:
        with pytest.raises(StateStoreError, match=re.escape(str(directory))):
            engine.open(directory, StoreOptions())
        assert full.get(b"000") == CONTENT[b"000"]
        full.close()
        engine.open(directory, StoreOptions()).close()

    def test_stores_of_one_engine_are_apart(self, engine: Engine, full: Backend, tmp_path: Path) -> None:
        with engine.open(tmp_path / "other", StoreOptions(changelog=True)) as other:
            other.write(Batch([(b"000", b"other")]))
            assert list(other.scan()) == [(b"000", b"other")]
            assert full.get(b"000") == CONTENT[b"000"]
            full.close()
            assert other.get(b"000") == b"other"

    def test_destroy_removes_everything(self, engine: Engine, full: Backend, directory: Path) -> None:
        full.flush()
        snapshot, scan = full.snapshot(), full.scan()
        next(scan)
        full.destroy()
        calls = reader_calls(full) | {"next": lambda: next(scan), "snapshot": lambda: snapshot.get(b"000")}
        assert outcomes(calls) == dict.fromkeys(calls, "StoreClosedError")
        assert not directory.exists() or list(directory.iterdir()) == []
        with engine.open(directory, StoreOptions()) as again:
            assert list(again.scan()) == []

    def test_every_call_in_a_forked_child_is_refused(
        self, engine: Engine, full: Backend, directory: Path, tmp_path: Path
    ) -> None:
        snapshot, scan = full.snapshot(), full.scan()
        next(scan)
        calls = {f"backend.{name}": call for name, call in backend_calls(full, tmp_path / "copy").items()}
        calls |= {f"snapshot.{name}": call for name, call in reader_calls(snapshot).items()}
        calls |= {
            "scan.next": lambda: next(scan),
            "backend.close": full.close,
            "backend.destroy": full.destroy,
        }
        assert outcomes_in_child(calls) == dict.fromkeys(calls, "ForkedProcessError")

        # The parent has lost nothing.
        assert [next(scan), *scan] == list(CONTENT.items())[1:]
        full.write(Batch([(b"000", b"after")]))
        full.flush()
        full.close()
        with engine.open(directory, StoreOptions()) as again:
            expected = CONTENT | {b"000": b"after"} if engine.persistent else {}
            assert dict(again.scan()) == expected
