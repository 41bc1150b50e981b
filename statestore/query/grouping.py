"""``group_by`` and ``aggregate``: what is computed of many rows, in one pass and the memory of the groups.

An aggregate skips rows for which its expression is ``None``. Without one, ``count`` and ``sum`` are 0, lists
empty, the others ``None``. ``None`` is a group of its own. Decimals add up to 38 digits, as in expressions.
NaN counts as greater than every number.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, Final

from statestore.core import acyclic
from statestore.expressions.aggregates import LISTS, Aggregate, aggregate_type, greatest, least
from statestore.expressions.evaluation import DECIMALS, compiled
from statestore.expressions.expr import Expr
from statestore.expressions.type_checking import Rows, expression_type
from statestore.fields.types import Scalar
from statestore.query.compile import Measure
from statestore.query.nans import nan_test
from statestore.relational.checking import Column

_NAN: Final = {float: float("nan"), Decimal: Decimal("NaN")}
"""The one NaN of each type that groups have: no two others are equal."""

_Value = Callable[[Any], Any]
_Step = Callable[[Any, Any], Any]


class Aggregation:
    """What is computed of each group of rows: the values of its ``keys``, then of its ``aggregates``.

    Any number of threads may share one.
    """

    def __init__(self, keys: Sequence[Column], aggregates: Sequence[Column], types: Sequence[Rows]) -> None:
        self._keys = keys
        self._types = types
        self._parts = _Parts(types)
        self._results = [
            self._parts.result(one.value) for one in aggregates if isinstance(one.value, Aggregate)
        ]

    @property
    def measures(self) -> list[Measure]:
        """What has to be kept of each group."""
        return self._parts.measures

    @cached_property
    def _key_of(self) -> _Value:
        return _key([column.node for column in self._keys], self._types)

    def of_rows(self, rows: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Give the values of each group of ``rows``.

        Groups come in the order of their first rows; without ``keys`` there is one, also of no rows.
        """
        key_of, start, steps = self._key_of, self._parts.start, self._parts.steps
        groups: dict[Any, list[Any]] = {} if self._keys else {(): list(start)}
        for row in rows:
            key = key_of(row)
            state = groups.get(key)
            if state is None:
                state = groups[key] = acyclic(list(start))
            for place, value_of, step in steps:
                value = value_of(row)
                if value is not None:
                    state[place] = step(state[place], value)
        yield from self.of_groups(_taken_out(groups))

    def of_groups(self, groups: Iterable[tuple[tuple[Any, ...], list[Any]]]) -> Iterator[tuple[Any, ...]]:
        """Give the same of the values of keys and ``measures`` of each group."""
        results = self._results
        for key, state in groups:
            yield (*key, *[result(state) for result in results])


def _taken_out(groups: dict[Any, list[Any]]) -> Iterator[tuple[Any, list[Any]]]:
    """Give all items of a dict, each taken out of it, so that memory is given back little by little."""
    left = list(groups)
    left.reverse()
    while left:
        key = left.pop()
        yield key, groups.pop(key)


def _key(nodes: Sequence[Any], types: Sequence[Rows]) -> _Value:
    values = [_group_value(Expr(node), types) for node in nodes]
    if len(values) == 1:
        (only,) = values
        return lambda row: (only(row),)
    return lambda row: tuple([value_of(row) for value_of in values])


def _group_value(expr: Expr, types: Sequence[Rows]) -> _Value:
    value_of = compiled(expr, *types)
    is_nan = nan_test(expression_type(expr, *types))
    if is_nan is None:
        return value_of

    def one_nan(row: Any) -> Any:
        value = value_of(row)
        return value if value is None or not is_nan(value) else _NAN[type(value)]

    return one_nan


class _Parts:
    """What is kept of each group: a count, a sum, a least or a greatest value; each once."""

    def __init__(self, types: Sequence[Rows]) -> None:
        self._types = types
        self._places: dict[Aggregate, int] = {}
        self.measures: list[Measure] = []
        """Of each: the function, and of what."""
        self.start: list[Any] = []
        """What a group of no rows has."""
        self.steps: list[tuple[int, _Value, _Step]] = []
        """Of each: its place, its value for a row, and how a value that is not ``None`` changes it."""

    def result(self, aggregate: Aggregate) -> _Value:
        """Return what makes the aggregate's value of what is kept of a group."""
        if aggregate.function in LISTS:
            place, made = self._place(aggregate), _list_of(aggregate)
            return lambda state: made(state[place] or ())
        if aggregate.function != "avg":
            return operator.itemgetter(self._place(aggregate))
        total = self._place(Aggregate("sum", aggregate.of))
        count = self._place(Aggregate("count", aggregate.of))
        divide = DECIMALS.divide if self._sum_of(aggregate) is Decimal else operator.truediv
        return lambda state: divide(state[total], state[count]) if state[count] else None

    def _place(self, aggregate: Aggregate) -> int:
        if aggregate not in self._places:
            place = self._places[aggregate] = len(self.start)
            start, step = self._kind(aggregate)
            expr = None if aggregate.of is None else Expr(aggregate.of)
            self.measures.append((aggregate.function, aggregate.of))
            self.start.append(start)
            self.steps.append((place, _one if expr is None else compiled(expr, *self._types), step))
        return self._places[aggregate]

    def _kind(self, aggregate: Aggregate) -> tuple[Any, _Step]:
        match aggregate.function:
            case "count":
                return 0, lambda count, _: count + 1
            case "sum":
                kind = self._sum_of(aggregate)
                return kind(), DECIMALS.add if kind is Decimal else operator.add
            case "collect_list":
                return None, _appended
            case "collect_set":
                return None, _added
            case "topk":
                return None, partial(_among_greatest, aggregate.size)
            case "min":
                return None, least
            case _:
                return None, greatest

    def _sum_of(self, aggregate: Aggregate) -> type:
        type_ = aggregate_type(Aggregate("sum", aggregate.of), [], *self._types)
        assert isinstance(type_, Scalar)
        return type_.type


def _one(_row: Any) -> int:
    return 1


# Lists. A group's begins as None, since all groups begin with the same state.


def _appended(values: list[Any] | None, value: Any) -> list[Any]:
    if values is None:
        return [value]
    values.append(value)
    return values


def _added(values: dict[Any, None] | None, value: Any) -> dict[Any, None]:
    values = {} if values is None else values
    values[_NAN[type(value)] if _is_nan(value) else value] = None
    return values


def _among_greatest(size: int, values: list[Any] | None, value: Any) -> list[Any]:
    values = _appended(values, value)
    if len(values) > 2 * size + _SPARE:
        values[:] = _greatest(size, values)
    return values


_SPARE: Final = 100
"""So many more values than needed are kept before those that are too small are taken out."""


def _greatest(size: int, values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=_rank, reverse=True)[:size]


def _rank(value: Any) -> tuple[bool, Any]:
    return (True, 0) if _is_nan(value) else (False, value)


def _is_nan(value: Any) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else value != value


def _list_of(aggregate: Aggregate) -> _Value:
    """Return what makes the list of what is kept."""
    return partial(_greatest, aggregate.size) if aggregate.function == "topk" else list
