"""What the RocksDB engine promises beyond the contract."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.backends.contract import Batch, StoreOptions
from statestore.backends.rocksdb import RocksDBEngine, RocksDBOptions
from statestore.backends.rocksdb.store import RocksDBBackend
from statestore.errors import (
    StoreClosedError,
    StoreCorruptError,
    StoreUnavailableError,
)
from statestore.testing.loading import SampleRun
from statestore.testing.threads import run_threads

Eventually = Callable[..., None]

BATCH = Batch([(b"%05d" % number, b"x" * 1000) for number in range(100)])


@pytest.fixture
def engine() -> RocksDBEngine:
    return RocksDBEngine(16 << 20, RocksDBOptions(max_write_buffer=65536))


def open_store(engine: RocksDBEngine, directory: Path, *, changelog: bool = True) -> RocksDBBackend:
    store = engine.open(directory, StoreOptions(changelog=changelog))
    assert isinstance(store, RocksDBBackend)
    return store


def stall(store: RocksDBBackend) -> Callable[[], None]:
    """Let the next batches run into a write stall; return what ends it."""
    stops = ("level0_slowdown_writes_trigger", "level0_stop_writes_trigger")
    compaction = {"level0_file_num_compaction_trigger": "100"}  # later than the stop
    store._database.set_options(compaction | dict.fromkeys(stops, "2"))
    for _ in range(2):
        store.write(BATCH)
        store.flush()
    assert store._database.property_int_value("rocksdb.is-write-stopped") == 1

    def end() -> None:
        store._database.set_options(dict.fromkeys(stops, "48"))

    return end


def loading(store: RocksDBBackend, midway: Callable[[], object] = lambda: None, start: int = 0) -> None:
    changes = {b"%05d" % number: b"x" * 100 for number in range(start, start + 1000)}
    store.load([SampleRun({**changes}, midway), SampleRun({b"\x00pos": b"%d" % start})])


def test_what_a_killed_load_left_is_removed(engine: RocksDBEngine, tmp_path: Path) -> None:
    store = open_store(engine, tmp_path / "store")
    loading(store, lambda: shutil.copytree(tmp_path / "store", tmp_path / "killed"))
    assert not (tmp_path / "store" / "loading").exists()
    store.close()
    assert (tmp_path / "killed" / "loading" / "0.sst").exists()
    with open_store(engine, tmp_path / "killed") as killed:
        assert list(killed.scan()) == []
        assert not (tmp_path / "killed" / "loading").exists()


def test_a_folder_loading_of_somebody_else_is_left_alone(engine: RocksDBEngine, tmp_path: Path) -> None:
    (tmp_path / "store" / "loading").mkdir(parents=True)
    with pytest.raises(StoreCorruptError, match="loading"):
        open_store(engine, tmp_path / "store")
    assert (tmp_path / "store" / "loading").exists()


def test_opening_a_store_that_loads_leaves_its_files_alone(engine: RocksDBEngine, tmp_path: Path) -> None:
    store = open_store(engine, tmp_path / "store")

    def open_again() -> None:
        with pytest.raises(StoreUnavailableError, match="open already"):
            open_store(engine, tmp_path / "store")

    loading(store, open_again)
    assert store.get(b"\x00pos") == b"0"
    store.close()


@pytest.mark.parametrize("ending", ["write", "flush"])
def test_files_pile_up_while_runs_are_loaded_and_no_longer(
    ending: str, engine: RocksDBEngine, tmp_path: Path, eventually: Eventually
) -> None:
    def files() -> int:
        return store._database.property_int_value("rocksdb.num-files-at-level0") or 0

    store = open_store(engine, tmp_path / "store")
    for start in range(9):  # each overlaps those before: none can go below them
        loading(store, start=start)
    assert files() > 4
    if ending == "write":
        store.write(BATCH)
    else:
        store.flush()
    eventually(lambda: files() <= 4)
    assert len(list(store.scan())) == 1009
    store.close()


def test_a_load_waits_for_compaction_and_gives_up(tmp_path: Path, eventually: Eventually) -> None:
    engine = RocksDBEngine(16 << 20, RocksDBOptions(stall_timeout=0.1))
    store = open_store(engine, tmp_path / "store")
    store._database.set_options({"disable_auto_compactions": "true"})
    loads = 0
    with pytest.raises(StoreUnavailableError, match="cannot keep up"):
        for loads in range(60):
            loading(store, start=loads)
    assert 20 < loads < 60
    store._database.set_options({"disable_auto_compactions": "false"})

    def loads_again() -> bool:
        try:
            store.write(BATCH)
            loading(store, start=loads)
        except StoreUnavailableError:  # it is still compacting
            return False
        return True

    eventually(loads_again)
    store.close()


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "snappy"])
def test_every_compression_works(tmp_path: Path, compression: str) -> None:
    engine = RocksDBEngine(16 << 20, RocksDBOptions(compression=compression))  # type: ignore[arg-type]
    with engine.open(tmp_path / "store", StoreOptions(changelog=True)) as store:
        store.write(BATCH)
        store.flush()
        written = sum(file.stat().st_size for file in (tmp_path / "store").glob("*.sst"))
        assert (written < 50_000) == (compression != "none")
        assert list(store.scan()) == list(BATCH.puts)


def test_a_store_with_a_changelog_has_no_log_of_its_own(engine: RocksDBEngine, tmp_path: Path) -> None:
    logged = {}
    for changelog in (False, True):
        directory = tmp_path / str(changelog)
        with engine.open(directory, StoreOptions(changelog=changelog)) as store:
            store.write(Batch([(b"k", b"x" * 10_000)]))
            logged[changelog] = sum(file.stat().st_size for file in directory.glob("*.log"))
    assert logged[False] >= 10_000
    assert logged[True] == 0


def test_the_stores_of_an_engine_share_one_budget(tmp_path: Path) -> None:
    budget = 4 << 20
    engine = RocksDBEngine(budget)
    stores = [open_store(engine, tmp_path / f"store{number}") for number in range(6)]
    for _ in range(2):  # the second time opened anew
        for store in stores:
            for part in range(20):
                store.write(Batch([(b"%03d%05d" % (part, key), b"x" * 1000) for key in range(100)]))
            store.flush()
            assert len(list(store.scan())) == 2000
        assert budget / 2 < engine._cache.get_usage() <= 1.1 * budget
        for store in stores:
            store.close()
        stores = [open_store(engine, tmp_path / f"store{number}") for number in range(6)]
    for store in stores:
        store.close()


def test_a_stalled_write_waits_with_other_threads_running(engine: RocksDBEngine, tmp_path: Path) -> None:
    with open_store(engine, tmp_path / "store") as store:
        end_of_stall = stall(store)

        def watch() -> None:
            for _ in range(200):  # turns that it would not get of a write that keeps the GIL
                time.sleep(0.001)
                assert store.get(b"later") is None  # the write still waits, and readers do not
            end_of_stall()

        run_threads([lambda: store.write(Batch([(b"later", b"1")]))], meanwhile=watch)
        assert store.get(b"later") == b"1"


def test_a_write_that_stalls_too_long_fails_and_can_be_given_again(
    tmp_path: Path, eventually: Eventually
) -> None:
    engine = RocksDBEngine(16 << 20, RocksDBOptions(stall_timeout=0.1))
    with open_store(engine, tmp_path / "store") as store:
        end_of_stall = stall(store)
        batch = Batch([(b"later", b"1")])
        with pytest.raises(StoreUnavailableError, match=r"Write stall; .*stall_timeout"):
            store.write(batch)
        assert store.get(b"later") is None
        end_of_stall()

        def written() -> bool:
            with contextlib.suppress(StoreUnavailableError):
                store.write(batch)
            return store.get(b"later") == b"1"

        eventually(written)


def test_close_ends_the_wait_of_a_stalled_write(tmp_path: Path) -> None:
    engine = RocksDBEngine(16 << 20, RocksDBOptions(stall_timeout=600.0))
    store = open_store(engine, tmp_path / "store")
    stall(store)

    def write() -> None:
        with pytest.raises(StoreClosedError):
            store.write(BATCH)

    def close_soon() -> None:
        time.sleep(0.05)
        store.close()

    run_threads([write], meanwhile=close_soon)


def test_a_failed_compaction_is_reported(engine: RocksDBEngine, tmp_path: Path) -> None:
    directory = tmp_path / "store"
    with engine.open(directory, StoreOptions(changelog=True)) as store:
        store.write(Batch([(b"%05d" % number, b"x" * 1000) for number in range(1000)]))
    for file in directory.glob("*.sst"):
        with file.open("r+b") as content:
            content.seek(file.stat().st_size // 2)
            content.write(b"\xff" * 100)
    store = engine.open(directory, StoreOptions(changelog=True))
    with pytest.raises(StoreCorruptError, match="compacting: Corruption"):
        store.compact()
    with pytest.raises(StoreCorruptError, match="closing: Corruption"):
        store.close()
    with pytest.raises(StoreClosedError):
        store.get(b"00000")


def test_close_cuts_a_compaction_short(tmp_path: Path) -> None:
    engine = RocksDBEngine(64 << 20, RocksDBOptions(compression="zstd"))
    store = engine.open(tmp_path / "store", StoreOptions(changelog=True))
    pairs = {b"%07d" % number: b"%07d" % (number * 7919 % 1_000_003) * 20 for number in range(150_000)}
    for _ in range(3):
        store.write(Batch(list(pairs.items())))
        store.flush()
    outcome: list[BaseException | None] = []

    def compact() -> None:
        try:
            store.compact()
            outcome.append(None)
        except StoreClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=compact)
    thread.start()
    time.sleep(0.05)
    store.close()
    thread.join()
    assert isinstance(outcome[0], StoreClosedError)
    with engine.open(tmp_path / "store", StoreOptions(changelog=True)) as store:
        assert dict(store.scan()) == pairs


def test_large_values_are_not_read_ahead(engine: RocksDBEngine, tmp_path: Path) -> None:
    with engine.open(tmp_path / "store", StoreOptions(changelog=True)) as store:
        pairs = [(b"%03d" % number, bytes([number]) * 300_000) for number in range(40)]
        store.write(Batch(pairs))
        scan = store.scan()
        for pair in pairs:
            assert next(scan) == pair
            assert len(scan._pairs) <= 8  # type: ignore[attr-defined]
