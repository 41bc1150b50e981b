"""Rows of a window's table that end by event time: hidden from every read at once, removed a few at a time.

A row is visible while its time, the start of its window or the end of its session, is later than the greatest
time of all records, tombstones included, less the retention. A time that is more than ``max_future`` after
its record's timestamp does not count: a wrong clock would end all others. Both limits are stored with the
rows, in the same atomic unit (``layout.WindowTimes``), so that a restart, a crash and another process see the
same rows. The clock has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    KeyRange,
    Snapshot,
    WrapperBackend,
    WrapperReader,
    WrapperSnapshot,
)
from statestore.backends.wrapper import Inner
from statestore.core import UnendedPairs, Writes
from statestore.core.common import check_limit
from statestore.entity import WindowKeyForm
from statestore.serde.window_times import END_OF_TIME
from statestore.storage.expiry import removed
from statestore.storage.layout import (
    DATA,
    NO_TIME,
    SPELLINGS,
    WINDOW_TIMES,
    WindowTimes,
    timestamp_of,
    window_times_of,
)

Stored = tuple[bytes, bytes]


class _Ends:
    """Tells which stored pairs have ended."""

    def __init__(self, form: WindowKeyForm) -> None:
        self.retention = int(form.retention.total_seconds() * 1000)
        self.max_future = int(form.max_future.total_seconds() * 1000)
        self.size = form.size
        """Bytes from the time that decides to the end of the key."""
        self._from, self._to = -form.size, (8 - form.size) or None
        self._least = len(DATA) + form.size

    def time(self, key: bytes) -> bytes:
        """Return the time in a key, as bytes."""
        return key[self._from : self._to]

    def has_ended(self, pair: Stored, first: bytes) -> bool:
        """Whether a pair is before ``first``, the first visible time as bytes."""
        key, value = pair
        if key[:1] == DATA:
            return key[self._from : self._to] < first and len(key) >= self._least
        # The value of an entry for a key in another text ends with the key.
        return key[:1] == SPELLINGS and value[self._from : self._to] < first

    def visible(self, scan: BackendIterator, first: bytes, limit: int | None) -> BackendIterator:
        """Return the pairs of ``scan`` that have not ended, as far as ``limit``."""
        return _Visible(scan, self.size, first, DATA, SPELLINGS, limit)

    def times(self, reader: BackendReader) -> WindowTimes:
        """Return what is stored, by the present retention: with a longer one, what has ended stays so."""
        newest, first = window_times_of(reader.get(WINDOW_TIMES))
        return WindowTimes(newest, max(first, newest - self.retention + 1, NO_TIME))


class _VisibleReader(WrapperReader[Inner]):
    """Reads that leave out what has ended."""

    ends: _Ends

    def first(self) -> bytes:
        """Return the first visible time as of now, as the keys have it."""
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        value = self.inner.get(key)
        return None if value is None or self.ends.has_ended((key, value), self.first()) else value

    def _visible(
        self, keys: Sequence[bytes], values: Sequence[bytes | None], first: bytes
    ) -> list[bytes | None]:
        has_ended = self.ends.has_ended
        return [
            None if value is None or has_ended((key, value), first) else value
            for key, value in zip(keys, values, strict=True)
        ]


class _VisibleSnapshot(_VisibleReader[Snapshot], WrapperSnapshot):
    """One moment."""

    def __init__(self, inner: Snapshot, ends: _Ends) -> None:
        super().__init__(inner)
        self.ends = ends
        self._first = _bytes_of(ends.times(inner))

    def first(self) -> bytes:
        return self._first

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._visible(keys, self.inner.get_many(keys), self._first)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        if not self._first:
            return self.inner.scan(keys, reverse, limit)
        check_limit(limit)
        few = 0 if limit == 0 else None  # how many have ended is known only after reading them
        return self.ends.visible(self.inner.scan(keys, reverse, few), self._first, limit)


class WindowExpiry(_VisibleReader[Backend], WrapperBackend):
    """A store of one window's rows without those that have ended. One thread writes.

    ``followed``: another process writes the store, and what is visible is read from it each time.
    """

    def __init__(self, inner: Backend, form: WindowKeyForm, *, followed: bool = False) -> None:
        super().__init__(inner)
        self.ends = _Ends(form)
        self.beside: Callable[[list[Stored]], list[bytes]] = lambda _: []
        """Gives the keys of what goes together with rows, as stored, that are removed."""
        self.late = 0
        """Rows that were written when they had ended already, since the store was opened."""
        self.early = 0
        """Rows that were written whose time is too far after their record's timestamp, since then."""
        self._times = times = self.ends.times(inner)
        self._first = _bytes_of(times)
        if not followed and times != window_times_of(inner.get(WINDOW_TIMES)):
            # The retention is shorter than before. A later, longer one brings nothing back.
            inner.write(Batch([times.pair()]))
        # Whether `_first` may not be what is stored: during a write that moves it, after one that failed, and
        # where another process writes.
        self._moves = self._followed = followed
        self._swept = b""
        self._counted = 0, 0

    @property
    def retention(self) -> float:
        """How many seconds of event time rows are kept."""
        return self.ends.retention / 1000

    @property
    def times(self) -> WindowTimes:
        """How far the event time has come, and the first time that is visible."""
        return self.ends.times(self.inner) if self._moves else self._times

    @property
    def lags(self) -> bool:
        """Whether so much has ended since the last sweep that it is worth another."""
        swept = int.from_bytes(self._swept)
        return int.from_bytes(self._first) - swept > self.ends.retention // 10

    def first(self) -> bytes:
        return _bytes_of(self.times) if self._moves else self._first

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        before, moves = self._first, self._moves
        if not moves:
            values = self.inner.get_many(keys)
            if not self._moves and self._first is before:
                return self._visible(keys, values, before)
        snapshot = self.snapshot()
        try:
            return snapshot.get_many(keys)
        finally:
            snapshot.close()

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        before, moves = self._first, self._moves
        if not moves:
            few = limit if limit == 0 or not before else None
            scan = self.inner.scan(keys, reverse, few)
            if not self._moves and self._first is before:
                return self.ends.visible(scan, before, limit) if before else scan
            scan.close()
        snapshot = self.snapshot()
        return _OfSnapshot(snapshot.scan(keys, reverse, limit), snapshot)

    def snapshot(self) -> Snapshot:
        return _VisibleSnapshot(self.inner.snapshot(), self.ends)

    # Writing

    def times_after(self, writes: Writes, rows: Iterable[Stored]) -> WindowTimes:
        """Return the times after ``writes`` and ``rows``, which are to be written with them.

        Then :meth:`written` must be called, or the write has failed.
        """
        if self._moves:
            self._take(self.ends.times(self.inner))
        newest, first = self._times
        greatest, late, early = writes.times(self.ends.size, first, END_OF_TIME, self.ends.max_future)
        for key, value in rows:
            time, timestamp = int.from_bytes(self.ends.time(key)), timestamp_of(value)
            if time >= END_OF_TIME or len(key) <= self.ends.size:
                continue
            if 0 <= timestamp < time - self.ends.max_future:
                early += 1
            else:
                greatest = max(greatest, time)
                late += time < first
        self._counted = late, early
        newest = max(newest, greatest)
        times = WindowTimes(newest, max(first, newest - self.ends.retention + 1, NO_TIME))
        self._moves = times.first != first
        return times

    def written(self, times: WindowTimes) -> None:
        """Note that ``times`` were written."""
        late, early = self._counted
        self.late += late
        self.early += early
        if times != self._times:
            self._take(times)

    def _take(self, times: WindowTimes) -> None:
        self._times = times
        first = _bytes_of(times)
        if first != self._first:
            self._first = first
        self._moves = False

    def remove_expired(self, start: bytes | None, most: int) -> tuple[bytes | None, int]:
        """Look through the next ``most`` rows from ``start`` (``None``: the first); remove what has ended.

        Returns where to go on (``None``: all were seen) and how many rows were removed. The thread that
        writes the store calls it.
        """
        first = self.first()
        if start is None:
            if first == self._swept:
                return None, 0
            self._swept = first
        return removed(self.inner, start, most, lambda pair: self.ends.has_ended(pair, first), self.beside)


class _Visible(UnendedPairs, BackendIterator):
    """A scan without what has ended."""


class _OfSnapshot(BackendIterator):
    """A scan of a snapshot that was taken for it."""

    def __init__(self, inner: BackendIterator, snapshot: Snapshot) -> None:
        self._inner = inner
        self._snapshot = snapshot

    def __next__(self) -> Stored:
        for pair in self._inner:
            return pair
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._inner.close()
        self._snapshot.close()


def _bytes_of(times: WindowTimes) -> bytes:
    """Return the first visible time as keys have it; empty: all are visible."""
    return times.first.to_bytes(8) if times.first > 0 else b""
