"""Reading an open RocksDB database, whoever writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rocksdict import Rdict

from statestore.backends.contract import (
    ALL_KEYS,
    BackendIterator,
    KeyRange,
    OpenStore,
    check_limit,
    directory_size,
)
from statestore.backends.lifetime import Lifetime, check_bytes
from statestore.backends.rocksdb import errors
from statestore.backends.rocksdb.scan import (
    RocksDBIterator,
    RocksDBRanges,
    fills_cache,
    is_of_all,
    ranged,
    whole,
)
from statestore.errors import StateStoreError, StoreFullError, StoreUnavailableError
from statestore.runtime import fork
from statestore.runtime.interrupts import pass_on

ROWS = "rocksdb.estimate-num-keys"


class RocksDBReads(OpenStore):
    """What is read of a database.

    rocksdict holds the interpreter's lock in ``get``, in ``write`` and in each step of a scan. ``get`` cannot
    meet ``close``, therefore, and goes straight to RocksDB; all else is announced to the ``Lifetime``.
    """

    def __init__(
        self,
        database: Rdict,
        directory: Path,
        cache: int,
        damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None,
    ) -> None:
        """``cache`` is the bytes of the block cache."""
        self._database = database
        self._read: Callable[[Any], Any] = database.get
        self._directory = directory
        self._cache = cache
        self._lifetime = Lifetime(damaged)
        self._close_lock = fork.rlock()
        self._closed = False
        self._was_full = False
        """Whether no space was left for a write."""
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
        with self._lifetime.call:
            try:
                values: list[bytes | None] = self._read(list(keys))
            except Exception as error:
                raise self._failure("reading", error) from error
        return values

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime.call:
            reads_all = is_of_all(keys, limit)
            fill = not reads_all or fills_cache(self._database, self._cache)
            moment_of = whole if reads_all and not reverse else ranged
            moment = moment_of(self._lifetime, self._database, keys, fill)
            return RocksDBIterator(self._lifetime, self._directory, moment, keys, reverse, limit)

    def scan_ranges(self, ranges: Sequence[KeyRange], reverse: bool = False) -> BackendIterator:
        with self._lifetime.call:
            return RocksDBRanges(self._lifetime, self._directory, self._database, list(ranges), reverse)

    def size(self) -> int:
        with self._lifetime.call:
            return directory_size(self._directory)

    def approximate_count(self) -> int:
        with self._lifetime.call:
            return self._database.property_int_value(ROWS) or 0

    def shut(self) -> None:
        self._lifetime.shut()
        self._read = refuse

    def _failure(self, doing: str, error: Exception) -> StateStoreError:
        """Return what to raise for ``error``, which may just be how rocksdict says that it is closed."""
        pass_on(error)
        if self._lifetime.ended is not None:
            return self._lifetime.ended()
        return self._lifetime.failure(self._translated(doing, error))

    def _translated(self, doing: str, error: Exception) -> StoreUnavailableError:
        failure = errors.translate(self._directory, doing, error)
        if self._was_full:
            failure = errors.full_before(failure)
        self._was_full = self._was_full or isinstance(failure, StoreFullError)
        return failure

    def _forked(self) -> None:
        self._read = refuse
        fork.leak(self._database)
        self._lifetime.forked()


def refuse(key: object) -> None:  # noqa: ARG001
    raise RuntimeError("the database must not be used any more")  # get() turns it into the reason
