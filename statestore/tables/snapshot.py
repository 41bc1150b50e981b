"""Snapshots of tables: rows and positions of one instant, however long they are read."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from statestore.core import Readable
from statestore.query.source import ScanPolicy
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogSnapshot
from statestore.tables.bytes_reads import BytesRowReads
from statestore.tables.entity_reads import EntityReads
from statestore.tables.reads import Counting, RowReads, RowSource

T = TypeVar("T")


class _Moment(Readable):
    """A source of rows that stays readable; its store raises once it is closed."""

    def __init__(self, table: RowSource, store: ChangelogSnapshot) -> None:
        self.name: str = table.name
        self.mirror: Counting = table.mirror
        self.readable: ChangelogSnapshot = store

    def reading(self, allow_stale: bool) -> ChangelogSnapshot:  # noqa: ARG002 - decided when it was taken
        return self.readable


class PinnedRows(RowReads[T], Generic[T]):
    """What a table was at one instant: the reading methods of the table, and ``positions``. Thread-safe.

    Close it, or use it in ``with``: as long as it is open, the store keeps everything of that instant, on
    disk, too. Once it is closed, or its store is (the table was closed, or is rebuilt), every read and
    ``positions`` raise ``StoreClosedError``. Reads do not depend on the table's readiness any more, so that
    ``allow_stale`` changes nothing. A row that ``ttl`` or the topic's retention ends later stays in it.
    """

    _store: ChangelogSnapshot
    _manager: object
    """What opened the table, and closes it when nobody refers to it any more."""

    @property
    def name(self) -> str:
        """The logical store name of the table."""
        return self._binding.name

    @property
    def _whose(self) -> str:
        return f"a snapshot of table {self._binding.name!r}"

    @property
    def positions(self) -> dict[int, int]:
        """Of each partition, the offset of the next record to apply: the rows are those of all before."""
        return {number: one.offset for number, one in self._store.positions().items()}

    def close(self) -> None:
        """Release what the store keeps for the snapshot. Idempotent."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name!r}>"


class BytesTableSnapshot(BytesRowReads, PinnedRows[tuple[bytes, bytes]]):
    """A snapshot of a table of bytes."""

    def __init__(self, table: RowSource, store: ChangelogSnapshot, manager: object) -> None:
        self._binding = _Moment(table, store)
        self._store = store
        self._manager = manager


class TableSnapshot(EntityReads[T], PinnedRows[T]):
    """A snapshot of a table of entities."""

    def __init__(
        self,
        table: RowSource,
        codec: EntityCodec[T],
        scans: ScanPolicy,
        store: ChangelogSnapshot,
        manager: object,
    ) -> None:
        super().__init__(_Moment(table, store), codec, scans)
        self._store = store
        self._manager = manager
