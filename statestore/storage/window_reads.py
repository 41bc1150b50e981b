"""Reads of stores whose rows have a time in their keys: windows by their start, sessions by their end.

A row is visible while its time is later than the greatest time of all accepted rows less the retention. What
is visible follows from what is stored, in one snapshot with the rows, and never from the clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from heapq import merge
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

from statestore.backends import BackendReader
from statestore.core import ChainedPairs, Pairs, SegmentRows, count_pairs
from statestore.core.common import ends_before_start, must_be_bytes
from statestore.serde.window_times import END_OF_TIME, FIRST_TIME, Time, bounds, exact_time
from statestore.storage.layout import (
    SEGMENT_PREFIX,
    WindowKeys,
    WindowTimes,
    session_end,
    window_start,
)

Stored = tuple[bytes, bytes]
TimeOf = Callable[[bytes], int]
"""Gives the time that decides whether a row is visible, by its stored key."""


class Moment(NamedTuple):
    """One instant of a store."""

    reader: BackendReader
    times: WindowTimes
    release: Callable[[], object]
    """Gives the reader up, where it was made for one read."""


class TimedReader(ABC):
    """What reads of windows and of sessions have in common. Thread-safe."""

    _keys: WindowKeys
    _time_of: TimeOf
    _sessions: ClassVar[bool]

    @abstractmethod
    def _pinned(self) -> Moment:
        """Return the present instant."""

    @abstractmethod
    def _get(self, stored: bytes, time: int) -> bytes | None:
        """Return the value of a stored key whose row has ``time``, if it is visible."""

    @abstractmethod
    def close(self) -> None:
        """Release what this holds. Idempotent."""

    def count(self) -> int:
        """Return the exact number of visible rows. This scans; ``approximate_count`` of a store does not."""
        reader, times, release = self._pinned()
        try:
            if times.newest < FIRST_TIME:
                return 0
            oldest = self._keys.number(times.first)
            with closing(reader.scan(self._keys.segments(oldest, oldest + 1))) as rows:
                count = sum(self._time_of(stored) >= times.first for stored, _ in rows)
            return count + count_pairs(reader.scan(self._keys.segments(oldest + 1)))
        finally:
            release()

    def _of_key(self, key: bytes, low: int, high: int, reverse: bool) -> Iterator[Any]:
        """Iterate over the rows of ``key`` with times from ``low`` to before ``high``, as of this call."""
        check_key(key)
        reader, times, release = self._pinned()
        ranges = self._keys.ranges_of(key, max(low, times.first), min(high, times.newest + 1), reverse)
        scans = ChainedPairs(reader.scan(keys, reverse) for keys in ranges)
        return SegmentRows(scans, self._sessions, False, release, self)

    def _of_all(self, low: int, high: int, reverse: bool) -> Iterator[Any]:
        """Iterate over all rows with times from ``low`` to before ``high``, by key and time."""
        reader, times, release = self._pinned()
        low, high = max(low, times.first), min(high, times.newest + 1)
        scans: list[Iterator[Stored]] = []
        for number in self._numbers(low, high, reverse):
            stored = reader.scan(self._keys.segments(number, number + 1), reverse)
            rows: Iterator[Stored] = Pairs(stored, SEGMENT_PREFIX, 0, self)
            begins = number * self._keys.segment
            is_whole = low <= begins and begins + self._keys.segment <= high
            scans.append(rows if is_whole else _between(rows, self._time_of, low, high))
        return _merged(scans, reverse, self._sessions, release)

    def _numbers(self, low: int, high: int, reverse: bool) -> range:
        """Return the segments with times from ``low`` to before ``high``."""
        if low >= high:
            return range(0)
        numbers = range(self._keys.number(low), self._keys.number(high - 1) + 1)
        return numbers[::-1] if reverse else numbers

    def _latest(self, key: bytes) -> Any:
        """Return the last row of ``key``: segment by segment, from the newest on."""
        check_key(key)
        reader, times, release = self._pinned()
        try:
            for keys in self._keys.ranges_of(key, max(times.first, FIRST_TIME), times.newest + 1, True):
                for row in SegmentRows(reader.scan(keys, True, 1), self._sessions, False, None):
                    return row
            return None
        finally:
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class WindowReads(TimedReader):
    """Reads of windows. A window is named by its key and its start, which may be any time.

    Times are given as a ``datetime`` with a time zone or as milliseconds since 1970 UTC, and come back as
    milliseconds.
    """

    _time_of = staticmethod(window_start)
    _sessions = False

    def get(self, key: bytes, start: Time) -> bytes | None:
        """Return the value of one window; ``None``: there is none, or its retention has ended."""
        try:
            stored = self._keys.window(key, start)
        except (TypeError, ValueError):  # as most are given, in one call
            check_key(key)
            start = exact_time("start", start)
            stored = self._keys.window(bytes(key), start)
        return self._get(stored, start)  # type: ignore[arg-type] # it is an int now

    def fetch(
        self, key: bytes, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate over ``(start, value)`` of the windows of one key, oldest first, as of this call.

        They start at ``start`` or later and before ``stop``, also in ``reverse``; ``None`` is open. The
        iterator's next step after the store was closed raises ``StoreClosedError``.
        """
        return self._of_key(key, *bounds(start, stop), reverse)

    def fetch_all(
        self, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, int, bytes]]:
        """Iterate over ``(key, start, value)`` of the windows of all keys, by key and start.

        Otherwise as ``fetch``.
        """
        return self._of_all(*bounds(start, stop), reverse)

    def latest(self, key: bytes) -> tuple[int, bytes] | None:
        """Return ``(start, value)`` of the last window of ``key``; ``None``: it has none."""
        found: tuple[int, bytes] | None = self._latest(key)
        return found


class SessionReads(TimedReader):
    """Reads of sessions. A session is named by its key, its start and its end.

    Times are given as a ``datetime`` with a time zone or as milliseconds since 1970 UTC, and come back as
    milliseconds.
    """

    _time_of = staticmethod(session_end)
    _sessions = True

    def get(self, key: bytes, start: Time, end: Time) -> bytes | None:
        """Return the value of one session; ``None``: there is none, or its retention has ended."""
        check_key(key)
        begins, ends = session_times(start, end)
        return self._get(self._keys.session(key, begins, ends), ends)

    def fetch(
        self, key: bytes, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """Iterate over ``(start, end, value)`` of the sessions of one key, oldest first, as of this call.

        They start at ``start`` or later and before ``stop``, also in ``reverse``; ``None`` is open. They come
        by their ends, then by their starts: where no two overlap, that is the same. The iterator's next step
        after the store was closed raises ``StoreClosedError``.
        """
        low, high = bounds(start, stop)
        rows = self._of_key(key, low, END_OF_TIME, reverse)
        return rows if stop is None and start is None else (row for row in rows if low <= row[0] < high)

    def fetch_all(
        self, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Iterate over ``(key, start, end, value)`` of the sessions of all keys, by key, end and start.

        Otherwise as ``fetch``.
        """
        low, high = bounds(start, stop)
        rows = self._of_all(low, END_OF_TIME, reverse)
        return rows if stop is None and start is None else (row for row in rows if low <= row[1] < high)

    def latest(self, key: bytes) -> tuple[int, int, bytes] | None:
        """Return ``(start, end, value)`` of the session of ``key`` that ends last; ``None``: it has none."""
        found: tuple[int, int, bytes] | None = self._latest(key)
        return found


class TimedSnapshot(TimedReader):
    """A read-only view of one moment; close it, or use it in ``with``."""

    def __init__(self, reader: BackendReader, times: WindowTimes, keys: WindowKeys, owner: object) -> None:
        self._keys = keys
        self._reader = reader
        self._moment = Moment(reader, times, _nothing)
        self._owner = owner  # lives as long as this

    def _pinned(self) -> Moment:
        return self._moment

    def _get(self, stored: bytes, time: int) -> bytes | None:
        return self._reader.get(stored) if time >= self._moment.times.first else None

    def close(self) -> None:
        """Release what this holds. Idempotent."""
        self._reader.close()


class WindowSnapshot(TimedSnapshot, WindowReads):
    """The windows of a store at one moment; thread-safe. Close it, or use it in ``with``."""


class SessionSnapshot(TimedSnapshot, SessionReads):
    """The sessions of a store at one moment; thread-safe. Close it, or use it in ``with``."""


def check_key(key: object) -> None:
    """Raise ``TypeError`` unless ``key`` is ``bytes``."""
    if not isinstance(key, bytes):
        raise must_be_bytes("a key", key)


def session_times(start: Time, end: Time) -> tuple[int, int]:
    """Return the milliseconds of a session. Raises ``EncodeError`` where it ends before it starts."""
    begins, ends = exact_time("start", start), exact_time("end", end)
    if ends < begins:
        raise ends_before_start(start, end)
    return begins, ends


def _nothing() -> None:
    pass


def _between(rows: Iterator[Stored], time_of: TimeOf, low: int, high: int) -> Iterator[Stored]:
    return (pair for pair in rows if low <= time_of(pair[0]) < high)


def _merged(
    scans: list[Iterator[Stored]], reverse: bool, sessions: bool, release: Callable[[], object]
) -> Iterator[Any]:
    rows = scans[0] if len(scans) == 1 else merge(*scans, reverse=reverse)
    return SegmentRows(rows, sessions, True, release)
