"""Expressions as KSQL that means the same. Docs: ``docs/ksql.md``, "Both meanings"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from statestore.errors import KsqlError
from statestore.expressions.expr import Expr
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
)
from statestore.expressions.type_checking import expression_faults, expression_type
from statestore.fields.types import Nullable
from statestore.ksql import terms
from statestore.ksql.arithmetic import value
from statestore.ksql.conditions import condition_value, holds, is_condition, pulled
from statestore.ksql.kinds import BOOLEAN, Kind
from statestore.ksql.scope import Scope
from statestore.ksql.terms import MOST_CHARACTERS, Term, TooLongError

UNTRANSLATED: Final = "NULL"
"""What stands for an expression with a fault, which is in the scope's ``faults``."""
MOST_NESTED: Final = 100
"""How deep parts of an expression may be nested, here and as KSQL: ksqlDB's parser has an end, too."""


def expression(node: Node, scope: Scope) -> str:
    """Return a value for SELECT, GROUP BY, PARTITION BY or one side of a join's ``=``.

    A condition is a value that is TRUE, FALSE or NULL. A faulty expression is ``UNTRANSLATED``.
    """
    return typed(node, scope)[0].within(terms.SUM)


def operand(node: Node, scope: Scope) -> str:
    """Return the same as ``expression``, in parentheses where another operator would take it apart."""
    return typed(node, scope)[0].within(terms.ATOM)


def condition(node: Node, scope: Scope, *, is_pull: bool = False) -> str:
    """Return a condition for WHERE or HAVING: true for the rows for which ``node`` is true, else false.

    ``is_pull``: for WHERE of a pull query over a table.
    """
    if _is_faulty(node, scope):
        return UNTRANSLATED
    return _checked(node, lambda: pulled(node, scope) if is_pull else holds(node, scope, True), scope).text


def ksql_type(node: Node, scope: Scope) -> str | None:
    """Return the type that ksqlDB gives ``expression(node, scope)``, as KSQL writes it: ``DECIMAL(9, 2)``.

    ``None`` for an expression with a fault.
    """
    kind = typed(node, scope)[1]
    return str(kind) or None


def typed(node: Node, scope: Scope) -> tuple[Term, Kind]:
    """Return a value and its kind."""
    if _is_faulty(node, scope):
        return Term(UNTRANSLATED), Kind("", None)
    if is_condition(node, scope):
        return _checked(node, lambda: _condition(node, scope), scope), BOOLEAN
    kinds: list[Kind] = []

    def found() -> Term:
        one = value(node, scope)
        if one.kind.name == "DECIMAL" and one.kind.python is int:
            one = value(node, scope, wraps=True)
        kinds.append(one.kind)
        return one.whole

    term = _checked(node, found, scope)
    return term, kinds[0] if kinds else Kind("", None)


def _condition(node: Node, scope: Scope) -> Term:
    is_nullable = isinstance(expression_type(Expr(node), *scope.rows), Nullable)
    if is_nullable or isinstance(node, FieldPath):
        return condition_value(node, scope)
    return holds(node, scope, True)


def _is_faulty(node: Node, scope: Scope) -> bool:
    if _depth(node) > MOST_NESTED:
        scope.fault(
            f"an expression is nested more than {MOST_NESTED} levels deep, which ksqlDB's parser may not "
            "survive: compute a part of it in a stream of its own"
        )
        return True
    faults = expression_faults(Expr(node), *scope.rows)
    for fault in faults:
        scope.fault(fault)
    return bool(faults)


def _checked(node: Node, translated: Callable[[], Term], scope: Scope) -> Term:
    try:
        term = translated()
        if term.depth <= MOST_NESTED:
            return term
        size = f"is nested {term.depth} levels deep, {MOST_NESTED}"
    except KsqlError as error:
        scope.fault(f"{Expr(node)!r}: {error}")
        return Term(UNTRANSLATED)
    except TooLongError:
        size = f"has more than {MOST_CHARACTERS} characters, which"
    scope.fault(
        f"{repr(Expr(node))[:200]}: as KSQL it {size} are the most: compute a part of it in a stream of its "
        "own"
    )
    return Term(UNTRANSLATED)


def _depth(node: Node) -> int:
    """Return how deep an expression is nested; at most one level more than is allowed."""
    level, depth = [node], 0
    while level and depth <= MOST_NESTED:
        level, depth = [part for one in level for part in _parts(one)], depth + 1
    return depth


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Binary(_, left, right):
            return left, right
        case Logic(_, operands):
            return operands
        case Between(operand, low, high):
            return operand, low, high
        case Not(operand) | Negative(operand) | IsNull(operand) | In(operand, _) | TextTest(_, operand, _):
            return (operand,)
        case _:
            return ()
