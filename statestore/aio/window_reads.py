"""Reads of the table of one window, awaited."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, TypeVar, overload

from statestore.aio.documented import documented_by
from statestore.aio.reads import AsyncEntityReads
from statestore.aio.rows import AsyncRows
from statestore.serde.window_times import Time
from statestore.tables.window_table import WindowReads

T = TypeVar("T")
D = TypeVar("D")


@documented_by(WindowReads)
class AsyncWindowReads(AsyncEntityReads[T]):
    """Reads of rows of one window. Keys end with the window's start; of sessions, with end and start."""

    @property
    @abstractmethod
    def blocking(self) -> WindowReads[T]: ...

    @overload
    async def get(
        self, *key: Any, start: Time | None = None, end: Time | None = None, allow_stale: bool = False
    ) -> T | None: ...
    @overload
    async def get(
        self,
        *key: Any,
        start: Time | None = None,
        end: Time | None = None,
        default: D,
        allow_stale: bool = False,
    ) -> T | D: ...
    async def get(
        self,
        *key: Any,
        start: Time | None = None,
        end: Time | None = None,
        default: Any = None,
        allow_stale: bool = False,
    ) -> Any:
        read = partial(
            self.blocking.get, *key, start=start, end=end, default=default, allow_stale=allow_stale
        )
        if self._may_wait:
            return await self._own.shortly(read)
        self._own.check()
        return read()

    def fetch(
        self,
        *key: Any,
        start: Time | None = None,
        stop: Time | None = None,
        reverse: bool = False,
        allow_stale: bool = False,
    ) -> AsyncRows[T]:
        fetch = partial(self.blocking.fetch, *key)
        return AsyncRows(
            self._own, lambda: fetch(start=start, stop=stop, reverse=reverse, allow_stale=allow_stale)
        )

    def fetch_all(
        self,
        start: Time | None = None,
        stop: Time | None = None,
        reverse: bool = False,
        *,
        allow_stale: bool = False,
    ) -> AsyncRows[T]:
        fetch = self.blocking.fetch_all
        return AsyncRows(self._own, lambda: fetch(start, stop, reverse, allow_stale=allow_stale))

    async def latest(self, *key: Any, allow_stale: bool = False) -> T | None:
        return await self._own.shortly(partial(self.blocking.latest, *key, allow_stale=allow_stale))
