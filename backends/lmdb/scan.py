"""Scans of an LMDB store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lmdb

from statestore.backends.lifetime import ChunkedIterator, Lifetime
from statestore.backends.lmdb import errors


class LMDBIterator(ChunkedIterator):
    """A scan in key order with a cursor of its own. LMDB knows no bounds, so the last chunk is cut here."""

    def __init__(
        self,
        lifetime: Lifetime,
        directory: Path,
        view: lmdb.Transaction[bytes],
        bounds: tuple[bytes | None, bytes | None],
        reverse: bool,
        limit: int | None,
    ) -> None:
        super().__init__(lifetime, limit)
        self._directory = directory
        self._start, self._stop = bounds
        self._reverse = reverse
        try:
            pairs = self._seek(view.cursor())
        except lmdb.Error as error:
            raise errors.translate(directory, "scanning", error) from error
        self._source: Iterator[tuple[bytes, bytes]] = pairs
        lifetime.readers.add(self)

    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        try:
            pairs = list(islice(self._source, count))
        except lmdb.Error as error:
            raise errors.translate(self._directory, "scanning", error) from error
        if not pairs:
            return pairs
        start, stop, last_key = self._start, self._stop, pairs[-1][0]
        if self._reverse and start is not None and last_key < start:
            return [pair for pair in pairs if pair[0] >= start]
        if not self._reverse and stop is not None and last_key >= stop:
            return [pair for pair in pairs if pair[0] < stop]
        return pairs

    def release(self) -> None:
        self._source = iter(())

    def _seek(self, cursor: lmdb.Cursor[bytes]) -> Iterator[tuple[bytes, bytes]]:
        if self._reverse:
            if self._stop is not None and cursor.set_range(self._stop):
                found = cursor.prev()
            else:
                found = cursor.last()
            return cursor.iterprev() if found else iter(())
        found = cursor.first() if self._start is None else cursor.set_range(self._start)
        return cursor.iternext() if found else iter(())
