"""Fields and constants as values of KSQL.

ksqlDB computes as Java does, and fails for a row where an operand is null or a divisor is 0: the whole
condition is then false, the whole column null. So a value carries its guards, which whoever uses it asks
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from statestore.errors import KsqlError
from statestore.expressions.nodes import FieldPath, Node, node_text
from statestore.expressions.type_checking import place_of, record_of
from statestore.fields.attributes import WindowEnd, WindowStart
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType
from statestore.ksql import lexis, terms
from statestore.ksql.kinds import BOOLEAN, DOUBLE, INT32_MAX, MILLISECOND, Kind, decimal, kind_of
from statestore.ksql.scope import Scope
from statestore.ksql.terms import ATOM, Term


@dataclass(frozen=True, slots=True)
class Guard:
    """A reason for which a value is null, though its text has no null in ksqlDB, but fails."""

    is_null: Term
    is_not: Term


@dataclass(frozen=True, slots=True)
class Value:
    """A value of KSQL."""

    term: Term
    """To be evaluated only where none of the guards says null."""
    kind: Kind
    is_nullable: bool = False
    """Whether it can be null."""
    guards: tuple[Guard, ...] = ()
    """All reasons for which it is null; none of a column, which may simply be null."""

    @property
    def whole(self) -> Term:
        """The value in one piece, null where a guard says so."""
        if not self.guards:
            return self.term
        return terms.case(
            (terms.any_of([one.is_null for one in self.guards]), Term("NULL")), otherwise=self.term
        )

    @property
    def null(self) -> Term:
        """The condition that it is null."""
        if self.guards:
            return terms.any_of([one.is_null for one in self.guards])
        return terms.is_null(self.term) if self.is_nullable else terms.FALSE

    @property
    def present(self) -> Term:
        """The condition that it is not null."""
        if self.guards:
            return terms.all_of([one.is_not for one in self.guards])
        return terms.is_not_null(self.term) if self.is_nullable else terms.TRUE

    @property
    def computable(self) -> Term:
        """The condition that its ``term`` can be evaluated."""
        return terms.all_of([one.is_not for one in self.guards])


def refused(node: Node, scope: Scope, reason: str, python: type | None = None) -> Value:
    """Return what stands for a value with a fault, which is added to the scope."""
    scope.fault(f"{node_text(node)}: {reason}")
    return Value(Term("NULL"), Kind("", python))


# Fields


def column(path: FieldPath, scope: Scope) -> Value:
    """Return a column, or a part of it: ``SYMBOL``, ``O.ADDRESS->CITY``, ``TAGS['a']``, ``PRICES[1]``."""
    place = place_of(path, scope.rows)
    rows = scope.rows[place]
    first = next(field for field in record_of(rows).fields if field.name == path.steps[0])
    is_json = scope.is_json[place] if scope.is_json else True
    try:
        term = _column(first, place, scope)
        type_, nullable = first.type, isinstance(rows, Nullable)
        for step in path.steps[1:]:
            bare = _bare(type_)
            nullable = nullable or isinstance(type_, Nullable) or isinstance(bare, DictOf | ListOf)
            term, type_ = _part(term, bare, step)
    except KsqlError as error:
        return refused(path, scope, str(error))
    kind = _window_kind(first) or kind_of(type_, is_json=is_json)
    return Value(term, kind, nullable or isinstance(type_, Nullable))


def _column(field: Field, place: int, scope: Scope) -> Term:
    if field.name in scope.substitutes:
        return Term(scope.substitutes[field.name])
    if field.window is not None and field.window not in _WINDOW_COLUMNS:
        raise KsqlError(
            "ksqlDB has no column with the size of a window: subtract the field with WindowStart from that "
            "with WindowEnd where you read"
        )
    name = _WINDOW_COLUMNS[field.window] if field.window is not None else field.wire_name
    alias = scope.aliases[place] if scope.aliases else None
    return Term(f"{lexis.source_name(alias)}.{lexis.quoted(name)}" if alias else lexis.quoted(name))


_WINDOW_COLUMNS: Final[dict[Any, str]] = {WindowStart: "WINDOWSTART", WindowEnd: "WINDOWEND"}


def _window_kind(field: Field) -> Kind | None:
    return Kind("BIGINT", datetime, unit=MILLISECOND) if field.window in _WINDOW_COLUMNS else None


def _part(whole: Term, type_: FieldType, step: str | int) -> tuple[Term, FieldType]:
    depth = whole.depth + 1
    if isinstance(type_, RecordType):
        field = next(one for one in type_.fields if one.name == step)
        return Term(f"{whole.text}->{lexis.quoted(field.wire_name)}", ATOM, depth), field.type
    if isinstance(type_, DictOf):
        return Term(f"{whole.text}[{lexis.literal(str(step))}]", ATOM, depth), type_.item
    assert isinstance(type_, ListOf)
    assert isinstance(step, int)
    if step >= INT32_MAX:
        raise KsqlError(f"an array of ksqlDB has at most {INT32_MAX} items: take a smaller position")
    return Term(f"{whole.text}[{step + 1}]", ATOM, depth), type_.item


def _bare(type_: FieldType) -> FieldType:
    return type_.item if isinstance(type_, Nullable) else type_


# Constants


def constant_value(constant: Any) -> Value:
    """Return a constant of any type. Raises ``KsqlError`` for one without a literal."""
    return Value(Term(lexis.literal(constant)), _constant_kind(constant))


def _constant_kind(constant: Any) -> Kind:
    match constant:
        case bool():
            return BOOLEAN
        case int():
            name = "INT" if -INT32_MAX - 1 <= constant <= INT32_MAX else "BIGINT"
            return Kind(name, int, abs(constant))
        case float():
            return DOUBLE
        case Decimal():
            digits, scale = lexis.decimal_digits(constant)
            return decimal(Decimal, digits, scale, abs(lexis.unscaled(constant, scale)))
        case _:
            return Kind("", type(constant))
