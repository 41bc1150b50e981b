"""A store in LMDB that another process writes.

LMDB lets many processes read beside one that writes: each notes in ``lock.mdb`` which state it reads, so that
the writer leaves its pages alone. Nothing is copied into the memory of a reader.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from statestore.backends import directories
from statestore.backends.contract import Backend, Snapshot, StoreOptions
from statestore.backends.lifetime import closed_error
from statestore.backends.lmdb import errors, files
from statestore.backends.lmdb.options import LMDBOptions
from statestore.backends.lmdb.store import LMDBBackend
from statestore.backends.sharing import ReadOnlyBackend
from statestore.backends.wrapper import WrapperReader
from statestore.runtime import fork


class LMDBReader(WrapperReader[LMDBBackend], ReadOnlyBackend):
    """Reads of a store by the environment that also writes it, once this process owns it.

    Where this process may not write ``data.mdb``, the environment is open for reading only. Where it may not
    write ``lock.mdb`` either, nobody may write the store meanwhile: a shared lock of its directory is held.
    """

    live: ClassVar[bool] = True

    def __init__(self, directory: Path, options: LMDBOptions, store: StoreOptions) -> None:
        self._directory = directory
        self._lock = fork.lock()
        self._promoted = False
        full = files.EnvironmentOpener(options, store.changelog)
        opener: files.Opener = full
        home = files.current(directory)
        self._may_write = _may_write(home / "data.mdb")
        held: int | None = None
        try:
            if not _may_write(home / "lock.mdb"):
                held = _shared_lock(directory)
                opener = partial(full, readonly=True, lock=False)
            elif not self._may_write:
                opener = partial(full, readonly=True)
            self.inner = LMDBBackend(directory, home, opener, options, held, store.damaged, owned=False)
        except BaseException:
            if held is not None:
                os.close(held)
            raise

    def snapshot(self) -> Snapshot:
        return self.inner.snapshot()

    def size(self) -> int:
        return self.inner.size()

    def approximate_count(self) -> int:
        return self.inner.approximate_count()

    def catch_up(self) -> bool:
        with self._lock:
            return not self._promoted and self.inner.follow()

    @property
    def is_in_use(self) -> bool:
        return self.inner.is_in_use

    def promote(self, options: StoreOptions) -> Backend:
        with self._lock:
            self.inner.check_open()
            if not self._may_write:
                raise errors.read_only(self._directory)
            try:
                lock = directories.lock(self._directory)
            except OSError as error:
                raise errors.translate(self._directory, "taking it over", error) from error
            try:
                self.inner.own(lock, options.damaged)
            except BaseException:
                os.close(lock)
                raise
            self._promoted = True
            return self.inner

    def shut(self) -> None:
        if not self._promoted:
            self.inner.shut()

    def close(self) -> None:
        with self._lock:
            if self._promoted:
                self.inner = cast("LMDBBackend", _Closed())
            else:
                self.inner.close()


class _Closed:
    """In the place of a store that somebody else goes on using."""

    def __getattr__(self, name: str) -> Any:
        raise closed_error()


def _may_write(file: Path) -> bool:
    return os.access(file if file.exists() else file.parent, os.W_OK)


def _shared_lock(directory: Path) -> int:
    try:
        return directories.lock(directory, shared=True)
    except BlockingIOError:
        raise errors.unprotected(directory) from None
    except OSError as error:
        raise errors.translate(directory, "opening", error) from error
