"""Whose greatest event time closes windows: that of a partition, or that of each key in it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from operator import itemgetter
from typing import Any, Protocol

from statestore.core import OpenWindows
from statestore.core.common import BEFORE_ALL
from statestore.fields.windows import Window


class Scopes(Protocol):
    """The open windows of all watermarks. Iterating gives them in the order in which they were first seen."""

    def __iter__(self) -> Iterator[OpenWindows]: ...

    def of_record(self, partition: int, key: Any, time: int, /) -> OpenWindows | None:
        """Return the windows for a record; ``None`` if it is late whatever its window is."""
        ...

    def entered(self, partition: int, key: Any, time: int, scope: OpenWindows, /) -> OpenWindows:
        """Take the event time to that of a sound record; return the windows that it goes into.

        ``scope`` is what ``of_record`` returned. Where a class refuses a bar this raises, and no event time
        is later than what was closed.
        """
        ...

    def advanced(self, time: int, partition: int | None, /) -> list[OpenWindows]:
        """Return the windows whose event time becomes ``time``, of all partitions or of one."""
        ...

    def event_time(self, partition: int) -> int:
        """Return the greatest event time of the partition; ``BEFORE_ALL`` without one."""
        ...

    def event_times(self) -> dict[int, int]:
        """Return the greatest event time of each partition."""
        ...

    def saved(self) -> Iterator[tuple[Any, OpenWindows]]:
        """Give all windows in their order, each with its key; ``None`` where a watermark is a partition's."""
        ...

    def load(self, event_times: Mapping[int, int], saved: Iterable[tuple[Any, OpenWindows]], /) -> None:
        """Take over what ``event_times`` and ``saved`` gave."""
        ...


class PartitionScopes:
    """A watermark for each partition."""

    def __init__(self, make: Callable[[int, int], OpenWindows]) -> None:
        self._make = make
        self._scopes: dict[int, OpenWindows] = {}

    def __iter__(self) -> Iterator[OpenWindows]:
        return iter(self._scopes.values())

    def of_record(self, partition: int, _key: Any, time: int) -> OpenWindows:
        scope = self._scopes.get(partition)
        if scope is None:
            scope = self._scopes[partition] = self._make(partition, time)
        return scope

    def entered(self, _partition: int, _key: Any, _time: int, scope: OpenWindows) -> OpenWindows:
        return scope

    def advanced(self, _time: int, partition: int | None) -> list[OpenWindows]:
        return [scope for number, scope in self._scopes.items() if partition in (None, number)]

    def event_time(self, partition: int) -> int:
        scope = self._scopes.get(partition)
        return BEFORE_ALL if scope is None else scope.event_time

    def event_times(self) -> dict[int, int]:
        return {number: scope.event_time for number, scope in self._scopes.items()}

    def saved(self) -> Iterator[tuple[Any, OpenWindows]]:
        return ((None, scope) for scope in self)

    def load(self, _event_times: Mapping[int, int], saved: Iterable[tuple[Any, OpenWindows]]) -> None:
        self._scopes = {scope.partition: scope for _, scope in saved}


class _Partition:
    def __init__(self, event_time: int = BEFORE_ALL) -> None:
        self.event_time = event_time
        self.keys: dict[Any, OpenWindows] = {}
        self.forgotten_at: list[tuple[int, int, Any]] = []
        """A heap of keys, by the partition's event time at which each is forgotten, or looked at again."""


class KeyScopes:
    """A watermark for each key of a partition.

    A record that is older than its partition's event time - ``retention`` is late. So a key is forgotten, and
    its windows are closed, when that is true for whatever could be in them.
    """

    def __init__(
        self,
        windows: tuple[Window, ...],
        retention: int,
        make: Callable[[int, int], OpenWindows],
        close: Callable[[OpenWindows, int], None],
    ) -> None:
        self._windows, self._retention = windows, retention
        self._make, self._close = make, close
        self._partitions: dict[int, _Partition] = {}
        self._numbers = count()

    def __iter__(self) -> Iterator[OpenWindows]:
        return (scope for partition in self._partitions.values() for scope in partition.keys.values())

    def of_record(self, partition: int, key: Any, time: int) -> OpenWindows | None:
        found = self._partitions.get(partition)
        if found is not None:
            if time < found.event_time - self._retention:
                return None
            if (scope := found.keys.get(key)) is not None:
                return scope
        return self._make(partition, time)

    def entered(self, partition: int, key: Any, time: int, scope: OpenWindows) -> OpenWindows:
        found = self._partitions.get(partition) or _Partition()
        event_time = self._forget(found, max(found.event_time, time))
        if key not in found.keys:
            if scope.event_time != BEFORE_ALL:  # it was forgotten just now
                scope = self._make(partition, time)
        elif time >= scope.closes_at:
            self._close(scope, time)
        found.event_time = event_time
        self._partitions[partition] = found
        if key not in found.keys:
            self._add(found, key, scope, time)
        return scope

    def advanced(self, time: int, partition: int | None) -> list[OpenWindows]:
        chosen = [one for number, one in self._partitions.items() if partition in (None, number)]
        for one in chosen:
            one.event_time = self._forget(one, max(one.event_time, time))
        return [scope for one in chosen for scope in one.keys.values()]

    def event_time(self, partition: int) -> int:
        found = self._partitions.get(partition)
        return BEFORE_ALL if found is None else found.event_time

    def event_times(self) -> dict[int, int]:
        return {number: partition.event_time for number, partition in self._partitions.items()}

    def saved(self) -> Iterator[tuple[Any, OpenWindows]]:
        return (one for partition in self._partitions.values() for one in partition.keys.items())

    def load(self, event_times: Mapping[int, int], saved: Iterable[tuple[Any, OpenWindows]]) -> None:
        self._partitions = {number: _Partition(time) for number, time in event_times.items()}
        for key, scope in saved:
            self._add(self._partitions[scope.partition], key, scope, scope.event_time)

    def _add(self, partition: _Partition, key: Any, scope: OpenWindows, time: int) -> None:
        partition.keys[key] = scope
        at = self._last_end(time) + self._retention
        heapq.heappush(partition.forgotten_at, (at, next(self._numbers), key))

    def _forget(self, found: _Partition, event_time: int) -> int:
        """Close and forget the keys that are due at ``event_time``, and return it."""
        due = []
        while found.forgotten_at and found.forgotten_at[0][0] <= event_time:
            _, number, key = heapq.heappop(found.forgotten_at)
            at = self._last_end(found.keys[key].event_time) + self._retention
            if at > event_time:
                heapq.heappush(found.forgotten_at, (at, number, key))
            else:
                due.append((at, number, key))
        due.sort(key=itemgetter(0, 1))  # what was pushed earlier may be due later
        for place, (at, _, key) in enumerate(due):
            try:
                self._close(found.keys[key], at)
            except BaseException:  # a class may refuse a bar: the next record tries again
                for one in due[place:]:
                    heapq.heappush(found.forgotten_at, one)
                raise
            del found.keys[key]
            found.event_time = max(found.event_time, at)
        return event_time

    def _last_end(self, time: int) -> int:
        """Return when the last one of the windows ends that a record at ``time`` is in."""
        return max(window.start_of(time) + window.size_ms for window in self._windows)
