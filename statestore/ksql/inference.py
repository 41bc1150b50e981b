"""What a query makes in ksqlDB: a stream or a table, by which key, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath, IsNull, Node, Not, node_text, parts_of
from statestore.expressions.type_checking import expression_type
from statestore.fields.types import Nullable
from statestore.ksql.groups import group_faults
from statestore.ksql.joins import Keys, joined
from statestore.ksql.reads import Read, in_full
from statestore.ksql.sources import Kind, only_passed_on
from statestore.relational.values import Query


@dataclass(frozen=True, slots=True)
class Shape:
    """What a query makes."""

    kind: Kind
    keys: Keys
    """Of each key column the expressions that are it, over the sources and with the classes of fields."""
    of_streams: tuple[bool, ...]
    """Of each join whether it is of two streams."""
    reasons: tuple[str, ...]
    """Why it is a stream or a table, and what its key is, a sentence each."""
    key_names: tuple[str, ...]
    """The key as a user writes it."""


def shape_of(
    query: Query[Any],
    reads: Sequence[Read],
    faults: list[str],
    *,
    partition_by: tuple[Node, ...] = (),
    has_window: bool = False,
    has_within: bool = False,
) -> Shape:
    """Return what a query makes, appending to ``faults`` what ksqlDB cannot make."""
    found = joined(query, reads, faults, has_within=has_within)
    kind, keys, of_streams = found.kind, found.keys, tuple(found.of_streams)
    names = ", ".join(f"{one.name} ({one.kind})" for one in reads)
    why = f"A {kind}: its rows are those of {names}" + (", joined" if query.joins else "")
    if has_window and query.keys is None:
        faults.append("window=: ksqlDB has windows of groups only: write group_by(…).aggregate(…)")
    if has_window and kind == "table":
        faults.append(
            f"window=: ksqlDB has windows over streams only, and the rows are of a table: declare "
            f'{reads[0].cls.__name__} with kind="stream"'
        )
    if partition_by and query.keys is not None:
        faults.append("partition_by=: the rows are groups, whose key is that of group_by: leave it out")
    elif partition_by and kind == "table":
        faults.append(
            "partition_by=: ksqlDB gives streams another key, not tables, whose rows have one key each: "
            "group_by(…), or read the topic as a stream"
        )
    if query.keys is not None:
        over, kind = kind, "table"
        why = f"A table: it has one row for each group of a {over}" + ", in each window" * has_window
        keys = tuple((in_full(column.node, query),) for column in query.keys)
        _check_groups(query, keys, faults)
        faults += group_faults(query)
    elif partition_by:
        keys = tuple((in_full(node, query),) for node in partition_by)
    if len(set(keys)) < len(keys):
        twice = as_written(next(one for one in keys if keys.count(one) > 1)[0], query)
        faults.append(
            f"{'partition_by' if query.keys is None else 'group_by'}: {twice} is there twice, which ksqlDB "
            f"refuses: leave one out, and write select(…, again={twice}) for a second column"
        )
        keys = tuple(dict.fromkeys(keys))
    if query.joins or query.keys:
        clause = "join" if query.joins else "group_by"
        faults += [f"{clause}: {fault}" for one in reads for fault in only_passed_on(one.model)]
    shown = tuple(as_written(viable[0], query) for viable in keys)
    return Shape(kind, keys, of_streams, (f"{why}.", f"Its key: {', '.join(shown) or 'none'}."), shown)


def as_written(node: Node, query: Query[Any]) -> str:
    """Return an expression over a query's sources as a user writes it."""
    if isinstance(node, FieldPath) and not query.joins:
        return node_text(FieldPath(None, node.steps))
    return node_text(node)


def sure_parts(query: Query[Any]) -> tuple[Node, ...]:
    """Return the conditions that all rows of a query fulfil, with the class of each field."""
    return () if query.condition is None else parts_of(in_full(query.condition, query))


def _check_groups(query: Query[Any], keys: Keys, faults: list[str]) -> None:
    """Append to ``faults`` the groups of ``None``, which ksqlDB leaves out."""
    sure = sure_parts(query)
    for (node,) in keys:
        type_ = expression_type(Expr(node), *query.sources)
        if isinstance(type_, Nullable) and Not(IsNull(node)) not in sure:
            text = as_written(node, query)
            faults.append(
                f"group_by({text}): it can be None, which is a group here, and in ksqlDB such rows are left "
                f"out: write where(~{text}.is_null()) before"
            )
