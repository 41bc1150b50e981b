"""A class with windows as its whole set of statements: the source's stream, and a table for each window."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from statestore.entity import EntityModel, Field, entity_of, model_of
from statestore.errors import KsqlError
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.nodes import FieldPath
from statestore.fields.windows import Window
from statestore.ksql import aggregates, expressions
from statestore.ksql.clauses import emit_clause
from statestore.ksql.lexis import quoted, source_name, string
from statestore.ksql.results import ResultColumn, names_of_ohlc, select_item
from statestore.ksql.scope import Scope
from statestore.ksql.sources import (
    column_type_of,
    columns_of,
    create_clause,
    declaration,
    declared_models,
    key_columns,
    only_passed_on,
    timestamp_properties,
    topic_properties,
    value_columns,
    with_clause,
)
from statestore.ksql.statements import Statement
from statestore.ksql.targets import cast_to
from statestore.ksql.windows import QueryWindow, retention_faults, window_clause
from statestore.naming import window_ksql_name
from statestore.runtime.text import bounded_repr

_WEEK: Final = timedelta(weeks=1)
_HONOURED: Final[dict[str, tuple[object, str]]] = {
    "gap": ("skip", "ksqlDB makes no rows for windows without records"),
    "scope": ("partition", "ksqlDB closes windows by the time of the partition"),
}
"""Settings of bars with the one value that ksqlDB has, and what it does."""


def statements(entity: type[Any], *, or_replace: bool = False) -> tuple[Statement, ...]:
    """Return the statements of an entity class: one; of a class with windows one for each.

    Those of a class with a source: its source's stream, and for each window a table whose topic has the rows
    of closed windows, as the class of this library makes them. Raises ``KsqlError`` with everything that
    ksqlDB cannot do, or does otherwise.
    """
    model = model_of(entity_of(entity))
    if model.windowing is None or model.windowing.source is None:
        return tuple(declaration(one, or_replace=or_replace) for one in declared_models(entity))
    return bars(model, or_replace=or_replace)


def bars(model: EntityModel, *, or_replace: bool = False) -> tuple[Statement, ...]:
    """Return the statements of a bar class."""
    windowing = model.windowing
    assert windowing is not None
    faults = _settings(model)
    if not model.ksql:
        faults.append(f"{model.name}: the class does not say ksql=True: write @entity(…, ksql=True)")
    source = windowing.source
    if not isinstance(source, type):
        faults.append(
            f"{model.name}: source={source!r}: a stream has columns, which a topic's name does not say: give "
            "the entity class of its records"
        )
        raise KsqlError(faults)
    origin = model_of(source)
    try:
        (stream,) = (declaration(one, or_replace=or_replace) for one in declared_models(source))
    except KsqlError as error:
        raise KsqlError([*faults, *(f"source={origin.name}: {one}" for one in error.faults)]) from None
    faults += [f"source={origin.name}: {one}" for one in only_passed_on(origin)]
    if origin.kind == "table":
        faults.append(
            f"{model.name}: source={origin.name} is a table, and ksqlDB has windows over streams only: write "
            f'kind="stream" in {origin.name}'
        )
    tables = [_table(model, origin, window, faults, or_replace) for window in windowing.windows]
    if faults:
        raise KsqlError(tuple(dict.fromkeys(faults)))
    return (stream, *(table for table in tables if table is not None))


def _settings(model: EntityModel) -> list[str]:
    """Return a fault for each setting that ksqlDB cannot honour."""
    windowing = model.windowing
    assert windowing is not None
    faults = []
    for name, (value, why) in _HONOURED.items():
        if (given := getattr(windowing, name)) != value:
            faults.append(f"{model.name}: {name}={bounded_repr(given)}: {why}: write {name}={value!r}")
    if "max_future" in model.stated:
        faults.append(f"{model.name}: max_future=: ksqlDB takes a record whatever its time is: leave it out")
    faults += [
        f"{model.name}.{one.name}: Gap marks bars without records, which ksqlDB does not make: take the "
        "field off"
        for one in model.record_type.fields
        if one.is_gap
    ]
    faults += [
        f"{model.name}.{name}: {one!r}: ksqlDB has the {one.function} by offset only: leave by= out"
        for name, one in windowing.aggregates.items()
        if one.by == "event_time"
    ]
    return faults


def _table(
    model: EntityModel, origin: EntityModel, window: Window, faults: list[str], or_replace: bool
) -> Statement | None:
    """Return the table of one window."""
    windowing = model.windowing
    assert windowing is not None
    notes: list[str] = []
    if window.size == _WEEK:
        faults.append(
            f"{model.name}: windows={window.label!r}: a week begins on a Monday here, and on a Thursday in "
            "ksqlDB, which counts from 1970-01-01: leave it out, and add up days"
        )
    over = QueryWindow(window, None, windowing.grace, windowing.retention)
    faults += [f"{model.name}: {one}" for one in retention_faults(over)]
    scope = Scope((origin.record_type,), (), (origin.value_format == "json",), {}, faults, notes)
    columns = [_column(model, origin, field, scope) for field in (*key_columns(model), *value_columns(model))]
    known = columns_of(model, faults)
    topic = windowing.topic_of(window, model.topic)
    properties = [
        (name, string(topic) if name == "KAFKA_TOPIC" else value)
        for name, value in topic_properties(model, faults)
    ]
    properties += timestamp_properties(model, faults, notes)
    if faults:
        return None
    name = window_ksql_name(model.ksql_name, window.label)
    parts = [
        f"{create_clause('table', name, or_replace=or_replace)} {with_clause(properties)} AS SELECT",
        ",\n".join(f"  {select_item(one, is_named=False)}" for one in columns),
        f"FROM {source_name(origin.ksql_name)}",
        window_clause(over),
        f"GROUP BY {', '.join(one.text for one in columns if one.place is not None)}",
        emit_clause("final") + ";",
    ]
    return Statement(
        "\n".join(parts), "create table", name, (origin.ksql_name,), known, topic, True, (*_NOTES, *notes)
    )


_NOTES: Final = (
    "A table: it has one row for each group of a stream, in each window.",
    "EMIT FINAL: a window's row comes when a later record of its partition is past the grace; in silence it "
    "stays open.",
    "Records that are far ahead of their timestamp are in windows, too (max_future).",
    "Bind the class with finalise=False, and make the topic with ensure_topics before: ksqlDB would have it "
    "compacted and deleted.",
)


def _column(model: EntityModel, origin: EntityModel, field: Field, scope: Scope) -> ResultColumn:
    """Return the column that makes a field of the bar."""
    windowing = model.windowing
    assert windowing is not None
    path = FieldPath(None, (field.name,))
    declared = column_type_of(model, field, [])
    value = windowing.aggregates.get(field.name, path)
    if isinstance(value, Aggregate):
        names = names_of_ohlc(field)
        text = aggregates.aggregate(value, scope, over="stream", names=names)
        type_ = aggregates.aggregate_ksql_type(value, scope, names=names)
        column = ResultColumn(field.name, field.wire_name, value, text, type_)
    else:
        of_origin = next((one for one in origin.record_type.fields if one.name == field.name), None)
        text = expressions.expression(path, scope) if of_origin is None else quoted(of_origin.wire_name)
        type_ = None if of_origin is None else column_type_of(origin, of_origin, [])
        column = ResultColumn(field.name, field.wire_name, path, text, type_, 0)
    return cast_to(declared, f"{model.name}.{field.name}", column, scope)
