"""Evaluating an expression on an entity, with the nulls of SQL.

A comparison or computation with an operand ``None`` gives ``None``. ``&``, ``|`` and ``~`` are three-valued:
``None & False`` is false, ``None | True`` is true, and all others with ``None`` are ``None``. A part that is
missing is ``None``, too: a field of a nested dataclass that is ``None``, an absent key of a dict, an item
past the end of a list. Dividing by zero gives ``None``. A filter accepts an entity if its condition is true.

Numbers compute as in Python: ``/`` of two ints is a float, ``%`` has the sign of its right side. Decimals are
rounded half-even to 38 digits, the most that ksqlDB has, whatever the thread's decimal context is. NaN is not
equal to, less or greater than anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
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
)

Evaluated = Callable[[Any], Any]

DECIMAL_DIGITS = 38
_DECIMALS = Context(prec=DECIMAL_DIGITS, traps=[])

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPUTE: Mapping[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Decimal]]] = {
    "+": (operator.add, _DECIMALS.add),
    "-": (operator.sub, _DECIMALS.subtract),
    "*": (operator.mul, _DECIMALS.multiply),
    "/": (operator.truediv, _DECIMALS.divide),
    "%": (operator.mod, operator.mod),
}


def evaluate(expr: Expr, entity: Any) -> Any:
    """Return the value of ``expr`` for ``entity``. For many entities, use :func:`compiled` once."""
    return compiled(expr)(entity)


def compiled(expr: Expr) -> Evaluated:
    """Return a function that gives the value of ``expr`` for an entity. Any number of threads may call it.

    The expression must be without faults (``type_checking.expression_faults``): here an unknown field raises
    ``AttributeError``, and operands that do not go together raise ``TypeError``.
    """
    return _compiled(expr.node)


def _compiled(node: Node) -> Evaluated:
    match node:
        case FieldPath(_, steps):
            return _path(steps)
        case Constant(value):
            return lambda _: value
        case Binary(op, left, right):
            make = _comparison if op in COMPARISONS else _computation
            return make(op, _compiled(left), _compiled(right))
        case Logic(op, operands):
            return _logic(op == "|", tuple(map(_compiled, operands)))
        case Not(operand):
            return _not(_compiled(operand))
        case Negative(operand):
            return _negative(_compiled(operand))
        case IsNull(operand):
            value_of = _compiled(operand)
            return lambda entity: value_of(entity) is None
        case In(operand, values):
            return _in(_compiled(operand), frozenset(constant.value for constant in values))
        case Between(operand, low, high):
            return _compiled(Logic("&", (Binary(">=", operand, low), Binary("<=", operand, high))))


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
