"""The rows of one table, as a :class:`TableRead` finds them in a store or a snapshot."""

from __future__ import annotations

from typing import Any

from statestore.query.by_index import IndexScan, OpenIndex
from statestore.query.compile import Filter
from statestore.query.index_rows import index_entities, open_index
from statestore.query.reading import KeyScan, NoRows, PointReads, TableRead
from statestore.query.rows import PairScan, Scan, planned_pairs, planned_rows, point_rows
from statestore.query.source import Source
from statestore.relational.values import Query

Opened = NoRows | PointReads | KeyScan | OpenIndex
"""How rows are found, where an index that finds them is open already."""


def opened(
    read: TableRead, source: Source[Any], query: Query[Any], stop: int | None = None
) -> tuple[TableRead, Opened]:
    """Return ``read``, or how the same rows are read without its index, and how they are found now.

    ``stop`` is how many are wanted, ``None`` for all. Raises ``QueryError`` where ``query`` looks at all rows
    without the index, and must not.
    """
    if not isinstance(read.access, IndexScan):
        return read, read.access
    found = open_index(read.access, source, read.reverse, stop, keeps=source.refuses_scan(query))
    if isinstance(found, OpenIndex):
        return read, found
    without = read.without_index
    assert not isinstance(without.access, IndexScan)
    if without.reads_all:
        source.check_scan(query, found)
    return without, without.access


def table_rows(read: TableRead, access: Opened, source: Source[Any], stop: int | None = None) -> Scan[Any]:
    """Return the entities of ``source`` that ``read`` finds and its condition accepts, as of now."""
    if isinstance(access, KeyScan) and isinstance(read.filter, Filter):
        stored = stored_rows(read, access, source)
        return Scan(read.filter.rows(stored.pairs, stored.decode), stored.close)
    found = _found(read, access, source, stop)
    return found if read.condition is None else Scan(filter(read.accepts, found.rows), found.close)


def stored_rows(read: TableRead, access: KeyScan, source: Source[Any]) -> PairScan[Any]:
    """Return the stored pairs of ``source`` that ``read`` finds, before its condition, as of now."""
    return planned_pairs(source.store, source.codec, access.keys, read.reverse, None, source.decode)


def _found(read: TableRead, access: Opened, source: Source[Any], stop: int | None) -> Scan[Any]:
    reading = source.store, source.codec, source.counts
    match access:
        case NoRows():
            return Scan(iter(()), _nothing)
        case PointReads(keys):
            return point_rows(*reading, keys[::-1] if read.reverse else keys, source.decode)
        case KeyScan(keys):
            return planned_rows(*reading, keys, read.reverse, stop, source.decode)
        case OpenIndex():
            return index_entities(access, source)


def _nothing() -> None:
    pass
