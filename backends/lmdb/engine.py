"""Opening LMDB stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from statestore.backends import directories
from statestore.backends.contract import Backend, Engine, StoreOptions
from statestore.backends.descriptors import Descriptors
from statestore.backends.lmdb import errors, files
from statestore.backends.lmdb.options import LMDBOptions
from statestore.backends.lmdb.reader import LMDBReader
from statestore.backends.lmdb.store import LMDBBackend
from statestore.backends.options import EngineOptions
from statestore.backends.sharing import ReadOnlyBackend

DESCRIPTORS = 5
"""What a store holds open: its directory, the data twice, LMDB's lock, and the other file of a compaction."""


class LMDBEngine(Engine):
    """Stores in LMDB. ``memory_budget`` bounds nothing here: LMDB caches in the system's page cache only."""

    name: ClassVar[str] = "lmdb"
    max_key_size: ClassVar[int] = 510  # LMDB's 511 less the namespace byte
    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = LMDBOptions

    def __init__(self, memory_budget: int, options: LMDBOptions | None = None) -> None:  # noqa: ARG002
        self._options = options if options is not None else LMDBOptions()
        self._descriptors = Descriptors("lmdb", DESCRIPTORS)

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        self._descriptors.take(directory, 0)
        opener = files.EnvironmentOpener(self._options, options.changelog)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            lock = directories.lock(directory)
        except OSError as error:
            raise errors.translate(directory, "opening", error) from error
        try:
            home = files.prepare(directory, opener)
            store = LMDBBackend(directory, home, opener, self._options, lock, options.damaged)
        except BaseException:
            os.close(lock)
            raise
        self._descriptors.given(store, 0)
        return store

    def open_reader(self, directory: Path, options: StoreOptions) -> ReadOnlyBackend:
        self._descriptors.take(directory, 0)
        store = LMDBReader(directory, self._options, options)
        self._descriptors.given(store, 0)
        return store

    def close(self) -> None:
        """Nothing is shared."""
