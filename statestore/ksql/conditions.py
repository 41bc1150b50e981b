"""Conditions as KSQL that is true for the same rows.

Here a condition is true, false or ``None``, the SQL standard's unknown; in ksqlDB it is true or false, and
fails where a BOOLEAN is null. So there are two texts of each: that it is true, and that it is false. ``~``
takes the other one, and neither is ever null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

from statestore.errors import KsqlError
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
from statestore.ksql import lexis, terms
from statestore.ksql.arithmetic import value
from statestore.ksql.comparisons import compared, condition_of, sides_of
from statestore.ksql.kinds import BOOLEAN
from statestore.ksql.scope import Scope
from statestore.ksql.terms import Term
from statestore.ksql.texts import text_test
from statestore.ksql.values import Value


def holds(node: Node, scope: Scope, truth: bool) -> Term:
    """Return the condition that ``node``, a condition, is ``truth``. It is never null."""
    match node:
        case Logic(op, operands):
            parts = [holds(operand, scope, truth) for operand in operands]
            return terms.all_of(parts) if (op == "&") is truth else terms.any_of(parts)
        case Not(operand):
            return holds(operand, scope, not truth)
        case Binary(op, left, right):
            if is_condition(left, scope) or is_condition(right, scope):
                return _same(op, left, right, scope, truth)
            return compared(node, op, left, right, scope, truth)
        case IsNull(operand):
            return _is_null(operand, scope, truth)
        case In(operand, values):
            return _in(node, operand, values, scope, truth)
        case Between(operand, low, high):
            return _between(node, operand, low, high, scope, truth)
        case TextTest(op, operand, text):
            return _text_test(node, op, value(operand, scope), text, scope, truth)
        case _:
            return terms.comparison("=", value(node, scope).term, Term(lexis.literal(truth)))


def pulled(node: Node, scope: Scope) -> Term:
    """Return the condition that ``node`` is true, for WHERE of a pull query over a table.

    There the server has comparisons only, joined by AND and OR: no IS NULL, no NOT, no TRUE. All else is
    compared with 1 as a whole, and so looks up no key.
    """
    parts = node.operands if isinstance(node, Logic) and node.op == "&" else (node,)
    found = [_plain(holds(one, scope, True)) for one in parts]
    if len(found) == 1 and _NOT.search(found[0].text):
        # Of a lone comparison the server rewrites each NOT, also one that is deep inside.
        found.insert(0, terms.comparison("=", Term("1"), Term("1")))
    return terms.all_of(found)


_NOT = re.compile(r"\bNOT\b(?! NULL)")


def _plain(condition: Term) -> Term:
    if condition.is_plain:
        return condition
    one, zero = Term("1"), Term("0")
    if condition in (terms.TRUE, terms.FALSE):
        return terms.comparison("=", one, one if condition == terms.TRUE else zero)
    return terms.comparison("=", terms.case((condition, one), otherwise=zero), one)


def is_condition(node: Node, scope: Scope) -> bool:
    """Whether ``node`` is true, false or ``None``."""
    match node:
        case Binary(op):
            return op in COMPARISONS
        case Negative():
            return False
        case FieldPath():
            return value(node, scope).kind == BOOLEAN
        case Constant(constant):
            return isinstance(constant, bool)
        case _:
            return True


def condition_value(node: Node, scope: Scope) -> Term:
    """Return a condition as a value: TRUE, FALSE or NULL."""
    if isinstance(node, FieldPath):
        return value(node, scope).term
    return terms.case((holds(node, scope, True), terms.TRUE), (holds(node, scope, False), terms.FALSE))


def _is_null(operand: Node, scope: Scope, truth: bool) -> Term:
    if not isinstance(operand, FieldPath) and is_condition(operand, scope):
        known = terms.any_of([holds(operand, scope, True), holds(operand, scope, False)])
        return terms.negation(known) if truth else known
    of = value(operand, scope)
    if isinstance(operand, FieldPath):  # also of a field that is never None here
        return terms.is_null(of.term) if truth else terms.is_not_null(of.term)
    return of.null if truth else of.present


def _same(op: str, left: Node, right: Node, scope: Scope, truth: bool) -> Term:
    """Return the condition that two conditions are equal, or differ, and neither is null."""
    equal = (op == "==") is truth
    if isinstance(left, Constant):
        left, right = right, left
    if isinstance(right, Constant):
        return holds(left, scope, equal is right.value)
    if isinstance(left, FieldPath) and isinstance(right, FieldPath):
        return terms.comparison("=" if equal else "<>", value(left, scope).term, value(right, scope).term)
    pairs = [(True, equal), (False, not equal)]
    return terms.any_of(
        [terms.all_of([holds(left, scope, one), holds(right, scope, other)]) for one, other in pairs]
    )


def _in(node: Node, operand: Node, values: Sequence[Constant], scope: Scope, truth: bool) -> Term:
    if not values:
        return terms.FALSE if truth else terms.TRUE
    if is_condition(operand, scope):
        tests = [_same("==", operand, one, scope, truth) for one in values]
        return terms.any_of(tests) if truth else terms.all_of(tests)
    all_sides = [sides_of(node, "==", operand, one, scope) for one in values]
    of = all_sides[0].left
    if of.kind.python not in (int, str, UUID) or of.kind.name == "DECIMAL":
        tests = [condition_of(sides, truth) for sides in all_sides]
        return terms.any_of(tests) if truth else terms.all_of(tests)
    possible = [sides.right.term for sides in all_sides if isinstance(sides.right, Value)]
    if not possible:
        return terms.FALSE if truth else of.present
    found = terms.one_of(of.term, list(dict.fromkeys(possible)))
    if truth:
        return terms.all_of([of.computable, found])
    return terms.all_of([of.present, terms.negation(found)])


def _between(node: Node, operand: Node, low: Node, high: Node, scope: Scope, truth: bool) -> Term:
    first = sides_of(node, ">=", operand, low, scope)
    last = sides_of(node, "<=", operand, high, scope)
    if truth and isinstance(first.right, Value) and isinstance(last.right, Value):
        ops = (first.op, last.op)
        if ops == (">=", "<=") and first.left.term == last.left.term:
            guards = [first.left.computable, first.right.computable, last.right.computable]
            test = terms.between(first.left.term, first.right.term, last.right.term)
            return terms.all_of([*guards, test])
    parts = [condition_of(first, truth), condition_of(last, truth)]
    return terms.all_of(parts) if truth else terms.any_of(parts)


def _text_test(node: Node, op: str, of: Value, text: str, scope: Scope, truth: bool) -> Term:
    try:
        return text_test(op, of, text, truth)
    except KsqlError as error:
        scope.fault(f"{node_text(node)}: {error}")
        return terms.FALSE
