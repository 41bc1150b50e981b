"""How a field of a bar is made of its window's records: ``high: Annotated[Decimal, agg.max(F.price)]``.

All of them skip records for which the expression is ``None``. Of no others ``count`` and ``sum`` are 0, the
rest is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import Node, node_text
from statestore.expressions.type_checking import NUMBERS, ORDERED, expression_faults, expression_type
from statestore.fields.types import FieldType, Nullable, RecordType, Scalar, type_name

AggregateFunction = Literal["first", "last", "max", "min", "sum", "count", "avg"]
InputOrder = Literal["offset", "event_time"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A field of a bar: ``function`` of the expression ``of``. A plain value, as its node is."""

    function: AggregateFunction
    of: Node | None
    """``None``, of ``count`` only: the records themselves."""
    by: InputOrder = "offset"
    """What ``first`` and ``last`` go by; between equal event times the offset decides."""

    def __repr__(self) -> str:
        by = "" if self.by == "offset" else f", by={self.by!r}"
        return f"agg.{self.function}({'' if self.of is None else node_text(self.of)}{by})"


class Aggregates:
    """``agg``: what fields of a bar can be. Each takes an expression over the fields of the source."""

    __slots__ = ()

    def first(self, of: Expr, *, by: InputOrder = "offset") -> Aggregate:
        """The earliest value, by offset or ``by="event_time"``."""
        return _aggregate("first", of, by)

    def last(self, of: Expr, *, by: InputOrder = "offset") -> Aggregate:
        """The latest value, by offset or ``by="event_time"``."""
        return _aggregate("last", of, by)

    def max(self, of: Expr) -> Aggregate:
        """The greatest value, of what has an order."""
        return _aggregate("max", of)

    def min(self, of: Expr) -> Aggregate:
        """The least value, of what has an order."""
        return _aggregate("min", of)

    def sum(self, of: Expr) -> Aggregate:
        """The sum of numbers, of their own type."""
        return _aggregate("sum", of)

    def avg(self, of: Expr) -> Aggregate:
        """The mean of numbers: a ``Decimal`` of Decimals, else a ``float``."""
        return _aggregate("avg", of)

    def count(self, of: Expr | None = None) -> Aggregate:
        """The number of records, or of those for which the expression is not ``None``."""
        return Aggregate("count", None) if of is None else _aggregate("count", of)

    def __repr__(self) -> str:
        return "agg"


agg: Final = Aggregates()


def _aggregate(function: AggregateFunction, of: object, by: InputOrder = "offset") -> Aggregate:
    if not isinstance(of, Expr):
        raise TypeError(f"agg.{function}({of!r}): give an expression, as in agg.{function}(F.price)")
    if by not in ("offset", "event_time"):
        raise ValueError(f"agg.{function}({of!r}, by={by!r}): by is 'offset' or 'event_time'")
    return Aggregate(function, of.node, by)


def aggregate_type(aggregate: Aggregate, source: RecordType, faults: list[str]) -> FieldType | None:
    """Return the type of what ``aggregate`` of records of ``source`` gives, noting what is wrong with it."""
    if aggregate.of is None:
        return Scalar(int)
    of = Expr(aggregate.of)
    faults += expression_faults(of, source)
    type_ = expression_type(of, source)
    if type_ is None or aggregate.function in ("first", "last"):
        return type_
    if aggregate.function == "count":
        return Scalar(int)
    bare = type_.item if isinstance(type_, Nullable) else type_
    kind = bare.type if isinstance(bare, Scalar) else None
    wanted = ORDERED if aggregate.function in ("max", "min") else NUMBERS
    if kind is None or kind not in wanted:
        names = ", ".join(one.__name__ for one in wanted)
        faults.append(f"{aggregate!r}: {of!r} is of type {type_name(type_)}; it must be one of {names}")
        return None
    if aggregate.function in ("max", "min"):
        return type_
    if aggregate.function == "sum":
        return Scalar(kind)
    mean = Scalar(Decimal if kind is Decimal else float)
    return Nullable(mean) if isinstance(type_, Nullable) else mean
