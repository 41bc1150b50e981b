"""One RocksDB store: reading, writing, and its maintenance."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rocksdict import (
    BottommostLevelCompaction,
    Checkpoint,
    CompactOptions,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from statestore.backends import directories
from statestore.backends.contract import (
    Backend,
    Batch,
    KeyRange,
    Snapshot,
    SortedRun,
)
from statestore.backends.lifetime import closed_error
from statestore.backends.place import Place
from statestore.backends.rocksdb import bulk, errors
from statestore.backends.rocksdb.indexes import Indexes, turn_over
from statestore.backends.rocksdb.reads import ROWS, RocksDBReads, refuse
from statestore.backends.rocksdb.scan import present
from statestore.backends.rocksdb.snapshots import RocksDBSnapshot
from statestore.backends.rocksdb.upkeep import File, Upkeep
from statestore.errors import (
    StateStoreError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.runtime import ending, fork
from statestore.runtime.weak import Living

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.05
_NO_KEY = b"\xff"
"""A key in no namespace, so that nobody has it."""
_LEVEL_0 = "rocksdb.num-files-at-level0"
_PROPERTIES = "rocksdb.aggregated-table-properties"
_RANGE_MARKS = re.compile(r"# range deletions=(\d+)")

STALL_FILES = 48
"""Files in level 0 at which writes are refused. Leaves a restore room."""
_COMPACT_FILES = 4
"""Files in level 0 at which compaction starts, RocksDB's default; ..."""
_COMPACT_LOADED_FILES = 16
"""... and while runs are loaded, which it would hold up. Reads look into each of the files."""
_COUNT_AFTER = 65_536
"""Pairs that are written until the rows are counted again where nobody flushes."""

_opened: Living[RocksDBBackend] = Living()


class RocksDBBackend(RocksDBReads, Backend):
    """A store in RocksDB, which this process owns."""

    def __init__(
        self,
        database: Rdict,
        directory: Path,
        file_options: Callable[[bool], Options],
        write_options: WriteOptions,
        indexes: Indexes,
        *,
        logged: bool,
        upkeep: Upkeep,
        sync: bool,
        stall_timeout: float,
        damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None = None,
    ) -> None:
        super().__init__(database, directory, indexes.cache, damaged)
        self._file_options = file_options
        self._write_options = write_options
        self._indexes = indexes
        self._count = indexes.count()
        self._in_parts = False  # how indexes of files are written
        self._written = 0  # pairs since the rows were counted
        self._logged = logged
        self._upkeep = upkeep
        self._sync = sync
        self._stall_timeout = stall_timeout
        self._compacts_from = _COMPACT_FILES
        self._place = Place(directory, directory, directory / "CURRENT")
        self._write_lock = fork.rlock()
        self._compact_lock = fork.lock()
        _opened.add(self)
        self._note_rows()

    def snapshot(self) -> Snapshot:
        with self._lifetime.call:
            self._leave_sequence_zero()
            return RocksDBSnapshot(self._lifetime, self._directory, present(self._lifetime, self._database))

    def _leave_sequence_zero(self) -> None:
        """Keep RocksDB from losing rows beside a snapshot.

        What is loaded into an empty database has sequence number 0, and so have snapshots until something is
        written. A compaction takes that number for none, and drops all rows that have it.
        """
        if not self._database.latest_sequence_number():
            try:
                self._database.delete(_NO_KEY, self._write_options)
            except Exception as error:
                raise self._failure("taking a snapshot", error) from error

    def write(self, batch: Batch) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime.call:
            self._write_all(lambda: _write_batch(batch), len(batch.puts))
            due = bool(batch.deletes) and self._upkeep.note_deletions(len(batch.deletes))
            due = due or self._upkeep.has_waited()
        if due:
            with contextlib.suppress(StateStoreError):  # the batch is written; the next write meets the same
                self.flush()

    def delete_range(self, keys: KeyRange) -> bool:
        """Delete the whole range, by a single mark; its files are compacted in a thread soon afterwards."""
        self._lifetime.check()
        with self._write_lock, self._lifetime.call:
            start, stop = self._bounds(keys)
            if start is None or stop is None:
                return True
            try:
                # The mark alone in a file: compacting the range takes no file of other keys along.
                self._database.flush()
            except Exception as error:
                raise self._failure("deleting a range", error) from error
            self._write_all(lambda: _range_mark(start, stop), 0)
            self._upkeep.note_range(start, stop)
        with contextlib.suppress(StateStoreError):  # the range is deleted; the next write meets the same
            self.flush()
        return True

    def _bounds(self, keys: KeyRange) -> tuple[bytes | None, bytes | None]:
        """Return the first key that the store has in a range, and where it ends; ``None``: it has none."""
        with contextlib.closing(self.scan(keys, limit=1)) as pairs:
            start = next((key for key, _ in pairs), None)
        if keys.stop is not None or start is None:
            return start, keys.stop
        with contextlib.closing(self.scan(keys, reverse=True, limit=1)) as pairs:
            return start, next((key + b"\0" for key, _ in pairs), None)

    def load(self, runs: Sequence[SortedRun]) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime.call:
            self._wait_for_compaction()
            try:
                self._compact_from(_COMPACT_LOADED_FILES)
                self._note_rows(sum(map(len, runs)))
                with bulk.folder(self._directory) as place:
                    files = bulk.build(place, self._file_options(self._in_parts), runs)
                    # A write before this must not be lost where this is kept.
                    self._database.flush()
                    if files:
                        bulk.ingest(self._database, files)
                        self._upkeep.note_load()
            except OSError as error:
                raise errors.from_os(self._directory, "loading", error) from error
            except Exception as error:
                if type(error) is not Exception:  # not of rocksdict, but of a run
                    raise
                raise self._failure("loading", error) from error

    def _wait_for_compaction(self) -> None:
        """Let RocksDB catch up before it would refuse writes: it takes in files without limit."""
        deadline = time.monotonic() + self._stall_timeout
        while (self._database.property_int_value(_LEVEL_0) or 0) >= STALL_FILES:
            if time.monotonic() >= deadline:
                raise errors.stalled(self._directory, "loading")
            time.sleep(_LONGEST_WAIT)
            self._lifetime.check()

    def _compact_from(self, files: int) -> None:
        """Have compaction start at so many files in level 0."""
        if files != self._compacts_from:
            self._database.set_options({"level0_file_num_compaction_trigger": str(files)})
            self._compacts_from = files

    def _write_all(self, changes: Callable[[], WriteBatch], puts: int) -> None:
        """Write ``changes``, with so many ``puts``, waiting where RocksDB would have to."""
        if self._sync:
            self._check_place(self._place.check_now_and_then)
        deadline = time.monotonic() + self._stall_timeout
        wait = _FIRST_WAIT
        while not self._try_write(changes(), puts, time.monotonic() >= deadline):
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            self._lifetime.check()
        if self._sync:
            self._sync_log()

    def _try_write(self, write: WriteBatch, puts: int, last_try: bool) -> bool:
        """Write ``write``, which is consumed; say ``False`` where RocksDB would wait and there is time."""
        try:
            self._compact_from(_COMPACT_FILES)
            if self._written >= _COUNT_AFTER:
                self._note_rows()
            self._database.write(write, self._write_options)
            self._written += puts
        except Exception as error:
            if errors.is_write_stall(error) and not last_try:
                return False
            raise self._failure("writing", error) from error
        return True

    def _sync_log(self) -> None:
        """Make the write durable with other threads running, which ``WriteOptions.sync`` would not let."""
        try:
            self._database.flush_wal(True)
        except Exception as error:
            # The batch is visible but perhaps not durable. It must not be seen, so nothing is any more.
            failure = self._translated("syncing the write-ahead log", error)
            self._lifetime.bar(lambda: failure)
            self._read = refuse
            raise failure from error

    def flush(self) -> None:
        with self._lifetime.call:
            try:
                self._compact_from(_COMPACT_FILES)  # a load is durable without this: loading is over
                self._note_rows()
                self._database.flush()
            except Exception as error:
                raise self._failure("flushing", error) from error
            self._check_place()
            self._upkeep.begin(self._directory, self._files, self._range_marks, self._compact)

    def _note_rows(self, more: int = 0) -> None:
        """Have the indexes of files written in parts, once there are many rows, or will be with ``more``."""
        self._written = 0
        if not self._in_parts:
            self._count.rows = (self._database.property_int_value(ROWS) or 0) + more
            if self._indexes.are_large():
                turn_over(self._database)
                self._in_parts = True

    def _check_place(self, check: Callable[[], None] | None = None) -> None:
        try:
            (check or self._place.check)()
        except StoreMissingError as error:
            raise self._lifetime.failure(error) from None

    def checkpoint(self, directory: Path) -> None:
        with self._lifetime.call:
            directories.check_new(directory)
            try:
                Checkpoint(self._database).create_checkpoint(str(directory))
            except Exception as error:
                raise self._failure(f"copying to {directory}", error) from error

    def compact(self) -> None:
        self._compact([(None, None)])

    def _compact(self, ranges: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Compact the files with keys in ``ranges``, both ends included."""
        self._lifetime.check()
        with self._compact_lock, self._lifetime.call:
            try:
                self._note_rows()
                self._database.flush()
                for first, last in ranges:
                    self._database.compact_range(first, last, _compact_options())
                    self._lifetime.check()  # close() cuts a compaction short
                # rocksdict drops the result of a compaction; a failed one makes this fail.
                self._database.flush()
            except StateStoreError:
                raise
            except Exception as error:
                raise self._failure("compacting", error) from error
            self._lifetime.check()

    def _files(self) -> list[File]:
        """Return what RocksDB knows of the files with data."""
        with self._lifetime.call:
            files: list[File] = self._database.live_files()
            return files

    def _range_marks(self) -> int:
        """Return how many marks of deleted ranges the files have."""
        with self._lifetime.call:
            found = _RANGE_MARKS.search(self._database.property_value(_PROPERTIES) or "")
        return 0 if found is None else int(found[1])

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._count.rows = 0
            self._lifetime.bar(closed_error)
            cancelled = self._cancel_compaction()
            self._lifetime.end()  # rocksdict does not close a database that a reader still holds
            all_logged = self._is_all_logged()
            try:
                self._database.close()  # after a failed flush, too
            except Exception as error:
                failure = self._translated("closing", error)
                # RocksDB stays in the error of a full disk for seconds. What is in its log needs no flush.
                if not cancelled and not (all_logged and isinstance(failure, StoreFullError)):
                    raise failure from error
            self._check_place()

    def _is_all_logged(self) -> bool:
        """Say whether everything written is in the write-ahead log, and durable."""
        if self._logged and not self._sync:
            with contextlib.suppress(Exception):  # close() fails in the same way, and says so
                self._database.flush_wal(True)
                return True
        return self._sync

    def _cancel_compaction(self) -> bool:
        """Have a compaction that may take minutes end now; say whether there was one, and all is flushed."""
        if not self._compact_lock.locked():
            return False
        try:
            self._database.flush()  # afterwards nothing can be flushed any more
        except Exception:
            return False  # close() fails in the same way, and says so
        self._database.cancel_all_background(False)
        return True

    def destroy(self) -> None:
        with contextlib.suppress(StoreMissingError):
            self.close()
        try:
            shutil.rmtree(self._directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.from_os(self._directory, "deleting", error) from error


def _write_batch(batch: Batch) -> WriteBatch:
    write = WriteBatch(raw_mode=True)
    try:
        delete, put = write.delete, write.put
        for key in batch.deletes:
            delete(key)
        for key, value in batch.puts:
            put(key, value)
    except (KeyError, ValueError) as error:  # how rocksdict refuses a type in a key, and in a value
        raise TypeError(f"keys and values must be bytes: {error.args[0]}") from error
    return write


def _range_mark(start: bytes, stop: bytes) -> WriteBatch:
    write = WriteBatch(raw_mode=True)
    write.delete_range(start, stop)
    return write


def _compact_options() -> CompactOptions:
    options = CompactOptions()
    options.set_exclusive_manual_compaction(False)
    # Else a file that is in the last level already keeps its deleted pairs.
    options.set_bottommost_level_compaction(BottommostLevelCompaction.force_optimized())
    return options


def _end() -> None:
    """Wait until no thread is inside of rocksdict, to compact or to close: one that comes back to a Python
    that has ended aborts the process.
    """
    for store in list(_opened):
        with contextlib.suppress(StateStoreError):
            store.close()


ending.at_end(_end)
