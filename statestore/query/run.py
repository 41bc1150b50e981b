"""A query on a store: its plan carried out, over one snapshot.

Rows go one way: :func:`entities` reads those that the plan finds and its filters accept, :func:`results`
groups, sorts, cuts and selects them. Both give iterators: who takes rows decides how many are read at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import reduce
from itertools import islice
from typing import Any

from statestore.core import acyclic, count_pairs
from statestore.query.by_index import OpenIndex
from statestore.query.compile import Filter, GroupedScan
from statestore.query.grouping import Aggregation
from statestore.query.index_rows import count_index
from statestore.query.joining import joined
from statestore.query.ordering import Ordering
from statestore.query.plan import Plan, Planned
from statestore.query.reading import KeyScan
from statestore.query.rows import PairScan, Scan, chosen_keys, stored_pairs
from statestore.query.source import Source
from statestore.query.table_rows import Opened, opened, stored_rows, table_rows
from statestore.relational.results import row_class
from statestore.runtime.slices import in_slices, with_pauses


def entities(plan: Plan, access: Opened, sources: Sequence[Source[Any]]) -> Scan[Any]:
    """Return the rows that ``plan`` finds in the sources, joins, and accepts by its filters, as of now."""
    if plan.joins:
        found = _joined(plan, access, sources)
    else:
        found = table_rows(plan.first, access, sources[0], _enough(plan))
    return Scan(reduce(lambda rows, one: filter(one, rows), plan.query.predicates, found.rows), found.close)


def _joined(plan: Plan, access: Opened, sources: Sequence[Source[Any]]) -> Scan[Any]:
    """Return the joined rows that the condition accepts."""
    query = plan.query
    found = table_rows(plan.first, access, sources[0])
    rows = found.rows
    for place, (join, source) in enumerate(zip(plan.joins, sources[1:], strict=True), 1):
        rows = joined(rows, join, query, place, source)
    if plan.joined_condition is not None:
        rows = filter(plan.accepts_joined, rows)
    return Scan(rows, found.close)


def _at_one_instant(sources: Sequence[Source[Any]]) -> tuple[list[Source[Any]], Callable[[], None]]:
    """Return ``sources`` over snapshots taken now, one of each table, and what releases these."""
    taken: dict[int, Source[Any]] = {}
    with ExitStack() as releases:
        for one in sources:
            if id(one.store) not in taken:
                taken[id(one.store)], release = one.pinned()
                releases.callback(release)
        kept = releases.pop_all()
    return [replace(one, store=taken[id(one.store)].store) for one in sources], kept.close


def planned(asked: Planned[Any], sources: Sequence[Source[Any]]) -> tuple[Plan, Opened]:
    """Return the plan of a query over ``sources``, and how its rows are found now.

    Raises ``QueryError`` if it looks at all rows, and must not.
    """
    plan = allowed(asked.plan(sources), sources)
    first, access = opened(plan.first, sources[0], plan.query, _enough(plan))
    return plan if first is plan.first else plan.without_index, access


def allowed(plan: Plan, sources: Sequence[Source[Any]]) -> Plan:
    """Return ``plan``. Raises ``QueryError`` if it looks at all rows of a table, and must not."""
    for source, why in zip(sources, plan.scans, strict=True):
        if why:
            source.check_scan(plan.query, why)
    return plan


def _enough(plan: Plan) -> int | None:
    """Return how many rows of the first table are enough; ``None``: nobody knows before."""
    return plan.stop if plan.is_direct else None


def aggregated(
    plan: Plan, access: Opened, sources: Sequence[Source[Any]]
) -> tuple[Iterator[tuple[Any, ...]], Callable[[], None]]:
    """Return the values of each group's row, and what releases the store."""
    if isinstance(access, KeyScan) and isinstance(plan.groups, GroupedScan):
        stored = stored_rows(plan.first, access, sources[0])
        return _natively_grouped(plan.groups, stored, plan.aggregation), stored.close
    found = entities(plan, access, sources)
    return plan.aggregation.of_rows(found.rows), found.close


def _natively_grouped(
    native: GroupedScan, stored: PairScan[Any], aggregation: Aggregation
) -> Iterator[tuple[Any, ...]]:
    yield from aggregation.of_groups(native.groups(stored.pairs, stored.decode))


def results(asked: Planned[Any], sources: Sequence[Source[Any]]) -> Scan[Any]:
    """Return the rows of a query over ``sources``, one of each of its classes, as of now."""
    if not asked.query.joins:
        return _results(asked, sources)
    sources, release = _at_one_instant(sources)
    with ExitStack() as failing:
        failing.callback(release)
        found = _results(asked, sources)
        failing.pop_all()

    def close() -> None:
        found.close()
        release()

    return Scan(found.rows, close)


def _results(asked: Planned[Any], sources: Sequence[Source[Any]]) -> Scan[Any]:
    query = asked.query
    plan, access = planned(asked, sources)
    rows: Iterator[Any]
    if query.keys is None:
        rows, close = entities(plan, access, sources)
    else:
        names = tuple(column.name for column in (*query.keys, *query.aggregates))
        groups, close = aggregated(plan, access, sources)
        rows = map(row_class(names), groups)
        if asked.has_scalar_groups:
            rows = map(acyclic, rows)
    if query.group_condition is not None:
        rows = filter(plan.accepts_group, rows)
    if query.order and not (plan.first.sorted and query.keys is None):
        rows = _sorted(rows, plan.ordering, query.stop)
    if query.skipped or query.limit is not None:
        rows = islice(rows, query.skipped, query.stop)
    if query.columns is not None:
        rows = map(plan.select, rows)
        if query.into is None and asked.has_scalar_results:
            rows = map(acyclic, rows)
    rows = reduce(lambda made, fn: map(fn, made), query.functions, rows)
    return Scan(with_pauses(rows) if in_slices() else rows, close)


def count(asked: Planned[Any], sources: Sequence[Source[Any]]) -> int:
    """Return how many rows a query has. Without a filter nothing is decoded."""
    query = asked.query
    if query.keys is not None:
        return _length(results(asked, sources))
    if not query.joins:
        return _count(asked, sources)
    sources, release = _at_one_instant(sources)
    try:
        return _count(asked, sources)
    finally:
        release()


def _count(asked: Planned[Any], sources: Sequence[Source[Any]]) -> int:
    query = asked.query
    plan, access = planned(asked, sources)
    most = query.stop
    if isinstance(access, KeyScan) and plan.is_direct:
        total = _count_keys(access, sources[0], most)
    elif isinstance(access, OpenIndex) and plan.is_direct:
        total = count_index(access, most)
    elif (
        isinstance(access, KeyScan)
        and isinstance(plan.first.filter, Filter)
        and not (plan.joins or query.predicates)
    ):
        stored = stored_rows(plan.first, access, sources[0])
        try:
            total = plan.first.filter.count(stored.pairs, stored.decode, most)
        finally:
            stored.close()
    else:
        found = entities(plan, access, sources)
        total = _length(Scan(islice(found.rows, most), found.close))
    return max(0, total - query.skipped)


def _count_keys(access: KeyScan, source: Source[Any], most: int | None) -> int:
    if access.keys.accepts is None:
        pairs = stored_pairs(source.store, access.keys, reverse=False, limit=most)
        with closing(pairs):
            return count_pairs(pairs)
    with source.store.snapshot() as snapshot:
        return len(chosen_keys(snapshot, source.codec, source.counts, access.keys, reverse=False, limit=most))


def _length(scan: Scan[Any]) -> int:
    try:
        return sum(1 for _ in with_pauses(scan.rows))
    finally:
        scan.close()


def _sorted(rows: Iterable[Any], ordering: Ordering, most: int | None) -> Iterator[Any]:
    yield from ordering.of(rows, most)
