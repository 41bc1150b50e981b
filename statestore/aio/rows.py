"""Rows that are read for ``async for``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from inspect import isawaitable
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from statestore.aio.loop import OwnLoop
from statestore.errors import StoreClosedError
from statestore.runtime.slices import SLICE, pause_point

T = TypeVar("T")

FIRST_ROWS = 64
"""Rows that are read ahead at first …"""
MOST_ROWS = 4096
"""… and later on."""


class AsyncRows(Generic[T]):
    """Rows for ``async for``, as of its first step. For one task at a time.

    Some rows are read ahead; what they are read from is released with the last of them. Where a loop is left
    before, ``aclose`` releases it, or ``async with``, and at the latest the end of this object. The next step
    after that, or after an error, raises ``StoreClosedError``: the rows so far are not all there are.
    """

    def __init__(self, own: OwnLoop, begin: Callable[[], Iterator[T]], *, waits: bool = False) -> None:
        self._own = own
        self._waits = waits
        self._begin: Callable[[], Iterator[T]] | None = begin
        self._rows: Iterator[T] = iter(())
        self._read: list[T] = []
        """What is read already, the next one last."""
        self._count = FIRST_ROWS
        self._ended = self._all_read = self._is_reading = False
        self.exhausted = False
        """Whether the last row was given."""
        self._turn_ends = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._read and time.monotonic() >= self._turn_ends:  # nothing was waited for
            await asyncio.sleep(0)
            self._turn_ends = time.monotonic() + SLICE
        if not self._read:
            await self._read_more()
        if self._read:
            return self._read.pop()
        self.exhausted = True
        raise StopAsyncIteration

    async def _read_more(self) -> None:
        if self._ended and not self._all_read:
            raise StoreClosedError("the rows were closed before their end: begin the scan anew")
        if self._ended:
            return
        if self._is_reading:
            raise RuntimeError("the rows are being read by another task: give each task its own scan")
        self._is_reading = True
        try:
            read = await self._own.opened_in_slices(self._some, lambda _: self._release(), waits=self._waits)
        except BaseException:
            self._forget()
            raise
        finally:
            self._is_reading = False
        if len(read) < self._count:
            self._all_read = True
            self._forget()
        read.reverse()
        self._read = read
        self._count = min(8 * self._count, MOST_ROWS)
        self._turn_ends = time.monotonic() + SLICE

    def _some(self) -> list[T]:
        """Read some rows; on a worker thread."""
        rows = self._rows if self._begin is None else self._begin()
        try:
            read = list(islice(rows, FIRST_ROWS))
            while len(read) < self._count and (more := list(islice(rows, FIRST_ROWS))):
                read += more
                pause_point()
        except BaseException:
            _close(rows)
            raise
        self._rows, self._begin = rows, None
        return read

    def _forget(self) -> None:
        self._ended = True
        self._begin = None
        self._rows = iter(())

    def _release(self) -> None:
        rows = self._rows
        self._forget()
        _close(rows)

    async def aclose(self) -> None:
        """Release what the rows are read from; there are no more of them. Idempotent."""
        self._own.check()
        self._read, self._all_read = [], self.exhausted
        if not self._is_reading:
            self._release()
        self._ended = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def for_each(self, call: Callable[[T], object]) -> None:
        """Call ``call(row)`` for each row, and await what it returns where it is an async function."""
        async with self:
            async for row in self:
                if isawaitable(result := call(row)):
                    await result


def _close(rows: Iterator[Any]) -> None:
    close: Any = getattr(rows, "close", None)
    if close is not None:
        close()
