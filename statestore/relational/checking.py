"""Clauses of a query, checked against the fields that they are over, at the call that adds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from itertools import chain
from typing import Any

from statestore.errors import QueryError
from statestore.expressions.aggregates import OHLC, Aggregate, aggregate_type
from statestore.expressions.expr import Descending, Expr
from statestore.expressions.nodes import (
    Between,
    Binary,
    FieldPath,
    In,
    IsNull,
    Logic,
    Negative,
    Node,
    Not,
    TextTest,
    node_text,
    parts_of,
)
from statestore.expressions.type_checking import (
    ORDERED,
    Rows,
    expression_faults,
    expression_type,
    place_of,
    record_of,
)
from statestore.fields.types import Field, FieldType, Nullable, RecordType, scalar_type, type_name
from statestore.naming import did_you_mean
from statestore.relational.results import Parameter, Row, parameters_of
from statestore.runtime.text import bounded_repr


@dataclass(frozen=True, slots=True)
class Column:
    """A named value of a query's rows."""

    name: str
    value: Node | Aggregate

    @property
    def node(self) -> Node:
        """The value of a column that is no aggregate."""
        assert not isinstance(self.value, Aggregate)
        return self.value


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """What rows are sorted by. ``None`` comes last, whichever the direction; NaN is the greatest number."""

    value: Node
    descending: bool = False

    def __repr__(self) -> str:
        return repr(Descending(self.value) if self.descending else Expr(self.value))


class Group:
    """Stands for the rows that ``aggregate`` makes, in messages."""


class Ohlc:
    """Stands for what ``agg.ohlc`` makes, in messages."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause that is being added: ``name``, over ``rows``. Its methods raise ``QueryError``."""

    name: str
    rows: tuple[Rows, ...]

    def fault(self, problem: str) -> QueryError:
        """Return the error for a fault of the clause."""
        over = ", ".join(record_of(one).cls.__name__ for one in self.rows)
        return QueryError(f"query over {over}, {self.name}: {problem}")

    def condition(self, given: object) -> Node:
        """Return the node of a condition."""
        if not isinstance(given, Expr):
            raise self.fault(
                f"{bounded_repr(given)} is no condition: write one such as F.amount > 100; for several write "
                "&, |, ~ with each comparison in parentheses"
            )
        type_ = self.type_of(given)
        if scalar_type(type_) is not bool:
            raise self.fault(
                f"{given!r} is {_named(type_)}, not a condition: compare it, as in {given!r} == …"
            )
        return given.node

    def join_keys(self, given: object) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """Return the two sides of each equality of a join: over the rows before, and over the last one."""
        node = qualified(self.condition(given), self.rows)
        left: list[Node] = []
        right: list[Node] = []
        for part in parts_of(node):
            one, other = self._sides(part)
            left.append(one)
            right.append(other)
        return tuple(left), tuple(right)

    def _sides(self, part: Node) -> tuple[Node, Node]:
        last = len(self.rows) - 1
        if isinstance(part, Binary) and part.op == "==":
            for one, other in ((part.left, part.right), (part.right, part.left)):
                before = {place_of(path, self.rows) for path in paths_of(one)}
                after = {place_of(path, self.rows) for path in paths_of(other)}
                if after == {last} and before and last not in before:
                    return one, other
        name = record_of(self.rows[last]).cls.__name__
        raise self.fault(
            f"{node_text(part)} does not say which rows belong together: write on=F[…].field == "
            f"F[{name}].field, several joined by &; all other conditions belong in where(…)"
        )

    def type_of(self, expr: Expr) -> FieldType:
        """Return the type of an expression without faults."""
        type_ = expression_type(expr, *self.rows)
        if type_ is None:
            raise self.fault("; ".join(expression_faults(expr, *self.rows)))
        return type_

    def order_term(self, given: object) -> OrderTerm:
        """Return what to sort by."""
        if isinstance(given, Descending):
            expr, descending = Expr(given.node), True
        elif isinstance(given, Expr):
            expr, descending = given, False
        else:
            raise self.fault(f"{bounded_repr(given)} is no field: write F.amount, or F.amount.desc()")
        type_ = self.type_of(expr)
        if scalar_type(type_) not in (*ORDERED, bool):
            raise self.fault(
                f"{expr!r} is {_named(type_)}, which has no order: sort by a part that is a single value"
            )
        return OrderTerm(expr.node, descending)

    def columns(self, given: Sequence[object], named: Mapping[str, object]) -> tuple[Column, ...]:
        """Return the columns of expressions: of those without a name it is the field's."""
        columns = []
        for expr in given:
            if not isinstance(expr, Expr):
                raise self._no_expression(expr)
            step = expr.node.steps[-1] if isinstance(expr.node, FieldPath) else None
            if not isinstance(step, str) or not _is_name(step):
                raise self.fault(f"{expr!r} needs a name: write {self.name}(name={expr!r})")
            columns.append((step, expr))
        for name, expr in named.items():
            if not isinstance(expr, Expr):
                raise self._no_expression(expr)
            columns.append((self._name(name), expr))
        names = [name for name, _ in columns]
        if twice := [name for name in names if names.count(name) > 1]:
            raise self.fault(f"two columns are named {twice[0]!r}: give one another name, {twice[0]}2=F.…")
        for _, expr in columns:
            self.type_of(expr)
        return tuple(Column(name, expr.node) for name, expr in columns)

    def keys(self, given: Sequence[object], named: Mapping[str, object]) -> tuple[Column, ...]:
        """Return the columns of ``group_by``."""
        columns = self.columns(given, named)
        for column in columns:
            type_ = self.type_of(Expr(column.node))
            if scalar_type(type_) is None:
                text = node_text(column.node)
                raise self.fault(f"{text} is {_named(type_)}: group by a part of it that is a single value")
        return columns

    def _no_expression(self, given: object) -> QueryError:
        if isinstance(given, Aggregate):
            return self.fault(f"{given!r} is an aggregate: write aggregate(name={given!r})")
        return self.fault(f"{bounded_repr(given)} is no expression: write F.amount, or F.price * F.quantity")

    def _name(self, name: str) -> str:
        if not _is_name(name):
            raise self.fault(f"{name!r} cannot name a column: take a name without _ in front")
        return name

    def aggregates(self, keys: Sequence[Column], named: Mapping[str, object]) -> tuple[Column, ...]:
        """Return the columns of aggregates."""
        if not named:
            raise self.fault("nothing to aggregate: write aggregate(total=agg.sum(F.amount), n=agg.count())")
        for name, aggregate in named.items():
            self._name(name)
            if any(key.name == name for key in keys):
                raise self.fault(f"{name!r} is a field of group_by: give the aggregate another name")
            if not isinstance(aggregate, Aggregate):
                raise self.fault(
                    f"{name}={bounded_repr(aggregate)}: give an aggregate, as in {name}=agg.sum(F.amount)"
                )
            self.aggregate_type(aggregate)
        return tuple(Column(name, one) for name, one in named.items() if isinstance(one, Aggregate))

    def aggregate_type(self, aggregate: Aggregate) -> FieldType:
        """Return the type of an aggregate without faults, in a group of at least one row."""
        if aggregate.by == "event_time":
            raise self.fault(
                f"{aggregate!r} makes a field of a bar: here use agg.min or agg.max of the field with the "
                "time"
            )
        if aggregate.function == "reduce":
            raise self.fault(
                f"{aggregate!r} makes a field of a bar: here write to_list, and reduce the rows in Python"
            )
        faults: list[str] = []
        type_ = aggregate_type(aggregate, faults, *self.rows)
        if type_ is None:
            raise self.fault("; ".join(dict.fromkeys(faults)))
        if aggregate.function == "ohlc":
            record = RecordType(Ohlc, tuple(_field(name, type_) for name in OHLC), positional=True)
            return Nullable(record) if isinstance(type_, Nullable) else record
        return type_

    def grouped(self, keys: Sequence[Column], aggregates: Sequence[Column]) -> RecordType:
        """Return the record of the rows that grouping makes."""
        fields = []
        for column in (*keys, *aggregates):
            value = column.value
            type_ = self.aggregate_type(value) if isinstance(value, Aggregate) else self.type_of(Expr(value))
            may_lack = not keys and isinstance(value, Aggregate) and value.function not in ("count", "sum")
            if may_lack and not isinstance(type_, Nullable):
                type_ = Nullable(type_)  # without a row
            fields.append(_field(column.name, type_))
        return RecordType(Group, tuple(fields), positional=True)

    def selected(self, columns: Sequence[Column], into: type[Any] | None) -> RecordType:
        """Return the record of the rows that ``select`` makes."""
        fields = [_field(one.name, self.type_of(Expr(one.node))) for one in columns]
        return RecordType(into or Row, tuple(fields), positional=True)

    def into(self, cls: type[Any], columns: Sequence[Column]) -> tuple[Column, ...]:
        """Return the columns for a class's fields: those given, the others by the fields of their name."""
        parameters = parameters_of(cls)
        if parameters is None:
            raise self.fault(
                f"{cls.__name__} is no dataclass: select into a dataclass, or use map({cls.__name__})"
            )
        given = {column.name: column for column in columns}
        names = [one.name for one in parameters]
        for name in given:
            if name not in names:
                like = did_you_mean(name, names)
                raise self.fault(
                    f"{cls.__name__} has no field {name!r}{like}; its fields: {', '.join(names)}"
                )
        found = [given.get(one.name) or self._by_name(cls, one) for one in parameters]
        for parameter, column in zip(parameters, found, strict=True):
            if column is not None and parameter.type is not None:
                self._fits(cls, parameter.name, parameter.type, column.node)
        return tuple(column for column in found if column is not None)

    def _by_name(self, cls: type, parameter: Parameter) -> Column | None:
        path = FieldPath(None, (parameter.name,))
        faults = expression_faults(Expr(path), *self.rows)
        if not faults:
            return Column(parameter.name, path)
        if parameter.has_default:
            return None
        raise self.fault(
            f"{cls.__name__}.{parameter.name} has no value: write {self.name}({cls.__name__}, "
            f"{parameter.name}=F.…) ({faults[0]})"
        )

    def _fits(self, cls: type, name: str, declared: FieldType, value: Node) -> None:
        type_ = self.type_of(Expr(value))
        found, wanted = scalar_type(type_), scalar_type(declared)
        if found is not wanted and not (found is int and wanted is float):
            problem = f"is {_named(type_)}, but {cls.__name__}.{name} is declared {type_name(declared)}"
            raise self.fault(f"{node_text(value)} {problem}: declare it {type_name(type_)}")
        if isinstance(type_, Nullable) and not isinstance(declared, Nullable):
            raise self.fault(
                f"{node_text(value)} can be None, but {cls.__name__}.{name} is declared "
                f"{type_name(declared)}: declare it {type_name(declared)} | None"
            )

    def number(self, value: object) -> int:
        """Return a number of rows."""
        if type(value) is not int or value < 0:
            raise self.fault(f"{bounded_repr(value)} is no number of rows: give an int from 0 on")
        return value

    def one_of(self, value: Any, known: Sequence[str]) -> Any:
        """Return ``value``, which must be one of ``known``."""
        if value not in known:
            raise self.fault(
                f"{bounded_repr(value)} is not known: choose one of {', '.join(map(repr, known))}"
            )
        return value

    def function(self, given: object) -> Callable[[Any], Any]:
        """Return a function that is called with each row."""
        if not callable(given) or isinstance(given, Expr):
            hint = f"; for an expression write select(name={given!r})" if isinstance(given, Expr) else ""
            raise self.fault(f"{bounded_repr(given)} is no function of one row{hint}")
        if inspect.iscoroutinefunction(given):
            raise self.fault(
                f"{bounded_repr(given)} is a coroutine function, and a table's queries do not await: call it "
                "on the rows, as in [await fn(row) for row in query.to_list()]"
            )
        return given


def paths_of(node: Node) -> Iterator[FieldPath]:
    """Give the fields in an expression."""
    match node:
        case FieldPath():
            yield node
        case Binary(_, left, right):
            yield from chain(paths_of(left), paths_of(right))
        case Logic(_, operands):
            yield from chain.from_iterable(map(paths_of, operands))
        case Between(operand, low, high):
            yield from chain.from_iterable(map(paths_of, (operand, low, high)))
        case Not(operand) | Negative(operand) | IsNull(operand) | In(operand, _) | TextTest(_, operand, _):
            yield from paths_of(operand)


def qualified(node: Node, rows: Sequence[Rows]) -> Node:
    """Return the same expression with the class of each field in it: ``F[Order].id`` for ``F.id``."""
    match node:
        case FieldPath(_, steps):
            return FieldPath(record_of(rows[place_of(node, rows)]).cls, steps)
        case Binary(_, left, right):
            return replace(node, left=qualified(left, rows), right=qualified(right, rows))
        case Logic(_, operands):
            return replace(node, operands=tuple(qualified(one, rows) for one in operands))
        case Between(operand, low, high):
            return Between(qualified(operand, rows), qualified(low, rows), qualified(high, rows))
        case Not(operand) | Negative(operand) | IsNull(operand) | In(operand, _) | TextTest(_, operand, _):
            return replace(node, operand=qualified(operand, rows))
    return node


def _field(name: str, type_: FieldType) -> Field:
    return Field(name, type_, is_key=False, default=MISSING, default_factory=MISSING, wire_name=name)


def _is_name(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _named(type_: FieldType) -> str:
    name = type_name(type_)
    return f"an {name}" if name[0].lower() in "aeio" else f"a {name}"
