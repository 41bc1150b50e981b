"""Aggregates as KSQL that means the same. Docs: ``docs/ksql.md``, "Both meanings"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from statestore.errors import KsqlError
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import node_text
from statestore.expressions.type_checking import expression_type, record_of
from statestore.fields.types import Nullable
from statestore.ksql import lexis, terms
from statestore.ksql.expressions import UNTRANSLATED, typed
from statestore.ksql.kinds import DOUBLE, Kind, decimal
from statestore.ksql.lexis import MOST_DIGITS
from statestore.ksql.scope import Scope
from statestore.ksql.terms import Term

OHLC_NAMES: Final = ("OPEN", "HIGH", "LOW", "CLOSE")
"""The names in records of the fields that ``ohlc`` makes, as a class with ``ksql=True`` has them."""

_UNDONE: Final = frozenset({"count", "sum", "avg"})
"""What ksqlDB computes anew when a row of a table leaves its group."""
_BIGINT: Final = Kind("BIGINT", int, 2**63)


def aggregate(
    agg: Aggregate,
    scope: Scope,
    *,
    over: Literal["stream", "table"],
    names: Sequence[str] = OHLC_NAMES,
) -> str:
    """Return the aggregate for SELECT or HAVING, over the rows of a stream or of a table.

    Of a table only what ksqlDB can undo: a row that is replaced leaves its group. ``names`` are those of the
    fields that ``ohlc`` fills. A faulty aggregate is ``UNTRANSLATED``, and the fault is in the scope.
    """
    return _translated(agg, scope, over, names)[0].text


def aggregate_ksql_type(agg: Aggregate, scope: Scope, *, names: Sequence[str] = OHLC_NAMES) -> str | None:
    """Return the type that ksqlDB gives the aggregate; ``None`` for one with a fault."""
    return str(_translated(agg, scope, "stream", names)[1]) or None


class _Input(NamedTuple):
    """What an aggregate is of."""

    agg: Aggregate
    term: Term
    kind: Kind
    is_nullable: bool
    scope: Scope
    names: Sequence[str]

    def note(self, text: str) -> None:
        self.scope.note(f"{self.agg!r}: {text}")

    @property
    def whole(self) -> Term:
        """The input, in a type in which 32 bits do not wrap around."""
        return terms.cast(self.term, "BIGINT") if self.kind.name == "INT" else self.term

    def or_null(self, term: Term) -> Term:
        """Return ``term``, null where no record of the group has a value."""
        if not self.is_nullable:
            return term
        return terms.case((terms.comparison(">", terms.call("COUNT", self.term), Term("0")), term))


_Translated = tuple[Term, Kind]


def _translated(agg: Aggregate, scope: Scope, over: str, names: Sequence[str]) -> _Translated:
    try:
        if agg.function == "reduce" or agg.by == "event_time":
            raise KsqlError(f"{_LOCAL[agg.function]}, and runs locally only")
        if over == "table" and agg.function not in _UNDONE:
            raise KsqlError(
                "ksqlDB cannot take a replaced row of a table out of it: aggregate a stream, or use count, "
                "sum or avg"
            )
        if agg.of is None:
            return Term("COUNT(*)"), _BIGINT
        term, kind = typed(agg.of, scope)
        if not kind.name:
            return Term(UNTRANSLATED), kind
        # Of a table, a group can lose its last row, and ksqlDB keeps the group.
        is_nullable = over == "table" or isinstance(expression_type(Expr(agg.of), *scope.rows), Nullable)
        return _FUNCTIONS[agg.function](_Input(agg, term, kind, is_nullable, scope, names))
    except KsqlError as error:
        scope.fault(f"{agg!r}: {error}")
        return Term(UNTRANSLATED), Kind("", None)


_LOCAL: Final = {
    "reduce": "is a function of yours",
    "first": "looks at the time of each record, and ksqlDB knows the first one by its offset",
    "last": "looks at the time of each record, and ksqlDB knows the last one by its offset",
}


def _count(of: _Input) -> _Translated:
    return terms.call("COUNT", of.term), _BIGINT


def _sum(of: _Input) -> _Translated:
    kind = of.kind
    if kind.python is Decimal:
        # In its own type ksqlDB's sum would have no digit more than one value.
        of_sum = decimal(Decimal, MOST_DIGITS, kind.scale, 10**MOST_DIGITS - 1)
        wide = of.term if kind.precision >= MOST_DIGITS else terms.cast(of.term, str(of_sum))
        return terms.call("SUM", wide), of_sum
    if kind == DOUBLE:
        return terms.call("SUM", of.term), DOUBLE
    of.note("a sum beyond 64 bits wraps around in ksqlDB; here no field can hold it")
    return terms.call("SUM", of.whole), _BIGINT


def _avg(of: _Input) -> _Translated:
    if of.kind.python is Decimal:
        raise KsqlError("ksqlDB has no AVG of DECIMAL: keep agg.sum and agg.count, and divide where you read")
    if of.kind != DOUBLE:
        wraps = ", and one beyond 64 bits wraps around" if of.kind.name == "BIGINT" else ""
        of.note(f"ksqlDB divides as DOUBLE, so a sum beyond ±2⁵³ is rounded before it is divided{wraps}")
    return of.or_null(terms.call("AVG", of.whole)), DOUBLE


def _extreme(of: _Input, function: str) -> _Translated:
    kind = of.kind
    if kind.python in (date, datetime) and not kind.unit:
        raise KsqlError(
            "ksqlDB has this field as a text, by its Format, whose order is not that of time: leave Format "
            "out"
        )
    if kind.python is str:
        # By its UTF-8, which is in the order of its characters; ksqlDB's own order is that of UTF-16.
        written = terms.call("ENCODE", of.term, Term("'utf8'"), Term("'hex'"))
        return terms.call("ENCODE", terms.call(function, written), Term("'hex'"), Term("'utf8'")), kind
    if kind.python is bytes:
        written = terms.call("FROM_BYTES", of.term, Term("'hex'"))
        return terms.call("TO_BYTES", terms.call(function, written), Term("'hex'")), kind
    return terms.call(function, of.term), kind


def _max(of: _Input) -> _Translated:
    return _extreme(of, "MAX")


def _min(of: _Input) -> _Translated:
    return _extreme(of, "MIN")


def _first(of: _Input) -> _Translated:
    return terms.call("EARLIEST_BY_OFFSET", of.term), of.kind


def _last(of: _Input) -> _Translated:
    return terms.call("LATEST_BY_OFFSET", of.term), of.kind


def _ohlc(of: _Input) -> _Translated:
    parts = [make(of)[0] for make in (_first, _max, _min, _last)]
    fields = ", ".join(
        f"{lexis.quoted(name)} := {part.text}" for name, part in zip(of.names, parts, strict=True)
    )
    struct = Term(f"STRUCT({fields})", depth=1 + max(part.depth for part in parts))
    types = ", ".join(f"`{name.replace('`', '``')}` {of.kind}" for name in of.names)
    return of.or_null(struct), Kind(f"STRUCT<{types}>", None)


def _collected(of: _Input, function: str) -> _Translated:
    of.note(
        f"ksqlDB keeps no more values than its ksql.functions.{function.lower()}.limit says, and drops the "
        "rest in silence"
    )
    term = terms.call(function, of.term)
    if of.is_nullable:
        name = _free_name(of.scope)
        term = terms.call("FILTER", term, Term(f"({name}) => {name} IS NOT NULL"))
    return term, Kind(f"ARRAY<{of.kind}>", None)


def _free_name(scope: Scope) -> str:
    """Return a name for the argument of a lambda, which must not be that of a column."""
    taken = {field.wire_name for rows in scope.rows for field in record_of(rows).fields}
    return next(name for name in map("V{}".format, ("", *range(len(taken)))) if name not in taken)


def _collect_list(of: _Input) -> _Translated:
    return _collected(of, "COLLECT_LIST")


def _collect_set(of: _Input) -> _Translated:
    return _collected(of, "COLLECT_SET")


def _topk(of: _Input) -> _Translated:
    if of.kind.name not in ("INT", "BIGINT", "DOUBLE"):
        assert of.agg.of is not None
        raise KsqlError(
            f"ksqlDB has TOPK of numbers, not of {of.kind}: {node_text(of.agg.of)} must be an int or a float"
        )
    return terms.call("TOPK", of.term, Term(str(of.agg.size))), Kind(f"ARRAY<{of.kind}>", None)


_FUNCTIONS: Final[dict[str, Callable[[_Input], _Translated]]] = {
    "count": _count,
    "sum": _sum,
    "avg": _avg,
    "max": _max,
    "min": _min,
    "first": _first,
    "last": _last,
    "ohlc": _ohlc,
    "collect_list": _collect_list,
    "collect_set": _collect_set,
    "topk": _topk,
}
