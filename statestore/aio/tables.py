"""Tables, awaited."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.opening import Closing, Opening
from statestore.aio.reads import AsyncBytesReads, AsyncEntityReads, AsyncRowReads
from statestore.aio.snapshots import (
    AsyncBytesTableSnapshot,
    AsyncPinnedRows,
    AsyncTableSnapshot,
    AsyncWindowTableSnapshot,
)
from statestore.aio.window_reads import AsyncWindowReads
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import Reason, State
from statestore.delivery import Delivery
from statestore.fields.windows import DeclaredWindow, Window
from statestore.producing.unless_newer import NOT_COMPARED, Read
from statestore.tables.snapshot import BytesTableSnapshot
from statestore.tables.table import BoundTable, BytesTable, Table, WindowTable
from statestore.tables.window_table import WindowTableStats

T = TypeVar("T")
D = TypeVar("D")


@documented_by(BoundTable)
class AsyncBoundTable(AsyncRowReads[T], Closing, Generic[T]):
    """The methods that tables of entities and of bytes have in common."""

    _own: OwnLoop

    @property
    @abstractmethod
    def blocking(self) -> BoundTable[T]: ...

    @property
    def name(self) -> str:
        """The logical store name."""
        return self.blocking.name

    @property
    def topic(self) -> str:
        return self.blocking.topic

    @property
    def state(self) -> State:
        return self.blocking.state

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        return self.blocking.reason

    @property
    def is_ready(self) -> bool:
        """Whether a read would be answered now; its group must be ready, too."""
        return self.blocking.is_ready

    @property
    def lag(self) -> int | None:
        """Offsets still to apply; ``None``: not known. See ``BoundTable.lag``."""
        return self.blocking.lag

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        return self.blocking.lag_by_partition

    async def ready(self, timeout: float | None = None) -> None:
        """The same as ``wait_until_ready``."""
        await self.wait_until_ready(timeout)

    async def wait_until_ready(self, timeout: float | None = None) -> None:
        await self._own.do(self.blocking._readied(timeout), timeout)  # noqa: SLF001 - its other form

    async def sync(self, timeout: float | None = 15.0) -> None:
        self._own.check()
        await self.blocking.sync_async(timeout)

    async def wait_for(self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0) -> None:
        self._own.check()
        await self.blocking.wait_for_async(delivered, timeout)

    def on_ready(self, call: Callable[[], object]) -> None:
        """Have the loop call ``call()``, a function or an async one, each time the table becomes ready."""
        self.blocking.on_ready(self._own.caller(call))

    def on_state_change(self, call: Callable[[StateChange], object]) -> None:
        """Have the loop call ``call(StateChange)`` for the present state and each later one, in order."""
        self.blocking.on_state_change(self._own.caller(call))

    def on_progress(self, call: Callable[[RestoreProgress], object]) -> None:
        """Have the loop call ``call(RestoreProgress)`` while restoring, every ``progress_interval``."""
        self.blocking.on_progress(self._own.caller(call))

    async def health(self) -> TableHealth:
        return await self._own.in_thread(self.blocking.health)  # a probe waits for no query

    async def approximate_count(self, *, allow_stale: bool = False) -> int:
        return await self._own.shortly(self.blocking.approximate_count, allow_stale=allow_stale)

    async def start(self) -> None:
        await self._own.in_thread(self.blocking.start)

    async def stop(self) -> None:
        await self._own.in_thread(self.blocking.stop)

    async def restart(self) -> None:
        await self._own.in_thread(self.blocking.restart)

    async def pause(self) -> None:
        await self._own.in_thread(self.blocking.pause)

    async def resume(self) -> None:
        await self._own.in_thread(self.blocking.resume)

    async def flush(self) -> None:
        await self._own.in_thread(self.blocking.flush)

    async def compact(self) -> None:
        await self._own.in_thread(self.blocking.compact)

    async def close(self) -> None:
        """Stop the table and close its store. Idempotent; when it is cancelled the closing goes on."""
        await self._own.in_thread(self.blocking.close)

    @abstractmethod
    def snapshot(self, *, allow_stale: bool = False) -> Opening[Any]:
        """Take a snapshot, by ``await``, or by ``async with``, which closes it."""

    def __repr__(self) -> str:
        return f"<Async{repr(self.blocking).removeprefix('<')}"


@documented_by(BytesTable)
class AsyncBytesTable(AsyncBytesReads, AsyncBoundTable[tuple[bytes, bytes]]):
    """A topic bound by name, for one event loop: ``BytesTable``, awaited."""

    def __init__(self, table: BytesTable, own: OwnLoop) -> None:
        self._table = table
        self._own = own

    @property
    def blocking(self) -> BytesTable:
        return self._table

    def _pinned(self, allow_stale: bool) -> BytesTableSnapshot:
        return self._table.snapshot(allow_stale=allow_stale)

    def snapshot(self, *, allow_stale: bool = False) -> Opening[AsyncBytesTableSnapshot]:
        async def opened() -> AsyncBytesTableSnapshot:
            taken = await self._own.opened_in_slices(
                lambda: self._table.snapshot(allow_stale=allow_stale), lambda one: one.close(), short=True
            )
            return AsyncBytesTableSnapshot(taken, self._own)

        return Opening(opened, AsyncPinnedRows.close)


@documented_by(Table)
class AsyncTable(AsyncEntityReads[T], AsyncBoundTable[T]):
    """A topic bound by an entity class, for one event loop: ``Table``, awaited."""

    _form: Callable[[Any], Any]
    """Returns the form for asyncio of what the same manager has opened; the manager sets it."""

    def __init__(self, table: Table[T], own: OwnLoop) -> None:
        self._table = table
        self._own = own

    @property
    def blocking(self) -> Table[T]:
        return self._table

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows of the class, by size; see :attr:`Table.windows <statestore.Table.windows>`."""
        return self._table.windows

    def window(self, spec: DeclaredWindow | Window | None = None) -> AsyncWindowTable[T]:
        return cast("AsyncWindowTable[T]", self._form(self._table.window(spec)))

    def all_windows(self) -> list[AsyncWindowTable[T]]:
        return [self._form(one) for one in self._table.all_windows()]

    def to_ksql(self) -> str:
        return self._table.to_ksql()

    def snapshot(self, *, allow_stale: bool = False) -> Opening[AsyncTableSnapshot[T]]:
        async def opened() -> AsyncTableSnapshot[T]:
            taken = await self._own.opened_in_slices(
                lambda: self._table.snapshot(allow_stale=allow_stale), lambda one: one.close(), short=True
            )
            return AsyncTableSnapshot(taken, self._own)

        return Opening(opened, AsyncPinnedRows.close)

    async def add(
        self,
        entity: T,
        *,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        self._own.check()
        return await self._table.add_async(
            entity, unless_newer_than=unless_newer_than, wait=wait, timeout=timeout
        )

    async def add_all(
        self,
        entities: Iterable[T] | AsyncIterable[T],
        *,
        wait: bool = False,
        timeout: float | None = None,
    ) -> list[Delivery]:
        self._own.check()
        return await self._table.add_all_async(entities, wait=wait, timeout=timeout)

    async def delete(
        self,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        self._own.check()
        return await self._table.delete_async(
            *key, unless_newer_than=unless_newer_than, wait=wait, timeout=timeout
        )


@documented_by(WindowTable)
class AsyncWindowTable(AsyncWindowReads[T], AsyncTable[T]):
    """The table of one window of an entity class, for one event loop: ``WindowTable``, awaited."""

    def __init__(self, table: WindowTable[T], own: OwnLoop) -> None:
        super().__init__(table, own)
        self._of_window = table

    @property
    def blocking(self) -> WindowTable[T]:
        return self._of_window

    def snapshot(self, *, allow_stale: bool = False) -> Opening[AsyncWindowTableSnapshot[T]]:
        async def opened() -> AsyncWindowTableSnapshot[T]:
            taken = await self._own.opened_in_slices(
                lambda: self._of_window.snapshot(allow_stale=allow_stale), lambda one: one.close(), short=True
            )
            return AsyncWindowTableSnapshot(taken, self._own)

        return Opening(opened, AsyncPinnedRows.close)

    async def stats(self) -> WindowTableStats:
        return await self._own.shortly(self.blocking.stats)

    async def clear(self) -> None:
        await self._own.in_thread(self.blocking.clear)
