"""Arithmetic as KSQL that gives the same numbers.

ksqlDB's INT and BIGINT wrap around and divide without remainder, its DECIMALs have the digits of their types
and are never rounded. Python's ints have no end, ``/`` of two is a float, and Decimals have 38 digits. So the
largest number that an operation can give decides how it is written.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

from statestore.expressions.nodes import Binary, Constant, FieldPath, Negative, Node, node_text
from statestore.ksql import terms
from statestore.ksql.kinds import DOUBLE, INT32_MAX, Kind, decimal
from statestore.ksql.lexis import INT_MAX, MOST_DIGITS
from statestore.ksql.scope import Scope
from statestore.ksql.terms import PRODUCT, SUM, Term
from statestore.ksql.values import Guard, Value, column, constant_value, refused

EXACT_FLOAT: Final = 2**53
"""Up to here a DOUBLE has every whole number."""


def value(node: Node, scope: Scope, *, wraps: bool = False) -> Value:
    """Return the value of a field, a constant or a computation.

    ``wraps``: it is an int for a column of 64 bits, so it may be computed with these.
    """
    match node:
        case FieldPath():
            return column(node, scope)
        case Constant(constant):
            return constant_value(constant)
        case Negative(operand):
            return _negative(node, value(operand, scope, wraps=wraps), scope, wraps=wraps)
        case Binary(op, left, right):
            wrapping = wraps and op in "+-*"
            one, other = value(left, scope, wraps=wrapping), value(right, scope, wraps=wrapping)
            return _computed(node, one, other, scope, wraps=wraps)
        case _:
            raise AssertionError(f"{node_text(node)} is a condition")


def _computed(node: Binary, left: Value, right: Value, scope: Scope, *, wraps: bool) -> Value:
    if "" in (left.kind.name, right.kind.name):  # one has a fault
        return Value(Term("NULL"), left.kind if not left.kind.name else right.kind)
    if node.op == "/":
        result = _quotient(node, left, right, scope)
    elif node.op == "%":
        result = _remainder(node, left, right, scope)
    elif DOUBLE in (left.kind, right.kind):
        result = terms.binary(node.op, _for_double(left), _for_double(right), _tight(node.op)), DOUBLE
    else:
        result = _exact(node, node.op, left, right, scope, wraps=wraps)
    term, kind = result
    guards = (*_guards(left), *_guards(right), *_zero_guard(node, right))
    return Value(term, kind, bool(guards), tuple(dict.fromkeys(guards)))


def _tight(op: str) -> int:
    return SUM if op in "+-" else PRODUCT


def _guards(operand: Value) -> tuple[Guard, ...]:
    """Return all reasons for which a computation with ``operand`` is null."""
    if operand.guards or not operand.is_nullable:
        return operand.guards
    return (Guard(terms.is_null(operand.term), terms.is_not_null(operand.term)),)


def _zero_guard(node: Binary, divisor: Value) -> tuple[Guard, ...]:
    if node.op not in ("/", "%") or isinstance(node.right, Constant):
        return () if not _is_zero(node) else (Guard(terms.TRUE, terms.FALSE),)
    zero = Term("0.0E0" if divisor.kind == DOUBLE else "0")
    is_zero = terms.comparison("=", divisor.term, zero)
    # NaN is neither = nor <> to 0 in ksqlDB.
    differs = (
        terms.negation(is_zero) if divisor.kind == DOUBLE else terms.comparison("<>", divisor.term, zero)
    )
    return (Guard(is_zero, differs),)


def _is_zero(node: Binary) -> bool:
    return node.op in ("/", "%") and isinstance(node.right, Constant) and not node.right.value


# Sums, differences and products of ints and Decimals


def _exact(
    node: Binary, op: str, left: Value, right: Value, scope: Scope, *, wraps: bool = False
) -> tuple[Term, Kind]:
    is_decimal = Decimal in (left.kind.python, right.kind.python)
    limit, scale = _largest(op, left.kind, right.kind)
    one, other, first = left.term, right.term, left.kind
    if is_decimal and len(str(limit)) > MOST_DIGITS:
        reason = (
            f"can have {len(str(limit))} digits; with more than {MOST_DIGITS} it is rounded here, but not in "
            "ksqlDB: declare the fields with a smaller Precision, ints as Int32"
        )
        return refused(node, scope, reason).term, Kind("", Decimal)
    if not is_decimal and "DECIMAL" not in (left.kind.name, right.kind.name):
        if limit <= INT_MAX or wraps:
            if limit > INT_MAX:
                _note_wrap(node, scope)
            if left.kind.name == right.kind.name == "INT" and limit > INT32_MAX:
                one = terms.cast(one, "BIGINT")
            in_32 = left.kind.name == right.kind.name == "INT" and limit <= INT32_MAX
            kind = Kind("INT" if in_32 else "BIGINT", int, limit)
            return terms.binary(op, one, other, _tight(op)), kind
        one, first = terms.cast(one, "DECIMAL(19, 0)"), decimal(int, 19, 0, left.kind.limit)
    precision = _precision(op, first, right.kind)
    kind = decimal(Decimal if is_decimal else int, precision, scale, limit)
    return terms.binary(op, one, other, _tight(op)), kind


def _note_wrap(node: Node, scope: Scope) -> None:
    scope.note(
        f"{node_text(node)}: a result beyond 64 bits wraps around in ksqlDB; here no field can hold it"
    )


def _largest(op: str, left: Kind, right: Kind) -> tuple[int, int]:
    """Return how far from 0 a result can be, in units of its last decimal place, and these places."""
    if op == "*":
        return left.limit * right.limit, left.scale + right.scale
    scale = max(left.scale, right.scale)
    return left.limit * 10 ** (scale - left.scale) + right.limit * 10 ** (scale - right.scale), scale


def _precision(op: str, left: Kind, right: Kind) -> int:
    """Return the digits that ksqlDB gives the result."""
    one, other = _digits(left), _digits(right)
    if op == "*":
        return one + other + 1
    return max(left.scale, right.scale) + max(one - left.scale, other - right.scale) + 1


def _digits(kind: Kind) -> int:
    return kind.precision if kind.name == "DECIMAL" else 10 if kind.name == "INT" else 19


def _negative(node: Node, operand: Value, scope: Scope, *, wraps: bool) -> Value:
    kind, term = operand.kind, operand.term
    if kind.name in ("INT", "BIGINT") and kind.limit > (INT32_MAX if kind.name == "INT" else INT_MAX):
        if kind.name == "INT":
            kind, term = Kind("BIGINT", int, kind.limit), terms.cast(term, "BIGINT")
        elif wraps:
            _note_wrap(node, scope)
        else:
            kind, term = decimal(int, 19, 0, kind.limit), terms.cast(term, "DECIMAL(19, 0)")
    guards = _guards(operand)
    return Value(terms.negative(term), kind, bool(guards), guards)


# Quotients and remainders


def _quotient(node: Binary, left: Value, right: Value, scope: Scope) -> tuple[Term, Kind]:
    if Decimal in (left.kind.python, right.kind.python):
        return _decimal_quotient(node, left, scope)
    one, other = _for_double(left), _for_double(right)
    if DOUBLE not in (left.kind, right.kind):
        if max(left.kind.limit, right.kind.limit) > EXACT_FLOAT:
            scope.note(
                f"{node_text(node)}: ksqlDB divides as DOUBLE, so an int beyond ±2⁵³ is rounded before it is "
                "divided"
            )
        one = terms.cast(left.term, "DOUBLE")
    return terms.binary("/", one, other, PRODUCT), DOUBLE


def _for_double(operand: Value) -> Term:
    """Return an operand of a computation with a DOUBLE."""
    return terms.cast(operand.term, "DOUBLE") if operand.kind.name == "DECIMAL" else operand.term


def _decimal_quotient(node: Binary, left: Value, scope: Scope) -> tuple[Term, Kind]:
    """Return a quotient by a constant as a product: ksqlDB fails where a quotient has to be rounded."""
    if isinstance(node.right, Constant) and node.right.value:
        inverse = _finite_inverse(node.right.value)
        if inverse is not None:
            factor = constant_value(inverse)
            return _exact(node, "*", left, factor, scope)
    elif _is_zero(node):
        return left.term, left.kind
    reason = (
        "ksqlDB fails where the quotient of a DECIMAL has to be rounded: divide by a constant such as 8 or "
        "100, declare the fields float, or divide where you read"
    )
    return refused(node, scope, reason).term, Kind("", Decimal)


def _finite_inverse(divisor: Decimal | int) -> Decimal | None:
    """Return the Decimal that is 1 / ``divisor``, ``None`` if it has no end."""
    if isinstance(divisor, Decimal) and (not divisor.is_finite() or abs(divisor.adjusted()) > MOST_DIGITS):
        return None
    inverse = 1 / Fraction(divisor)
    scale, rest = 0, inverse.denominator
    while rest > 1 and scale <= MOST_DIGITS:
        shared = next((factor for factor in (10, 2, 5) if rest % factor == 0), None)
        if shared is None:
            return None
        rest, scale = rest // shared, scale + 1
    number = inverse.numerator * (10**scale // inverse.denominator)
    digits = tuple(map(int, str(abs(number))))
    return Decimal((int(number < 0), digits, -scale)) if rest == 1 and len(digits) <= MOST_DIGITS else None


def _remainder(node: Binary, left: Value, right: Value, scope: Scope) -> tuple[Term, Kind]:
    """Return a remainder with the sign of the divisor: in ksqlDB it has that of the dividend."""
    kind = Kind("BIGINT", int, right.kind.limit)
    if "DECIMAL" in (left.kind.name, right.kind.name):
        reason = (
            "an operand can have more than 64 bits, of which ksqlDB has no remainder: declare Int32 fields"
        )
        return refused(node, scope, reason).term, Kind("", int)
    one, other = left.term, right.term
    if left.kind.name == right.kind.name == "INT":
        one = terms.cast(one, "BIGINT")
    rest = terms.binary("%", one, other, PRODUCT)
    if right.kind.limit <= INT_MAX // 2 and isinstance(node.right, Constant):
        return terms.binary("%", terms.binary("+", rest, other, SUM), other, PRODUCT), kind
    zero = Term("0")
    below, above = (terms.comparison(sign, rest, zero) for sign in "<>")
    is_other_side = terms.any_of(
        [
            terms.all_of([below, terms.comparison(">", other, zero)]),
            terms.all_of([above, terms.comparison("<", other, zero)]),
        ]
    )
    return terms.case((is_other_side, terms.binary("+", rest, other, SUM)), otherwise=rest), kind
