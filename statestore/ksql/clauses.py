"""The clauses of SELECT, each a function from a part of a query to text.

Their order in a statement is SELECT, FROM, WINDOW, WHERE, GROUP BY, PARTITION BY, HAVING, EMIT, LIMIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from statestore.expressions.nodes import Node
from statestore.ksql import expressions
from statestore.ksql.groups import with_keys_first
from statestore.ksql.inference import Shape
from statestore.ksql.kinds import INT32_MAX
from statestore.ksql.lexis import source_name
from statestore.ksql.results import ResultColumn, Translation, select_item, value_text
from statestore.ksql.windows import Lengths, within_clause
from statestore.relational.translation import Emit


def select_clause(columns: Sequence[ResultColumn], *, is_joined: bool) -> str:
    """Return ``SELECT`` and the columns, one a line."""
    return "SELECT\n" + ",\n".join(f"  {select_item(one, is_named=is_joined)}" for one in columns)


def from_clause(given: Translation, shape: Shape, within: Lengths | None, grace: timedelta | None) -> str:
    """Return ``FROM`` and the joins, one a line."""
    lines = [f"FROM {source_name(given.reads[0].name)}"]
    for join, read, of_streams in zip(given.query.joins, given.reads[1:], shape.of_streams, strict=True):
        name = "LEFT JOIN" if join.is_outer else "JOIN"
        time = f" {within_clause(within, grace)}" if of_streams and within is not None else ""
        left, right = (value_text(side[0], given) for side in (join.left, join.right))
        lines.append(f"  {name} {source_name(read.name)}{time} ON {left} = {right}")
    return "\n".join(lines)


def where_clause(given: Translation, *, is_pull: bool = False) -> str:
    """Return ``WHERE …``; empty: every row counts. ``is_pull``: of a pull query."""
    node = given.query.condition
    # A pull query over a stream is one that ends, which has all conditions.
    is_pull = is_pull and given.reads[0].kind == "table"
    return "" if node is None else f"WHERE {expressions.condition(node, given.scope, is_pull=is_pull)}"


def group_by_clause(given: Translation) -> str:
    """Return ``GROUP BY …``; empty: the rows are no groups, or all of them are one."""
    keys = [value_text(one.node, given) for one in given.query.keys or ()]
    return f"GROUP BY {', '.join(keys)}" if keys else ""


def partition_by_clause(given: Translation, keys: Sequence[Node]) -> str:
    """Return ``PARTITION BY …``; empty: the rows keep their key."""
    return f"PARTITION BY {', '.join(value_text(one, given) for one in keys)}" if keys else ""


def having_clause(given: Translation) -> str:
    """Return ``HAVING …``; empty: every group counts."""
    node = with_keys_first(given.query)
    return "" if node is None else f"HAVING {expressions.condition(node, given.rows)}"


def emit_clause(emit: Emit | None) -> str:
    """Return ``EMIT CHANGES`` or ``EMIT FINAL``; empty: a pull query."""
    return "" if emit is None else f"EMIT {emit.upper()}"


def limit_clause(given: Translation) -> str:
    """Return ``LIMIT …``; empty: all rows."""
    return "" if given.query.limit is None else f"LIMIT {given.query.limit}"


def check_is_translated(given: Translation, *, is_persistent: bool) -> None:
    """Append to the faults what of a query runs locally only."""
    query, faults = given.query, given.scope.faults
    local = "runs locally only, in Python; write an expression of F"
    names = [getattr(one, "__qualname__", repr(one)) for one in query.predicates]
    faults += [f"where({name}): a function {local}" for name in names]
    names = [getattr(one, "__qualname__", repr(one)) for one in query.functions]
    faults += [f"map({name}): a function {local}, as select(name=…)" for name in names]
    if query.order:
        terms = ", ".join(map(repr, query.order))
        faults.append(
            f"order_by({terms}): runs locally only; ksqlDB has no order: sort the rows that it returns"
        )
    if query.skipped:
        faults.append(
            f"skip({query.skipped}): runs locally only; ksqlDB has no OFFSET: leave out rows it returns"
        )
    if query.limit is not None and query.limit > INT32_MAX:
        faults.append(f"take({query.limit}): LIMIT of ksqlDB is at most {INT32_MAX}: leave take out")
    if query.limit is not None and is_persistent:
        faults.append(
            f"take({query.limit}): a persistent query has no end, and ksqlDB limits only what a SELECT "
            "returns: leave it out, and write take in the query that reads the result"
        )
    if query.scan is not None:
        given.scope.note(f"on_scan({query.scan!r}) is of the local store: ksqlDB has its own way to rows.")
