"""Scans of a RocksDB store."""

from __future__ import annotations

import threading
from pathlib import Path

from rocksdict import Rdict, RdictIter, ReadOptions
from rocksdict import Snapshot as RdictSnapshot

from statestore.backends.contract import KeyRange
from statestore.backends.lifetime import ChunkedIterator, Lifetime
from statestore.backends.rocksdb import errors
from statestore.core import read_pairs


class SharedIterator:
    """An ``RdictIter``, which sees the moment it was made, for one scan or several."""

    def __init__(self, database: Rdict, stop: bytes | None = None) -> None:
        options = ReadOptions()
        if stop is not None:
            options.set_iterate_upper_bound(stop)
        self.iterator: RdictIter = database.iter(options)
        self.lock = threading.Lock()
        self.moved_by: int | None = None
        """The ``id`` of the scan whose next pair this is at."""


def present(database: Rdict) -> tuple[RdictSnapshot, SharedIterator]:
    """Return a snapshot, for point reads, and a shared iterator of the same moment.

    ``Snapshot.iter()`` and ``items()`` of rocksdict do not read the snapshot but the present.
    """
    while True:
        before = database.latest_sequence_number()
        snapshot, shared = database.snapshot(), SharedIterator(database)
        if database.latest_sequence_number() == before:
            return snapshot, shared


class RocksDBIterator(ChunkedIterator):
    """A scan in key order. Several may share one iterator: a scan seeks first where another has moved it.

    Uses ``RdictIter``, since ``items()`` of rocksdict ends at a corrupt block as at the end of the data.
    There is no lower bound (``set_iterate_lower_bound`` sets the upper one), so the last chunk is cut here.
    """

    def __init__(
        self,
        lifetime: Lifetime,
        directory: Path,
        shared: SharedIterator,
        keys: KeyRange,
        reverse: bool,
        limit: int | None,
    ) -> None:
        super().__init__(lifetime, limit)
        self._directory = directory
        self._shared: SharedIterator | None = shared
        self._start, self._stop = keys.start, keys.stop
        self._reverse = reverse
        self._last_key: bytes | None = None
        lifetime.readers.add(self)

    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        shared = self._shared
        assert shared is not None  # released only when finished or ended
        with shared.lock:
            iterator = shared.iterator
            if self._last_key is None or shared.moved_by != id(self):
                self._seek(iterator)
            shared.moved_by = None  # should this be cut short
            step = iterator.prev if self._reverse else iterator.next
            pairs = read_pairs(iterator.key, iterator.value, step, count)
            if len(pairs) < count:  # the end, or an error
                self._check(iterator)
            if pairs:
                self._last_key = pairs[-1][0]
                shared.moved_by = id(self)
        return self._cut(pairs)

    def release(self) -> None:
        self._shared = None

    def _seek(self, iterator: RdictIter) -> None:
        if self._reverse:
            self._seek_backwards(iterator)
        elif self._last_key is not None:
            iterator.seek(self._last_key)
            if iterator.valid():  # moving on from a failed seek is undefined
                iterator.next()
        elif self._start is not None:
            iterator.seek(self._start)
        else:
            iterator.seek_to_first()

    def _seek_backwards(self, iterator: RdictIter) -> None:
        end = self._stop if self._last_key is None else self._last_key
        if end is None:
            iterator.seek_to_last()
        else:
            iterator.seek_for_prev(end)
            if iterator.key() == end:
                iterator.prev()

    def _check(self, iterator: RdictIter) -> None:
        try:
            iterator.status()
        except Exception as error:
            raise errors.translate(self._directory, "scanning", error) from error

    def _cut(self, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return those of ``pairs`` that are in the range."""
        if self._last_key is None:
            return pairs
        start, stop = self._start, self._stop
        if self._reverse and start is not None and self._last_key < start:
            return [pair for pair in pairs if pair[0] >= start]
        if not self._reverse and stop is not None and self._last_key >= stop:
            return [pair for pair in pairs if pair[0] < stop]
        return pairs
