"""Scans of an LMDB store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb

from statestore.backends.contract import BackendIterator, KeyRange
from statestore.backends.lifetime import Lifetime, TrackedReader
from statestore.backends.lmdb import errors
from statestore.core import GuardedPairs


class LMDBIterator(GuardedPairs, TrackedReader, BackendIterator):
    """A scan in key order with a cursor of its own. LMDB knows no bounds, so the end is found here."""

    def __init__(
        self,
        lifetime: Lifetime,
        directory: Path,
        view: lmdb.Transaction[bytes],
        keys: KeyRange,
        reverse: bool,
        limit: int | None,
    ) -> None:
        self._guard = self._lifetime = lifetime
        self._directory = directory
        self._left = -1 if limit is None else limit
        try:
            # Kept, so that a forked child can keep it for ever.
            self._cursor: lmdb.Cursor[bytes] | None = view.cursor()
            self._source = _seek(self._cursor, keys, reverse)
        except lmdb.Error as error:
            raise lifetime.failure(errors.translate(directory, "scanning", error)) from error
        if reverse:
            self._start = keys.start
        else:
            self._stop = keys.stop
        lifetime.readers.add(self)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, lmdb.Error):
            raise error
        raise self._lifetime.failure(errors.translate(self._directory, "scanning", error)) from error

    @property
    def holds(self) -> bool:
        return self._cursor is not None

    def release(self) -> None:
        self._source = iter(())
        self._cursor = None

    end = release


def _seek(cursor: lmdb.Cursor[bytes], keys: KeyRange, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
    start, stop = keys.start, keys.stop
    if reverse:
        found = cursor.prev() if stop is not None and cursor.set_range(stop) else cursor.last()
        return cursor.iterprev() if found else iter(())
    found = cursor.first() if start is None else cursor.set_range(start)
    return cursor.iternext() if found else iter(())
