"""What ksqlDB wants of groups besides their keys: an aggregate, and no computed key beside one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from statestore.expressions.nodes import FieldPath, Logic, Node, node_text, parts_of
from statestore.relational.checking import paths_of
from statestore.relational.values import Query


def group_faults(query: Query[Any]) -> Iterator[str]:
    """Give what ksqlDB refuses of the groups of a query."""
    selected = [] if query.columns is None else [column.node for column in query.columns]
    having = parts_of(query.group_condition)
    aggregates = {one.name for one in query.aggregates}
    if query.keys and selected and not any(_names(one) & aggregates for one in (*selected, *having)):
        yield (
            "select: it has no aggregate, and ksqlDB wants one of groups: select one, too, such as "
            f"F.{query.aggregates[0].name}"
        )
    computed = {one.name for one in query.keys or () if not _is_column(one.node)}
    for place, nodes in (("select", selected), ("having", having)):
        for node in nodes:
            keys = sorted(_names(node) & computed)
            if keys and _names(node) & aggregates:
                yield (
                    f"{place}: {node_text(node)} is of an aggregate and of a computed key ({keys[0]}), which "
                    f"ksqlDB does not take for one beside an aggregate: select {keys[0]} as a column in a "
                    "PersistentQuery before, and group by that"
                )


def with_keys_first(query: Query[Any]) -> Node | None:
    """Return the condition of the groups, the parts without aggregates first.

    Behind an aggregate ksqlDB takes no computed key of HAVING for one.
    """
    condition = query.group_condition
    if not isinstance(condition, Logic) or condition.op != "&":
        return condition
    aggregates = {one.name for one in query.aggregates}
    return Logic("&", tuple(sorted(condition.operands, key=lambda one: bool(_names(one) & aggregates))))


def _is_column(node: Node) -> bool:
    return isinstance(node, FieldPath) and len(node.steps) == 1


def _names(node: Node) -> set[str | int]:
    """Return the names of the columns of groups in an expression."""
    return {path.steps[0] for path in paths_of(node)}
