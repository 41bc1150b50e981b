"""``AsyncStoreManager``: the manager of one data directory, for one asyncio event loop."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop, waited
from statestore.aio.snapshots import AsyncTableSnapshot
from statestore.aio.store import AsyncKeyValueStore
from statestore.aio.stream import AsyncStream
from statestore.aio.tables import AsyncBoundTable, AsyncBytesTable, AsyncTable, AsyncWindowTable
from statestore.aio.transaction import AsyncTransactionScope
from statestore.aio.window_store import AsyncSessionStore, AsyncWindowStore
from statestore.changelog.readiness import State
from statestore.delivery import Delivery
from statestore.errors import StateStoreError
from statestore.fields.windows import WindowSpec
from statestore.kafka.topics import Mode, TopicsReport
from statestore.manager import StoreManager
from statestore.manager.arguments import check_wait
from statestore.manager.explain import Explanation
from statestore.manager.health import ManagerHealth
from statestore.producing.unless_newer import NOT_COMPARED, Read
from statestore.runtime.steps import in_thread, run_async
from statestore.runtime.weak import LivingValues
from statestore.settings import Connect, OnMissing, Role, SettingsArgument
from statestore.storage.store import KeyValueStore
from statestore.storage.window_store import SessionStore, WindowStore
from statestore.tables.stream import Stream
from statestore.tables.table import BytesTable, Table, WindowTable

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

AsyncOpenStore = AsyncKeyValueStore | AsyncWindowStore | AsyncSessionStore
Asynchronous = AsyncTable[Any] | AsyncBytesTable | AsyncStream[Any] | AsyncOpenStore


@documented_by(StoreManager)
class AsyncStoreManager:
    """A ``StoreManager`` for asyncio: ``async with AsyncStoreManager("state", kafka=…) as stores:``.

    It takes the arguments of ``StoreManager``, and has its methods: those that read, write or wait are
    awaited. None of them blocks the event loop. It opens where the block begins, or by ``await``, on the
    running loop, and everything in it belongs to that loop. ``blocking`` is the ``StoreManager`` itself,
    which other threads may use.
    """

    def __init__(
        self,
        directory: str | Path,
        kafka: str | Mapping[str, Any] | None = None,
        backend: str | None = None,
        entities: Iterable[type | str] = (),
        wait: float | None = None,
        settings: SettingsArgument = None,
        *,
        connect: Connect = "eager",
        require_all_ready: bool = True,
        lock_timeout: float = 0.0,
        replace: bool = False,
        role: Role | None = None,
        slots: int | None = None,
        prune: bool = False,
    ) -> None:
        check_wait(wait)
        self._make = partial(
            StoreManager,
            directory,
            kafka,
            backend,
            list(entities),
            None,
            settings,
            connect=connect,
            require_all_ready=require_all_ready,
            lock_timeout=lock_timeout,
            replace=replace,
            role=role,
            slots=slots,
            prune=prune,
        )
        self._directory = directory
        self._wait = wait
        self._manager: StoreManager | None = None
        self._loop: OwnLoop | None = None
        self._known: LivingValues[int, Asynchronous] = LivingValues()
        """The form for asyncio of each table, stream and store, by the id of the blocking one."""

    @property
    def blocking(self) -> StoreManager:
        """The same for threads that may block."""
        if self._manager is None:
            raise self._not_open()
        return self._manager

    @property
    def _own(self) -> OwnLoop:
        if self._loop is None:
            raise self._not_open()
        return self._loop

    def _not_open(self) -> RuntimeError:
        return RuntimeError(f"{self!r} is not open: enter it by `async with`, or await it")

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self) -> Self:
        """Open everything; nothing stays open where that fails or is cancelled."""
        if self._loop is not None:
            raise RuntimeError(f"{self!r} was opened already: make a new one")
        self._loop = OwnLoop()
        opening = in_thread("statestore-call", self._make)
        try:
            self._manager = await run_async(waited(opening))
            if self._wait is not None:
                try:
                    await self._own.do(self._manager._started(self._wait), self._wait)  # noqa: SLF001 - its form
                except StateStoreError:  # who opens the directory again must find it free
                    await self._own.in_thread(self._manager.close)
                    raise
        except BaseException:
            self._loop.close()
            opening.add_done_callback(_close_later)
            raise
        return self

    async def close(self) -> None:
        """Flush and close everything, and give the directory up. Idempotent.

        When it is cancelled the closing goes on, on a thread. It is fine where opening has failed.
        """
        if self._manager is None:
            return
        try:
            await self._own.in_thread(self._manager.close)
        finally:
            self._own.close()

    # Stores, tables and streams

    async def open(
        self, name: str, backend: str | None = None, *, on_missing: Literal["fail", "empty"] = "fail"
    ) -> AsyncKeyValueStore:
        opened = await self._own.in_thread(self.blocking.open, name, backend, on_missing=on_missing)
        return cast("AsyncKeyValueStore", self._form(opened))

    async def open_window(
        self,
        name: str,
        size: WindowSpec,
        retention: WindowSpec,
        backend: str | None = None,
        *,
        on_missing: Literal["fail", "empty"] = "fail",
    ) -> AsyncWindowStore:
        opened = await self._own.in_thread(
            self.blocking.open_window, name, size, retention, backend, on_missing=on_missing
        )
        return cast("AsyncWindowStore", self._form(opened))

    async def open_session(
        self,
        name: str,
        retention: WindowSpec,
        backend: str | None = None,
        *,
        on_missing: Literal["fail", "empty"] = "fail",
    ) -> AsyncSessionStore:
        opened = await self._own.in_thread(
            self.blocking.open_session, name, retention, backend, on_missing=on_missing
        )
        return cast("AsyncSessionStore", self._form(opened))

    @overload
    async def bind(
        self,
        entity_or_topic: type[T],
        *,
        backend: str | None = ...,
        name: str | None = ...,
        on_missing: OnMissing | None = ...,
        max_lag: int | None = ...,
        max_staleness: float | None = ...,
    ) -> AsyncTable[T]: ...
    @overload
    async def bind(
        self,
        entity_or_topic: str,
        *,
        backend: str | None = ...,
        name: str | None = ...,
        on_missing: OnMissing | None = ...,
        max_lag: int | None = ...,
        max_staleness: float | None = ...,
    ) -> AsyncBytesTable: ...
    async def bind(
        self,
        entity_or_topic: type[Any] | str,
        *,
        backend: str | None = None,
        name: str | None = None,
        on_missing: OnMissing | None = None,
        max_lag: int | None = None,
        max_staleness: float | None = None,
    ) -> Any:
        bind: Callable[[], Any] = partial(
            self.blocking.bind,
            cast("Any", entity_or_topic),
            backend=backend,
            name=name,
            on_missing=on_missing,
            max_lag=max_lag,
            max_staleness=max_staleness,
        )
        return self._form(await self._own.in_thread(bind))

    async def stream(self, entity: type[T], *, name: str | None = None) -> AsyncStream[T]:
        made = await self._own.in_thread(self.blocking.stream, entity, name=name)
        return cast("AsyncStream[T]", self._form(made))

    def store(self, name: str) -> AsyncOpenStore | AsyncBoundTable[Any]:
        return cast("AsyncOpenStore | AsyncBoundTable[Any]", self._form(self.blocking.store(name)))

    async def ensure_topics(self, *entities: type[Any], mode: Mode = "warn") -> TopicsReport:
        return await self._own.in_thread(self.blocking.ensure_topics, *entities, mode=mode)

    # Readiness and reports

    @property
    def is_ready(self) -> bool:
        """Whether every bound table is ready; True when there is none."""
        return self.blocking.is_ready

    @property
    def state(self) -> State:
        """The worst state of all bound tables; ``CREATED`` when there is none."""
        return self.blocking.state

    async def ready(self, *tables: AsyncBoundTable[Any], timeout: float | None = 15) -> None:
        """The same as ``wait_until_ready``."""
        await self.wait_until_ready(*tables, timeout=timeout)

    async def wait_until_ready(self, *tables: AsyncBoundTable[Any], timeout: float | None = 15) -> None:
        steps = self.blocking._readied([one.blocking for one in tables], timeout)  # noqa: SLF001 - its form
        await self._own.do(steps, timeout)

    async def sync(self, *tables: AsyncBoundTable[Any], timeout: float | None = 15.0) -> None:
        self._own.check()
        await self.blocking.sync_async(*(one.blocking for one in tables), timeout=timeout)

    async def health(self) -> ManagerHealth:
        return await self._own.in_thread(self.blocking.health)  # a probe waits for no query

    async def describe(self) -> list[dict[str, Any]]:
        return await self._own.in_slices(self.blocking.describe)

    async def drop_orphans(self) -> list[str]:
        return await self._own.in_thread(self.blocking.drop_orphans)

    async def explain(self) -> Explanation:
        return await self._own.in_slices(self.blocking.explain)

    @overload
    def snapshot(
        self, one: AsyncTable[A], two: AsyncTable[B], /, *, allow_stale: bool = ...
    ) -> AbstractAsyncContextManager[tuple[AsyncTableSnapshot[A], AsyncTableSnapshot[B]]]: ...
    @overload
    def snapshot(
        self, one: AsyncTable[A], two: AsyncTable[B], three: AsyncTable[C], /, *, allow_stale: bool = ...
    ) -> AbstractAsyncContextManager[
        tuple[AsyncTableSnapshot[A], AsyncTableSnapshot[B], AsyncTableSnapshot[C]]
    ]: ...
    @overload
    def snapshot(
        self, *tables: AsyncBoundTable[Any], allow_stale: bool = ...
    ) -> AbstractAsyncContextManager[tuple[Any, ...]]: ...
    def snapshot(
        self, *tables: AsyncBoundTable[Any], allow_stale: bool = False
    ) -> AbstractAsyncContextManager[tuple[Any, ...]]:
        return _snapshots(tables, allow_stale)

    # Writing

    async def add(
        self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED, timeout: float | None = None
    ) -> Delivery:
        self._own.check()
        return await self.blocking.add_async(entity, unless_newer_than=unless_newer_than, timeout=timeout)

    async def add_all(
        self, entities: Iterable[Any] | AsyncIterable[Any], *, timeout: float | None = None
    ) -> list[Delivery]:
        self._own.check()
        return await self.blocking.add_all_async(entities, timeout=timeout)

    async def delete(
        self,
        entity_or_class: Any,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        timeout: float | None = None,
    ) -> Delivery:
        self._own.check()
        return await self.blocking.delete_async(
            entity_or_class, *key, unless_newer_than=unless_newer_than, timeout=timeout
        )

    def transaction(self) -> AsyncTransactionScope:
        """Write entities that become visible together: ``async with stores.transaction() as tx:``.

        Entities given to ``await tx.add(…)``, ``tx.add_all`` and ``tx.delete`` are sent and committed when
        the block ends; when the block raises, or is cancelled, nothing is sent. Otherwise as
        ``StoreManager.transaction``.
        """
        return AsyncTransactionScope(self.blocking.transaction(), self._own)

    async def flush(self, timeout: float = 30.0) -> None:
        await self._own.in_thread(self.blocking.flush, timeout)

    def __repr__(self) -> str:
        return f"<AsyncStoreManager {str(self._directory)!r}>"

    def _form(self, opened: Any) -> Asynchronous:
        """Return the form for asyncio of what the blocking manager has opened: always the same one."""
        found = self._known.get(id(opened))
        if found is None:
            for blocking, form in _FORMS.items():
                if isinstance(opened, blocking):
                    found = form(opened, self._own)
                    if isinstance(found, AsyncTable):
                        found._form = self._form  # noqa: SLF001 - of its windows
                    self._known.put(id(opened), found)
                    break
        assert found is not None
        return found


_FORMS: dict[type, Callable[[Any, OwnLoop], Asynchronous]] = {
    WindowTable: AsyncWindowTable,  # before what it is also
    Table: AsyncTable,
    BytesTable: AsyncBytesTable,
    Stream: AsyncStream,
    KeyValueStore: AsyncKeyValueStore,
    WindowStore: AsyncWindowStore,
    SessionStore: AsyncSessionStore,
}


@asynccontextmanager
async def _snapshots(
    tables: tuple[AsyncBoundTable[Any], ...], allow_stale: bool
) -> AsyncIterator[tuple[Any, ...]]:
    async with AsyncExitStack() as stack:
        yield tuple(
            [await stack.enter_async_context(table.snapshot(allow_stale=allow_stale)) for table in tables]
        )


def _close_later(opening: Future[StoreManager]) -> None:
    """Close, on a thread, what was opened for nobody."""
    if opening.exception() is None:
        in_thread("statestore-close", opening.result().close)
