"""A plan as text: what ``explain()`` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from statestore.expressions.nodes import Node, node_text
from statestore.query.by_index import IndexScan
from statestore.query.compile import SWITCHED_OFF, Filter
from statestore.query.index_rows import most_by_index
from statestore.query.joining import JoinPlan
from statestore.query.plan import Plan
from statestore.query.reading import NO_SCAN, KeyScan, NoRows, PointReads, TableRead
from statestore.query.source import Source

_UNTOLD: Final = (NO_SCAN, SWITCHED_OFF)
"""Reasons why Python filters or groups that need not be told of a plan."""


def explained(plan: Plan, sources: Sequence[Source[Any]]) -> str:
    """Return the plan of a query over ``sources`` as text, a line for each step."""
    read, counts = plan.first, [one.approximate_count() for one in sources]
    rows = counts[0]
    key = ", ".join(read.codec.key_types)
    lines = [f"{sources[0].name}: {read.codec.key_format} keys ({key}), about {rows} rows"]
    lines.append(f"read {_rows_read(read, rows)}")
    if not sources[0].refuses_scan(plan.query):
        lines += _instead(read, rows)
    if read.reverse and read.sorted:
        by_index = isinstance(read.access, IndexScan) and read.access.in_order
        lines.append(f"in reverse {'index' if by_index else 'key'} order")
    lines += [f"full scan: {why}" for why in plan.scans[:1] if why]
    lines += _filters(read)
    for join, count, source, why in zip(plan.joins, counts[1:], sources[1:], plan.scans[1:], strict=True):
        lines += _join_text(join, count, keeps=join.read.reads_all and source.refuses_scan(plan.query))
        if why:
            lines.append(f"full scan of {join.join.entity.__name__}: {why}")
    if plan.joined_condition is not None:
        lines.append(f"filter joined rows: {node_text(plan.joined_condition)}")
    if plan.query.predicates:
        lines.append(f"filter, in Python: {_functions(plan.query.predicates)}")
    lines += _after_reading(plan)
    return "\n".join(lines)


def _rows_read(read: TableRead, rows: int) -> str:
    """Return which rows of a table of about ``rows`` are read, and how."""
    match read.access:
        case NoRows(reason):
            return f"nothing: {reason}"
        case PointReads(keys):
            return f"at most {_rows(len(keys))}, by key"
        case IndexScan() as scan:
            seeks = "one seek" if len(scan.ranges) == 1 else f"{len(scan.ranges)} seeks"
            order = "in its order" if scan.in_order else "then sorted into key order"
            which = f"the rows of {_all_of(scan.bounds)}" if scan.bounds else "rows"
            return f"{which} by the index ({scan.index.codec.name}) ({seeks}, {order})"
        case KeyScan(keys, bounds, seeks):
            if seeks:
                return f"the rows of {_all_of(bounds)} ({keys.note})"
            by_key = f", those of {_all_of(bounds)} by their keys" if bounds else ""
            return f"all rows, about {rows}{by_key} ({keys.note})"


def _instead(read: TableRead, rows: int) -> Iterator[str]:
    """Tell how a table of about ``rows`` is read if its index finds too many of them."""
    most = most_by_index(rows)
    if isinstance(read.access, IndexScan) and not read.access.in_order and most < rows:
        instead = read.without_index
        filters = "".join(f", {one}" for one in _filters(instead))
        yield f"if the index finds more than {most}: read {_rows_read(instead, rows)}{filters}"


def _filters(read: TableRead, label: str = "filter") -> Iterator[str]:
    found = read.filter
    if isinstance(found, str) and read.condition is not None:
        text = node_text(read.condition)
        yield f"{label}: {text}" if found in _UNTOLD else f"{label}, in Python: {text} ({found})"
    elif isinstance(found, Filter):
        yield f"{label}: {node_text(found.native)}"
        yield from [f"{label}, in Python: {reason}" for reason in found.reasons]


def _all_of(conditions: Sequence[Node]) -> str:
    return " & ".join(map(node_text, conditions))


def _join_text(plan: JoinPlan, rows: int, *, keeps: bool) -> Iterator[str]:
    """Tell how a table of about ``rows`` is joined; ``keeps``: partners are looked up, however many."""
    name = plan.join.entity.__name__
    join = f"left join {name}" if plan.join.is_outer else f"join {name}"
    if plan.join.is_outer and not plan.is_outer:
        join += ", of rows with a partner only, as a condition needs one"
    hashed = f"read {_rows_read(plan.read, rows)} into a hash table"
    lookup = plan.lookup
    if lookup is None:
        yield f"{join}: {hashed}"
        yield from _filters(plan.read, f"filter {name}")
        return
    by = "by key" if lookup.index is None else f"by the index ({lookup.index.codec.name})"
    most = plan.most_lookups(rows)
    yield f"{join}: look up {', '.join(lookup.names)} {by}, each value once"
    if not keeps:
        yield f"past {most} values, {hashed}"
    if plan.read.parts:
        yield f"filter {name}: {_all_of(plan.read.parts)}"


def _after_reading(plan: Plan) -> Iterator[str]:
    query = plan.query
    if query.keys is not None:
        keys = ", ".join(column.name for column in query.keys)
        found = plan.groups
        where = f", in Python ({found})" if isinstance(found, str) and found not in _UNTOLD else ""
        yield f"group by {keys}, in memory{where}" if keys else f"aggregate all rows{where}"
        if query.group_condition is not None:
            yield f"filter groups: {node_text(query.group_condition)}"
    if query.order:
        terms = ", ".join(map(repr, query.order))
        if query.keys is None and plan.first.sorted:
            yield f"order by {terms}: as read"
        elif query.stop is not None:
            yield f"order by {terms}: keep the first {_rows(query.stop)}"
        else:
            yield f"order by {terms}: sort in memory"
    if query.skipped:
        yield f"skip {_rows(query.skipped)}"
    if query.limit is not None:
        early = ", then stop reading" if plan.stop is not None else ""
        yield f"take {_rows(query.limit)}{early}"
    if query.columns is not None:
        yield f"select {', '.join(column.name for column in query.columns)}"
    if query.functions:
        yield f"map, in Python: {_functions(query.functions)}"


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _functions(functions: Sequence[Callable[..., object]]) -> str:
    return ", ".join(getattr(one, "__qualname__", None) or repr(one) for one in functions)
