"""Stores of windows and of sessions, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.opening import Closing, Opening
from statestore.aio.rows import AsyncRows
from statestore.aio.user_store import AsyncUserStore, written
from statestore.serde.window_times import Time
from statestore.storage.window_reads import (
    SessionReads,
    SessionSnapshot,
    TimedReader,
    WindowReads,
    WindowSnapshot,
)
from statestore.storage.window_store import (
    SessionBatch,
    SessionStore,
    TimedStore,
    WindowBatch,
    WindowStats,
    WindowStore,
)

T = TypeVar("T", bound=WindowStore | SessionStore)


@documented_by(TimedReader)
class _AsyncTimedReader(Closing):
    """Reads that windows and sessions have in common."""

    def __init__(self, reader: TimedReader, own: OwnLoop) -> None:
        self._timed = reader
        self._own = own

    async def count(self) -> int:
        return await self._own.in_slices(self._timed.count)

    async def close(self) -> None:
        await self._own.in_thread(self._timed.close)


@documented_by(TimedStore)
class _AsyncTimedStore(AsyncUserStore[T]):
    """What stores of windows and of sessions have in common."""

    async def stats(self) -> WindowStats:
        return await self._own.shortly(self._writable.stats)


@documented_by(WindowReads)
class _AsyncWindowReads(_AsyncTimedReader):
    _windows: WindowReads

    async def get(self, key: bytes, start: Time) -> bytes | None:
        self._own.check()
        return self._windows.get(key, start)

    def fetch(
        self, key: bytes, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> AsyncRows[tuple[int, bytes]]:
        return AsyncRows(self._own, lambda: self._windows.fetch(key, start, stop, reverse))

    def fetch_all(
        self, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> AsyncRows[tuple[bytes, int, bytes]]:
        return AsyncRows(self._own, lambda: self._windows.fetch_all(start, stop, reverse))

    async def latest(self, key: bytes) -> tuple[int, bytes] | None:
        self._own.check()
        return self._windows.latest(key)


@documented_by(WindowSnapshot)
class AsyncWindowSnapshot(_AsyncWindowReads):
    """The windows of a store at one moment, for one event loop."""

    def __init__(self, snapshot: WindowSnapshot, own: OwnLoop) -> None:
        super().__init__(snapshot, own)
        self._windows = self._snapshot = snapshot

    @property
    def blocking(self) -> WindowSnapshot:
        """The same for threads that may block."""
        return self._snapshot


@documented_by(WindowStore)
class AsyncWindowStore(_AsyncTimedStore[WindowStore], _AsyncWindowReads):
    """A store of windows without Kafka, for one event loop: ``WindowStore``, awaited."""

    def __init__(self, store: WindowStore, own: OwnLoop) -> None:
        _AsyncTimedStore.__init__(self, store, own)
        _AsyncWindowReads.__init__(self, store, own)
        self._windows = store

    async def put(self, key: bytes, start: Time, value: bytes) -> bool:
        return await self._own.shortly(self._writable.put, key, start, value)

    async def delete(self, key: bytes, start: Time) -> None:
        await self._own.shortly(self._writable.delete, key, start)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[WindowBatch]:
        """Return, for ``async with``, what has ``put`` and ``delete``, written together when it ends well."""
        async with written(self._writable.batch(), self._own) as batch:
            yield batch

    def snapshot(self) -> Opening[AsyncWindowSnapshot]:
        """Take a read-only view fixed at this moment, by ``await``, or by ``async with``, which closes it."""

        async def opened() -> AsyncWindowSnapshot:
            taken = await self._own.opened_in_slices(
                self._writable.snapshot, lambda one: one.close(), short=True
            )
            return AsyncWindowSnapshot(taken, self._own)

        return Opening(opened, AsyncWindowSnapshot.close)


@documented_by(SessionReads)
class _AsyncSessionReads(_AsyncTimedReader):
    _sessions: SessionReads

    async def get(self, key: bytes, start: Time, end: Time) -> bytes | None:
        self._own.check()
        return self._sessions.get(key, start, end)

    def fetch(
        self, key: bytes, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> AsyncRows[tuple[int, int, bytes]]:
        return AsyncRows(self._own, lambda: self._sessions.fetch(key, start, stop, reverse))

    def fetch_all(
        self, start: Time | None = None, stop: Time | None = None, reverse: bool = False
    ) -> AsyncRows[tuple[bytes, int, int, bytes]]:
        return AsyncRows(self._own, lambda: self._sessions.fetch_all(start, stop, reverse))

    async def latest(self, key: bytes) -> tuple[int, int, bytes] | None:
        self._own.check()
        return self._sessions.latest(key)


@documented_by(SessionSnapshot)
class AsyncSessionSnapshot(_AsyncSessionReads):
    """The sessions of a store at one moment, for one event loop."""

    def __init__(self, snapshot: SessionSnapshot, own: OwnLoop) -> None:
        super().__init__(snapshot, own)
        self._sessions = self._snapshot = snapshot

    @property
    def blocking(self) -> SessionSnapshot:
        """The same for threads that may block."""
        return self._snapshot


@documented_by(SessionStore)
class AsyncSessionStore(_AsyncTimedStore[SessionStore], _AsyncSessionReads):
    """A store of sessions without Kafka, for one event loop: ``SessionStore``, awaited."""

    def __init__(self, store: SessionStore, own: OwnLoop) -> None:
        _AsyncTimedStore.__init__(self, store, own)
        _AsyncSessionReads.__init__(self, store, own)
        self._sessions = store

    async def put(self, key: bytes, start: Time, end: Time, value: bytes) -> bool:
        return await self._own.shortly(self._writable.put, key, start, end, value)

    async def delete(self, key: bytes, start: Time, end: Time) -> None:
        await self._own.shortly(self._writable.delete, key, start, end)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[SessionBatch]:
        """Return, for ``async with``, what has ``put`` and ``delete``, written together when it ends well."""
        async with written(self._writable.batch(), self._own) as batch:
            yield batch

    def snapshot(self) -> Opening[AsyncSessionSnapshot]:
        """Take a read-only view fixed at this moment, by ``await``, or by ``async with``, which closes it."""

        async def opened() -> AsyncSessionSnapshot:
            taken = await self._own.opened_in_slices(
                self._writable.snapshot, lambda one: one.close(), short=True
            )
            return AsyncSessionSnapshot(taken, self._own)

        return Opening(opened, AsyncSessionSnapshot.close)
