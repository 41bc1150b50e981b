"""Snapshots of tables, awaited."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.opening import Closing
from statestore.aio.reads import AsyncBytesReads, AsyncEntityReads
from statestore.aio.window_reads import AsyncWindowReads
from statestore.tables.snapshot import BytesTableSnapshot, PinnedRows, TableSnapshot
from statestore.tables.window_table import WindowTableSnapshot

T = TypeVar("T")


@documented_by(PinnedRows)
class AsyncPinnedRows(Closing, Generic[T]):
    """What a table was at one instant: the reading methods of the table, and ``positions``.

    Close it, or use it in ``async with``: as long as it is open, the store keeps everything of that instant.
    """

    _own: OwnLoop

    @property
    @abstractmethod
    def blocking(self) -> PinnedRows[T]: ...

    @property
    def name(self) -> str:
        return self.blocking.name

    @property
    def positions(self) -> dict[int, int]:
        return self.blocking.positions

    async def close(self) -> None:
        self._own.check()
        self.blocking.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name!r}>"


class AsyncBytesTableSnapshot(AsyncBytesReads, AsyncPinnedRows[tuple[bytes, bytes]]):
    """A snapshot of a table of bytes."""

    def __init__(self, snapshot: BytesTableSnapshot, own: OwnLoop) -> None:
        self._snapshot = snapshot
        self._own = own

    @property
    def blocking(self) -> BytesTableSnapshot:
        return self._snapshot

    def _pinned(self, allow_stale: bool) -> AbstractContextManager[BytesTableSnapshot]:  # noqa: ARG002 - as all reads
        return nullcontext(self._snapshot)


class AsyncTableSnapshot(AsyncEntityReads[T], AsyncPinnedRows[T]):
    """A snapshot of a table of entities."""

    def __init__(self, snapshot: TableSnapshot[T], own: OwnLoop) -> None:
        self._snapshot = snapshot
        self._own = own

    @property
    def blocking(self) -> TableSnapshot[T]:
        return self._snapshot


class AsyncWindowTableSnapshot(AsyncWindowReads[T], AsyncTableSnapshot[T]):
    """A snapshot of the table of one window."""

    def __init__(self, snapshot: WindowTableSnapshot[T], own: OwnLoop) -> None:
        super().__init__(snapshot, own)
        self._of_window = snapshot

    @property
    def blocking(self) -> WindowTableSnapshot[T]:
        return self._of_window
