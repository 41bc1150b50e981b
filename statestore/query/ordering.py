"""``order_by``: sorting rows, and the first few of many in the memory of a few.

``None`` comes last in both directions; NaN is greater than every number. The sort is stable: rows that are
equal in all terms stay in the order in which they come.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.expressions.type_checking import Rows, expression_type
from statestore.fields.types import Nullable
from statestore.query.nans import nan_test
from statestore.relational.checking import OrderTerm
from statestore.runtime.slices import in_slices, with_pauses
from statestore.runtime.sorting import PART, release, sort

T = TypeVar("T")


class _Descending:
    """A key that sorts in reverse."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]


class Ordering:
    """The order of ``terms``. Any number of threads may share one."""

    def __init__(self, terms: Sequence[OrderTerm], types: Sequence[Rows]) -> None:
        keys = [_key(term, types, in_reverse=term.descending) for term in terms]
        self._directions = [(key, term.descending) for key, term in zip(keys, terms, strict=True)]
        self._reverse = all(term.descending for term in terms)
        self._is_mixed = not self._reverse and any(term.descending for term in terms)
        if not self._reverse:
            keys = [_reversed(key) if term.descending else key for term, key in zip(terms, keys, strict=True)]
        self._key = _together(keys)

    def of(self, rows: Iterable[T], count: int | None) -> list[T]:
        """Return ``rows`` in this order: the first ``count`` of them, ``None`` for all."""
        if count is None:
            return self._of_all(rows)
        if count > PART and in_slices():
            every = self._of_all(rows)
            first = every[:count]
            release(every)
            return first
        return (heapq.nlargest if self._reverse else heapq.nsmallest)(count, rows, key=self._key)

    def _of_all(self, rows: Iterable[T]) -> list[T]:
        if not self._is_mixed:
            return sort(rows, self._key, reverse=self._reverse)
        # By the last term first, since the order of equal rows stays: no key is compared in Python.
        found = list(with_pauses(rows))
        for key, is_descending in reversed(self._directions):
            found, before = sort(found, key, reverse=is_descending), found
            release(before)
        return found


def _reversed(key: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda row: _Descending(key(row))


def _together(keys: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    if len(keys) == 1:
        return keys[0]
    return lambda row: tuple([key(row) for key in keys])


def _key(term: OrderTerm, types: Sequence[Rows], *, in_reverse: bool) -> Callable[[Any], Any]:
    """Return what rows are compared by for one term. ``in_reverse``: the result will be reversed."""
    value_of = compiled(Expr(term.value), *types)
    type_ = expression_type(Expr(term.value), *types)
    is_nan = nan_test(type_)
    if not isinstance(type_, Nullable) and is_nan is None:
        return value_of
    none = (0,) if in_reverse else (3,)  # past a number: 1, and a NaN: 2

    def key(row: Any) -> tuple[Any, ...]:
        value = value_of(row)
        if value is None:
            return none
        return (1, value) if is_nan is None or not is_nan(value) else (2,)

    return key
