"""A store in RocksDB that another process writes: a *secondary instance* of it.

A secondary reads what the owner has in files, and repeats what is in the owner's write-ahead log, in a
memtable of its own. It stands still between two calls of ``catch_up``. RocksDB leaves two faults in this,
which are mended here. No read sees the instance meanwhile.

- It reads which files count before it looks which logs there are. A log that becomes a file in between is in
  neither, but what was written later is there. And where a log is deleted before it is opened, it reads none.
  So it catches up again when files or logs changed meanwhile.
- It keeps in its memtable what the owner has put into a file. A point read finds that, though the files may
  have something newer. So the instance is opened anew where the files changed under a memtable.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rocksdict import Rdict

from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    KeyRange,
    Snapshot,
    StoreOptions,
)
from statestore.backends.place import Place
from statestore.backends.rocksdb import errors
from statestore.backends.rocksdb.reads import RocksDBReads
from statestore.backends.rocksdb.scan import Moment
from statestore.backends.rocksdb.snapshots import SecondarySnapshot
from statestore.backends.sharing import ReadOnlyBackend
from statestore.errors import StateStoreError, StoreMissingError, StoreUnavailableError
from statestore.runtime import fork

_LOOKS = 100
"""How often files are listed again that are gone when they are looked at."""
_SETTLED = 50_000_000
"""Nanoseconds after which another change of a directory has another time."""


class RocksDBReader(RocksDBReads, ReadOnlyBackend):
    """Reads of a secondary instance. Other threads wait while it catches up: rocksdict holds their lock."""

    live: ClassVar[bool] = False

    def __init__(
        self,
        open_secondary: Callable[[], Rdict],
        directory: Path,
        cache: int,
        open_owner: Callable[[StoreOptions], Backend],
        damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None = None,
    ) -> None:
        """``open_secondary`` and ``open_owner`` open the store, for reading and for writing."""
        super().__init__(open_secondary(), directory, cache, damaged)
        self._open_secondary = open_secondary
        self._open_owner = open_owner
        self._place = Place(directory, directory, directory / "CURRENT")
        self._log = _OwnersLog(directory)
        self._still = fork.rlock()  # held where nothing may change
        self._promoted = False
        self._has_memtable = True
        """Whether the memtable may have something."""
        self._seen = _Look(("", 0), (), 0)
        try:
            self._catch_up(self._log.look())
        except OSError as error:
            raise errors.from_os(directory, "opening", error) from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._still:
            return super().get_many(keys)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        with self._still:
            return super().scan(keys, reverse, limit)

    def snapshot(self) -> Snapshot:
        with self._still, self._lifetime.call:
            return SecondarySnapshot(self._lifetime, self._directory, Moment(self._lifetime, self._database))

    def catch_up(self) -> bool:
        with self._still, self._lifetime.call:
            if self._promoted:
                return False
            try:
                if not self._place.is_there():  # a secondary does not notice it
                    raise self._place.missing()
                look = self._log.look()
                if look == self._seen:
                    return False
                self._catch_up(look)
            except StoreMissingError as error:
                raise self._lifetime.failure(error) from None
            except OSError as error:
                raise errors.from_os(self._directory, "catching up", error) from error
            return True

    def _catch_up(self, look: _Look) -> None:
        """Read what the owner wrote, by ``look`` and later; see the module."""
        self._read = self._read_later
        try:
            before = self._seen.manifest
            while True:
                if self._has_memtable and look.manifest != before:
                    self._database = self._open_secondary()
                    self._has_memtable = False
                else:
                    self._database.try_catch_up_with_primary()
                after = self._log.look()
                settled = after.manifest == look.manifest and set(look.logs) <= set(after.logs)
                self._has_memtable |= not settled or after.size > 0 or len(after.logs) > 1
                seen, look = look, after
                if settled:
                    break
            self._seen = seen
        except (OSError, StateStoreError):
            raise
        except Exception as error:
            raise self._failure("catching up", error) from error
        finally:
            if self._lifetime.ended is None:
                self._read = self._database.get

    def _read_later(self, keys: Any) -> Any:
        with self._still:
            return self._database.get(keys)

    @property
    def is_in_use(self) -> bool:
        return self._lifetime.holding() > 0

    def promote(self, options: StoreOptions) -> Backend:
        with self._close_lock:
            self._lifetime.check()
            backend = self._open_owner(options)
            self._promoted = True
            return backend

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._lifetime.end()  # rocksdict does not close a database that a reader still holds
            self._database.close()


class _Look(NamedTuple):
    """How far the owner has written, as of one moment."""

    manifest: tuple[str, int]
    """The file that says which files count, and its size."""
    logs: tuple[str, ...]
    """The write-ahead logs, the latest last."""
    size: int
    """Bytes of the latest."""


class _OwnersLog:
    """Tells by the names and sizes of the owner's files whether it wrote anything: catching up costs more."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._listed_at = -1  # the time of the directory's last change when it was listed
        self._manifest = ""
        self._logs: tuple[str, ...] = ()

    def look(self) -> _Look:
        """Return how far the owner has written. Raises ``OSError``."""
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError):
                return self._look()
            self._listed_at = -1  # the owner went on between listing and looking
        return self._look()

    def _look(self) -> _Look:
        changed_at = self._directory.stat().st_mtime_ns
        if changed_at != self._listed_at:
            self._manifest = (self._directory / "CURRENT").read_text().strip()
            logs = [entry.name for entry in self._directory.iterdir() if entry.suffix == ".log"]
            self._logs = tuple(sorted(logs, key=lambda name: (len(name), name)))
            settled = time.time_ns() - changed_at > _SETTLED
            self._listed_at = changed_at if settled else -1
        size = self._size(self._logs[-1]) if self._logs else 0
        return _Look((self._manifest, self._size(self._manifest)), self._logs, size)

    def _size(self, name: str) -> int:
        return (self._directory / name).stat().st_size
