"""Scans of a RocksDB store."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rocksdict import Rdict, RdictIter, ReadOptions
from rocksdict import Snapshot as RdictSnapshot

from statestore.backends.contract import BackendIterator, KeyRange
from statestore.backends.lifetime import ChunkedIterator, Lifetime, TrackedReader
from statestore.backends.rocksdb import errors
from statestore.core import CursorPairs, GuardedPairs, read_pairs

_FILES = "rocksdb.total-sst-files-size"
_PROPERTIES = "rocksdb.aggregated-table-properties"
_UNPACKED = re.compile(r"raw (?:key|value) size=(\d+)")
_BEST_COMPRESSION = 64
"""How much smaller than their rows files are at most, for all that is asked of a store with few."""


def is_of_all(keys: KeyRange, limit: int | None) -> bool:
    """Say whether a scan reads a whole namespace, or all of them."""
    return limit is None and len(keys.start or b"") <= 1 and len(keys.stop or b"") <= 1


def fills_cache(database: Rdict, cache: int) -> bool:
    """Say whether a scan of all rows finds its blocks in a cache of ``cache`` bytes when it comes again.

    Where it does not, it would only drive out what point reads need, and take a quarter longer for it.
    """
    if (database.property_int_value(_FILES) or 0) * _BEST_COMPRESSION <= cache:
        return True
    sizes = _UNPACKED.findall(database.property_value(_PROPERTIES) or "")
    return sum(map(int, sizes)) <= cache // 2


class Moment(TrackedReader):
    """An ``RdictIter``, which sees the moment it was made, for one scan or several; and perhaps a snapshot.

    Nothing else refers to them, no local variable either: the frames of an exception that somebody keeps
    would keep the database open after ``close()``.
    """

    snapshot: RdictSnapshot
    """For point reads: what ``present`` gives has it."""
    items: Iterator[Any] | None = None
    """For one scan forwards: what ``whole`` gives has it."""

    def __init__(self, lifetime: Lifetime, database: Rdict, options: ReadOptions | None = None) -> None:
        lifetime.readers.add(self)
        self.iterator: RdictIter = database.iter(options or ReadOptions())
        self.lock = threading.RLock()
        self.moved_to: tuple[int, bytes] | None = None
        """The ``id`` of the scan whose next pair this is at, and the key before it."""

    @property
    def holds(self) -> bool:
        return False  # the scans and snapshots that have it do

    def end(self) -> None:
        vars(self).clear()


def present(lifetime: Lifetime, database: Rdict) -> Moment:
    """Return a snapshot and an iterator of the same moment.

    ``Snapshot.iter()`` and ``items()`` of rocksdict do not read the snapshot but the present.
    """
    while True:
        before = database.latest_sequence_number()
        moment = Moment(lifetime, database)
        moment.snapshot = database.snapshot()
        if database.latest_sequence_number() == before:
            return moment


def ranged(lifetime: Lifetime, database: Rdict, keys: KeyRange, fill_cache: bool) -> Moment:
    """Return an iterator for a scan of ``keys``."""
    return Moment(lifetime, database, _options(keys, fill_cache))


def whole(lifetime: Lifetime, database: Rdict, keys: KeyRange, fill_cache: bool) -> Moment:
    """Return an iterator and ``items()`` of the same moment, for a scan forwards of many pairs.

    ``items()`` gives a pair in one call, and in three quarters of the time.
    """
    options = _options(keys, fill_cache)
    while True:
        before = database.latest_sequence_number()
        moment = Moment(lifetime, database, options)
        moment.items = database.items(from_key=keys.start, read_opt=options)
        if database.latest_sequence_number() == before:
            return moment


def _options(keys: KeyRange, fill_cache: bool) -> ReadOptions:
    options = ReadOptions()
    options.fill_cache(fill_cache)  # type: ignore[call-arg]  # the stub lacks it
    if keys.stop is not None:
        options.set_iterate_upper_bound(keys.stop)
    return options


class RocksDBRanges(GuardedPairs, TrackedReader, BackendIterator):
    """A scan of several ranges with an iterator of its own, which takes each pair when it is asked for.

    The ranges come in the order of the keys, in ``reverse`` from the last one on.
    """

    def __init__(
        self, lifetime: Lifetime, directory: Path, database: Rdict, ranges: list[KeyRange], reverse: bool
    ) -> None:
        self._guard = self._lifetime = lifetime
        self._directory = directory
        last = KeyRange(None, ranges[0 if reverse else -1].stop) if ranges else KeyRange()
        # Kept, so that a forked child can keep it for ever.
        self._iterator: RdictIter | None = database.iter(_options(last, True))
        self._source = CursorPairs(self._iterator, ranges, reverse)
        lifetime.readers.add(self)

    def _failed(self, error: Exception) -> None:
        raise self._lifetime.failure(errors.translate(self._directory, "scanning", error)) from error

    @property
    def holds(self) -> bool:
        return self._iterator is not None

    def release(self) -> None:
        self._source = iter(())
        self._iterator = None

    end = release


class RocksDBIterator(ChunkedIterator):
    """A scan in key order. Several may share one iterator: a scan seeks first where another has moved it.

    Uses ``RdictIter``, since ``items()`` of rocksdict ends at a corrupt block as at the end of the data.
    Where a moment has ``items``, they are read first, and ``RdictIter`` tells whether they ended too early.
    There is no lower bound (``set_iterate_lower_bound`` sets the upper one), so the last chunk is cut here.
    """

    def __init__(
        self,
        lifetime: Lifetime,
        directory: Path,
        moment: Moment,
        keys: KeyRange,
        reverse: bool,
        limit: int | None,
    ) -> None:
        super().__init__(lifetime, limit)
        self._directory = directory
        self._moment: Moment | None = moment
        self._start, self._stop = keys.start, keys.stop
        self._reverse = reverse
        self._items_at: object = None
        """The last key that was taken from the moment's items."""
        lifetime.readers.add(self)

    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        moment = self._moment
        assert moment is not None  # released only when finished or ended
        with moment.lock:
            pairs = self._items(moment, count)
            if len(pairs) < count:
                position = pairs[-1][0] if pairs else self._position
                pairs += self._following(moment, count - len(pairs), position)
            self.moved = pairs[-1][0] if pairs else self._position
        return self._cut(pairs)

    def _items(self, moment: Moment, count: int) -> list[tuple[bytes, bytes]]:
        """Return the next ``count`` pairs of ``items``, if the moment has any; fewer at their end."""
        if moment.items is None or self._items_at != self._position:  # a chunk was lost on its way
            return []
        self._items_at = moment  # should this be cut short
        pairs = list(islice(moment.items, count))
        if len(pairs) < count:
            moment.items = None
        else:
            self._items_at = pairs[-1][0]
        return pairs

    def _following(self, moment: Moment, count: int, position: bytes | None) -> list[tuple[bytes, bytes]]:
        """Return the ``count`` pairs after ``position`` by the iterator; fewer at the end."""
        if position is None or moment.moved_to != (id(self), position):
            self._seek(moment, position)
        moment.moved_to = None  # should this be cut short
        pairs = read_pairs(
            moment.iterator.key,
            moment.iterator.value,
            moment.iterator.prev if self._reverse else moment.iterator.next,
            count,
        )
        if len(pairs) < count:  # the end, or an error
            self._check(moment)
        if pairs:
            moment.moved_to = id(self), pairs[-1][0]
        return pairs

    @property
    def holds(self) -> bool:
        return self._moment is not None

    def release(self) -> None:
        self._moment = None

    def _seek(self, moment: Moment, position: bytes | None) -> None:
        if self._reverse:
            self._seek_backwards(moment, position)
        elif position is not None:
            moment.iterator.seek(position)
            if moment.iterator.valid():  # moving on from a failed seek is undefined
                moment.iterator.next()
        elif self._start is not None:
            moment.iterator.seek(self._start)
        else:
            moment.iterator.seek_to_first()

    def _seek_backwards(self, moment: Moment, position: bytes | None) -> None:
        end = self._stop if position is None else position
        if end is None:
            moment.iterator.seek_to_last()
        else:
            moment.iterator.seek_for_prev(end)
            if moment.iterator.key() == end:
                moment.iterator.prev()

    def _check(self, moment: Moment) -> None:
        try:
            moment.iterator.status()
        except Exception as error:
            raise self._lifetime.failure(errors.translate(self._directory, "scanning", error)) from error

    def _cut(self, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return those of ``pairs`` that are in the range."""
        if self.moved is None:
            return pairs
        start, stop = self._start, self._stop
        if self._reverse and start is not None and self.moved < start:
            return [pair for pair in pairs if pair[0] >= start]
        if not self._reverse and stop is not None and self.moved >= stop:
            return [pair for pair in pairs if pair[0] < stop]
        return pairs
