"""Aggregates: how a window's records make a field of a bar, as in ``Annotated[Decimal, agg.max(F.price)]``.

Every aggregate but ``reduce`` skips records for which its expression is ``None``. Without a non-null input,
``count`` and ``sum`` give 0, those of lists an empty one, all others ``None``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NoReturn

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import Node, node_text
from statestore.expressions.type_checking import NUMBERS, ORDERED, Rows, expression_faults, expression_type
from statestore.fields.types import FieldType, ListOf, Nullable, Scalar, type_name
from statestore.runtime.text import bounded_repr

AggregateFunction = Literal[
    "first",
    "last",
    "max",
    "min",
    "sum",
    "count",
    "avg",
    "ohlc",
    "reduce",
    "topk",
    "collect_list",
    "collect_set",
]
LISTS: Final = ("topk", "collect_list", "collect_set")
"""The aggregates that make a list: of queries, not of bars."""
InputOrder = Literal["offset", "event_time"]
OHLC: Final = ("open", "high", "low", "close")
"""The fields of what ``ohlc`` makes."""


@dataclass(frozen=True, slots=True)
class Reducer:
    """What ``agg.reduce`` does with each record. A plain, immutable value."""

    step: Callable[[Any, Any], Any]
    """Returns the next state, of the state so far and the record."""
    initial: Any = field(default=None, hash=False)
    """The state before the first record."""
    merge: Callable[[Any, Any], Any] | None = None
    """Returns the state of two adjacent windows' states, the earlier first; ``None``: they do not merge."""
    result: Callable[[Any], Any] | None = None
    """Returns the field's value of the last state; ``None``: the state is the value."""

    def __repr__(self) -> str:
        return getattr(self.step, "__qualname__", repr(self.step))


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A field of a bar: ``function`` over the expression ``of``. A plain, immutable value."""

    function: AggregateFunction
    of: Node | None
    """``None``, for ``count`` only: the records themselves."""
    by: InputOrder = "offset"
    """The order for ``first`` and ``last``; between equal event times the offset decides."""
    reducer: Reducer | None = None
    """Of ``reduce`` only."""
    size: int = 0
    """Of ``topk`` only: the most values."""

    def __repr__(self) -> str:
        if self.reducer is not None:
            return f"agg.reduce({self.reducer!r})"
        by = "" if self.by == "offset" else f", by={self.by!r}"
        by += f", {self.size}" if self.function == "topk" else ""
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

    def ohlc(self, of: Expr) -> Aggregate:
        """The first, greatest, least and last value, by offset, in a dataclass of the user's.

        The field's type is a dataclass with the fields ``open``, ``high``, ``low`` and ``close``, each of the
        expression's type.
        """
        return _aggregate("ohlc", of)

    def topk(self, of: Expr, size: int) -> Aggregate:
        """The ``size`` greatest values, the greatest first, equal ones too; of a query only.

        On ksqlDB of an int or a float, over a stream.
        """
        if type(size) is not int or size < 1:
            raise ValueError(f"agg.topk({of!r}, {bounded_repr(size)}): give the number of values, from 1 on")
        return replace(_aggregate("topk", of), size=size)

    def collect_list(self, of: Expr) -> Aggregate:
        """All values, in a list; of a query only.

        On ksqlDB over a stream, in the order of offsets, and no more of them than the server's setting
        ``ksql.functions.collect_list.limit`` says: the rest is dropped there.
        """
        return _aggregate("collect_list", of)

    def collect_set(self, of: Expr) -> Aggregate:
        """Each value once, in a list, in the order in which they come first; of a query only.

        On ksqlDB over a stream, with the limit ``ksql.functions.collect_set.limit``.
        """
        return _aggregate("collect_set", of)

    def reduce(
        self,
        step: Callable[[Any, Any], Any],
        initial: Any = None,
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        result: Callable[[Any], Any] | None = None,
    ) -> Aggregate:
        """A reducer of the user's: ``state = step(state, record)`` for each record, from ``initial`` on.

        The functions are pure. A state is what msgpack can write: ``None``, ``bool``, ``int``, ``float``,
        ``str``, ``bytes``, and lists and dicts of these; each window begins with a copy of ``initial``. The
        field has ``result(state)``, or the state itself. ``merge`` is for windows made of smaller ones.
        """
        for name, given in (("step", step), ("merge", merge), ("result", result)):
            if not callable(given) and (name == "step" or given is not None):
                raise TypeError(
                    f"agg.reduce({name}={bounded_repr(given)}): give a function, as in "
                    "agg.reduce(lambda state, trade: state + trade.quantity, 0)"
                )
        return Aggregate("reduce", None, reducer=Reducer(step, initial, merge, result))

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
    """Return the type of ``aggregate`` over ``rows``, appending each fault to ``faults``.

    Of ``ohlc`` that of each of its four values; ``None`` after a fault, and of ``reduce``.
    """
    if aggregate.of is None:
        return None if aggregate.function == "reduce" else Scalar(int)
    of = Expr(aggregate.of)
    faults += expression_faults(of, *rows)
    type_ = expression_type(of, *rows)
    if type_ is None or aggregate.function in ("first", "last"):
        return type_
    if aggregate.function == "count":
        return Scalar(int)
    bare = type_.item if isinstance(type_, Nullable) else type_
    if aggregate.function == "collect_list":
        return ListOf(bare)
    kind = bare.type if isinstance(bare, Scalar) else None
    wanted: tuple[type, ...] = NUMBERS if aggregate.function in ("sum", "avg") else ORDERED
    if aggregate.function == "collect_set":
        wanted = (*ORDERED, bool)
    if kind is None or kind not in wanted:
        names = ", ".join(one.__name__ for one in wanted)
        faults.append(f"{aggregate!r}: {of!r} is of type {type_name(type_)}; it must be one of {names}")
        return None
    if aggregate.function in LISTS:
        return ListOf(bare)
    if aggregate.function in ("max", "min", "ohlc"):
        return type_
    if aggregate.function == "sum":
        return Scalar(kind)
    mean = Scalar(Decimal if kind is Decimal else float)
    return Nullable(mean) if isinstance(type_, Nullable) else mean


def least(so_far: Any, value: Any) -> Any:
    """Return the lesser one. NaN is greater than every number; ``None`` is no value so far."""
    if so_far is None:
        return value
    try:
        return value if value < so_far or so_far != so_far else so_far
    except InvalidOperation:  # one is a decimal NaN
        return value if so_far.is_nan() else so_far


def greatest(so_far: Any, value: Any) -> Any:
    """Return the greater one. NaN is greater than every number; ``None`` is no value so far."""
    if so_far is None:
        return value
    try:
        return value if value > so_far or value != value else so_far
    except InvalidOperation:
        return value if value.is_nan() else so_far
