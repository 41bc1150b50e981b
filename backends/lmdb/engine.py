"""Opening LMDB stores."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import ClassVar

from statestore.backends.contract import Backend, Engine, StoreOptions
from statestore.backends.lmdb import errors, files
from statestore.backends.lmdb.options import LMDBOptions
from statestore.backends.lmdb.store import LMDBBackend
from statestore.backends.options import EngineOptions


class LMDBEngine(Engine):
    """Stores in LMDB. ``memory_budget`` bounds nothing here: LMDB caches in the system's page cache only."""

    name: ClassVar[str] = "lmdb"
    max_key_size: ClassVar[int] = 510  # LMDB's 511 less the namespace byte
    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = LMDBOptions

    def __init__(self, memory_budget: int, options: LMDBOptions | None = None) -> None:  # noqa: ARG002
        self._options = options if options is not None else LMDBOptions()

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        opener = files.EnvironmentOpener(self._options, options.changelog)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            lock = _lock(directory)
        except OSError as error:
            raise errors.translate(directory, "opening", error) from error
        try:
            home = files.prepare(directory, opener)
            return LMDBBackend(directory, home, opener, self._options, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Nothing is shared."""


def _lock(directory: Path) -> int:
    """Return a descriptor that keeps every other one, of this process too, from the same lock."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise errors.in_use(directory) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
