"""Comparisons as KSQL that is true, or false, where ours is.

ksqlDB's comparisons are never null: one with a null is false, as its negation by the opposite operator is.
``truth`` says which of the two is wanted: that the comparison is true here, or that it is false.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from statestore.errors import KsqlError
from statestore.expressions.nodes import Constant, Node, node_text
from statestore.ksql import lexis, terms
from statestore.ksql.arithmetic import EXACT_FLOAT, value
from statestore.ksql.kinds import DOUBLE
from statestore.ksql.scope import Scope
from statestore.ksql.terms import Term
from statestore.ksql.values import Value, refused
from statestore.runtime.times import microseconds

OPPOSITE: Final = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SPELLED: Final = {"==": "=", "!=": "<>"}


class Sides(NamedTuple):
    """The two sides of a comparison, made comparable: ``left op right``."""

    left: Value
    op: str
    right: Value | bool
    """``True`` or ``False``: what the comparison is for each value of the left side."""


def compared(node: Node, op: str, left: Node, right: Node, scope: Scope, truth: bool) -> Term:
    """Return the condition that ``left op right``, a comparison of anything but conditions, is ``truth``."""
    return condition_of(sides_of(node, op, left, right, scope), truth)


def sides_of(node: Node, op: str, left: Node, right: Node, scope: Scope) -> Sides:
    """Return the sides of ``left op right``; ``node`` is what a fault names."""
    if isinstance(left, Constant) and not isinstance(right, Constant):
        left, op, right = right, _MIRRORED[op], left
    try:
        one, other = value(left, scope), value(right, scope)
        if not one.kind.name:  # it has a fault
            return Sides(one, op, other)
        make = _OF.get(one.kind.python or type(None), _as_they_are)
        return make(_Pair(node, op, one, other, right.value if isinstance(right, Constant) else None, scope))
    except KsqlError as error:
        nothing = refused(node, scope, str(error))
        return Sides(nothing, op, nothing)


def condition_of(sides: Sides, truth: bool) -> Term:
    """Return the condition that the comparison is ``truth``."""
    left, op, right = sides
    if isinstance(right, bool):
        return left.present if right is truth else terms.FALSE
    parts = [left.computable, right.computable]
    wanted = op if truth else OPPOSITE[op]
    if DOUBLE in (left.kind, right.kind) and (op == "!=") is truth:
        # With NaN each comparison is false in ksqlDB: only "not" has the opposite of one.
        wanted = OPPOSITE[wanted]
        test = terms.comparison(_SPELLED.get(wanted, wanted), left.term, right.term)
        return terms.all_of([left.present, right.present, terms.negation(test)])
    return terms.all_of([*parts, terms.comparison(_SPELLED.get(wanted, wanted), left.term, right.term)])


class _Pair(NamedTuple):
    node: Node
    op: str
    left: Value
    right: Value
    constant: Any
    """The right side if it is a constant."""
    scope: Scope

    def sides(self, right: Term | bool, *, op: str | None = None, left: Term | None = None) -> Sides:
        """Return the sides, with those texts changed that are given."""
        one = (
            self.left
            if left is None
            else Value(left, self.left.kind, self.left.is_nullable, self.left.guards)
        )
        if isinstance(right, bool):
            return Sides(one, self.op, right)
        other = Value(right, self.right.kind, self.right.is_nullable, self.right.guards)
        return Sides(one, op or self.op, other)


def _as_they_are(pair: _Pair) -> Sides:
    return Sides(pair.left, pair.op, pair.right)


# Numbers


def _ints(pair: _Pair) -> Sides:
    constant = pair.constant
    if pair.right.kind == DOUBLE and constant is None:
        pair.scope.doubles.append(node_text(pair.node))
    if isinstance(constant, float | Decimal):
        return _with_whole(pair, constant)
    if pair.right.kind == DOUBLE and pair.left.kind.limit > EXACT_FLOAT:
        pair.scope.note(
            f"{node_text(pair.node)}: ksqlDB compares as DOUBLE, so an int beyond ±2⁵³ is rounded before"
        )
    return _as_they_are(pair)


def _with_whole(pair: _Pair, constant: float | Decimal) -> Sides:
    """Return the sides of an int and a constant with a fraction, as one with an int."""
    if isinstance(constant, float) and not math.isfinite(constant):
        raise KsqlError(f"{constant!r} has no literal in KSQL: compare with a finite number")
    if isinstance(constant, Decimal) and (
        not constant.is_finite() or constant.adjusted() > lexis.MOST_DIGITS
    ):
        raise KsqlError(f"{constant} is beyond the 64 bits of an int: leave the comparison out")
    return _with_steps(pair, math.floor(constant), constant == math.floor(constant), lexis.literal)


def _with_steps(pair: _Pair, whole: int, is_whole: bool, written: Callable[[int], str]) -> Sides:
    """Return the sides of what has whole numbers only, and a constant: ``whole``, rounded down if need be."""
    if is_whole:
        return pair.sides(Term(written(whole)))
    if pair.op in ("==", "!="):
        return pair.sides(pair.op == "!=")
    return pair.sides(Term(written(whole + (pair.op in ("<", ">=")))))


def _floats(pair: _Pair) -> Sides:
    constant = pair.constant
    pair.scope.doubles.append(node_text(pair.node))
    if isinstance(constant, int) and abs(constant) > EXACT_FLOAT:
        if int(float(constant)) != constant:
            raise KsqlError("ksqlDB compares as DOUBLE, which has no such number: write a float")
        return pair.sides(Term(lexis.literal(float(constant))))
    if pair.right.kind != DOUBLE and constant is None:
        return _ints(pair._replace(left=pair.right, right=pair.left, op=_MIRRORED[pair.op]))
    return _as_they_are(pair)


# Texts and bytes


_ORDERED_OTHERWISE = re.compile("[\ue000-\U0010ffff]")
"""Characters that UTF-16, by which ksqlDB compares, has in another order than Python."""


def _texts(pair: _Pair) -> Sides:
    if pair.op in ("==", "!="):
        return _as_they_are(pair)
    if isinstance(pair.constant, str) and not _ORDERED_OTHERWISE.search(pair.constant):
        return _as_they_are(pair)
    right = _utf8(pair.right.term)
    if isinstance(pair.constant, str):
        right = Term(lexis.string(pair.constant.encode().hex()))
    return pair.sides(right, left=_utf8(pair.left.term))


def _utf8(text: Term) -> Term:
    """Return the bytes of a text as hexadecimal digits, which are in the order of its characters."""
    return terms.call("ENCODE", text, Term("'utf8'"), Term("'hex'"))


def _bytes(pair: _Pair) -> Sides:
    if pair.op in ("==", "!="):
        return _as_they_are(pair)
    left, right = (terms.call("FROM_BYTES", one.term, Term("'hex'")) for one in (pair.left, pair.right))
    return pair.sides(right, left=left)


# Times and dates


def _instants(pair: _Pair) -> Sides:
    left, right = pair.left.kind, pair.right.kind
    if not left.unit or not (right.unit or pair.constant is not None):
        raise KsqlError(
            "ksqlDB has this field as a text, by its Format, whose order is not that of time: leave Format "
            "out, or write Format('epoch_ms')"
        )
    if pair.constant is not None:
        whole, rest = divmod(microseconds(pair.constant), left.unit)
        return _with_steps(pair, whole, not rest, _timestamp if left.name == "TIMESTAMP" else lexis.literal)
    if left == right:
        return _as_they_are(pair)
    unit = min(left.unit, right.unit)
    return pair.sides(_in_units(pair.right, unit), left=_in_units(pair.left, unit))


def _timestamp(milliseconds: int) -> str:
    return f"FROM_UNIXTIME({milliseconds})"


def _in_units(instant: Value, unit: int) -> Term:
    number = instant.term
    if instant.kind.name == "TIMESTAMP":
        number = terms.call("UNIX_TIMESTAMP", number)
    factor = instant.kind.unit // unit
    return number if factor == 1 else terms.binary("*", number, Term(str(factor)), terms.PRODUCT)


def _dates(pair: _Pair) -> Sides:
    if pair.left.kind.name != "DATE" or (pair.right.kind.name != "DATE" and pair.constant is None):
        raise KsqlError(
            "ksqlDB has this field as a text, by its Format, whose order is not that of time: leave Format "
            "out"
        )
    return _as_they_are(pair)


_OF: dict[type, Callable[[_Pair], Sides]] = {
    int: _ints,
    float: _floats,
    str: _texts,
    bytes: _bytes,
    datetime: _instants,
    date: _dates,
    UUID: _as_they_are,
}
