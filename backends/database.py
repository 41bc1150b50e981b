"""A base for backends over an embedded database library: what each author would write again otherwise.

The author says how the library is opened (:class:`DatabaseEngine`), changed (:class:`Database`) and read as
of one moment (:class:`DatabaseReader`). :class:`DatabaseBackend` makes a backend of that. It keeps what the
contract promises on *Lifetime*, *Threads*, *Fork* and *Errors*, so that none of the author's methods meets a
``close``, a forked child, an argument that is not bytes, or another thread in the same object.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from statestore.backends import directories
from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    Engine,
    KeyRange,
    Snapshot,
    StoreOptions,
    check_limit,
    directory_size,
)
from statestore.backends.lifetime import ChunkedIterator, Lifetime, TrackedReader, check_bytes, closed_error
from statestore.backends.options import EngineOptions
from statestore.backends.place import RESTORE, Place
from statestore.errors import (
    ForkedProcessError,
    StoreClosedError,
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.runtime import fork

Pair = tuple[bytes, bytes]

REMEDIES: Mapping[type[StoreUnavailableError], str] = {
    StoreFullError: "free space on the disk or raise the quota, then write again",
    StoreMissingError: RESTORE,
    StoreCorruptError: RESTORE,
    StoreFormatError: "install a version of the library that reads this format",
    StoreUnavailableError: "look at the disk, the path and its rights, then open the store again",
}
"""What to do about each error."""

_OF_SYSTEM = {
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EFBIG: StoreFullError,
    errno.ENOENT: StoreMissingError,
}


class DatabaseReader(ABC):
    """A connection for reads, each of them between ``begin`` and ``end``; one thread at a time uses it."""

    @abstractmethod
    def begin(self) -> None:
        """Fix what is read until ``end``: what the database holds now."""

    @abstractmethod
    def end(self) -> None:
        """Let go of it."""

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of ``keys`` in their order, ``None`` for those that are not there."""

    @abstractmethod
    def read(self, keys: KeyRange, reverse: bool, count: int) -> list[Pair]:
        """Return the first ``count`` pairs of a range in key order, with ``reverse`` from the last one on.

        Fewer only where there are no more. ``keys.start`` is included, ``keys.stop`` excluded, ``None`` open.
        """

    @abstractmethod
    def count(self) -> int:
        """Return about how many keys there are."""

    @abstractmethod
    def close(self) -> None:
        """Release everything, within ``begin`` and ``end`` too."""


class Database(ABC):
    """An open database. One thread at a time calls it, but for ``reader``; readers read meanwhile."""

    file: Path
    """The file without which the database cannot be opened again; its library keeps it open."""

    @abstractmethod
    def reader(self) -> DatabaseReader:
        """Return a new connection for reads. Any thread may call this at any time."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Apply a batch as a whole: deletes, then puts. An exception means that nothing of it was done."""

    @abstractmethod
    def flush(self) -> None:
        """Return when everything written before survives power loss."""

    @abstractmethod
    def copy(self, directory: Path) -> None:
        """Write a copy into an empty directory, which ``open_database`` opens."""

    @abstractmethod
    def compact(self) -> None:
        """Give back the space of deleted and overwritten pairs."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. No reader is used any more."""


class DatabaseEngine(Engine):
    """Opens stores that are a database each. A subclass has the class attributes of :class:`Engine`, too."""

    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = EngineOptions

    def __init__(self, memory_budget: int, options: Any = None) -> None:
        self.memory_budget = memory_budget
        self.options: Any = self.options_type() if options is None else options

    @abstractmethod
    def open_database(self, directory: Path, options: StoreOptions) -> Database:
        """Open the database in ``directory``, which is there and belongs to nobody else, or create it."""

    @abstractmethod
    def error_class(self, error: Exception) -> type[StoreUnavailableError] | None:
        """Return the class to raise for an error of the library, one of ``REMEDIES``; ``None`` for others.

        Errors of the system (``OSError``) are known.
        """

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            lock = directories.lock(directory)
        except BlockingIOError as error:
            remedy = "use the store that is open, or close it"
            cause = "is open already, here or in another process"
            raise StoreUnavailableError(directory, cause, remedy) from error
        except OSError as error:
            raise self._translated(directory, "opening", error) from error
        try:
            try:
                database = self.open_database(directory, options)
            except Exception as error:
                raise self._translated(directory, "opening", error) from error
            return DatabaseBackend(directory, lock, database, self._translated, options.damaged)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Nothing is shared by the stores."""

    def _translated(self, directory: Path, doing: str, error: Exception) -> Exception:
        """Return what to raise for ``error``, which came up ``doing`` something."""
        kind = self.error_class(error)
        if kind is None and isinstance(error, OSError):
            kind = _OF_SYSTEM.get(error.errno or 0, StoreUnavailableError)
        return error if kind is None else kind(directory, f"{doing}: {error}", REMEDIES[kind])


class DatabaseBackend(Backend):
    """A store in a :class:`Database`: its lifetime, its lock, its errors, and the readers to use again."""

    def __init__(
        self,
        directory: Path,
        lock: int,
        database: Database,
        translated: Callable[[Path, str, Exception], Exception],
        damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None,
    ) -> None:
        self._directory = directory
        self._lock = lock
        self._database = database
        self._translated = translated
        self._lifetime = Lifetime(damaged)
        self._place = Place(directory, database.file, database.file)
        self._write_lock = fork.rlock()
        self._close_lock = fork.rlock()
        self._closed = False
        self._readers: set[DatabaseReader] = set()
        self._idle: deque[DatabaseReader] = deque()
        fork.register(self)

    @contextmanager
    def _doing(self, doing: str) -> Iterator[None]:
        """Turn what the library and the system raise into the errors of the contract."""
        try:
            yield
        except Exception as error:
            failure = self._lifetime.failure(self._translated(self._directory, doing, error))
            if failure is error:
                raise
            raise failure from error

    # --- reads

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for key in keys:
            check_bytes("key", key)
        with self._lifetime.call, self._doing("reading"):
            reader = self._begun()
            try:
                return reader.get_many(keys)
            finally:
                self._take_back(reader)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        return self.snapshot().scan(keys, reverse, limit)

    def snapshot(self) -> Snapshot:
        with self._lifetime.call, self._doing("reading"):
            return _DatabaseSnapshot(self._lifetime, self._doing, self._begun(), self._take_back)

    def _begun(self) -> DatabaseReader:
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._database.reader()
            self._readers.add(reader)
        try:
            reader.begin()
        except BaseException:
            self._discard(reader)
            raise
        return reader

    def _take_back(self, reader: DatabaseReader) -> None:
        try:
            reader.end()
        except BaseException:
            self._discard(reader)
            raise
        self._idle.append(reader)

    def _discard(self, reader: DatabaseReader) -> None:
        self._readers.discard(reader)
        reader.close()

    def approximate_count(self) -> int:
        with self._lifetime.call, self._doing("counting"):
            reader = self._begun()
            try:
                return reader.count()
            finally:
                self._take_back(reader)

    # --- changes

    def write(self, batch: Batch) -> None:
        for key in batch.deletes:
            check_bytes("key", key)
        for key, value in batch.puts:
            check_bytes("key", key)
            check_bytes("value", value)
        self._lifetime.check()
        with self._write_lock, self._lifetime.call, self._doing("writing"):
            self._place.check_now_and_then()
            self._database.write(batch)

    def flush(self) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime.call, self._doing("flushing"):
            self._database.flush()
            self._place.check()

    def compact(self) -> None:
        self._lifetime.check()
        with self._write_lock, self._lifetime.call, self._doing("compacting"):
            self._database.compact()

    def checkpoint(self, directory: Path) -> None:
        self._lifetime.check()
        directories.check_new(directory)
        with (
            self._write_lock,
            self._lifetime.call,
            self._doing(f"copying to {directory}"),
            directories.new_directory(directory) as unfinished,
        ):
            self._database.copy(unfinished)

    def size(self) -> int:
        with self._lifetime.call:
            return directory_size(self._directory)

    # --- its end

    def shut(self) -> None:
        self._lifetime.shut()

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._lifetime.end()
            try:
                with self._doing("closing"):
                    for reader in list(self._readers):
                        reader.close()
                    self._database.close()
                    self._place.check()
            finally:
                os.close(self._lock)

    def destroy(self) -> None:
        with suppress(StoreMissingError):
            self.close()
        with self._doing("deleting"), suppress(FileNotFoundError):
            shutil.rmtree(self._directory)

    def _forked(self) -> None:
        fork.leak(self._database)
        fork.leak(self._readers)
        self._lifetime.forked()
        if not self._closed:
            os.close(self._lock)  # or the child would hold the lock longer than its owner lives


class _DatabaseSnapshot(TrackedReader, Snapshot):
    """A reader between its ``begin`` and its ``end``."""

    def __init__(
        self,
        lifetime: Lifetime,
        doing: Callable[[str], Any],
        reader: DatabaseReader,
        take_back: Callable[[DatabaseReader], None],
    ) -> None:
        self._lifetime = lifetime
        self._doing = doing
        self._reader: DatabaseReader | None = reader
        self._take_back = take_back
        self._turn = fork.rlock()  # a thread at a time
        lifetime.readers.add(self)

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for key in keys:
            check_bytes("key", key)
        with self._lifetime.call, self._turn, self._doing("reading"):
            return self._used().get_many(keys)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime.call:
            self._used()
            return _DatabaseScan(self._lifetime, self, keys, reverse, limit)

    def read(self, keys: KeyRange, reverse: bool, count: int) -> list[Pair]:
        """Read a part of a scan, within one of its calls."""
        with self._turn, self._doing("scanning"):
            return self._used().read(keys, reverse, count)

    def _used(self) -> DatabaseReader:
        if self._reader is None:
            raise closed_error()
        return self._reader

    @property
    def holds(self) -> bool:
        return self._reader is not None

    def close(self) -> None:
        # Where the backend closes meanwhile, it closes the reader, too.
        with (
            suppress(StoreClosedError, ForkedProcessError),
            self._lifetime.call,
            self._turn,
            self._doing("closing a snapshot"),
        ):
            reader, self._reader = self._reader, None
            if reader is not None:
                self._take_back(reader)

    __del__ = close

    def end(self) -> None:
        self._reader = None


class _DatabaseScan(ChunkedIterator):
    """A scan of a snapshot, each chunk of which begins after the last key."""

    def __init__(
        self,
        lifetime: Lifetime,
        snapshot: _DatabaseSnapshot,
        keys: KeyRange,
        reverse: bool,
        limit: int | None,
    ) -> None:
        super().__init__(lifetime, limit)
        self._snapshot: _DatabaseSnapshot | None = snapshot
        self._keys = keys
        self._reverse = reverse
        lifetime.readers.add(self)

    def read(self, count: int) -> list[Pair]:
        if self._snapshot is None:
            raise closed_error()
        keys, last = self._keys, self._position
        if last is not None:
            keys = KeyRange(keys.start, last) if self._reverse else KeyRange(last + b"\0", keys.stop)
        pairs = self._snapshot.read(keys, self._reverse, count)
        if pairs:
            self.moved = pairs[-1][0]
        return pairs

    @property
    def holds(self) -> bool:
        return self._snapshot is not None

    def release(self) -> None:
        self._snapshot = None  # whose reader is free again, unless the caller has the snapshot, too
