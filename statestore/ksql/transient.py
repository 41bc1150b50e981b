"""A query as SELECT: one that returns the rows of now (pull), or all changes from now on (push)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statestore.errors import KsqlError
from statestore.fields.windows import Window
from statestore.ksql.clauses import (
    check_is_translated,
    emit_clause,
    from_clause,
    group_by_clause,
    having_clause,
    limit_clause,
    select_clause,
    where_clause,
)
from statestore.ksql.inference import shape_of
from statestore.ksql.reads import Read, reads_of
from statestore.ksql.results import ResultColumn, result_columns, translation
from statestore.ksql.statements import SourceColumn, Statement, explained
from statestore.relational.translation import Emit
from statestore.relational.values import Query
from statestore.runtime.text import bounded_repr


def select(
    query: Query[Any], emit: Emit | None = None, *, windows: Sequence[Window | None] = ()
) -> Statement:
    """Return SELECT for a query: a pull query, which returns rows and ends.

    With ``emit="changes"`` it is a push query, which returns changes until the client goes. ``windows`` says
    of each class with several windows which one is read. Raises ``KsqlError`` with everything of the query
    that ksqlDB cannot do, or means otherwise.
    """
    if emit not in (None, "changes", "final"):
        raise KsqlError(f"emit={bounded_repr(emit)}: give 'changes', or None for the rows of now")
    faults: list[str] = []
    notes: list[str] = []
    reads = reads_of(query, faults, windows)
    if faults:
        raise KsqlError(tuple(dict.fromkeys(faults)))
    shape = shape_of(query, reads, faults)
    given = translation(query, reads, faults, notes)
    check_is_translated(given, is_persistent=False)
    faults += [*_emit_faults(query, emit), *_window_faults(query, reads)]
    columns = result_columns(given, shape, None)
    parts = [
        select_clause(columns, is_joined=bool(query.joins)),
        from_clause(given, shape, None, None),
        where_clause(given, is_pull=emit is None),
        group_by_clause(given),
        having_clause(given),
        emit_clause(emit),
        limit_clause(given),
    ]
    if faults:
        raise KsqlError(tuple(dict.fromkeys(faults)))
    notes += [*shape.reasons, *_pull_notes(reads, emit)]
    if emit is None:
        notes += [
            f"{one}: a pull query takes NaN for the greatest number, and -0.0 for less than 0.0"
            for one in given.scope.doubles
        ]
    elif query.limit is not None:
        notes.append("LIMIT counts changes, not rows.")
    return Statement(
        "\n".join(filter(None, parts)) + ";",
        "select",
        "",
        tuple(dict.fromkeys(one.name for one in reads)),
        known_columns(columns),
        notes=tuple(dict.fromkeys(notes)),
    )


def shown(query: Query[Any], windows: Sequence[Window | None] = ()) -> str:
    """Return SELECT with its reasons as comments: a pull query, or a push query if it joins or groups."""
    needs_push = bool(query.joins) or query.keys is not None
    return explained([select(query, "changes" if needs_push else None, windows=windows)])


def known_columns(columns: Sequence[ResultColumn]) -> tuple[SourceColumn, ...]:
    """Return the columns of rows; none where the type of one is not known."""
    ordered = sorted(columns, key=lambda one: (one.place is None, one.place or 0))
    found = tuple(SourceColumn(one.name, one.type, one.place is not None) for one in ordered if one.type)
    return found if len(found) == len(ordered) else ()


def _emit_faults(query: Query[Any], emit: Emit | None) -> list[str]:
    if emit == "final":
        return [
            "emit='final': ksqlDB has it for groups in windows: write PersistentQuery(…, window=…, "
            "emit='final')"
        ]
    if emit is not None:
        return []
    clauses = {"join": bool(query.joins), "group_by or aggregate": query.keys is not None}
    return [
        f"{name}: a pull query of ksqlDB has none: write emit='changes', or make a table with a "
        "PersistentQuery and query that"
        for name, is_there in clauses.items()
        if is_there
    ]


def _window_faults(query: Query[Any], reads: Sequence[Read]) -> list[str]:
    if not query.joins and query.keys is None:
        return []
    return [
        f"Query.of({one.cls.__name__}): ksqlDB neither joins nor groups tables of windows: select their rows"
        for one in reads
        if one.model.window is not None
    ]


def _pull_notes(reads: Sequence[Read], emit: Emit | None) -> list[str]:
    if emit is not None:
        return ["A push query: it returns changes as they come, and does not end."]
    if reads[0].kind == "stream":
        return ["A pull query over a stream: the server reads the whole topic."]
    return [
        f"A pull query: the server answers if {reads[0].name} is a table that it keeps, one that a "
        "PersistentQuery makes."
    ]
