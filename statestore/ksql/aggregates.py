"""Aggregates as KSQL that means the same. Docs: ``docs/ksql.md``, "Both meanings"."""

from __future__ import annotations

from typing import Literal

from statestore.expressions.aggregates import Aggregate
from statestore.ksql import expressions
from statestore.ksql.scope import Scope


def aggregate(agg: Aggregate, scope: Scope, *, over: Literal["stream", "table"]) -> str:
    """Return the aggregate for SELECT or HAVING, over the rows of a stream or of a table.

    Of a table only what ksqlDB can undo: a row that is replaced leaves its group. A faulty aggregate is
    ``UNTRANSLATED``, and the fault is in the scope.
    """
    if agg.function == "reduce" or (over == "table" and agg.function not in ("count", "sum", "avg")):
        scope.fault(f"{agg!r}: runs locally only")
        return expressions.UNTRANSLATED
    if agg.of is None:
        return "COUNT(*)"
    return f"{agg.function.upper()}({expressions.expression(agg.of, scope)})"


def aggregate_ksql_type(agg: Aggregate, scope: Scope) -> str | None:
    """Return the type that ksqlDB gives the aggregate; ``None`` for one with a fault."""
    return "BIGINT" if agg.function == "count" and scope.rows else None
