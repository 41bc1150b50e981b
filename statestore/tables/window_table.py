"""Reads of the table of one window: what another program, or another process, wrote into its topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, overload

from statestore.errors import EncodeError
from statestore.query.row_iterator import RowIterator
from statestore.query.rows import Scan, planned_rows
from statestore.runtime.health_report import HealthReport
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import milliseconds
from statestore.serde.window_keys import WindowedKeys
from statestore.serde.window_times import Time, bound_of, bounds, exact_time
from statestore.tables.entity_reads import EntityReads
from statestore.tables.snapshot import TableSnapshot

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class WindowTableStats(HealthReport):
    """What the table of a window holds, at one moment."""

    window: str
    """The label of the window."""
    rows: int
    """About how many rows there are; some may have ended and not been removed yet. ``count()`` is exact."""
    size: int
    """The bytes that the store takes."""
    newest: int | None
    """The greatest start of all windows (of sessions: end) that were applied, in milliseconds since 1970.

    ``None``: there was none yet.
    """
    first: int | None
    """The first start (of sessions: end) that is visible, in milliseconds since 1970."""
    late: int
    """Rows whose retention had ended before they were applied, since this process opened the store.

    They are never visible. In a process that only reads the store it is 0.
    """
    early: int
    """Rows whose time is more than an hour after their record's timestamp, since then.

    They are visible, and end no other rows: a wrong clock may have made them.
    """
    expired: int
    """Rows that were removed since their retention had ended."""
    positions: dict[int, int]
    """Of each partition, the offset of the next record to apply."""

    def __str__(self) -> str:
        return self._line("window", "rows", "size", "newest", "late")


class WindowReads(EntityReads[T]):
    """Reads of rows of one window. Keys end with the window's start; of sessions, with end and start.

    All reads of a table are there, too: a key is the values of the key fields and the start. Times are given
    as a ``datetime`` with a time zone or as milliseconds since 1970 UTC.
    """

    @property
    def _keys(self) -> WindowedKeys:
        assert self._codec.window is not None
        return self._codec.window

    @overload
    def get(
        self, *key: Any, start: Time | None = None, end: Time | None = None, allow_stale: bool = False
    ) -> T | None: ...
    @overload
    def get(
        self,
        *key: Any,
        start: Time | None = None,
        end: Time | None = None,
        default: D,
        allow_stale: bool = False,
    ) -> T | D: ...
    def get(
        self,
        *key: Any,
        start: Time | None = None,
        end: Time | None = None,
        default: Any = None,
        allow_stale: bool = False,
    ) -> Any:
        """Return the row of a key and a window, or ``default``.

        ``start`` may be the last value of the key, too. Sessions are named by ``end`` and ``start``. Where
        there are several values for one window, as in the changelog of a join, it is the last one. Raises
        ``EncodeError`` for what is no such key, such as a session that ends before it starts, and
        ``DecodeError`` for a value that does not fit the class.
        """
        if end is not None and start is None and len(key) > self._keys.count:
            key, start = key[:-1], key[-1]
        key += tuple(one for one in (end, start) if one is not None)
        row = super().get(*key, default=default, allow_stale=allow_stale)
        if row is default and self._keys.form.window.is_session:
            ends, starts = (exact_time("", one) for one in key[-2:])
            if ends < starts:
                raise EncodeError(
                    f"a session of {self._codec.cls.__name__} ends at {bounded_repr(key[-2])}, before it "
                    f"starts at {bounded_repr(key[-1])}: give start= and end=, or the end before the start"
                )
        return row

    def fetch(
        self,
        *key: Any,
        start: Time | None = None,
        stop: Time | None = None,
        reverse: bool = False,
        allow_stale: bool = False,
    ) -> RowIterator[T]:
        """Iterate over the rows of one key, oldest first, as of this call.

        Their windows start at ``start`` or later and before ``stop``, also in ``reverse``; ``None`` is open.
        Sessions come by their ends, then by their starts. Raises ``EncodeError`` for what is no key.
        """
        key = self._checked(key)
        _check_stop(stop)
        if not self._keys.form.window.is_session:
            low, high = (None if one is None else (*key, one) for one in (start, stop))
            rows = self._rows_of((low, high, key), reverse, allow_stale)
        else:
            rows = self._sessions(key, start, stop, reverse, allow_stale)
        return RowIterator(rows, partial(self._about_fetch, "fetch", key, start, stop, reverse), self)

    def fetch_all(
        self,
        start: Time | None = None,
        stop: Time | None = None,
        reverse: bool = False,
        *,
        allow_stale: bool = False,
    ) -> RowIterator[T]:
        """Iterate over the rows of all keys, by key and start, as of this call.

        Otherwise as ``fetch``. It looks at all keys of the table.
        """
        _check_stop(stop)
        store = self._binding.readable or self._binding.reading(allow_stale)
        plan = self._keys.plan_of_starts(start, stop)
        counts = self._binding.mirror.counts
        rows = planned_rows(store, self._codec, counts, plan, reverse, None, self._decode)
        return RowIterator(rows, partial(self._about_fetch, "fetch_all", (), start, stop, reverse), self)

    def latest(self, *key: Any, allow_stale: bool = False) -> T | None:
        """Return the row of the last window of a key; ``None``: it has none. Of sessions: that ends last."""
        rows = self._rows_of((None, None, self._checked(key)), True, allow_stale, 1)
        try:
            return next(rows.rows, None)
        finally:
            rows.close()

    def _rows_of(
        self, bounds: tuple[Any, Any, Any], reverse: bool, allow_stale: bool, limit: int | None = None
    ) -> Scan[T]:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return self._rows(store, bounds, reverse, limit)

    def _sessions(
        self, key: tuple[Any, ...], start: Time | None, stop: Time | None, reverse: bool, allow_stale: bool
    ) -> Scan[T]:
        low, high = bounds(start, stop)
        # A session ends when it starts, or later.
        rows = self._rows_of((None if start is None else (*key, low), None, key), reverse, allow_stale)
        if start is None and stop is None:
            return rows
        return Scan(self._started(rows.rows, low, high), rows.close)

    def _started(self, rows: Iterator[T], low: int, high: int) -> Iterator[T]:
        name = list(self._codec.key_types)[-1]
        for row in rows:
            start = getattr(row, name)
            if low <= (start if isinstance(start, int) else milliseconds(start)) < high:
                yield row

    def _checked(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        names = list(self._codec.key_types)[: self._keys.count]
        if len(key) == len(names):
            return key
        raise EncodeError(
            f"{self._codec.cls.__name__}: give the key ({', '.join(names)}), not {bounded_repr(key)}; the "
            "window's times are start= and stop=, and fetch_all() reads all keys"
        )

    def _about_fetch(
        self, what: str, key: tuple[Any, ...], start: Time | None, stop: Time | None, reverse: bool
    ) -> str:
        given = [f"{what} of {self._whose}", *map(bounded_repr, key)]
        given += [
            f"{name}={bounded_repr(one)}"
            for name, one in (("start", start), ("stop", stop))
            if one is not None
        ]
        return ", ".join([*given, *["reverse=True"] * reverse])


def _check_stop(stop: Time | None) -> None:
    """Raise for what is no time by the name it was given by; keys know it by that of their field."""
    if stop is not None:
        bound_of("stop", stop)


class WindowTableSnapshot(WindowReads[T], TableSnapshot[T]):
    """A snapshot of the table of one window."""
