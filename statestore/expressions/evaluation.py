"""Evaluating an expression on an entity, with the nulls of SQL.

A comparison or computation with an operand ``None`` gives ``None``. ``&``, ``|`` and ``~`` are three-valued:
``None & False`` is false, ``None | True`` is true, and all others with ``None`` are ``None``. A part that is
missing is ``None``, too: a field of a nested dataclass that is ``None``, an absent key of a dict, an item
past the end of a list. Dividing by zero gives ``None``. A filter accepts an entity if its condition is true.

Numbers compute as in Python: ``/`` of two ints is a float, ``%`` has the sign of its right side. It has that
for Decimals, too, where Python gives it the left one's: a condition means the same for each type of number.
Decimals are rounded half-even to 38 digits, the most that ksqlDB has, whatever the thread's decimal context
is. NaN is not equal to, less or greater than anything.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any

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
)
from statestore.expressions.type_checking import Rows, place_of

Evaluated = Callable[[Any], Any]

DECIMAL_DIGITS = 38
DECIMALS = Context(prec=DECIMAL_DIGITS, traps=[])
"""How Decimals are computed with, in every thread."""


def _decimal_remainder(left: Decimal | int, right: Decimal | int) -> Decimal:
    """Return what is left of ``left``, with the sign of ``right``, which is not 0."""
    remainder = DECIMALS.remainder(left, right)
    if remainder and not remainder.is_nan() and (remainder < 0) is not (right < 0):
        return DECIMALS.add(remainder, right)
    return remainder


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPUTE: Mapping[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Decimal]]] = {
    "+": (operator.add, DECIMALS.add),
    "-": (operator.sub, DECIMALS.subtract),
    "*": (operator.mul, DECIMALS.multiply),
    "/": (operator.truediv, DECIMALS.divide),
    "%": (operator.mod, _decimal_remainder),
}


def evaluate(expr: Expr, entity: Any) -> Any:
    """Return the value of ``expr`` for ``entity``. For many entities, use :func:`compiled` once."""
    return compiled(expr)(entity)


def compiled(expr: Expr, *rows: Rows) -> Evaluated:
    """Return a function that gives the value of ``expr`` for an entity. Any number of threads may call it.

    With several ``rows``, it takes a tuple of an entity of each. The expression must be without faults
    (``type_checking.expression_faults``): here an unknown field raises ``AttributeError``, and operands that
    do not go together raise ``TypeError``.
    """
    return _Compiler(rows).compiled(expr.node)


class _Compiler:
    def __init__(self, rows: Sequence[Rows]) -> None:
        self._rows = rows

    def compiled(self, node: Node) -> Evaluated:
        match node:
            case FieldPath():
                return self._field(node)
            case Constant(value):
                return lambda _: value
            case Binary(op, left, right):
                make = _comparison if op in COMPARISONS else _computation
                return make(op, self.compiled(left), self.compiled(right))
            case Logic(op, operands):
                return _logic(op == "|", tuple(map(self.compiled, operands)))
            case Not(operand) | Negative(operand):
                return (_not if isinstance(node, Not) else _negative)(self.compiled(operand))
            case IsNull(operand):
                value_of = self.compiled(operand)
                return lambda entity: value_of(entity) is None
            case In(operand, values):
                return _in(self.compiled(operand), frozenset(constant.value for constant in values))
            case Between(operand, low, high):
                return self.compiled(Logic("&", (Binary(">=", operand, low), Binary("<=", operand, high))))
            case TextTest(op, operand, text):
                return _text_test(self.compiled(operand), op, text)

    def _field(self, path: FieldPath) -> Evaluated:
        value_of = _path(path.steps)
        return value_of if len(self._rows) < 2 else _of_one(place_of(path, self._rows), value_of)


def _of_one(place: int, value_of: Evaluated) -> Evaluated:
    def of_one(row: Any) -> Any:
        entity = row[place]
        return None if entity is None else value_of(entity)

    return of_one


def _path(steps: tuple[str | int, ...]) -> Evaluated:
    first, *others = steps
    start = operator.attrgetter(str(first))
    if not others:
        return start

    def path(entity: Any) -> Any:
        value = start(entity)
        for step in others:
            if value is None:
                return None
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(step, int):
                value = value[step] if 0 <= step < len(value) else None
            else:
                value = getattr(value, step)
        return value

    return path


def _comparison(op: str, left_of: Evaluated, right_of: Evaluated) -> Evaluated:
    compare = _COMPARE[op]

    def comparison(entity: Any) -> bool | None:
        left, right = left_of(entity), right_of(entity)
        if left is None or right is None:
            return None
        try:
            return compare(left, right)
        except InvalidOperation:  # one is a decimal NaN
            return op == "!="

    return comparison


def _computation(op: str, left_of: Evaluated, right_of: Evaluated) -> Evaluated:
    plain, decimal = _COMPUTE[op]
    divides = op in ("/", "%")

    def computation(entity: Any) -> Any:
        left, right = left_of(entity), right_of(entity)
        if left is None or right is None or (divides and not right):
            return None
        if isinstance(left, Decimal) or isinstance(right, Decimal):
            return decimal(left, right)
        return plain(left, right)

    return computation


def _logic(decisive: bool, operands: tuple[Evaluated, ...]) -> Evaluated:
    """Return and/or: the ``decisive`` operand decides, else an unknown one makes the whole unknown."""

    def logic(entity: Any) -> bool | None:
        unknown = False
        for operand in operands:
            value: bool | None = operand(entity)
            if value is None:
                unknown = True
            elif value is decisive:
                return decisive
        return None if unknown else not decisive

    return logic


def _not(operand: Evaluated) -> Evaluated:
    def negation(entity: Any) -> bool | None:
        value = operand(entity)
        return None if value is None else not value

    return negation


def _negative(operand: Evaluated) -> Evaluated:
    def negative(entity: Any) -> Any:
        value = operand(entity)
        if value is None:
            return None
        return value.copy_negate() if isinstance(value, Decimal) else -value

    return negative


def _in(operand: Evaluated, values: frozenset[Any]) -> Evaluated:
    if not values:
        return lambda _: False

    def contained(entity: Any) -> bool | None:
        value = operand(entity)
        try:
            return None if value is None else value in values
        except TypeError:  # a signalling decimal NaN, which has no hash
            return False

    return contained


def _text_test(operand: Evaluated, op: str, text: str) -> Evaluated:
    test: Callable[[str], object]
    match op:
        case "startswith":
            test = operator.methodcaller("startswith", text)
        case "endswith":
            test = operator.methodcaller("endswith", text)
        case "contains":
            test = operator.methodcaller("__contains__", text)
        case _:
            test = re.compile(_like(text), re.DOTALL).fullmatch

    def tested(entity: Any) -> bool | None:
        value = operand(entity)
        return None if value is None else bool(test(value))

    return tested


_LIKE = re.compile(r"\\(?P<escaped>.)|(?P<any>%)|(?P<one>_)|(?P<plain>.)", re.DOTALL)


def _like(pattern: str) -> str:
    """Return the regular expression of a pattern of ``like``."""

    def part(found: re.Match[str]) -> str:
        if found["any"]:
            return ".*"
        return "." if found["one"] else re.escape(found["escaped"] or found["plain"])

    return _LIKE.sub(part, pattern)
