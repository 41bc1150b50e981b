"""What rocksdict 0.3 really does, where the RocksDB engine depends on it.

Not wishes: several of these are faults. When one fails after an upgrade, the engine's answer to it may go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    Checkpoint,
    CompactOptions,
    DbClosedError,
    DBCompressionType,
    IngestExternalFileOptions,
    Options,
    Rdict,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
    WriteOptions,
)

from statestore.testing.forking import outcomes_in_child

ROWS = 20_000


def options(cache: Cache | None = None) -> Options:
    options = Options(raw_mode=True)
    options.set_compression_type(DBCompressionType.none())
    table = BlockBasedOptions()
    if cache is not None:
        table.set_block_cache(cache)
    options.set_block_based_table_factory(table)
    return options


def open_database(path: Path) -> Rdict:
    return Rdict(str(path), options(), column_families={"default": options()})


def fill(database: Rdict) -> None:
    batch = WriteBatch(raw_mode=True)
    for number in range(ROWS):
        batch.put(b"%08d" % number, b"x" * 100)
    database.write(batch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database"


@pytest.fixture
def database(path: Path) -> Iterator[Rdict]:
    database = open_database(path)
    yield database
    database.close()


@pytest.fixture
def corrupt(path: Path) -> Rdict:
    """A database whose only file has a damaged block in its middle."""
    database = open_database(path)
    fill(database)
    database.close()
    (file,) = path.glob("*.sst")
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        content.write(b"\xff" * 64)
    return open_database(path)  # not closed: that fails once RocksDB has noticed the damage


def rows_of(cursor: Any) -> int:
    rows = 0
    cursor.seek_to_first()
    while cursor.key() is not None:
        rows += 1
        cursor.next()
    return rows


def test_items_takes_a_corrupt_block_for_the_end_and_status_does_not(corrupt: Rdict) -> None:
    assert 0 < len(list(corrupt.items())) < ROWS
    assert 0 < len(list(corrupt.keys())) < ROWS
    cursor = corrupt.iter()
    assert 0 < rows_of(cursor) < ROWS
    with pytest.raises(Exception, match=r"^Corruption: block checksum mismatch"):
        cursor.status()


def test_items_begin_at_a_key_and_end_before_the_upper_bound(database: Rdict) -> None:
    fill(database)
    read = ReadOptions()
    read.set_iterate_upper_bound(b"%08d" % 104)
    items = database.items(from_key=b"%08d" % 100, read_opt=read)
    database[b"%08d" % 102] = b"later"
    assert [key for key, value in items if value != b"later"] == [
        b"%08d" % number for number in range(100, 104)
    ]


def test_get_reports_a_corrupt_block(corrupt: Rdict) -> None:
    with pytest.raises(Exception, match=r"^Corruption"):
        corrupt.get([b"%08d" % number for number in range(ROWS)])


def test_a_failed_compaction_reports_nothing_and_the_next_flush_does(corrupt: Rdict) -> None:
    compact = CompactOptions()
    compact.set_bottommost_level_compaction(BottommostLevelCompaction.force())
    corrupt.compact_range(None, None, compact)
    with pytest.raises(Exception, match=r"^Corruption"):
        corrupt.flush()


def test_the_lower_bound_is_an_upper_bound(database: Rdict) -> None:
    fill(database)
    read = ReadOptions()
    read.set_iterate_lower_bound(b"%08d" % 100)
    assert rows_of(database.iter(read)) == 100


def test_the_upper_bound_is_one_for_seeks_backwards_too(database: Rdict) -> None:
    fill(database)
    read = ReadOptions()
    read.set_iterate_upper_bound(b"%08d" % 100)
    cursor = database.iter(read)
    cursor.seek_for_prev(b"%08d" % 100)
    assert cursor.key() == b"%08d" % 99


def test_iterators_of_a_snapshot_see_later_writes_and_its_reads_do_not(database: Rdict) -> None:
    database[b"k"] = b"before"
    snapshot = database.snapshot()
    database[b"k"] = b"after"
    assert snapshot[b"k"] == b"before"
    assert list(snapshot.items()) == [(b"k", b"after")]
    cursor = snapshot.iter()
    cursor.seek_to_first()
    assert cursor.value() == b"after"


def test_an_iterator_is_a_snapshot_of_its_own(database: Rdict) -> None:
    database[b"k"] = b"before"
    cursor = database.iter()
    database[b"k"] = b"after"
    database.flush()
    database.compact_range(None, None)
    cursor.seek_to_first()
    assert cursor.value() == b"before"


def test_an_absent_key_of_a_snapshot_is_a_bare_exception(database: Rdict) -> None:
    with pytest.raises(Exception, match=r"^key not found$") as caught:
        database.snapshot()[b"absent"]
    assert type(caught.value) is Exception


def test_a_list_of_keys_is_read_as_of_one_call(database: Rdict) -> None:
    database[b"k"] = b"1"
    assert database.get([b"k", b"absent"]) == [b"1", None]


@pytest.mark.parametrize("holder", ["iter", "snapshot"])
def test_close_under_a_reader_does_not_close(path: Path, holder: str) -> None:
    database = open_database(path)
    database[b"k"] = b"1"
    reader = getattr(database, holder)()
    database.close()
    with pytest.raises(DbClosedError):
        database.get(b"k")
    with pytest.raises(Exception, match=r"^IO error: lock hold by current process"):
        open_database(path)
    if holder == "iter":
        reader.seek_to_first()
        assert reader.value() == b"1"
    else:
        assert reader[b"k"] == b"1"
    del reader
    open_database(path).close()


@pytest.mark.parametrize("given", ["text", 5, bytearray(b"k"), memoryview(b"k"), None])
def test_raw_mode_takes_bytes_only(database: Rdict, given: Any) -> None:
    batch = WriteBatch(raw_mode=True)
    with pytest.raises(KeyError, match="raw mode only support bytes"):
        batch.put(given, b"")
    with pytest.raises(ValueError, match="raw mode only support bytes"):
        batch.put(b"k", given)
    with pytest.raises(KeyError, match="raw mode only support bytes"):
        database.get([given])


def test_the_kind_of_an_error_is_the_beginning_of_its_message(path: Path, database: Rdict) -> None:
    with pytest.raises(Exception, match=r"^IO error: lock hold by current process") as caught:
        open_database(path)
    assert type(caught.value) is Exception


def test_disable_wal_is_an_attribute() -> None:
    write: Any = WriteOptions()
    assert write.disable_wal is False
    write.disable_wal = True
    assert write.disable_wal is True


def stalling_options() -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(64 << 10)
    options.set_max_write_buffer_number(2)
    options.set_level_zero_file_num_compaction_trigger(2)
    options.set_level_zero_slowdown_writes_trigger(2)
    options.set_level_zero_stop_writes_trigger(2)
    options.set_disable_auto_compactions(True)
    return options


def large_batch() -> WriteBatch:
    batch = WriteBatch(raw_mode=True)
    for number in range(200):
        batch.put(b"%08d" % number, b"x" * 400)
    return batch


def test_no_slowdown_refuses_at_once_and_consumes_the_batch(path: Path) -> None:
    database = Rdict(str(path), stalling_options())
    write = WriteOptions()
    write.no_slowdown = True
    with pytest.raises(Exception, match=r"^Result incomplete: Write stall$"):
        for _ in range(1000):
            batch = large_batch()
            begin = time.monotonic()
            database.write(batch, write)
    assert time.monotonic() - begin < 60, "it waited for a compaction, which there is none of"
    with pytest.raises(Exception, match="already consumed"):
        database.write(batch, write)
    database.close()


def test_write_keeps_other_threads_from_running_and_flush_does_not(path: Path) -> None:
    for attempt in range(5):  # one of which other programs do not disturb
        writing, flushing = turns_during_write_and_flush(path / str(attempt))
        if flushing > 2 * writing:
            return
    pytest.fail(f"{writing} turns while it wrote, {flushing} while it flushed")


def turns_during_write_and_flush(path: Path) -> tuple[int, int]:
    database = open_database(path)
    batches = []
    for _ in range(3):
        batch = WriteBatch(raw_mode=True)
        for number in range(60_000):
            batch.put(b"%08d" % number, b"x" * 100)
        batches.append(batch)
    write = WriteOptions()
    write.disable_wal = True  # type: ignore[method-assign, assignment]

    def write_all() -> None:
        for batch in batches:
            database.write(batch, write)

    writing, flushing = turns_during(write_all), turns_during(database.flush)
    database.close()
    return writing, flushing


def turns_during(work: Callable[[], object]) -> int:
    """Return how often this thread got its turn while another one did ``work``."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    turns = 0
    while not done.is_set():
        time.sleep(0.0002)
        turns += 1
    thread.join()
    return turns


def test_options_of_an_existing_database_come_from_its_files_unless_given_by_family(path: Path) -> None:
    database = open_database(path)
    fill(database)
    database.close()
    used = {}
    for by_family in (False, True):
        cache = Cache(32 << 20)
        families = {"default": options(cache)} if by_family else None
        database = Rdict(str(path), options(cache), column_families=families)
        assert len(list(database.items())) == ROWS
        used[by_family] = cache.get_usage()
        database.close()
    assert used[False] == 0
    assert used[True] > 100 * ROWS


def test_an_open_database_can_be_told_how_to_write_indexes(database: Rdict) -> None:
    for option in ("index_type=kTwoLevelIndexSearch", "partition_filters=true"):
        database.set_options({"block_based_table_factory": f"{{{option}}}"})
    fill(database)
    database.flush()
    assert "# index partitions=" in (database.property_value("rocksdb.aggregated-table-properties") or "")


def test_a_directory_of_somebody_else_is_taken_over(path: Path) -> None:
    path.mkdir()
    (path / "letter.txt").write_text("Dear")
    open_database(path).close()
    assert (path / "CURRENT").exists()


@pytest.mark.parametrize("written", [False, True])
def test_a_compaction_beside_a_snapshot_of_sequence_number_0_drops_what_was_loaded(
    path: Path, tmp_path: Path, written: bool
) -> None:
    database = open_database(path)
    writer = SstFileWriter(options())
    writer.open(str(tmp_path / "loaded.sst"))
    for number in range(100):
        writer[b"%08d" % number] = b"x"
    writer.finish()
    database.ingest_external_file([str(tmp_path / "loaded.sst")], IngestExternalFileOptions())
    assert database.latest_sequence_number() == 0
    if written:
        database.delete(b"absent")  # what the engine does before it takes the snapshot
    snapshot = database.snapshot()
    database.put(b"%08d" % 0, b"new")
    database.flush()
    compact = CompactOptions()
    compact.set_bottommost_level_compaction(BottommostLevelCompaction.force())
    database.compact_range(None, None, compact)
    assert sum(1 for _ in database.items()) == (100 if written else 1)
    del snapshot
    database.close()


def test_close_flushes_although_there_is_no_log(path: Path) -> None:
    database = open_database(path)
    write = WriteOptions()
    write.disable_wal = True  # type: ignore[method-assign, assignment]
    database.put(b"k", b"1", write)
    database.close()
    database = open_database(path)
    assert database.get(b"k") == b"1"
    database.close()


def test_a_checkpoint_holds_the_database_open(path: Path, tmp_path: Path) -> None:
    database = open_database(path)
    checkpoint = Checkpoint(database)
    checkpoint.create_checkpoint(str(tmp_path / "copy"))
    database.close()
    with pytest.raises(Exception, match=r"^IO error: lock hold"):
        open_database(path)
    del checkpoint
    open_database(path).close()


def test_reads_go_on_after_the_files_are_gone(path: Path) -> None:
    database = open_database(path)
    fill(database)
    database.flush()
    for file in path.iterdir():
        file.unlink()
    assert database.get(b"%08d" % 5) == b"x" * 100
    database.close()


@pytest.mark.slow
def test_get_works_in_a_forked_child_and_flush_hangs(
    database: Rdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.testing.forking.LIVENESS", 4.0)
    database[b"k"] = b"1"
    calls = {"get": lambda: database.get(b"k"), "flush": database.flush}
    assert outcomes_in_child(calls) == {"get": "returned", "flush": "hung"}
