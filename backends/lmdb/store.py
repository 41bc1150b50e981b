"""One LMDB store: reading, writing, and its maintenance."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb

from statestore.backends import directories
from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    KeyRange,
    Snapshot,
    SortedRun,
    check_limit,
    directory_size,
    sync,
)
from statestore.backends.lifetime import Lifetime, TrackedReader, check_bytes, closed_error
from statestore.backends.lmdb import bulk, errors, files
from statestore.backends.lmdb.options import LMDBOptions
from statestore.backends.lmdb.scan import LMDBIterator
from statestore.backends.place import Place
from statestore.errors import StoreMissingError, StoreUnavailableError
from statestore.runtime import fork
from statestore.runtime.interrupts import shielded

Read = TypeVar("Read")

_POLL = 0.005
_PAUSE = 0.05
"""Seconds for which readers may be kept waiting for one another when the map grows."""


class _ViewReader(BackendReader):
    """Reads in a transaction."""

    _lifetime: Lifetime
    _directory: Path

    def _failure(self, doing: str, error: Exception) -> Exception:
        """Return what to raise for ``error``, which came up ``doing`` something."""
        return self._lifetime.failure(errors.translate(self._directory, doing, error))

    @abstractmethod
    def _view(self) -> lmdb.Transaction[bytes]:
        """Return the transaction to read in; raises what there is to say where there is none."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lifetime.call:
            view = self._view()
            for key in keys:
                check_bytes("key", key)
            try:
                return [view.get(key) for key in keys]
            except lmdb.Error as error:
                raise self._failure("reading", error) from error

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime.call:
            return LMDBIterator(self._lifetime, self._directory, self._view(), keys, reverse, limit)


class LMDBBackend(_ViewReader, Backend):
    """A store in LMDB.

    A read transaction pins the pages of its moment: a point read begins and ends its own, snapshots and scans
    keep theirs. It ends when its last reference goes, so nothing here ends one that somebody is using.

    One that is not ``owned`` writes nothing: another process may. It ``follow``s that, until it is to ``own``
    the store. LMDB lets a process open an environment once only, so the one that is read becomes the one that
    is written.
    """

    def __init__(
        self,
        directory: Path,
        home: Path,
        opener: files.Opener,
        options: LMDBOptions,
        lock: int | None,
        damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None = None,
        *,
        owned: bool = True,
    ) -> None:
        self._directory = directory
        self._opener = opener
        self._options = options
        self._lock = lock
        self._owned = owned
        self._lifetime = Lifetime(damaged)
        self._inside = self._lifetime.inside
        self._write_lock = fork.rlock()
        self._close_lock = fork.rlock()
        self._copies = files.Copies()
        self._closed = False
        self._seen = 0  # the last transaction that ``follow`` saw
        self._use(opener(home), home)
        fork.register(self)

    def _use(self, environment: lmdb.Environment, home: Path) -> None:
        self._environment = environment
        self._home = home
        self._place = Place(self._directory, home / "data.mdb", home / "data.mdb")
        self._begin: Callable[[], lmdb.Transaction[bytes]] = environment.begin

    def _view(self) -> lmdb.Transaction[bytes]:
        """Return a transaction. Nothing may refer to it weakly.

        While Python tells who does, another thread may close the environment, which frees it a second time.
        """
        try:
            return self._begin()
        except lmdb.MapResizedError:  # of a store that another process writes: whoever called adopts the size
            raise
        except lmdb.Error as error:
            if isinstance(error, lmdb.ReadersFullError) and self._environment.reader_check():
                return self._view()
            raise self._failure("reading", error) from error

    def get(self, key: bytes) -> bytes | None:
        if not isinstance(key, bytes):
            check_bytes("key", key)
        inside = self._inside  # `with self._lifetime.call`, at less than its cost
        try:
            inside.append(None)  # in here: no signal handler runs between the two
            if self._lifetime.barrier is None:
                return self._begin().get(key)
        except (lmdb.MapResizedError, lmdb.ReadersFullError):
            pass  # what can be done about them is done below
        except lmdb.Error as error:
            raise self._failure("reading", error) from error
        finally:
            inside.pop()
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._at_size(lambda: _ViewReader.get_many(self, keys))

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        return self._at_size(lambda: _ViewReader.scan(self, keys, reverse, limit))

    def snapshot(self) -> Snapshot:
        return self._at_size(self._snapshot)

    def _snapshot(self) -> Snapshot:
        with self._lifetime.call:
            return LMDBSnapshot(self._lifetime, self._directory, self._view())

    def _at_size(self, read: Callable[[], Read]) -> Read:
        """Call ``read``, and again where another process has made the file larger than the map here."""
        while True:
            try:
                return read()
            except lmdb.MapResizedError:
                self._resize(
                    lambda: self._resized(0, callers=0),
                    lambda: errors.outgrown(self._directory, self._lifetime.holding()),
                )

    def write(self, batch: Batch) -> None:
        self._transact("writing", lambda: _apply(self._environment, batch))

    def load(self, runs: Sequence[SortedRun]) -> None:
        def change() -> None:
            bulk.apply(self._environment, runs)
            self._environment.sync(True)

        self._transact("loading", change)

    def _transact(self, doing: str, change: Callable[[], None]) -> None:
        """Call ``change``, all or nothing of which is done; and again where the map had to grow for it."""
        self._lifetime.check()
        with self._write_lock, self._lifetime.call:
            if self._options.sync:
                self._check_place(self._place.check_now_and_then)
            while True:
                try:
                    return change()
                except lmdb.MapFullError:
                    self._grow()
                except (lmdb.Error, OSError) as error:
                    raise self._failure(doing, error) from error

    def _grow(self) -> None:
        """Double the map, at a moment without any transaction: LMDB would cut off those that are open."""
        size = self._environment.info()["map_size"]
        if size >= self._options.max_map_size:
            raise errors.map_full(
                self._directory,
                size,
                "as large as it may be",
                "raise max_map_size under [backends.lmdb], or delete something and write again",
            )
        self._resize(
            lambda: self._grown(size, min(2 * size, self._options.max_map_size)),
            lambda: errors.map_full(
                self._directory,
                size,
                f"cannot grow under {self._lifetime.holding()} open snapshots and scans",
                "close them, or raise map_size under [backends.lmdb], and write again",
            ),
        )

    def _resize(self, resize: Callable[[], bool], refusal: Callable[[], StoreUnavailableError]) -> None:
        """Call ``resize`` until it has found a moment without any transaction, or time is up."""
        deadline = time.monotonic() + self._options.grow_timeout
        with self._write_lock:
            # A pause that an exception of a signal handler cuts short would be one for all others.
            while self._lifetime.holding() or not shielded(resize, "statestore-grow"):
                self._lifetime.check()
                if time.monotonic() >= deadline:
                    raise refusal()
                time.sleep(_POLL)

    def _grown(self, old: int, new: int) -> bool:
        try:
            return self._resized(new, callers=1)
        except lmdb.Error as error:
            raise errors.map_full(
                self._directory,
                old,
                f"the system refuses one of {new} bytes ({error})",
                "raise `ulimit -v`, or delete something and write again",
            ) from error

    def _resized(self, size: int, callers: int) -> bool:
        """Give the map another size (0: that which the file is to have), unless somebody else reads."""
        with self._lifetime.paused(_PAUSE, callers) as alone:
            if not alone or self._lifetime.holding():
                return False
            try:
                self._environment.set_mapsize(size)
            except lmdb.Error:
                self._environment.close()  # a failed growing leaves no map at all
                self._use(self._opener(self._home), self._home)
                raise
            return True

    def follow(self) -> bool:
        """Go after the process that writes the store; say whether there may be something new.

        Reads see new rows without this, unless a compaction has put another file in the place of the old one.
        """
        with self._write_lock, self._lifetime.call:
            moved = not self._place.is_there()
            if moved:
                self._use(*files.open_current(self._directory, self._opener))
            before, self._seen = self._seen, self._environment.info()["last_txnid"]
            return moved or self._seen != before

    def own(
        self, lock: int, damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None
    ) -> None:
        """Become the store's owner, which has the ``lock`` of its directory."""
        with self._write_lock, self._lifetime.call:
            home = files.prepare(self._directory, self._opener)
            if home != self._home:
                self._use(self._opener(home), home)
            self._lifetime.damaged = damaged
            self._lock = lock
            self._owned = True

    def check_open(self) -> None:
        """Raise what every call would raise now."""
        self._lifetime.check()

    @property
    def is_in_use(self) -> bool:
        """Whether a snapshot or scan is open."""
        return self._lifetime.holding() > 0

    def flush(self) -> None:
        with self._lifetime.call:
            try:
                self._environment.sync(True)
                # Else what a process that was killed was reading is kept for ever, and the file grows.
                self._environment.reader_check()
            except lmdb.Error as error:
                raise self._failure("flushing", error) from error
            self._check_place()

    def _check_place(self, check: Callable[[], None] | None = None) -> None:
        try:
            (check or self._place.check)()
        except StoreMissingError as error:
            raise self._lifetime.failure(error) from None

    def size(self) -> int:
        with self._lifetime.call:
            return directory_size(self._directory)

    def approximate_count(self) -> int:
        with self._lifetime.call:
            return self._environment.stat()["entries"]

    def checkpoint(self, directory: Path) -> None:
        with self._lifetime.call:
            directories.check_new(directory)
            try:
                with directories.new_directory(directory) as unfinished:
                    self._copies.write(self._environment, self._view(), unfinished / "000001")
            except (lmdb.Error, OSError) as error:
                raise errors.translate(self._directory, f"copying to {directory}", error) from error

    def compact(self) -> None:
        """Write the content into a new file and change over to it; writes wait meanwhile, reads go on.

        Snapshots that are open keep the old file, and its space, until they are closed. A ``close`` meanwhile
        cuts this short: the unfinished file is removed, and the old one stays.
        """
        self._lifetime.check()
        with self._write_lock, self._lifetime.call:
            old, new = self._home, files.successor(self._home)
            unfinished = new.with_name(f"{new.name}.tmp")
            try:
                self._copies.write(self._environment, self._begin(), unfinished)
                environment = self._opener(unfinished)
                # From the moment the new one has its name it counts, so it has to be the one in use then.
                files.finish(unfinished, new)
                self._use(environment, new)
                sync(self._directory)
                files.remove(old)
            except (lmdb.Error, OSError) as error:
                raise self._failure("compacting", error) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    def shut(self) -> None:
        self._lifetime.shut()

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._lifetime.bar(closed_error)
            self._copies.cut_short()
            self._lifetime.end()
            try:
                self._environment.close()
            finally:
                if self._lock is not None:
                    os.close(self._lock)
            if self._owned:
                self._check_place()

    def destroy(self) -> None:
        with contextlib.suppress(StoreMissingError):
            self.close()
        try:
            shutil.rmtree(self._directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.translate(self._directory, "deleting", error) from error

    def _forked(self) -> None:
        fork.leak(self._environment)
        self._lifetime.forked()
        if self._lock is not None and not self._closed:
            os.close(self._lock)  # or the child would hold the lock longer than its owner lives


class LMDBSnapshot(TrackedReader, _ViewReader, Snapshot):
    """A fixed view of an LMDB store."""

    def __init__(self, lifetime: Lifetime, directory: Path, view: lmdb.Transaction[bytes]) -> None:
        self._lifetime = lifetime
        self._directory = directory
        self._transaction: lmdb.Transaction[bytes] | None = view
        lifetime.readers.add(self)

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    @property
    def holds(self) -> bool:
        return self._transaction is not None

    def close(self) -> None:
        self._transaction = None

    end = close

    def _view(self) -> lmdb.Transaction[bytes]:
        if self._transaction is None:
            raise closed_error()
        return self._transaction


def _apply(environment: lmdb.Environment, batch: Batch) -> None:
    with environment.begin(write=True) as transaction:  # aborted where anything raises
        delete = transaction.delete
        for key in batch.deletes:
            check_bytes("key", key)
            delete(key)
        for key, value in batch.puts:
            if type(key) is not bytes or type(value) is not bytes:  # LMDB would take any buffer
                check_bytes("key", key)
                check_bytes("value", value)
        transaction.cursor().putmulti(batch.puts)
