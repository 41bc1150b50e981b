"""Records folded into windows, one by one: what ``_native/windows.pxi`` must do.

Times are milliseconds since 1970. What closes, and what is made of it, is the business of
``statestore/windowing``: this is the part that runs for each record and each size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import datetime
from typing import Any, final

from statestore.core import common
from statestore.core.common import BEFORE_ALL, NEVER, FoldShape


@final
class OpenWindows:
    """The windows that one watermark closes: those of a partition, or those of one key in it."""

    __slots__ = ("buckets", "closes_at", "event_time", "forgets_before", "notes", "partition", "seen")

    partition: int
    event_time: int
    """The greatest event time so far; ``BEFORE_ALL`` without one."""
    closes_at: int
    """The event time from which on a window is to be closed; ``NEVER`` without one."""
    buckets: list[dict[int, dict[Any, list[Any]]]]
    """For each size, by the window's start and the key: the state."""
    seen: dict[Any, list[int]] | None
    """The first and the last event time of each key, where windows without records have bars."""
    forgets_before: int
    """The event time before which a record of a key that is not in ``seen`` is not noted there."""
    notes: Any
    """For whoever closes the windows."""

    def __init__(self, partition: int, sizes: int, notes: Any = None) -> None:
        self.partition, self.notes = partition, notes
        self.event_time, self.closes_at, self.forgets_before = BEFORE_ALL, NEVER, BEFORE_ALL
        self.buckets = [{} for _ in range(sizes)]
        self.seen = None if notes is None else {}


@final
class WindowFold:
    """Takes records into the windows that they belong to. For one thread at a time.

    ``scope_of(partition, key, time)`` returns the windows that the record's watermark closes, or ``None`` for
    a record that is late whatever its window is. ``close(windows, time)`` sets the event time of ``windows``
    to ``time`` and ``closes_at`` accordingly, and returns what it closed.
    """

    __slots__ = (
        "_close",
        "_entered",
        "_is_busy",
        "_scope_of",
        "_shape",
        "ahead",
        "closed",
        "late",
        "skipped",
    )

    closed: list[Any]
    """What was closed and not fetched: after an exception it is there for the next call."""
    late: list[int]
    """For each size, how many records came after their window was closed."""
    ahead: int
    """How many records had an event time too far after their timestamp."""
    skipped: int
    """How many records had no value, or no key."""

    def __init__(
        self,
        shape: FoldShape,
        scope_of: Callable[[int, Any, int], OpenWindows | None],
        entered: Callable[[int, Any, int, OpenWindows], OpenWindows],
        close: Callable[[OpenWindows, int], list[Any]],
    ) -> None:
        self._shape, self._scope_of, self._entered, self._close = shape, scope_of, entered, close
        self.closed = []
        self.late = [0] * len(shape.windows)
        self.ahead = self.skipped = 0
        self._is_busy = False

    def take(self, record: Any, timestamp: datetime | int | None, partition: int) -> list[Any]:
        """Take ``record``; return what that closed.

        It is an entity, with the given timestamp and partition, or a ``Record`` with its own. Raises
        ``RuntimeError`` while another call runs: in another thread, or one that calls this one.
        """
        self._begin_call()
        try:
            self._take_record(record, timestamp, partition)
        finally:
            self._is_busy = False
        return self.fetch()

    def take_all(self, records: Iterable[Any], partition: int) -> list[Any]:
        """Do the same with ``records`` in order, where entities have no timestamp."""
        self._begin_call()
        try:
            for record in records:
                self._take_record(record, None, partition)
        finally:
            self._is_busy = False
        return self.fetch()

    def fetch(self) -> list[Any]:
        """Return ``closed``, and empty it."""
        closed, self.closed = self.closed, []
        return closed

    def check_free(self) -> None:
        """Raise ``RuntimeError`` while another call runs."""
        if self._is_busy:
            raise common.busy_fold()

    def _begin_call(self) -> None:
        self.check_free()
        self._is_busy = True

    def _take_record(self, record: Any, timestamp: datetime | int | None, partition: int) -> None:
        if type(record) is not self._shape.record:
            self._take(record, timestamp, partition)
        else:
            own: Any = record
            self._take(own.value, own.timestamp, own.partition or 0)

    def _take(self, value: Any, given: datetime | int | None, partition: int) -> None:
        shape = self._shape
        timestamp = None if given is None else common.event_milliseconds(given)
        if value is None:
            self.skipped += 1
            return
        names = shape.keys
        keys = tuple([getattr(value, name) for name in names])
        if None in keys:
            self.skipped += 1
            return
        key = keys[0] if len(keys) == 1 else keys
        stated = None if shape.time is None else getattr(value, shape.time)
        own = None if stated is None else common.event_milliseconds(stated)
        if own is not None and timestamp is not None and own - timestamp > shape.max_future:
            self.ahead += 1
            return
        time = timestamp if own is None else own
        if time is None:
            raise shape.without_time(value)
        if not common.EARLIEST <= time <= common.LATEST:
            raise common.event_time_unfit(time)
        inputs = [getattr(value, of) if isinstance(of, str) else of(value) for of in shape.inputs]
        scope = self._scope_of(partition, key, time)
        if scope is None:
            self.late = [count + 1 for count in self.late]
            return
        changed = self._changed(scope, key, value, inputs, time)
        scope = self._entered(partition, key, time, scope)
        # It closes no window that it is in. If its bars cannot be made, it is in none.
        if time >= scope.closes_at:
            self.closed += self._close(scope, time)
        elif time > scope.event_time:
            scope.event_time = time
        self._store(scope, key, changed)
        if scope.seen is not None and (key in scope.seen or time >= scope.forgets_before):
            span = scope.seen.setdefault(key, [time, time])
            span[:] = min(span[0], time), max(span[1], time)

    def _changed(
        self, scope: OpenWindows, key: Any, value: Any, inputs: list[Any], time: int
    ) -> list[tuple[int, int, int, list[Any]]]:
        """Return what becomes of the windows that the record is in: each with its size's place and start."""
        changed = []
        for place, (size, origin, grace) in enumerate(self._shape.windows):
            start = time - (time - origin) % size
            if start + size + grace <= scope.event_time:
                continue
            state = scope.buckets[place].get(start, {}).get(key)
            state = list(deepcopy(self._shape.start) if state is None else state)
            for function, of, at, call in self._shape.parts:
                given = value if of < 0 else inputs[of]
                if function == "reduce":
                    assert call is not None
                    state[at] = call(state[at], value)
                elif given is not None:
                    fresh = _FUNCTIONS[function](state[at], given, call, time)
                    state[at : at + len(fresh)] = fresh
            changed.append((place, start, start + size + grace, state))
        return changed

    def _store(self, scope: OpenWindows, key: Any, changed: list[tuple[int, int, int, list[Any]]]) -> None:
        late = {*range(len(self.late))} - {place for place, *_ in changed}
        self.late = [count + (place in late) for place, count in enumerate(self.late)]
        for place, start, closes_at, state in changed:
            scope.buckets[place].setdefault(start, {})[key] = state
            scope.closes_at = min(scope.closes_at, closes_at)


_FUNCTIONS: dict[str, Callable[[Any, Any, Any, int], tuple[Any, ...]]] = {
    "count": lambda so_far, _given, _call, _time: (so_far + 1,),
    "sum": lambda so_far, given, call, _time: (call(so_far, given),),
    "max": lambda so_far, given, call, _time: (call(so_far, given),),
    "min": lambda so_far, given, call, _time: (call(so_far, given),),
    "first": lambda so_far, given, _call, _time: (given if so_far is None else so_far,),
    "last": lambda _so_far, given, _call, _time: (given,),
    "first by time": lambda so_far, given, _call, time: (
        (time, given) if so_far is None or time < so_far else ()
    ),
    "last by time": lambda so_far, given, _call, time: (
        (time, given) if so_far is None or time >= so_far else ()
    ),
}
"""What becomes of a place of the state, and of the next one, by the state so far, the value and its time."""
