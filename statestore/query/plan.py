"""The plan of a query: how the rows of its tables are found, joined and filtered, and when that ends.

A :class:`Plan` is made for one query and the codecs of its tables. It depends on no rows, only on which
indexes may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import Node, all_of, parts_of
from statestore.expressions.type_checking import Rows, record_of
from statestore.query.compile import GroupedScan, compile_groups
from statestore.query.grouping import Aggregation
from statestore.query.joining import JoinPlan, join_plan
from statestore.query.ordering import Ordering
from statestore.query.reading import NO_SCAN, NoRows, Order, TableRead, is_of, table_read, why_all
from statestore.query.source import Source
from statestore.relational.results import has_only_scalars, maker
from statestore.relational.values import Query
from statestore.serde.entities import EntityCodec
from statestore.storage.indexes import ReadyIndex

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How the rows of a query are found. Any number of threads may share one."""

    query: Query[Any]
    first: TableRead
    """How the rows of the first table are found and filtered."""
    joins: tuple[JoinPlan, ...]
    joined_condition: Node | None
    """What is left to filter joined rows by."""
    scans: tuple[str, ...]
    """Of each table why all of its rows are read although fewer are asked for, or none as they are."""

    @property
    def stop(self) -> int | None:
        """How many rows that pass the filters are enough; ``None``: all are needed."""
        return self.query.stop if self.first.sorted and self.query.keys is None else None

    @property
    def is_direct(self) -> bool:
        """Whether each row that is read is one of those asked for: nothing is filtered, nothing joined."""
        return self.first.condition is None and not self.query.predicates and not self.joins

    @cached_property
    def groups(self) -> GroupedScan | str:
        """What groups stored pairs, or why Python groups rows."""
        first, query = self.first, self.query
        if not first.reads_pairs:
            return NO_SCAN
        if self.joins or query.predicates:
            return "rows are joined" if self.joins else "a function filters"
        keys = [column.node for column in query.keys or ()]
        return compile_groups(first.condition, keys, self.aggregation.measures, first.codec, first.record)

    @cached_property
    def aggregation(self) -> Aggregation:
        """What is computed of each group of rows."""
        return Aggregation(self.query.keys or (), self.query.aggregates, self.query.sources)

    @cached_property
    def accepts_joined(self) -> Callable[[Any], Any]:
        """What tells whether a joined row fulfils ``joined_condition``."""
        assert self.joined_condition is not None
        return compiled(Expr(self.joined_condition), *self.query.sources)

    @cached_property
    def accepts_group(self) -> Callable[[Any], Any]:
        """What tells whether the row of a group fulfils ``having``."""
        assert self.query.group_condition is not None
        return compiled(Expr(self.query.group_condition), *self.query.rows)

    @cached_property
    def ordering(self) -> Ordering:
        """The order of ``order_by``."""
        return Ordering(self.query.order, self.query.rows)

    @cached_property
    def select(self) -> Callable[[Any], Any]:
        """What makes a row of the result of a row that ``select`` gets."""
        columns, rows = self.query.columns or (), self.query.rows
        values_of = [compiled(Expr(column.node), *rows) for column in columns]
        return maker(self.query.into, tuple(column.name for column in columns), values_of)

    @cached_property
    def without_index(self) -> Plan:
        """The same where the index that finds the rows of the first table is not worth reading."""
        return replace(self, first=self.first.without_index)


def plan_of(
    query: Query[Any], codecs: Sequence[EntityCodec[Any]], indexes: Sequence[Sequence[ReadyIndex]] = ()
) -> Plan:
    """Return the plan of a query over the entities of ``codecs``, one of each of its classes.

    ``indexes`` are the secondary indexes of each that may be read.
    """
    rows = query.sources
    indexes = indexes or [()] * len(codecs)
    parts: list[Node] = []
    late: list[Node] = []
    for part in parts_of(query.condition):
        (parts if not query.joins or is_of(part, 0, rows) else late).append(part)
    first = _first_read(query, rows, parts, late, codecs[0], indexes[0])
    scans = [_why_scan(query, first, parts, indexes[0])]
    joins = []
    for place, join in enumerate(query.joins, 1):
        own = [part for part in late if is_of(part, place, rows)]
        is_outer = join.is_outer and not any(_rejects_none(part, rows) for part in own)
        if is_outer:
            own = []  # they are about rows without a partner, too
        late = [part for part in late if part not in own]
        read = table_read(own, Order(), codecs[place], record_of(rows[place]), indexes[place])
        joins.append(join_plan(join, rows[: place + 1], read, indexes[place], is_outer=is_outer))
        scans.append(_why_hashed(joins[-1], indexes[place]))
    return Plan(query, first, tuple(joins), all_of(late) if late else None, tuple(scans))


def _rejects_none(condition: Node, rows: Sequence[Rows]) -> bool:
    """Whether a condition on one of ``rows`` is not true where there is ``None`` in its place."""
    return compiled(Expr(condition), *rows)((None,) * len(rows)) is not True


def _first_read(
    query: Query[Any],
    rows: tuple[Rows, ...],
    parts: Sequence[Node],
    late: Sequence[Node],
    codec: EntityCodec[Any],
    indexes: Sequence[ReadyIndex],
) -> TableRead:
    record = record_of(rows[0])
    if query.limit == 0:
        return TableRead(codec, record, (), Order(), NoRows("take(0)"), None, reverse=False, sorted=True)
    is_filtered = bool(parts or late or query.predicates or query.joins)
    terms = () if query.keys is not None else query.order
    order = Order(terms, rows, saves_sorting=query.limit is not None and not is_filtered)
    return table_read(parts, order, codec, record, indexes)


def _why_scan(
    query: Query[Any], read: TableRead, parts: Sequence[Node], indexes: Sequence[ReadyIndex]
) -> str:
    """Return why all rows of the first table are read; nothing where they are not, or are asked for."""
    if not read.reads_all:
        return ""
    is_filtered = read.condition is not None or query.predicates or query.joins or query.keys is not None
    if read.sorted and not is_filtered:
        stops_early = query.stop is not None and read.reads_pairs
        if stops_early or (query.limit is None and not query.skipped):
            return ""
    if parts:
        return why_all(parts, read.codec, indexes)
    if query.predicates:
        return "no condition: a function in where cannot seek"
    if query.order and query.keys is None:
        others = " or ".join(f"({one.codec.name})" for one in indexes)
        by_index = f" or of an index, {others}" if others else ""
        key = ", ".join(read.codec.key_types)
        return f"no condition, and the order is not that of the key, ({key}){by_index}"
    return "no condition: all rows are asked for"


def _why_hashed(join: JoinPlan, indexes: Sequence[ReadyIndex]) -> str:
    """Return why all rows of a joined table are read; nothing where they are not."""
    if join.lookup is not None or not join.read.reads_all:
        return ""
    name, codec = join.join.entity.__name__, join.read.codec
    key = list(codec.key_types)
    is_ordered = codec.key_plan().accepts is None
    firsts = [key[0] if is_ordered else " and ".join(key), *(one.codec.names[0] for one in indexes)]
    given = " or ".join(dict.fromkeys(firsts))
    return f"the rows of {name} could be looked up if on gave {given}, which begin its key or an index"


class Planned(Generic[T]):
    """A query with the plan that was made of it last. Any number of threads may share one."""

    def __init__(self, query: Query[T]) -> None:
        self.query = query
        self._last: tuple[Sequence[Sequence[ReadyIndex]], Plan] | None = None

    @cached_property
    def has_scalar_groups(self) -> bool:
        """Whether all columns of a group's row are scalars, so that no cycle can go through one."""
        return has_only_scalars(self.query.rows)

    @cached_property
    def has_scalar_results(self) -> bool:
        """The same of the rows that ``select`` makes."""
        return has_only_scalars(self.query.results)

    def plan(self, sources: Sequence[Source[Any]]) -> Plan:
        """Return the plan over ``sources``, which must be of the same tables at each call."""
        last = self._last
        indexes = [one.store.indexes for one in sources]
        if last is None or last[0] != indexes:
            last = self._last = indexes, plan_of(self.query, [one.codec for one in sources], indexes)
        return last[1]
