"""Stores of bytes, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar, overload

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.opening import Closing, Opening
from statestore.aio.reads import FEW, many
from statestore.aio.rows import AsyncRows
from statestore.aio.user_store import AsyncUserStore, written
from statestore.storage.store import KeyValueStore, WriteBatch
from statestore.storage.view import StoreReader

D = TypeVar("D")


@documented_by(KeyValueStore, StoreReader)
class AsyncStoreReader(Closing):
    """Reads of a store of bytes, or of a snapshot of one, for one event loop."""

    def __init__(self, store: StoreReader, own: OwnLoop) -> None:
        self._store = store
        self._own = own

    @property
    def blocking(self) -> StoreReader:
        """The same for threads that may block."""
        return self._store

    @overload
    async def get(self, key: bytes) -> bytes | None: ...
    @overload
    async def get(self, key: bytes, default: D) -> bytes | D: ...
    async def get(self, key: bytes, default: Any = None) -> Any:
        self._own.check()
        return self._store.get(key, default)

    async def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        keys = list(keys)
        if len(keys) > FEW:
            return await self._own.shortly(many, self._pinned, keys)
        self._own.check()
        return self._store.get_many(keys)

    def _pinned(self) -> AbstractContextManager[StoreReader]:
        """Return the content of one instant, on a worker thread."""
        return nullcontext(self._store)

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncRows[tuple[bytes, bytes]]:
        return AsyncRows(self._own, lambda: self._store.scan(start, stop, prefix, reverse, limit))

    async def count(self) -> int:
        return await self._own.in_slices(self._store.count)

    def __contains__(self, key: object) -> bool:
        self._own.check()
        return key in self._store

    async def close(self) -> None:
        await self._own.in_thread(self._store.close)


@documented_by(KeyValueStore)
class AsyncKeyValueStore(AsyncUserStore[KeyValueStore], AsyncStoreReader):
    """A store of bytes without Kafka, for one event loop: ``KeyValueStore``, awaited.

    It is no mapping: a mapping's methods cannot be awaited. A write is made on a worker thread.
    """

    def __init__(self, store: KeyValueStore, own: OwnLoop) -> None:
        AsyncUserStore.__init__(self, store, own)
        AsyncStoreReader.__init__(self, store, own)

    def _pinned(self) -> StoreReader:
        return self._writable.snapshot()

    async def put(self, key: bytes, value: bytes) -> None:
        await self._own.shortly(self._writable.put, key, value)

    async def delete(self, key: bytes) -> None:
        await self._own.shortly(self._writable.delete, key)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[WriteBatch]:
        """Return, for ``async with``, what has ``put`` and ``delete``, written together when it ends well."""
        async with written(self._writable.batch(), self._own) as batch:
            yield batch

    def snapshot(self) -> Opening[AsyncStoreReader]:
        """Take a read-only view fixed at this moment, by ``await``, or by ``async with``, which closes it."""

        async def opened() -> AsyncStoreReader:
            taken = await self._own.opened_in_slices(
                self._writable.snapshot, lambda one: one.close(), short=True
            )
            return AsyncStoreReader(taken, self._own)

        return Opening(opened, AsyncStoreReader.close)
