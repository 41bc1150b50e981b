"""Aggregates: how a window's records make a field of a bar, as in ``Annotated[Decimal, agg.max(F.price)]``.

Every aggregate skips records for which its expression is ``None``. Without a non-null input, ``count`` and
``sum`` give 0, all others ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NoReturn

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import Node, node_text
from statestore.expressions.type_checking import NUMBERS, ORDERED, Rows, expression_faults, expression_type
from statestore.fields.types import FieldType, Nullable, Scalar, type_name
from statestore.runtime.text import bounded_repr

AggregateFunction = Literal["first", "last", "max", "min", "sum", "count", "avg"]
InputOrder = Literal["offset", "event_time"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A field of a bar: ``function`` over the expression ``of``. A plain, immutable value."""

    function: AggregateFunction
    of: Node | None
    """``None``, for ``count`` only: the records themselves."""
    by: InputOrder = "offset"
    """The order for ``first`` and ``last``; between equal event times the offset decides."""

    def __repr__(self) -> str:
        by = "" if self.by == "offset" else f", by={self.by!r}"
        return f"agg.{self.function}({'' if self.of is None else node_text(self.of)}{by})"

    def _compared(self, _other: object) -> NoReturn:
        raise TypeError(
            f"{self!r} is compared by its name: write aggregate(x={self!r}).having(F.x > …), or order_by(F.x)"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _compared


class Aggregates:
    """``agg``: the aggregates. Each takes an expression over the fields of the source."""

    __slots__ = ()

    def first(self, of: Expr, *, by: InputOrder = "offset") -> Aggregate:
        """The earliest value, by offset or ``by="event_time"``."""
        return _aggregate("first", of, by)

    def last(self, of: Expr, *, by: InputOrder = "offset") -> Aggregate:
        """The latest value, by offset or ``by="event_time"``."""
        return _aggregate("last", of, by)

    def max(self, of: Expr) -> Aggregate:
        """The greatest value of an expression that has an order."""
        return _aggregate("max", of)

    def min(self, of: Expr) -> Aggregate:
        """The least value of an expression that has an order."""
        return _aggregate("min", of)

    def sum(self, of: Expr) -> Aggregate:
        """The sum of numbers, of the same type as they."""
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
        raise TypeError(
            f"agg.{function}({bounded_repr(of)}): give an expression, as in agg.{function}(F.price)"
        )
    if by not in ("offset", "event_time"):
        raise ValueError(
            f"agg.{function}({of!r}, by={bounded_repr(by)}): by must be 'offset' or 'event_time'"
        )
    return Aggregate(function, of.node, by)


def aggregate_type(aggregate: Aggregate, faults: list[str], *rows: Rows) -> FieldType | None:
    """Return the type of ``aggregate`` over ``rows``, appending each fault to ``faults``."""
    if aggregate.of is None:
        return Scalar(int)
    of = Expr(aggregate.of)
    faults += expression_faults(of, *rows)
    type_ = expression_type(of, *rows)
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
