"""Those who wait for a table: until records are applied, and until it is ready. Each has a future.

All of it changes under the lock ``changed`` of the table, which the caller holds. What a batch costs
depends on how many it sets free, not on how many wait.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from statestore.runtime.interrupts import Outcome

_FEW = 64
"""Entries of a heap that may be of nobody any more."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What somebody waits for."""

    offsets: Mapping[int, int]
    """The records, one of each partition."""
    in_start: int | None
    """The start in which they must be applied; ``None``: any."""


class OffsetWaiters:
    """Futures of those who wait until certain offsets are applied, by partition.

    ``position_of`` tells the offset of the next record of a partition; -1: not known.
    """

    def __init__(self, position_of: Callable[[int], int]) -> None:
        self._position_of = position_of
        self._waiting: dict[Future[bool], Awaited] = {}
        self._order = itertools.count()
        self._next: dict[int, list[tuple[int, int, Future[bool]]]] = {}
        """By partition a heap of the offsets that futures wait for there."""
        self._to_look_at: set[Future[bool]] = set()
        """Those that are in no heap."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, offsets: Mapping[int, int], in_start: int | None) -> Future[bool]:
        future: Future[bool] = Outcome()
        self._waiting[future] = Awaited(offsets, in_start)
        self._to_look_at.add(future)
        return future

    def forget(self, future: Future[bool]) -> None:
        """Nobody waits for ``future`` any more."""
        self._waiting.pop(future, None)
        self._to_look_at.discard(future)
        for number, heap in self._next.items():
            if len(heap) > _FEW + 2 * len(self._waiting):
                self._next[number] = left = [entry for entry in heap if entry[2] in self._waiting]
                heapq.heapify(left)

    def all(self) -> list[Future[bool]]:
        """Return everybody: something else than a position has changed."""
        self._next.clear()
        self._to_look_at.update(self._waiting)
        return list(self._waiting)

    def passed(self) -> list[Future[bool]]:
        """Return those whose next offset is below its partition's position now."""
        for number, heap in self._next.items():
            position = self._position_of(number)
            while heap and heap[0][0] < position:
                self._to_look_at.add(heapq.heappop(heap)[2])
        self._to_look_at.intersection_update(self._waiting)
        return list(self._to_look_at)

    def awaited(self, future: Future[bool]) -> Awaited:
        return self._waiting[future]

    def complete(self, future: Future[bool]) -> None:
        """Complete ``future`` if all of its offsets are applied; else it waits for the next one."""
        for partition, offset in self._waiting[future].offsets.items():
            # Past it, not at it: markers and compacted records take offsets, too.
            if self._position_of(partition) <= offset:
                heapq.heappush(self._next.setdefault(partition, []), (offset, next(self._order), future))
                self._to_look_at.discard(future)
                return
        self.end(future, True)

    def end(self, future: Future[bool], result: bool | Exception) -> None:
        """Complete ``future`` with its result, or an error."""
        del self._waiting[future]
        self._to_look_at.discard(future)
        if isinstance(result, bool):
            future.set_result(result)
        else:
            future.set_exception(result)


class ReadyWaiters:
    """Futures of those who wait until a table is ready."""

    def __init__(self) -> None:
        self._waiting: set[Future[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self) -> Future[None]:
        future: Future[None] = Outcome()
        self._waiting.add(future)
        return future

    def forget(self, future: Future[None]) -> None:
        """Nobody waits for ``future`` any more."""
        self._waiting.discard(future)

    def all(self) -> list[Future[None]]:
        return list(self._waiting)

    def end(self, future: Future[None], error: Exception | None) -> None:
        """The table has become ready, or it cannot become so by itself, because of ``error``."""
        self._waiting.discard(future)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
