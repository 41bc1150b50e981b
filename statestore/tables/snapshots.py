"""Snapshots of several tables, for queries that join them and for reads that go together."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from statestore.tables.snapshot import PinnedRows, TableSnapshot
from statestore.tables.table import BoundTable, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class SnapshotsMixin:
    """The part of a manager that takes snapshots of several tables."""

    @overload
    def snapshot(
        self, one: Table[A], two: Table[B], /, *, allow_stale: bool = ...
    ) -> AbstractContextManager[tuple[TableSnapshot[A], TableSnapshot[B]]]: ...
    @overload
    def snapshot(
        self, one: Table[A], two: Table[B], three: Table[C], /, *, allow_stale: bool = ...
    ) -> AbstractContextManager[tuple[TableSnapshot[A], TableSnapshot[B], TableSnapshot[C]]]: ...
    @overload
    def snapshot(
        self, *tables: BoundTable[Any], allow_stale: bool = ...
    ) -> AbstractContextManager[tuple[PinnedRows[Any], ...]]: ...
    def snapshot(
        self, *tables: BoundTable[Any], allow_stale: bool = False
    ) -> AbstractContextManager[tuple[Any, ...]]:
        """Take a snapshot of each table, one after the other: ``with stores.snapshot(a, b) as (x, y):``.

        All of them are ready, or none is taken: it raises what a read of the first that is not raises. Two
        topics have no common instant; ``positions`` of each snapshot says how far into its topic it is. They
        are closed at the end of the block.
        """
        return _snapshots(tables, allow_stale)


@contextmanager
def _snapshots(tables: tuple[BoundTable[Any], ...], allow_stale: bool) -> Iterator[tuple[Any, ...]]:
    with ExitStack() as stack:
        yield tuple([stack.enter_context(table.snapshot(allow_stale=allow_stale)) for table in tables])
