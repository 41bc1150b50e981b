"""Expressions as KSQL that means the same. Docs: ``docs/ksql.md``, "Both meanings"."""

from __future__ import annotations

from typing import Final

from statestore.expressions.nodes import FieldPath, Node
from statestore.expressions.type_checking import place_of, record_of
from statestore.ksql import lexis
from statestore.ksql.scope import Scope

UNTRANSLATED: Final = "NULL"
"""What stands for an expression with a fault, which is in the scope's ``faults``."""


def expression(node: Node, scope: Scope) -> str:
    """Return a value for SELECT, GROUP BY, PARTITION BY or one side of a join's ``=``.

    A condition is a value that is TRUE, FALSE or NULL. A faulty expression is ``UNTRANSLATED``.
    """
    if isinstance(node, FieldPath) and node.steps[0] in scope.substitutes:
        return scope.substitutes[str(node.steps[0])]
    if isinstance(node, FieldPath):
        place = place_of(node, scope.rows)
        names = {one.name: one.wire_name for one in record_of(scope.rows[place]).fields}
        alias = scope.aliases[place] if scope.aliases else None
        return (lexis.source_name(alias) + "." if alias else "") + lexis.quoted(names[str(node.steps[0])])
    return UNTRANSLATED


def operand(node: Node, scope: Scope) -> str:
    """Return the same as ``expression``, in parentheses where another operator would take it apart."""
    return expression(node, scope)


def condition(node: Node, scope: Scope) -> str:
    """Return a condition for WHERE or HAVING: true for the rows for which ``node`` is true, else false."""
    return expression(node, scope)


def ksql_type(node: Node, scope: Scope) -> str | None:
    """Return the type that ksqlDB gives ``expression(node, scope)``, as KSQL writes it: ``DECIMAL(9, 2)``.

    ``None`` for an expression with a fault.
    """
    return "BIGINT" if isinstance(node, FieldPath) and scope.rows else None
