"""Queries as plain values: what is asked for, of which classes. A value knows no table and no store.

A :class:`Query` is immutable, compares and hashes by its parts, and pickles if the functions in it do. Its
clauses have one order, that of SQL: the rows of the entity, joined with others, filtered by ``where``,
grouped by ``group_by`` and ``aggregate``, filtered by ``having``, sorted by ``order_by``, cut by ``skip`` and
``take``, made into other rows by ``select``, then by ``map``. A clause out of this order raises
``QueryError``, and so does one with an unknown field or with operands that do not go together, at the call
that adds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar, cast, get_args, overload

from statestore.entity import entity_of, model_of
from statestore.errors import QueryError
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.expr import Condition, Descending, Expr, Value
from statestore.expressions.nodes import Logic, Node, node_text, parts_of
from statestore.expressions.type_checking import Rows
from statestore.fields.types import Nullable, RecordType
from statestore.relational.checking import Clause, Column, OrderTerm, qualified
from statestore.relational.results import Row
from statestore.relational.translation import Emit, translated
from statestore.settings import OnScan

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")

MOST_TABLES: Final = 3
"""A query joins no more tables than these."""
_MOST_ROWS: Final = sys.maxsize
"""No table has more rows."""


def record_type_of(cls: type) -> RecordType:
    """Return the fields of an entity class, or of an alias of one. Raises ``ConfigError`` for another."""
    record = model_of(entity_of(cls)).record_type
    return record if record.cls is cls else replace(record, cls=cls)


@dataclass(frozen=True, slots=True)
class Join:
    """A table joined with those before it: a row of theirs with each of its rows of the same values."""

    entity: type[Any]
    left: tuple[Node, ...]
    """Expressions over the rows before."""
    right: tuple[Node, ...]
    """Expressions over the joined class: each equals its counterpart in ``left``. ``None`` equals none."""
    is_outer: bool = False
    """Whether a row without a partner stays, with ``None`` beside it."""


@dataclass(frozen=True)
class Query(Generic[T]):
    """Which rows are wanted, ``T`` each. Begin with ``Query.of(Order)``; each clause returns a new value.

    A table runs it: ``orders.query(value)``. The fields are for who reads the value, such as a translator.
    """

    entity: type[Any]
    """The class whose table the rows come from."""
    joins: tuple[Join, ...] = ()
    """``join`` and ``left_join``, in order. With them a row is a tuple of an entity of each class."""
    condition: Node | None = None
    """``where``: rows of which it is true count; ``None``: all."""
    predicates: tuple[Callable[[Any], object], ...] = ()
    """``where`` of Python functions: rows count for which each returns something true. They run locally."""
    keys: tuple[Column, ...] | None = None
    """``group_by``: rows with the same values of these are one group; none of them: all rows are one group.
    ``None``: rows are not grouped."""
    aggregates: tuple[Column, ...] = ()
    """``aggregate``: what is computed of each group. Its row has the columns of ``keys``, then these."""
    group_condition: Node | None = None
    """``having``: groups of which it is true count, by the columns of their rows."""
    order: tuple[OrderTerm, ...] = ()
    """``order_by``: what rows are sorted by, the first term first. Rows that are equal in all terms are in
    the order of the key, reversed where all terms descend."""
    skipped: int = 0
    """``skip``: how many rows are left out at the beginning."""
    limit: int | None = None
    """``take``: how many rows there are at most, after those left out."""
    columns: tuple[Column, ...] | None = None
    """``select``: the columns of the resulting rows; ``None``: rows are as they are."""
    into: type[Any] | None = None
    """The dataclass whose objects ``select`` makes of the columns; ``None``: :class:`Row`."""
    functions: tuple[Callable[[Any], Any], ...] = ()
    """``map``: functions that make each row another, one after the other. They only run locally."""
    scan: OnScan | None = None
    """``on_scan``: what happens when all rows must be looked at; ``None``: as the table's setting says."""

    @classmethod
    def of(cls, entity: type[S]) -> Query[S]:
        """Return the query for all rows of an entity class. Raises ``ConfigError`` for another class."""
        record_type_of(entity)
        return cast("Query[S]", cls(entity))

    # Clauses

    def where(self, *conditions: Condition | Callable[[T], object]) -> Query[T]:
        """Keep the rows of which every condition is true: expressions, or functions of a row."""
        clause = self._clause("where", self.sources, "group_by", "take", "select", "map")
        condition, predicates = self.condition, self.predicates
        for given in conditions:
            if callable(given) and not isinstance(given, Expr):
                predicates = (*predicates, clause.function(given))
            else:
                condition = _both(condition, clause.condition(given))
        return self._with(condition=condition, predicates=predicates)

    @overload
    def join(  # type: ignore[overload-overlap]
        self: Query[tuple[A, B]], other: type[S], *, on: Condition
    ) -> Query[tuple[A, B, S]]: ...
    @overload
    def join(self, other: type[S], *, on: Condition) -> Query[tuple[T, S]]: ...
    def join(self, other: type[Any], *, on: Condition) -> Query[Any]:
        """Make a row of each pair of a row and an entity of ``other`` with the same values.

        ``on`` says which: ``on=F[Order].customer == F[Customer].id``, several joined by ``&``. Rows are
        tuples, ``(order, customer)``; ``F[Order].amount`` is a field of one class. Up to three classes can be
        joined.
        """
        return self._joined("join", other, on, is_outer=False)

    @overload
    def left_join(  # type: ignore[overload-overlap]
        self: Query[tuple[A, B]], other: type[S], *, on: Condition
    ) -> Query[tuple[A, B, S | None]]: ...
    @overload
    def left_join(self, other: type[S], *, on: Condition) -> Query[tuple[T, S | None]]: ...
    def left_join(self, other: type[Any], *, on: Condition) -> Query[Any]:
        """Do as ``join``, but keep a row without a partner, with ``None`` for the other entity."""
        return self._joined("left_join", other, on, is_outer=True)

    def _joined(self, name: str, other: type[Any], on: object, *, is_outer: bool) -> Query[Any]:
        record = record_type_of(other)
        clause = self._clause(name, (*self.sources, record), "group_by", "take", "select", "map")
        classes = [self.entity, *(join.entity for join in self.joins)]
        if any(cls.__name__ == other.__name__ for cls in classes):
            raise clause.fault(
                f"two tables are named {other.__name__}, so that F[{other.__name__}] could be either: give "
                f"one another name, class Other({other.__name__}): pass, and join table.alias(Other)"
            )
        if len(classes) == MOST_TABLES:
            raise clause.fault(
                f"a query joins up to {MOST_TABLES} tables: join the result with more in Python"
            )
        if self.predicates:
            raise clause.fault("a function in where takes the joined rows: write where(function) after join")
        left, right = clause.join_keys(on)
        before = self.sources
        return self._with(
            joins=(*self.joins, Join(other, left, right, is_outer)),
            condition=None if self.condition is None else qualified(self.condition, before),
            order=tuple(replace(term, value=qualified(term.value, before)) for term in self.order),
        )

    def group_by(self, *keys: Value, **named: Value) -> Grouping:
        """Make one group of the rows with the same values of ``keys``; ``.aggregate(…)`` follows.

        A key is a column of the group's row, by the name of its field, or by the name given.
        """
        clause = self._clause("group_by", self.sources, "group_by", "order_by", "take", "select", "map")
        return Grouping(self, clause.keys(keys, named))

    def aggregate(self, **aggregates: Aggregate) -> Query[Row]:
        """Compute aggregates of all rows: the result is one row, also of no rows."""
        return Grouping(self, ()).aggregate(**aggregates)

    def having(self, condition: Condition) -> Query[T]:
        """Keep the groups of which the condition, over the columns of their rows, is true."""
        clause = self._clause("having", self.rows, "order_by", "take", "select", "map")
        if self.keys is None:
            raise clause.fault("there are no groups: write where(…), or group_by(…).aggregate(…) before")
        return self._with(group_condition=_both(self.group_condition, clause.condition(condition)))

    def order_by(self, *terms: Value | Descending) -> Query[T]:
        """Sort the rows by ``terms``, the first one first: ``order_by(F.country, F.amount.desc())``.

        ``None`` comes last in both directions; NaN counts as greater than every number. Rows that are equal
        in all terms are in the order of the key, reversed where all terms descend.
        """
        clause = self._clause("order_by", self.rows, "order_by", "take", "select", "map")
        return self._with(order=tuple(map(clause.order_term, terms)))

    def skip(self, count: int) -> Query[T]:
        """Leave out the first ``count`` of the rows."""
        count = Clause("skip", self.rows).number(count)
        limit = None if self.limit is None else max(0, self.limit - count)
        return self._with(skipped=min(self.skipped + count, _MOST_ROWS), limit=limit)

    def take(self, count: int) -> Query[T]:
        """Keep the first ``count`` of the rows."""
        count = Clause("take", self.rows).number(count)
        return self._with(limit=count if self.limit is None else min(self.limit, count))

    @overload
    def select(self, into: type[S], /, *columns: Expr, **named: Expr) -> Query[S]: ...
    @overload
    def select(self, /, *columns: Expr, **named: Expr) -> Query[Row]: ...
    def select(self, /, *columns: Any, **named: Any) -> Query[Any]:
        """Make each row one of these columns: ``select(F.customer, total=F.price * F.quantity)``.

        A column has the name of its field, or the name given. Rows are :class:`Row`: tuples whose items are
        attributes, too. With a dataclass first, ``select(Total, total=F.amount)``, rows are its objects; its
        fields that are not named here come from the fields of the same name.
        """
        clause = self._clause("select", self.rows, "select", "map")
        into: type[Any] | None = None
        if columns and isinstance(columns[0], type):
            into, columns = columns[0], columns[1:]
        found = clause.columns(columns, named)
        if into is not None:
            found = clause.into(into, found)
        elif not found:
            raise clause.fault("no columns: write select(F.customer, total=F.price * F.quantity)")
        return self._with(columns=found, into=into)

    def map(self, fn: Callable[[T], S]) -> Query[S]:
        """Make of each row what ``fn(row)`` returns. It is never translated, and runs for the rows taken."""
        clause = Clause("map", self.rows)
        return self._with(functions=(*self.functions, clause.function(fn)))

    def on_scan(self, action: OnScan) -> Query[T]:
        """Say what happens when all rows must be looked at: ``"allow"``, ``"warn"`` or ``"error"``.

        It goes before the setting ``on_scan`` of the table.
        """
        return self._with(scan=Clause("on_scan", self.rows).one_of(action, get_args(OnScan)))

    def to_ksql(self, emit: Emit | None = None) -> str:
        """Return the query as a SELECT of ksqlDB: a pull query, which returns rows and ends.

        With ``emit="changes"`` it is a push query, which returns changes until the client goes. Raises
        ``KsqlError`` with everything of the query that ksqlDB cannot do, or means otherwise.
        """
        return translated(self, emit)

    # What the value says

    @property
    def sources(self) -> tuple[Rows, ...]:
        """The records that ``where`` and ``group_by`` are over."""
        first = record_type_of(self.entity)
        if not self.joins:
            return (first,)
        others = [(record_type_of(join.entity), join.is_outer) for join in self.joins]
        return (first, *[Nullable(record) if is_outer else record for record, is_outer in others])

    @property
    def rows(self) -> tuple[Rows, ...]:
        """The records that ``having``, ``order_by`` and ``select`` are over."""
        return self.sources if self.keys is None else (self._grouped(self.keys),)

    @property
    def results(self) -> tuple[Rows, ...]:
        """The records of the resulting rows, before ``map``."""
        if self.columns is None:
            return self.rows
        return (Clause("select", self.rows).selected(self.columns, self.into),)

    @property
    def stop(self) -> int | None:
        """How many rows are enough, with those that ``skip`` leaves out; ``None``: all are needed."""
        return None if self.limit is None else min(self.skipped + self.limit, _MOST_ROWS)

    @property
    def is_plain(self) -> bool:
        """Whether the rows are those of ``where``, in any order: not grouped, cut, or made others."""
        others = (self.keys, self.limit, self.columns)
        return not self.skipped and not self.functions and all(one is None for one in others)

    def check_has_columns(self, name: str) -> None:
        """Raise ``QueryError`` where ``map`` makes the rows, so that ``name`` knows nothing of them."""
        if self.functions:
            raise Clause(name, self.rows).fault(
                f"what map returns has no fields: write {name} before map, or use the list: {self!r}"
            )

    def _with(self, **changes: Any) -> Query[Any]:
        """Return the same with other fields, as ``dataclasses.replace`` does in ten times as long."""
        made: Query[Any] = object.__new__(Query)
        made.__dict__.update(self.__dict__, **changes)
        return made

    def _grouped(self, keys: tuple[Column, ...]) -> RecordType:
        return Clause("aggregate", self.sources).grouped(keys, self.aggregates)

    def _clause(self, name: str, rows: tuple[Rows, ...], *later: str) -> Clause:
        """Return the clause ``name``, of which none of ``later`` may stand before it."""
        clause = Clause(name, rows)
        there = {
            "group_by": self.keys is not None,
            "having": self.group_condition is not None,
            "order_by": bool(self.order),
            "take": bool(self.skipped) or self.limit is not None,
            "select": self.columns is not None,
            "map": bool(self.functions),
        }
        for other in later:
            if there[other]:
                raise clause.fault(_MISPLACED.get((name, other)) or f"it stands before {other}: {self!r}")
        return clause

    def __repr__(self) -> str:
        text = f"Query.of({self.entity.__name__})"
        for join in self.joins:
            equal = (f"{node_text(a)} == {node_text(b)}" for a, b in zip(join.left, join.right, strict=True))
            on = " & ".join(f"({one})" if len(join.left) > 1 else one for one in equal)
            text += f".{'left_join' if join.is_outer else 'join'}({join.entity.__name__}, on={on})"
        if self.condition is not None or self.predicates:
            parts = [] if self.condition is None else [node_text(self.condition)]
            text += f".where({', '.join([*parts, *map(_name_of, self.predicates)])})"
        if self.keys is not None:
            text += f".group_by({_columns_text(self.keys)})" if self.keys else ""
            text += f".aggregate({_columns_text(self.aggregates)})"
        if self.group_condition is not None:
            text += f".having({node_text(self.group_condition)})"
        text += f".order_by({', '.join(map(repr, self.order))})" if self.order else ""
        text += f".skip({self.skipped})" if self.skipped else ""
        text += f".take({self.limit})" if self.limit is not None else ""
        if self.columns is not None:
            into = "" if self.into is None else f"{self.into.__name__}, "
            text += f".select({into}{_columns_text(self.columns)})"
        text += "".join(f".map({_name_of(fn)})" for fn in self.functions)
        return text + (f".on_scan({self.scan!r})" if self.scan else "")


def check_runs_here(query: Query[Any]) -> None:
    """Raise ``QueryError`` for an aggregate that a stream has, and a table has not."""
    for column in query.aggregates:
        if isinstance(column.value, Aggregate) and column.value.function in ("first", "last", "ohlc"):
            raise QueryError(
                f"{query!r}: {column.value!r} runs on ksqlDB only, over a stream, since a table keeps no "
                "order of records: here use agg.min or agg.max of the field with the time"
            )


_MISPLACED = {
    (
        "where",
        "group_by",
    ): "the rows are groups now: write where(…) before group_by, or having(…) for the groups",
    ("order_by", "order_by"): "the order is given already: name all terms in one order_by(…)",
    ("order_by", "take"): "rows are sorted before they are taken: write order_by(…) before take and skip",
    ("where", "take"): "rows are filtered before they are taken: write where(…) before take and skip",
    ("group_by", "group_by"): "the rows are groups already",
    ("select", "select"): "the columns are given already: name all in one select(…)",
}


@dataclass(frozen=True, slots=True)
class Grouping:
    """A query whose rows are grouped; ``aggregate`` says what is computed of each group."""

    query: Query[Any]
    keys: tuple[Column, ...]

    def aggregate(self, **aggregates: Aggregate) -> Query[Row]:
        """Compute aggregates of each group: ``aggregate(total=agg.sum(F.amount), n=agg.count())``.

        A row of the result has the columns of ``group_by``, then these. Groups come in no promised order.
        """
        refused = ("group_by", "order_by", "take", "select", "map")
        clause = self.query._clause("aggregate", self.query.sources, *refused)  # noqa: SLF001 - of this module
        found = clause.aggregates(self.keys, aggregates)
        return self.query._with(keys=self.keys, aggregates=found)  # noqa: SLF001 - of this module


def _both(one: Node | None, other: Node) -> Node:
    if one is None:
        return other
    parts = [part for node in (one, other) for part in parts_of(node)]
    return Logic("&", tuple(parts))


def _columns_text(columns: tuple[Column, ...]) -> str:
    return ", ".join(
        f"{one.name}={one.value!r}" if isinstance(one.value, Aggregate) else _column_text(one.name, one.value)
        for one in columns
    )


def _column_text(name: str, value: Node) -> str:
    text = node_text(value)
    return text if text == f"F.{name}" else f"{name}={text}"


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
