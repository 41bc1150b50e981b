"""What the RocksDB engine promises beyond the contract."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from statestore import core
from statestore.backends.contract import BackendReader, Batch, KeyRange, StoreOptions
from statestore.backends.rocksdb import RocksDBEngine, RocksDBOptions
from statestore.backends.rocksdb.scan import RocksDBIterator
from statestore.backends.rocksdb.store import RocksDBBackend
from statestore.errors import (
    StoreClosedError,
    StoreCorruptError,
    StoreUnavailableError,
)
from statestore.testing.conformance.loading import SampleRun
from statestore.testing.interrupts import Interrupt, interrupted, raise_interrupt
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


def files_of(store: RocksDBBackend) -> str:
    """Return what RocksDB says of the files of ``store``."""
    return store._database.property_value("rocksdb.aggregated-table-properties") or ""


def rows(start: int, count: int) -> dict[bytes, bytes]:
    return {b"%05d" % number: b"x" for number in range(start, start + count)}


def write(store: RocksDBBackend, start: int, count: int) -> None:
    store.write(Batch(list(rows(start, count).items())))


def flush(store: RocksDBBackend, start: int, count: int) -> None:
    write(store, start, count)
    store.flush()


def load(store: RocksDBBackend, start: int, count: int) -> None:
    store.load([SampleRun({**rows(start, count)})])


@pytest.mark.parametrize("add", [flush, load, write])
def test_indexes_are_written_in_parts_once_the_stores_have_many_rows(
    tmp_path: Path, add: Callable[[RocksDBBackend, int, int], None]
) -> None:
    """One row for 64 bytes of memory; a store that nobody flushes counts from time to time."""
    few, many = (16_000, 1_000) if add is not write else (16_000, 66_000)
    engine = RocksDBEngine(1 << 20)
    with open_store(engine, tmp_path / "first") as first, open_store(engine, tmp_path / "second") as second:
        add(first, 0, few)
        first._database.flush()
        assert "index partitions" not in files_of(first)
        add(second, 0, many)
        add(second, many, 1)
        second._database.flush()
        assert "index partitions" in files_of(second)
        add(first, few, many)
        add(first, few + many, 1)
        first.compact()
        assert "index partitions" in files_of(first)
        assert [key for key, _ in first.scan()] == list(rows(0, few + many + 1))
        assert first.get(b"00000") == first.get(b"%05d" % (few + many)) == b"x"
        assert first.get(b"-") is first.get(b"%05d" % (few + many + 1)) is None


def test_a_store_with_many_rows_is_compacted_in_parts_when_it_is_opened_again(tmp_path: Path) -> None:
    with open_store(RocksDBEngine(1 << 20), tmp_path / "store") as store:
        write(store, 0, 20_000)
        store._database.flush()
        assert "index partitions" not in files_of(store)
    with open_store(RocksDBEngine(1 << 20), tmp_path / "store") as store:
        store.compact()
        assert "index partitions" in files_of(store)


@pytest.mark.parametrize(("count", "kept"), [(2_000, True), (16_000, False)])
def test_a_scan_of_more_rows_than_the_cache_holds_leaves_the_cache_to_point_reads(
    tmp_path: Path, count: int, kept: bool
) -> None:
    engine = RocksDBEngine(4 << 20)
    with open_store(engine, tmp_path / "store") as store:
        store.write(Batch([(b"%05d" % number, os.urandom(500)) for number in range(count)]))
        store.flush()
        store.get(b"00000")
        before = engine._cache.get_usage()
        assert sum(1 for _ in store.scan()) == count
        assert (engine._cache.get_usage() > before + count * 250) == kept
        within = KeyRange(b"00500", b"01500")
        assert sum(1 for _ in store.scan(within)) == 1_000
        assert engine._cache.get_usage() > before + 250_000


def test_a_closed_store_has_no_rows_that_count(tmp_path: Path) -> None:
    engine = RocksDBEngine(1 << 20)
    with open_store(engine, tmp_path / "closed") as closed:
        flush(closed, 0, 16_000)
    with open_store(engine, tmp_path / "open") as store:
        flush(store, 0, 1_000)
        store.compact()
        assert "index partitions" not in files_of(store)
    del closed  # kept until now


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


def list_all(reader: BackendReader, *, reverse: bool = False) -> list[tuple[bytes, bytes]]:
    return list(reader.scan(reverse=reverse))


READS: dict[str, Callable[[RocksDBBackend], object]] = {
    "get": lambda store: [store.get(key) for key, _ in BATCH.puts],
    "get_many": lambda store: store.get_many([key for key, _ in BATCH.puts]),
    "scan": list_all,
    "reverse": lambda store: list_all(store, reverse=True),
    "snapshot get": lambda store: [store.snapshot().get(key) for key, _ in BATCH.puts],
    "snapshot get_many": lambda store: store.snapshot().get_many([key for key, _ in BATCH.puts]),
    "snapshot scan": lambda store: list_all(store.snapshot()),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_error_that_somebody_keeps_does_not_keep_the_files(
    engine: RocksDBEngine, tmp_path: Path, read: Callable[[RocksDBBackend], object]
) -> None:
    with open_store(engine, tmp_path) as store:
        store.write(BATCH)
        store.flush()
    (file,) = tmp_path.glob("*.sst")
    sound = file.read_bytes()
    file.write_bytes(sound[:100] + bytes(1 ^ byte for byte in sound[100:200]) + sound[200:])
    store = open_store(engine, tmp_path)
    with pytest.raises(StoreCorruptError) as kept:
        read(store)
    store.close()
    file.write_bytes(sound)
    with open_store(engine, tmp_path) as again:
        read(again)
    assert kept.value.__traceback__ is not None  # with its frames


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_interrupt_that_somebody_keeps_does_not_keep_the_files(
    engine: RocksDBEngine, tmp_path: Path, read: Callable[[RocksDBBackend], object]
) -> None:
    is_twin = core.IMPLEMENTATION == "pure" or not core.uses("scan")
    if is_twin and read in (READS["scan"], READS["reverse"], READS["snapshot scan"]):
        pytest.skip("the twin of what reads pairs is Python, whose frame has the iterator's methods")
    with open_store(engine, tmp_path) as store:
        store.write(BATCH)
    kept: list[Interrupt] = []
    for instant in range(0, 40, 3):
        store = open_store(engine, tmp_path)
        try:
            interrupted(lambda: read(store), raise_interrupt, instant)  # noqa: B023 - called at once
        except Interrupt as error:
            kept.append(error)
        store.close()
    assert kept
    open_store(engine, tmp_path).close()


@pytest.mark.slow
def test_a_process_ends_while_a_thread_closes_a_store(tmp_path: Path) -> None:
    """A thread that comes back out of rocksdict when Python has ended would abort the process."""
    code = """if True:
        import os, sys, threading
        from pathlib import Path
        from statestore.backends.contract import Batch, StoreOptions
        from statestore.backends.rocksdb import RocksDBEngine
        store = RocksDBEngine(16 << 20).open(Path(sys.argv[1]), StoreOptions(changelog=True))
        store.write(Batch([(b"%06d" % number, os.urandom(1000)) for number in range(10_000)]))
        threading.Thread(target=store.close, daemon=True).start()
    """
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "store")], check=True, timeout=60)


def test_a_scan_goes_on_after_a_chunk_that_was_lost_on_its_way(engine: RocksDBEngine, tmp_path: Path) -> None:
    with contextlib.closing(open_store(engine, tmp_path / "store")) as store:
        store.write(BATCH)
        for taken in (0, 1, 8, 40):
            scan = store.scan()
            pairs = [next(scan) for _ in range(taken)]
            cast("RocksDBIterator", scan).read(5)  # as if an exception of a signal handler followed
            assert pairs + list(scan) == BATCH.puts
        store.write(Batch([], [key for key, _ in BATCH.puts]))
        assert list(store.scan()) == []
