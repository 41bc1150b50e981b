"""What awaited stores of bytes, of windows and of sessions have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.storage.store import KeyValueStore
from statestore.storage.user_store import BatchScope
from statestore.storage.window_store import TimedStore

S = TypeVar("S", bound=KeyValueStore | TimedStore)
Scope = TypeVar("Scope", bound=BatchScope)


@documented_by(KeyValueStore)
class AsyncUserStore(Generic[S]):
    """See the module. A write is made on a worker thread."""

    def __init__(self, store: S, own: OwnLoop) -> None:
        self._writable = store
        self._own = own

    @property
    def blocking(self) -> S:
        """The same for threads that may block."""
        return self._writable

    @property
    def name(self) -> str:
        """The logical name."""
        return self._writable.name

    async def approximate_count(self) -> int:
        return await self._own.shortly(self._writable.approximate_count)

    async def size(self) -> int:
        return await self._own.shortly(self._writable.size)

    async def follow(self) -> None:
        await self._own.shortly(self._writable.follow)

    async def flush(self) -> None:
        await self._own.in_thread(self._writable.flush)

    async def compact(self) -> None:
        await self._own.in_thread(self._writable.compact)

    def __repr__(self) -> str:
        return f"<Async{repr(self._writable).removeprefix('<')}"


@asynccontextmanager
async def written(batch: Scope, own: OwnLoop) -> AsyncIterator[Scope]:
    """Enter a batch of a blocking store, which is written on a worker thread when the block ends well."""
    own.check()
    batch.__enter__()
    try:
        yield batch
    except BaseException as error:
        batch.__exit__(type(error), error, error.__traceback__)
        raise
    await own.shortly(batch.__exit__, None, None, None)
