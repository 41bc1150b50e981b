"""The stores of windows and of sessions that a user opens: rows with a time in their keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from statestore.backends import Backend, Batch
from statestore.core import RecordCache, SegmentChanges, SegmentRows, SessionChanges, WindowChanges
from statestore.errors import EncodeError, StateStoreError
from statestore.runtime.health_report import HealthReport
from statestore.runtime.interrupts import shielded
from statestore.serde.window_times import FIRST_TIME, Time, exact_time
from statestore.storage.layout import (
    NO_TIME,
    WINDOW_TIMES,
    WINDOWS,
    WindowKeys,
    WindowTimes,
    window_times_of,
)
from statestore.storage.store import longer_keys
from statestore.storage.stored_window import StoredWindow
from statestore.storage.user_store import BatchScope, UserStore
from statestore.storage.window_reads import (
    Moment,
    SessionReads,
    SessionSnapshot,
    TimedReader,
    WindowReads,
    WindowSnapshot,
    check_key,
)

log = logging.getLogger("statestore.store")

_PAUSES = 9
"""How many times longer than a step of removing expired rows the pause after it is."""


_Forms = tuple[WindowKeys, int, Callable[[bytes, bytes], EncodeError], Callable[[str, Any], int]]
"""How changes get their stored keys and times: see ``SegmentChanges``."""


@dataclass(frozen=True, slots=True)
class WindowStats(HealthReport):
    """What a store of windows or sessions holds, at one moment."""

    rows: int
    """About how many rows it has; some may have ended and not been removed yet."""
    size: int
    """The bytes it takes."""
    newest: int | None
    """The greatest time of all accepted rows, in milliseconds since 1970; ``None``: there was none yet."""
    first: int | None
    """The first time that is visible, in milliseconds since 1970."""
    late: int
    """Rows that this object refused because their retention had ended."""

    def __str__(self) -> str:
        return self._line(*self)


class TimedStore(UserStore, TimedReader):
    """What stores of windows and of sessions have in common."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        max_key_size: int,
        window: StoredWindow,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name, on_close)
        self._max_key_size = max_key_size
        self._longest = max_key_size + len(WINDOWS)  # of stored keys, in bytes
        self._retention = window["retention_ms"]
        self._keys = WindowKeys(window["segment_ms"])
        self._forms = self._keys, self._longest, self._too_long, exact_time
        self._late = 0
        self._writes = 0  # odd while rows are written
        self._use(backend)

    def _use(self, backend: Backend) -> None:
        self._backend = backend
        # Whether `_times` may not be what is stored: during a write, after one that was cut short, and where
        # another process writes.
        self._moves = True
        self._times = WindowTimes(NO_TIME, NO_TIME)
        self._removing = False
        self._removed = 0  # the segment before which none is left
        self._due = 0.0
        if self.followed is None:
            with self._write_lock:
                self._removed = self._load()
                self._remove_expired()

    def _load(self) -> int:
        """Take the times from the backend; return the first segment that has rows."""
        stored = window_times_of(self._backend.get(WINDOW_TIMES))
        self._times = max(self._times, self._kept(stored))
        if self._times != stored:  # a shorter retention than before, which a later longer one must know of
            self._backend.write(Batch([self._times.pair()]))
        self._moves = False
        with closing(self._backend.scan(self._keys.segments(self._keys.number(FIRST_TIME)), limit=1)) as rows:
            return next((self._keys.number_in(key) for key, _ in rows), self._first_segment)

    def _kept(self, times: WindowTimes) -> WindowTimes:
        """Return ``times`` by the retention: with a longer one, what had ended does not come back."""
        return WindowTimes(times.newest, max(times.first, times.newest - self._retention + 1, NO_TIME))

    @property
    def _first_segment(self) -> int:
        return self._keys.number(max(self._times.first, FIRST_TIME))

    def promoted(self, backend: Backend, cache: RecordCache | None) -> None:  # noqa: ARG002 - it caches nothing
        self._use(backend)

    # Reads

    def _pinned(self) -> Moment:
        before, moves = self._times, self._moves
        reader = self._backend.snapshot()
        # A write that changes the times says so before it does anything.
        if moves or self._moves or self._times is not before:
            before = self._kept(window_times_of(reader.get(WINDOW_TIMES)))
        return Moment(reader, before, reader.close)

    def _of_key(self, key: bytes, low: int, high: int, reverse: bool) -> Iterator[Any]:
        """Iterate by a scan, which costs less than a snapshot, while nothing is written."""
        check_key(key)
        before = self._writes
        if not (before & 1 or self._moves):
            newest, first = self._times
            ranges = self._keys.ranges_of(key, max(low, first), min(high, newest + 1), reverse)
            scan = self._backend.scan_ranges(ranges, reverse)
            if self._writes == before:  # the times are of its moment
                return SegmentRows(scan, self._sessions, False, None, self)
        return super()._of_key(key, low, high, reverse)

    def _get(self, stored: bytes, time: int) -> bytes | None:
        value = self._backend.get(stored)
        if value is None:
            return None
        first = self._times[1]
        if self._moves:
            first = self._kept(window_times_of(self._backend.get(WINDOW_TIMES))).first
        return value if time >= first else None

    def approximate_count(self) -> int:
        """Return about how many rows there are, cheaply."""
        return self._backend.approximate_count()

    def size(self) -> int:
        """Return the bytes this store takes on disk (in memory, for the memory backend)."""
        return self._backend.size()

    def stats(self) -> WindowStats:
        """Return what the store holds, and how many late rows it has refused; also a mapping."""
        times = self._times
        if self._moves:
            times = self._kept(window_times_of(self._backend.get(WINDOW_TIMES)))
        has_rows = times.newest != NO_TIME
        return WindowStats(
            self.approximate_count(),
            self.size(),
            times.newest if has_rows else None,
            times.first if has_rows else None,
            self._late,
        )

    # Writes

    def _commit(self, changes: SegmentChanges) -> int:
        """Write ``changes`` in their order, as one unit; return how many rows came too late."""
        with self._write_lock:
            if self._moves:
                if self.followed is not None:
                    self._backend.write(Batch([]))  # raises: another process writes
                self._load()
            newest, first, late, puts, deletes = changes.accepted(*self._times, self._retention)
            if puts or deletes:
                is_inner = self._writes & 1  # a signal handler's, in the middle of a write
                self._writes |= 1
                try:
                    if newest == self._times.newest:
                        self._backend.write(Batch(puts, deletes))
                    else:
                        self._move(WindowTimes(newest, first), puts, deletes)
                finally:
                    if not is_inner:
                        self._writes += 1
            else:
                self._backend.get(WINDOW_TIMES)  # raises where the store is closed
            self._late += late
            self._remove_expired()
            return late

    def _move(self, times: WindowTimes, puts: list[tuple[bytes, bytes]], deletes: list[bytes]) -> None:
        """Write rows that take the times to ``times``."""
        self._moves = True  # until it ended well: the next write looks at what is stored
        self._backend.write(Batch([*puts, times.pair()], deletes))
        if self._times > times:  # a signal handler has written meanwhile, and its times are overwritten now
            self._backend.write(Batch([self._times.pair()]))
        else:
            self._times = times
        self._moves = False

    def _remove_expired(self) -> None:
        """Remove segments that have ended, as far as one step goes; what is left has its turn later."""
        first = self._first_segment
        if first > self._removed:
            self._removing = True
        elif not self._removing or time.monotonic() < self._due:
            return
        began = time.monotonic()
        try:
            self._removing = not self._backend.delete_range(self._keys.before(first))
            self._removed = first
        except StateStoreError as error:  # the rows are written, and those that ended are hidden
            log.warning("store %r: expired rows cannot be removed yet: %s", self.name, error)
            began -= 1.0
        ended = time.monotonic()
        self._due = ended + _PAUSES * (ended - began)

    def _too_long(self, key: bytes, stored: bytes) -> EncodeError:
        return EncodeError(
            f"store {self.name!r}: a key of {len(key)} bytes takes {len(stored) - len(WINDOWS)} with its "
            f"time and a byte for each 00 in it, and its backend takes {self._max_key_size}: shorten it"
            f"{longer_keys(self._max_key_size)}"
        )

    def flush(self) -> None:
        """Return when everything written before survives power loss."""
        self._backend.flush()

    def compact(self) -> None:
        """Give back the space of deleted and overwritten rows; with LMDB writes wait meanwhile."""
        shielded(self._backend.compact)

    def _release(self) -> None:
        self._backend.close()


class WindowStore(TimedStore, WindowReads):
    """A store of windows without Kafka, made by ``StoreManager.open_window``. Thread-safe.

    A row has a key, a start and a value. It is visible while its start is later than the greatest start of
    all accepted rows less the retention: by event time, never by the clock. An older row is refused and
    counted (``stats().late``). Starts are not aligned: a row may start at any time.

    Times are given as a ``datetime`` with a time zone or as milliseconds since 1970 UTC, and come back as
    milliseconds.

    Every method raises ``StoreClosedError`` after ``close``, and ``TypeError`` for a key that is not
    ``bytes``. Writes raise ``EncodeError`` for a time that is none and for a key that is too long for the
    backend, and a ``StoreUnavailableError`` where the backend cannot write; nothing of the write is then
    visible.
    """

    def put(self, key: bytes, start: Time, value: bytes) -> bool:
        """Set the value of one window. Return whether it was accepted; ``False``: it came too late."""
        change = WindowChanges(*self._forms, True)
        change.put(key, start, value)
        return not self._commit(change)

    def delete(self, key: bytes, start: Time) -> None:
        """Remove one window; fine when it is absent. It moves no time."""
        change = WindowChanges(*self._forms, True)
        change.delete(key, start)
        self._commit(change)

    def batch(self) -> WindowBatch:
        """Return a context manager with ``put`` and ``delete``, written atomically when it ends well.

        Rows are accepted or refused in their order, as if each were written by itself.
        """
        return WindowBatch(self._forms, self._commit)

    def snapshot(self) -> WindowSnapshot:
        """Return a read-only view fixed at this moment; close it, or use it in ``with``."""
        reader, times, _ = self._pinned()
        return WindowSnapshot(reader, times, self._keys, self)


class SessionStore(TimedStore, SessionReads):
    """A store of sessions without Kafka, made by ``StoreManager.open_session``. Thread-safe.

    A row has a key, a start, an end and a value. It is visible while its end is later than the greatest end
    of all accepted rows less the retention, so that a session which still grows does not end. All else is as
    in a :class:`WindowStore`.
    """

    def put(self, key: bytes, start: Time, end: Time, value: bytes) -> bool:
        """Set the value of one session. Return whether it was accepted; ``False``: it came too late."""
        change = SessionChanges(*self._forms, True)
        change.put(key, start, end, value)
        return not self._commit(change)

    def delete(self, key: bytes, start: Time, end: Time) -> None:
        """Remove one session; fine when it is absent. It moves no time."""
        change = SessionChanges(*self._forms, True)
        change.delete(key, start, end)
        self._commit(change)

    def batch(self) -> SessionBatch:
        """Return a context manager with ``put`` and ``delete``, written atomically when it ends well.

        Rows are accepted or refused in their order, as if each were written by itself.
        """
        return SessionBatch(self._forms, self._commit)

    def snapshot(self) -> SessionSnapshot:
        """Return a read-only view fixed at this moment; close it, or use it in ``with``."""
        reader, times, _ = self._pinned()
        return SessionSnapshot(reader, times, self._keys, self)


class _TimedBatch(BatchScope):
    """Changes that are written together when the ``with`` block ends, or not at all when it raises.

    One thread at a time. A batch serves one block: before it, after it and for a second one every method
    raises ``RuntimeError``.
    """

    _write: Callable[[SegmentChanges], int]


class WindowBatch(WindowChanges, _TimedBatch):
    __doc__ = _TimedBatch.__doc__

    def __init__(self, forms: _Forms, commit: Callable[[SegmentChanges], int]) -> None:
        WindowChanges.__init__(self, *forms)
        _TimedBatch.__init__(self)
        self._write = commit

    def _commit(self) -> None:
        if len(self):
            self._write(self)


class SessionBatch(SessionChanges, _TimedBatch):
    __doc__ = _TimedBatch.__doc__

    def __init__(self, forms: _Forms, commit: Callable[[SegmentChanges], int]) -> None:
        SessionChanges.__init__(self, *forms)
        _TimedBatch.__init__(self)
        self._write = commit

    def _commit(self) -> None:
        if len(self):
            self._write(self)
