"""One RocksDB store: reading, writing, and its maintenance."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rocksdict import (
    BottommostLevelCompaction,
    Checkpoint,
    CompactOptions,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)
from rocksdict import Snapshot as RdictSnapshot

from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    KeyRange,
    Snapshot,
    SortedRun,
    check_limit,
    directory_size,
)
from statestore.backends.lifetime import Lifetime, TrackedReader, check_bytes, closed_error
from statestore.backends.rocksdb import bulk, errors
from statestore.backends.rocksdb.scan import RocksDBIterator, SharedIterator, present
from statestore.errors import StateStoreError
from statestore.runtime import fork

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.05
_LEVEL_0 = "rocksdb.num-files-at-level0"

STALL_FILES = 48
"""Files in level 0 at which writes are refused. Leaves a restore room."""
_COMPACT_FILES = 4
"""Files in level 0 at which compaction starts, RocksDB's default; ..."""
_COMPACT_LOADED_FILES = 16
"""... and while runs are loaded, which it would hold up. Reads look into each of the files."""


class RocksDBBackend(Backend):
    """A store in RocksDB.

    rocksdict holds the interpreter's lock in ``get``, in ``write`` and in each step of a scan. ``get`` cannot
    meet ``close``, therefore, and goes straight to RocksDB; all else is announced to the ``Lifetime``.
    """

    def __init__(
        self,
        database: Rdict,
        directory: Path,
        file_options: Options,
        write_options: WriteOptions,
        *,
        sync: bool,
        stall_timeout: float,
    ) -> None:
        self._database = database
        self._read: Callable[[Any], Any] = database.get
        self._directory = directory
        self._file_options = file_options
        self._write_options = write_options
        self._sync = sync
        self._stall_timeout = stall_timeout
        self._compacts_from = _COMPACT_FILES
        self._lifetime = Lifetime()
        self._write_lock = fork.lock()
        self._close_lock = fork.lock()
        self._compact_lock = fork.lock()
        self._closed = False
        fork.register(self)

    def get(self, key: bytes) -> bytes | None:
        if not isinstance(key, bytes):
            check_bytes("key", key)
        try:
            value: bytes | None = self._read(key)
        except Exception as error:
            raise self._failure("reading", error) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for key in keys:
            check_bytes("key", key)
        with self._lifetime:
            try:
                values: list[bytes | None] = self._read(list(keys))
            except Exception as error:
                raise self._failure("reading", error) from error
        return values

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime:
            shared = SharedIterator(self._database, keys.stop)
            return RocksDBIterator(self._lifetime, self._directory, shared, keys, reverse, limit)

    def snapshot(self) -> Snapshot:
        with self._lifetime:
            return RocksDBSnapshot(self._lifetime, self._directory, *present(self._database))

    def write(self, batch: Batch) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime:
            deadline = time.monotonic() + self._stall_timeout
            wait = _FIRST_WAIT
            while not self._try_write(batch, time.monotonic() >= deadline):
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                self._lifetime.check()
            if self._sync:
                self._sync_log()

    def load(self, runs: Sequence[SortedRun]) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime:
            self._wait_for_compaction()
            try:
                self._compact_from(_COMPACT_LOADED_FILES)
                with bulk.folder(self._directory) as place:
                    files = bulk.build(place, self._file_options, runs)
                    # A write before this must not be lost where this is kept.
                    self._database.flush()
                    if files:
                        bulk.ingest(self._database, files)
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

    def _try_write(self, batch: Batch, last_try: bool) -> bool:
        """Write ``batch``; say ``False`` where RocksDB would have to wait and there is still time."""
        write = _write_batch(batch)  # a new one each time: a refused one is consumed
        try:
            self._compact_from(_COMPACT_FILES)
            self._database.write(write, self._write_options)
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
            failure = errors.translate(self._directory, "syncing the write-ahead log", error)
            self._lifetime.bar(lambda: failure)
            self._read = _refuse
            raise failure from error

    def flush(self) -> None:
        with self._lifetime:
            try:
                self._compact_from(_COMPACT_FILES)  # a load is durable without this: loading is over
                self._database.flush()
            except Exception as error:
                raise self._failure("flushing", error) from error

    def size(self) -> int:
        with self._lifetime:
            return directory_size(self._directory)

    def approximate_count(self) -> int:
        with self._lifetime:
            return self._database.property_int_value("rocksdb.estimate-num-keys") or 0

    def checkpoint(self, directory: Path) -> None:
        with self._lifetime:
            if directory.exists():
                raise FileExistsError(f"{directory} exists: a checkpoint needs a directory of its own")
            try:
                Checkpoint(self._database).create_checkpoint(str(directory))
            except Exception as error:
                raise self._failure(f"copying to {directory}", error) from error

    def compact(self) -> None:
        self._lifetime.check()
        with self._compact_lock, self._lifetime:
            try:
                self._database.flush()
                self._database.compact_range(None, None, _compact_options())
                # rocksdict drops the result of a compaction; a failed one makes this fail.
                self._database.flush()
            except Exception as error:
                raise self._failure("compacting", error) from error
            self._lifetime.check()  # close() cuts a compaction short

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._lifetime.bar(closed_error)
            cancelled = self._cancel_compaction()
            self._lifetime.end()  # rocksdict does not close a database that a reader still holds
            try:
                self._database.close()
            except Exception as error:
                if not cancelled:
                    raise errors.translate(self._directory, "closing", error) from error

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
        self.close()
        try:
            shutil.rmtree(self._directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.from_os(self._directory, "deleting", error) from error

    def _failure(self, doing: str, error: Exception) -> StateStoreError:
        """Return what to raise for ``error``, which may just be how rocksdict says that it is closed."""
        if self._lifetime.ended is not None:
            return self._lifetime.ended()
        return errors.translate(self._directory, doing, error)

    def _forked(self) -> None:
        self._read = _refuse
        fork.leak(self._database)
        self._lifetime.forked()


class RocksDBSnapshot(TrackedReader, Snapshot):
    """A fixed view of a RocksDB store."""

    def __init__(
        self, lifetime: Lifetime, directory: Path, snapshot: RdictSnapshot, shared: SharedIterator
    ) -> None:
        self._lifetime = lifetime
        self._directory = directory
        self._handles: tuple[RdictSnapshot, SharedIterator] | None = snapshot, shared
        lifetime.readers.add(self)

    def get(self, key: bytes) -> bytes | None:
        check_bytes("key", key)
        with self._lifetime:
            snapshot, _ = self._live()
            return self._value(snapshot, key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for key in keys:
            check_bytes("key", key)
        with self._lifetime:
            snapshot, _ = self._live()
            return [self._value(snapshot, key) for key in keys]

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime:
            _, shared = self._live()
            return RocksDBIterator(self._lifetime, self._directory, shared, keys, reverse, limit)

    def close(self) -> None:
        self._handles = None

    end = close

    def _live(self) -> tuple[RdictSnapshot, SharedIterator]:
        if self._handles is None:
            raise closed_error()
        return self._handles

    def _value(self, snapshot: RdictSnapshot, key: bytes) -> bytes | None:
        try:
            value: bytes = snapshot[key]
        except Exception as error:
            if errors.is_absent(error):
                return None
            raise errors.translate(self._directory, "reading", error) from error
        return value


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


def _compact_options() -> CompactOptions:
    options = CompactOptions()
    options.set_exclusive_manual_compaction(False)
    # Else a file that is in the last level already keeps its deleted pairs.
    options.set_bottommost_level_compaction(BottommostLevelCompaction.force_optimized())
    return options


def _refuse(key: object) -> None:  # noqa: ARG001
    raise RuntimeError("the database must not be used any more")  # get() turns it into the reason
