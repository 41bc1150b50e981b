"""Checking an expression against the fields of an entity: names, and the types of operands.

Static type checkers do not know the fields of ``F``. So whatever takes an expression (a declaration, a query)
checks it at once, before it is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import (
    COMPARISONS,
    Between,
    Binary,
    Constant,
    FieldPath,
    In,
    IsNull,
    Logic,
    Negative,
    Node,
    Not,
    TextTest,
    node_text,
)
from statestore.fields.types import DictOf, FieldType, ListOf, Nullable, RecordType, Scalar, type_name
from statestore.naming import did_you_mean
from statestore.runtime.text import bounded_repr

NUMBERS = (int, float, Decimal)
ORDERED = (int, float, Decimal, str, bytes, datetime, date, UUID)
_ORDERED = frozenset(ORDERED)
_SCALARS: dict[type, Scalar] = {kind: Scalar(kind) for kind in (*ORDERED, bool)}
_BOOL = _SCALARS[bool]
_OF_ANY_LENGTH = (DictOf, ListOf)


Rows = RecordType | Nullable
"""What the fields of an expression are of: a record, ``Nullable`` if there may be none (of a left join)."""


def expression_faults(expr: Expr, *rows: Rows) -> list[str]:
    """Return every fault of ``expr`` over ``rows``. Without faults, it can be evaluated.

    Over several, a field that more than one of them have needs its class: ``F[Order].id``.
    """
    return _TypeChecker(rows).faults_of(expr)


def expression_type(expr: Expr, *rows: Rows) -> FieldType | None:
    """Return the type of ``expr``, ``Nullable`` if it can be ``None``; ``None`` if ``expr`` is faulty."""
    checker = _TypeChecker(rows)
    type_ = checker.type_of(expr.node)
    return None if checker.faults else type_


def place_of(path: FieldPath, rows: Sequence[Rows]) -> int:
    """Return which of ``rows`` the field is of. Raises ``ValueError`` with the fault if it is of none."""
    if path.entity is None and len(rows) == 1:
        return 0
    types = [record_of(one) for one in rows]
    names = ", ".join(type_.cls.__name__ for type_ in types)
    if path.entity is not None:
        found = [place for place, type_ in enumerate(types) if type_.cls is path.entity]
        if not found:
            raise ValueError(f"is a field of {path.entity.__name__}, but this expression is over {names}")
        return found[0]
    step = path.steps[0]
    found = [place for place, one in enumerate(types) if any(field.name == step for field in one.fields)]
    if len(found) > 1:
        choices = " or ".join(node_text(FieldPath(types[place].cls, path.steps)) for place in found)
        raise ValueError(f"several classes have this field: write {choices}")
    if not found:
        known = {f"{one.cls.__name__}: {', '.join(field.name for field in one.fields)}" for one in types}
        like = did_you_mean(str(step), [field.name for one in types for field in one.fields])
        raise ValueError(
            f"neither of {names} has a field {step!r}{like}; their fields: {'; '.join(sorted(known))}"
        )
    return found[0]


def record_of(rows: Rows) -> RecordType:
    """Return the record whose fields ``rows`` have."""
    bare = _bare(rows)
    assert isinstance(bare, RecordType)
    return bare


class _TypeChecker:
    """Finds types and faults of nodes. A faulty node has the type ``None``, so that it causes no others."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        self._rows = rows
        self.faults: list[str] = []

    def faults_of(self, expr: Expr) -> list[str]:
        self.type_of(expr.node)
        return list(dict.fromkeys(self.faults))

    def type_of(self, node: Node) -> FieldType | None:
        # The first three make up nearly all expressions. Patterns would take longer, at each query.
        if isinstance(node, FieldPath):
            return self._path(node)
        if isinstance(node, Constant):
            return _SCALARS.get(type(node.value)) or Scalar(type(node.value))
        if isinstance(node, Binary):
            find = self._compared if node.op in COMPARISONS else self._computed
            return find(node, node.op, (node.left, node.right))
        match node:
            case Logic() | Not():
                return self._conditions(node, node.operands if isinstance(node, Logic) else (node.operand,))
            case Negative(operand):
                return self._computed(node, "-", (operand,))
            case IsNull(operand):
                self.type_of(operand)
                return _BOOL
            case In(operand, values):
                return self._in(node, operand, values)
            case Between(operand, low, high):
                return self._compared(node, "<", (operand, low, high))
            case TextTest(op, operand, _):
                return self._text(node, op, operand)

    def _path(self, path: FieldPath) -> FieldType | None:
        try:
            rows = self._rows[place_of(path, self._rows)]
        except ValueError as fault:
            return self._fault(path, str(fault))
        type_ = _bare(rows)
        nullable = isinstance(rows, Nullable)
        for count, step in enumerate(path.steps):
            inner = self._step(path, count, type_, step)
            if inner is None:
                return None
            # A dict need not have the key, a list need not be as long.
            nullable = nullable or isinstance(inner, Nullable) or isinstance(type_, _OF_ANY_LENGTH)
            type_ = _bare(inner)
        return Nullable(type_) if nullable else type_

    def _step(self, path: FieldPath, count: int, type_: FieldType, step: str | int) -> FieldType | None:
        if isinstance(type_, RecordType):
            for field in type_.fields:
                if field.name == step:
                    return field.type
        match type_:
            case RecordType(cls, fields):
                if step == type_.extra:
                    return self._fault(
                        path,
                        f"{cls.__name__}.{step} is Extra, whose members have no declared type: declare the "
                        "member as a field",
                    )
                names = [field.name for field in fields]
                like = did_you_mean(step, names) if isinstance(step, str) else ""
                self._fault(
                    path, f"{cls.__name__} has no field {step!r}{like}; its fields: {', '.join(names)}"
                )
            case DictOf(key, item):
                if key.type is type(step):
                    return item
                self._fault(
                    path, f"a key of {type_name(type_)} is of type {type_name(key)}, not {bounded_repr(step)}"
                )
            case ListOf(item):
                if isinstance(step, int) and step >= 0:
                    return item
                self._fault(
                    path, f"an item of {type_name(type_)} has a position 0, 1, 2, …, not {bounded_repr(step)}"
                )
            case _:
                outer = node_text(FieldPath(path.entity, path.steps[:count]))
                self._fault(path, f"{outer} is {_article(type_)} and has no parts")
        return None

    def _compared(self, node: Node, op: str, sides: Sequence[Node]) -> FieldType | None:
        types = [self.type_of(side) for side in sides]
        known = [type_ for type_ in types if type_ is not None]
        if len(known) < len(types):
            return None
        first, *others = map(_scalar, known)
        if first in _ORDERED and all(other is first for other in others):  # as nearly always
            return _result(bool, known)
        for side, type_, scalar in zip(sides, known, (first, *others), strict=True):
            if scalar is None:
                hint = (
                    "compare its fields"
                    if isinstance(_bare(type_), RecordType)
                    else "only .is_null() is possible"
                )
                return self._fault(node, f"{node_text(side)} is {_article(type_)}: {hint}")
            if op not in ("==", "!=") and scalar not in ORDERED:
                return self._fault(
                    node, f"{node_text(side)} is {_article(type_)}, which has no order: use == or !="
                )
        for side, other in zip(sides[1:], others, strict=True):
            if remedy := _apart(first, other):
                return self._fault(
                    node,
                    f"{node_text(sides[0])} is {_article(known[0])}, {node_text(side)} {_a(other)}: {remedy}",
                )
        return _result(bool, known)

    def _in(self, node: Node, operand: Node, values: Sequence[Constant]) -> FieldType | None:
        type_ = self._compared(node, "==", (operand, *values))
        return type_ if values else type_ and _BOOL

    def _computed(self, node: Node, op: str, sides: Sequence[Node]) -> FieldType | None:
        types = [self.type_of(side) for side in sides]
        known = [type_ for type_ in types if type_ is not None]
        if len(known) < len(types):
            return None
        for side, type_ in zip(sides, known, strict=True):
            wanted = (int,) if op == "%" else NUMBERS
            if _scalar(type_) not in wanted:
                names = ", ".join(number.__name__ for number in wanted)
                return self._fault(node, f"{node_text(side)} is {_article(type_)}: {op} is for {names}")
        kinds = {_scalar(type_) for type_ in known}
        if kinds == {float, Decimal}:
            return self._fault(node, f"float and Decimal do not mix: {_MIXED}")
        kind = Decimal if Decimal in kinds else float if float in kinds or op == "/" else int
        result = _result(kind, known)
        divisor = sides[-1]
        if op in ("/", "%") and not (isinstance(divisor, Constant) and divisor.value != 0):
            return Nullable(_bare(result))  # by zero gives None
        return result

    def _text(self, node: Node, op: str, operand: Node) -> FieldType | None:
        type_ = self.type_of(operand)
        if type_ is None:
            return None
        if _scalar(type_) is not str:
            return self._fault(node, f"{node_text(operand)} is {_article(type_)}: .{op}() is for str")
        return _result(bool, (type_,))

    def _conditions(self, node: Node, operands: Sequence[Node]) -> FieldType | None:
        types = [self.type_of(operand) for operand in operands]
        known = [type_ for type_ in types if type_ is not None]
        faulty = len(known) < len(types)
        for operand, type_ in zip(operands, types, strict=True):
            if type_ is not None and _scalar(type_) is not bool:
                self._fault(node, f"{node_text(operand)} is {_article(type_)}, not a condition: compare it")
                faulty = True
        return None if faulty else _result(bool, known)

    def _fault(self, node: Node, problem: str) -> FieldType | None:
        self.faults.append(f"{node_text(node)}: {problem}")
        return None


_MIXED = "write a constant in the field's type, 0.1 or Decimal('0.1'), or give both fields the same type"


def _apart(one: type | None, other: type | None) -> str | None:
    """Return the reason why values of the two types cannot be compared, ``None`` if they can."""
    if one is other:
        return None
    pair = {one, other}
    if pair == {float, Decimal}:
        return f"a float and a Decimal are rarely equal: {_MIXED}"
    if pair == {date, datetime}:
        return "a date is a day, a datetime an instant: compare with the datetime at which the day begins"
    return None if pair <= set(NUMBERS) else "they cannot be compared"


def _bare(type_: FieldType) -> FieldType:
    return type_.item if isinstance(type_, Nullable) else type_


def _scalar(type_: FieldType) -> type | None:
    """Return the Python type of a scalar, ``None`` for a type with parts."""
    bare = _bare(type_)
    return bare.type if isinstance(bare, Scalar) else None


def _result(kind: type, operands: Iterable[FieldType]) -> FieldType:
    for operand in operands:
        if isinstance(operand, Nullable):
            return Nullable(_SCALARS[kind])
    return _SCALARS[kind]


def _article(type_: FieldType) -> str:
    return _with_article(type_name(type_))


def _a(type_: type | None) -> str:
    return _with_article(type_.__name__ if type_ else "None")


def _with_article(name: str) -> str:
    return f"an {name}" if name[0].lower() in "aeio" else f"a {name}"
