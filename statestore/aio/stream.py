"""Streams, awaited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.rows import AsyncRows
from statestore.tables.stream import Stream, StreamHealth

T = TypeVar("T")


@documented_by(Stream)
class AsyncStream(Generic[T]):
    """A topic bound by an entity that is a stream, for one event loop: ``Stream``, awaited.

    Each read has a thread, which waits for the broker and decodes in slices.
    """

    def __init__(self, stream: Stream[T], own: OwnLoop) -> None:
        self._stream = stream
        self._own = own

    @property
    def blocking(self) -> Stream[T]:
        """The same for threads that may block."""
        return self._stream

    @property
    def name(self) -> str:
        return self._stream.name

    @property
    def topic(self) -> str:
        return self._stream.topic

    @property
    def entity(self) -> type[T]:
        return self._stream.entity

    async def for_each(
        self, fn: Callable[[T], object], *, limit: int | None = None, until: datetime | None = None
    ) -> None:
        await self._rows(limit, until).for_each(fn)

    async def to_list(self, limit: int | None = None, until: datetime | None = None) -> list[T]:
        async with self._rows(limit, until) as rows:
            return [entity async for entity in rows]

    def _rows(self, limit: int | None, until: datetime | None) -> AsyncRows[T]:
        read = self._stream._entities  # noqa: SLF001 - of its other form
        return AsyncRows(self._own, lambda: read(limit, until), waits=True)

    def to_ksql(self) -> str:
        return self._stream.to_ksql()

    def health(self) -> StreamHealth:
        return self._stream.health()

    def __repr__(self) -> str:
        return f"<Async{repr(self._stream).removeprefix('<')}"
