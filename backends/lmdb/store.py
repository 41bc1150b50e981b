"""One LMDB store: reading, writing, and its maintenance."""

from __future__ import annotations

import os
import shutil
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

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
from statestore.runtime import fork

_POLL = 0.005
_PAUSE = 0.05
"""Seconds for which readers may be kept waiting for one another when the map grows."""


class _ViewReader(BackendReader):
    """Reads in a transaction."""

    _lifetime: Lifetime
    _directory: Path

    @abstractmethod
    def _view(self) -> lmdb.Transaction[bytes]:
        """Return the transaction to read in; raises what there is to say where there is none."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lifetime:
            view = self._view()
            for key in keys:
                check_bytes("key", key)
            try:
                return [view.get(key) for key in keys]
            except lmdb.Error as error:
                raise errors.translate(self._directory, "reading", error) from error

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime:
            return LMDBIterator(self._lifetime, self._directory, self._view(), keys, reverse, limit)


class LMDBBackend(_ViewReader, Backend):
    """A store in LMDB.

    A read transaction pins the pages of its moment: a point read begins and ends its own, snapshots and scans
    keep theirs. It ends when its last reference goes, so nothing here ends one that somebody is using.
    """

    def __init__(
        self, directory: Path, home: Path, opener: files.EnvironmentOpener, options: LMDBOptions, lock: int
    ) -> None:
        self._directory = directory
        self._opener = opener
        self._options = options
        self._lock = lock
        self._lifetime = Lifetime()
        self._inside = self._lifetime.inside
        self._write_lock = fork.lock()
        self._close_lock = fork.lock()
        self._closed = False
        self._use(opener(home), home)
        fork.register(self)

    def _use(self, environment: lmdb.Environment, home: Path) -> None:
        self._environment = environment
        self._home = home
        self._begin: Callable[[], lmdb.Transaction[bytes]] = environment.begin
        self._views: weakref.WeakSet[lmdb.Transaction[bytes]] = weakref.WeakSet()  # only counted

    def _view(self) -> lmdb.Transaction[bytes]:
        """Return a transaction that the growing of the map has to respect."""
        try:
            view = self._begin()
        except lmdb.Error as error:
            raise errors.translate(self._directory, "reading", error) from error
        self._views.add(view)
        return view

    def get(self, key: bytes) -> bytes | None:
        if not isinstance(key, bytes):
            check_bytes("key", key)
        inside = self._inside  # `with self._lifetime`, at a third of its cost
        inside.append(None)
        try:
            if self._lifetime.barrier is None:
                return self._begin().get(key)
        except lmdb.Error as error:
            raise errors.translate(self._directory, "reading", error) from error
        finally:
            inside.pop()
        return self.get_many([key])[0]

    def snapshot(self) -> Snapshot:
        with self._lifetime:
            return LMDBSnapshot(self._lifetime, self._directory, self._view())

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
        with self._write_lock, self._lifetime:
            while True:
                try:
                    return change()
                except lmdb.MapFullError:
                    self._grow()
                except (lmdb.Error, OSError) as error:
                    raise errors.translate(self._directory, doing, error) from error

    def _grow(self) -> None:
        """Double the map, at a moment without any transaction: LMDB would cut off those that are open."""
        size = self._environment.info()["map_size"]
        if size >= self._options.max_map_size:
            raise errors.map_full(
                self._directory,
                size,
                "as large as it may be",
                "raise LMDBOptions.max_map_size, or delete something and write again",
            )
        deadline = time.monotonic() + self._options.grow_timeout
        while not self._try_grow(size, min(2 * size, self._options.max_map_size)):
            self._lifetime.check()
            if time.monotonic() >= deadline:
                raise errors.map_full(
                    self._directory,
                    size,
                    f"cannot grow under {len(self._views)} open snapshots and scans",
                    "close them, or raise LMDBOptions.map_size, and write again",
                )
            time.sleep(_POLL)

    def _try_grow(self, old: int, new: int) -> bool:
        if self._views:
            return False
        with self._lifetime.paused(_PAUSE) as alone:
            if not alone or self._views:
                return False
            try:
                self._environment.set_mapsize(new)
            except lmdb.Error as error:
                self._environment.close()  # a failed growing leaves no map at all
                self._use(self._opener(self._home), self._home)
                raise errors.map_full(
                    self._directory,
                    old,
                    f"the system refuses one of {new} bytes ({error})",
                    "raise `ulimit -v`, or delete something and write again",
                ) from error
            return True

    def flush(self) -> None:
        with self._lifetime:
            try:
                self._environment.sync(True)
            except lmdb.Error as error:
                raise errors.translate(self._directory, "flushing", error) from error

    def size(self) -> int:
        with self._lifetime:
            return directory_size(self._directory)

    def approximate_count(self) -> int:
        with self._lifetime:
            return self._environment.stat()["entries"]

    def checkpoint(self, directory: Path) -> None:
        with self._lifetime:
            if directory.exists():
                raise FileExistsError(f"{directory} exists: a checkpoint needs a directory of its own")
            unfinished = directory.with_name(f"{directory.name}.tmp")
            try:
                unfinished.mkdir(mode=0o700)
                files.copy(self._environment, self._view(), unfinished / "000001")
                files.finish(unfinished, directory)
                sync(directory.parent)
            except (lmdb.Error, OSError) as error:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise errors.translate(self._directory, f"copying to {directory}", error) from error

    def compact(self) -> None:
        """Write the content into a new file and change over to it; writes wait meanwhile, reads go on.

        Snapshots that are open keep the old file, and its space, until they are closed.
        """
        self._lifetime.check()
        with self._write_lock, self._lifetime:
            old, new = self._home, files.successor(self._home)
            unfinished = new.with_name(f"{new.name}.tmp")
            try:
                files.copy(self._environment, self._begin(), unfinished)
                environment = self._opener(unfinished)
                # From the moment the new one has its name it counts, so it has to be the one in use then.
                files.finish(unfinished, new)
                self._use(environment, new)
                sync(self._directory)
                shutil.rmtree(old)
            except (lmdb.Error, OSError) as error:
                raise errors.translate(self._directory, "compacting", error) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    def close(self) -> None:
        if self._lifetime.ended is fork.forked_error:
            raise fork.forked_error()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._lifetime.end()
            try:
                self._environment.close()
            finally:
                os.close(self._lock)

    def destroy(self) -> None:
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
        if not self._closed:
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
