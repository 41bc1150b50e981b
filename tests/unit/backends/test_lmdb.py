"""What the LMDB engine promises beyond the contract."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import lmdb
import pytest

from statestore.backends.contract import Backend, Batch, KeyRange, Snapshot, StoreOptions
from statestore.backends.lmdb import LMDBEngine, LMDBOptions
from statestore.backends.lmdb.store import LMDBBackend
from statestore.errors import StoreClosedError, StoreFullError, StoreUnavailableError
from statestore.testing.threads import run_threads

SMALL = 1 << 20
LARGE_BATCH = Batch([(b"%05d" % number, b"x" * 400) for number in range(4000)])  # more than the small map


def open_store(directory: Path, **options: int | float | bool) -> Backend:
    return LMDBEngine(1 << 20, LMDBOptions(**options)).open(directory, StoreOptions(changelog=True))  # type: ignore[arg-type]


def test_a_full_map_grows(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", map_size=SMALL) as store:
        store.write(LARGE_BATCH)
        assert list(store.scan()) == list(LARGE_BATCH.puts)
    with open_store(tmp_path / "store", map_size=SMALL) as store:
        store.write(Batch([(b"more" + key, value) for key, value in LARGE_BATCH.puts]))
        assert store.approximate_count() == 8000


def test_a_full_map_waits_for_snapshots_and_never_cuts_them_off(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", map_size=SMALL, grow_timeout=60) as store:
        store.write(Batch([(b"k", b"1")]))
        snapshot = store.snapshot()
        scan = snapshot.scan()
        snapshot.close()  # the scan still holds its moment

        def end_scan() -> None:
            time.sleep(0.1)
            assert store.get(b"00000") is None
            assert list(scan) == [(b"k", b"1")]

        run_threads([lambda: store.write(LARGE_BATCH)], meanwhile=end_scan)
        assert store.approximate_count() == 4001


def test_a_full_map_under_snapshots_fails_the_write_and_keeps_them(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", map_size=SMALL, grow_timeout=0.1) as store:
        store.write(Batch([(b"k", b"1")]))
        snapshots = [store.snapshot(), store.snapshot()]
        scan = store.scan()
        with pytest.raises(StoreFullError, match="cannot grow under 3 open snapshots and scans; close them"):
            store.write(LARGE_BATCH)
        assert store.approximate_count() == 1
        assert next(scan) == (b"k", b"1")
        for snapshot in snapshots:
            assert snapshot.get(b"k") == b"1"
            snapshot.close()
        scan.close()
        store.write(LARGE_BATCH)
        assert store.approximate_count() == 4001


def test_a_map_at_its_limit_fails_the_write(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", map_size=SMALL, max_map_size=SMALL) as store:
        store.write(Batch([(b"k", b"1")]))
        with pytest.raises(StoreFullError, match=r"map of 1048576 bytes is full .*max_map_size"):
            store.write(LARGE_BATCH)
        assert list(store.scan()) == [(b"k", b"1")]
        store.write(Batch(LARGE_BATCH.puts[:100]))
        store.write(Batch([], [key for key, _ in LARGE_BATCH.puts[:100]]))


def test_a_map_grows_beside_readers(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", map_size=SMALL, grow_timeout=120) as store:
        store.write(Batch([(b"k", b"1")]))
        done: list[bool] = []

        def write() -> None:
            for part in range(8):
                store.write(Batch([(b"%d" % part + key, value) for key, value in LARGE_BATCH.puts]))
            done.append(True)

        def read() -> None:
            while not done:
                assert store.get(b"k") == b"1"
                with store.snapshot() as snapshot:
                    assert snapshot.get(b"k") == b"1"
                assert next(store.scan(KeyRange(start=b"k"))) == (b"k", b"1")
                time.sleep(0.001)  # moments without any snapshot do come

        run_threads([write, read, read])
        assert store.approximate_count() == 32_001


def test_close_ends_the_wait_for_snapshots(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", map_size=SMALL, grow_timeout=600)
    snapshot = store.snapshot()

    def write() -> None:
        with pytest.raises(StoreClosedError):
            store.write(LARGE_BATCH)

    def close_soon() -> None:
        time.sleep(0.1)
        store.close()

    run_threads([write], meanwhile=close_soon)
    with pytest.raises(StoreClosedError):
        snapshot.get(b"k")


def test_a_reserved_map_takes_no_disk(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        store.write(Batch([(b"k", b"1")]))
        assert store.size() < 1 << 20


@pytest.mark.slow
def test_where_address_space_is_short_a_smaller_map_is_taken(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from statestore.backends import Batch, StoreOptions, find_engine
from statestore.errors import StoreFullError
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
store = find_engine("lmdb")(1 << 20).open(Path(sys.argv[1]), StoreOptions(changelog=True))
store.write(Batch([(b"k", b"1")]))
value = b"x" * (32 << 20)
try:
    for number in range(100):
        store.write(Batch([(b"%d" % number, value)]))
except StoreFullError as error:
    assert "ulimit -v" in error.remedy, error
else:
    sys.exit("never full")
assert number > 4, number
assert store.get(b"k") == b"1"
assert store.approximate_count() == number + 1
store.write(Batch([(b"k", b"2")]))
assert store.get(b"k") == b"2"
"""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_one_snapshot_too_many_is_an_error_that_says_so(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", max_readers=16) as store:
        snapshots: list[Snapshot] = []
        with pytest.raises(StoreUnavailableError, match=r"close snapshots and scans, or raise .*max_readers"):
            snapshots.extend(store.snapshot() for _ in range(40))
        snapshots.clear()
        store.write(Batch([(b"k", b"1")]))
        assert store.get(b"k") == b"1"


def test_compaction_gives_disk_back_and_removes_what_it_left(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    with open_store(directory) as store:
        store.write(LARGE_BATCH)
        store.write(Batch([], [key for key, _ in LARGE_BATCH.puts[:-10]]))
        before = store.size()
        with store.snapshot() as snapshot:
            store.compact()
            assert len(list(snapshot.scan())) == 10
        assert store.size() < before / 4
        store.write(Batch([(b"later", b"1")]))
        assert [entry.name for entry in directory.iterdir()] == ["000002"]
    with open_store(directory) as store:
        assert len(list(store.scan())) == 11


def test_an_interrupted_compaction_is_cleared_away(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    with open_store(directory) as store:
        store.write(Batch([(b"k", b"1")]))
    (directory / "000002.tmp").mkdir()
    (directory / "000002.tmp" / "data.mdb").write_bytes(b"half")
    with open_store(directory) as store:
        assert list(store.scan()) == [(b"k", b"1")]
    assert [entry.name for entry in directory.iterdir()] == ["000001"]


def test_keys_beyond_the_limit_are_wrong_arguments(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        for key in (b"", b"k" * 512):
            with pytest.raises(ValueError, match="1 to 511 bytes"):
                store.write(Batch([(b"fine", b"1"), (key, b"1")]))
        assert list(store.scan()) == []


class _Slow:
    """An environment whose copies begin once they are cut short."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self.began = threading.Event()

    def copyfd(self, target: int, **options: Any) -> None:
        self.began.set()
        while fcntl.fcntl(target, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            time.sleep(0.001)
        self._environment.copyfd(target, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


@pytest.mark.parametrize("work", ["compact", "checkpoint"])
def test_close_cuts_a_copy_short_and_nothing_is_left_of_it(work: str, tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "store", tmp_path / "copy"
    store = open_store(directory)
    assert isinstance(store, LMDBBackend)
    store.write(LARGE_BATCH)
    slow = _Slow(store._environment)
    store._environment = cast("lmdb.Environment", slow)

    def copy() -> None:
        with pytest.raises(StoreClosedError):
            store.compact() if work == "compact" else store.checkpoint(elsewhere)

    def close() -> None:
        assert slow.began.wait(60)
        store.close()

    run_threads([copy], meanwhile=close)
    assert [entry.name for entry in directory.iterdir()] == ["000001"]
    assert list(tmp_path.iterdir()) == [directory]
    with open_store(directory) as store:
        assert list(store.scan()) == list(LARGE_BATCH.puts)
