"""Entities as streams and tables of ksqlDB: columns, formats, CREATE and DROP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from statestore.entity import EntityModel, Field, entity_of, model_of
from statestore.errors import ConfigError, KsqlError
from statestore.fields.attributes import EPOCHS
from statestore.fields.ksql_types import column_type
from statestore.fields.types import FieldType, Nullable, Scalar, type_name
from statestore.fields.windows import Window
from statestore.ksql.durations import duration
from statestore.ksql.java_times import has_zone, java_pattern
from statestore.ksql.lexis import quoted, source_name, string
from statestore.ksql.statements import Action, SourceColumn, Statement
from statestore.runtime.text import bounded_repr

Kind = Literal["stream", "table"]
Property = tuple[str, str]
"""A property of WITH and its value, as KSQL writes it."""

_VALUE_FORMATS: Final = {"json": "JSON", "avro": "AVRO", "kafka": "KAFKA"}
_KEY_FORMATS: Final = {"json": "JSON", "avro": "AVRO", "kafka": "KAFKA", "ordered": "KAFKA"}
_READABLE: Final = 'ksqlDB reads "json", "avro" and "kafka"'
_OF_KAFKA: Final[tuple[type, ...]] = (int, float, str, bytes, UUID)


def create(entity: type[Any], *, window: Window | None = None, or_replace: bool = False) -> Statement:
    """Return CREATE STREAM or CREATE TABLE over the topic of an entity class, IF NOT EXISTS or OR REPLACE.

    Of a class with several windows ``window`` says which. Raises ``KsqlError`` with everything that ksqlDB
    cannot have of the class.
    """
    models = declared_models(entity)
    chosen = [one for one in models if window is None or (one.window and one.window.window == window)]
    if not chosen and models[0].window is None:
        raise KsqlError(f"{models[0].name} has no windows: leave window={bounded_repr(window)} out")
    if len(chosen) != 1:
        labels = ", ".join(one.window.window.label for one in models if one.window) or "none"
        raise KsqlError(
            f"{models[0].name} has a table for each of its windows ({labels}): say which, or write "
            f"ksql.statements({models[0].name}) for all"
        )
    return declaration(chosen[0], or_replace=or_replace)


def drop(entity: type[Any], *, delete_topic: bool = False) -> Statement:
    """Return DROP STREAM or DROP TABLE, IF EXISTS, for an entity class.

    With ``delete_topic`` the topic is deleted with all of its records. Raises ``KsqlError`` for a class of
    several windows.
    """
    model, *others = declared_models(entity)
    if others:
        names = ", ".join(one.ksql_name for one in (model, *others))
        raise KsqlError(f"{model.name} has several windows, a table each ({names}): drop each in ksqlDB")
    return drop_statement(model.ksql_name, model.kind, delete_topic=delete_topic)


def drop_statement(name: str, kind: Kind, *, delete_topic: bool = False) -> Statement:
    """Return DROP STREAM or DROP TABLE for the stream or table of this name."""
    topic = " DELETE TOPIC" if delete_topic else ""
    text = f"DROP {kind.upper()} IF EXISTS {source_name(name)}{topic};"
    return Statement(text, "drop stream" if kind == "stream" else "drop table", name)


def declared_models(entity: type[Any]) -> tuple[EntityModel, ...]:
    """Return the model of each stream or table of an entity class: of one with windows, one for each.

    Raises ``KsqlError`` where the class is none of ksqlDB's, ``ConfigError`` where it is no entity.
    """
    model = model_of(entity_of(entity))
    check_is_ksql(model)
    if model.windowing is None:
        return (model,)
    try:
        return tuple(model.of_window(window) for window in model.windows)
    except ConfigError as error:
        raise KsqlError(error.faults) from None


def check_is_ksql(model: EntityModel) -> None:
    """Raise ``KsqlError`` for a class that is none of ksqlDB's."""
    if not model.ksql:
        raise KsqlError(
            f"{model.name}: the class does not say ksql=True, so its records are not as ksqlDB has them: "
            'write @entity(…, ksql=True, value_format="json", key_format="kafka")'
        )


def declaration(
    model: EntityModel, *, or_replace: bool = False, kind: Kind | None = None, name: str | None = None
) -> Statement:
    """Return CREATE STREAM or CREATE TABLE over the topic of ``model``.

    ``kind`` and ``name`` go before those of the class.
    """
    faults: list[str] = []
    notes: list[str] = []
    check_is_ksql(model)
    kind = kind or model.kind
    name = name or model.ksql_name
    columns = columns_of(model, faults)
    properties = [
        *topic_properties(model, faults),
        *timestamp_properties(model, faults, notes),
        *window_properties(model, faults),
    ]
    if faults:
        raise KsqlError(faults)
    text = create_clause(kind, name, or_replace=or_replace)
    text += f" (\n{column_definitions(columns, kind)}\n) {with_clause(properties)};"
    return Statement(text, creation(kind), name, (), columns, model.topic, notes=tuple(notes))


def creation(kind: Kind) -> Action:
    """Return what a statement does that makes a stream or a table."""
    return "create stream" if kind == "stream" else "create table"


def create_clause(kind: Kind, name: str, *, or_replace: bool = False) -> str:
    """Return ``CREATE STREAM IF NOT EXISTS ORDERS``, or OR REPLACE."""
    if or_replace:
        return f"CREATE OR REPLACE {kind.upper()} {source_name(name)}"
    return f"CREATE {kind.upper()} IF NOT EXISTS {source_name(name)}"


def column_definitions(columns: Sequence[SourceColumn], kind: Kind) -> str:
    """Return the definitions of columns, one a line; the key's of a stream KEY, of a table PRIMARY KEY."""
    mark = " KEY" if kind == "stream" else " PRIMARY KEY"
    return ",\n".join(f"  {quoted(one.name)} {one.type}{mark if one.is_key else ''}" for one in columns)


def with_clause(properties: Iterable[Property]) -> str:
    """Return ``WITH (KAFKA_TOPIC = 'orders', …)``, one property a line."""
    return "WITH (\n" + ",\n".join(f"  {name} = {value}" for name, value in properties) + "\n)"


def topic_properties(model: EntityModel, faults: list[str]) -> list[Property]:
    """Return KAFKA_TOPIC, KEY_FORMAT and VALUE_FORMAT, and PARTITIONS and REPLICAS where they are stated."""
    properties = [("KAFKA_TOPIC", string(model.topic))]
    if key_columns(model):
        properties.append(("KEY_FORMAT", string(key_format(model, faults))))
    properties.append(("VALUE_FORMAT", string(value_format(model, faults))))
    if "partitions" in model.stated:
        properties.append(("PARTITIONS", str(model.topic_spec.partitions)))
        if "replication" in model.stated:
            properties.append(("REPLICAS", str(model.topic_spec.replication)))
    return properties


def timestamp_properties(model: EntityModel, faults: list[str], notes: list[str]) -> list[Property]:
    """Return TIMESTAMP, and TIMESTAMP_FORMAT of text, for the field with the time of the event."""
    field = model.event_time
    if field is None:
        return []
    place = f"{model.name}.{field.name}"
    scalar = _scalar(field.type)
    format_ = scalar.format if _form(model, field) == "json" else None
    if scalar.is_32_bits or scalar.is_16_bits:
        faults.append(
            f"{place}: ksqlDB takes a time of 64 bits only: leave Int32 and Int16 out, or leave EventTime out"
        )
    if format_ in EPOCHS and format_ != "epoch_ms":
        faults.append(
            f"{place}: ksqlDB reads a number as milliseconds, and Format({format_!r}) writes other ones: "
            'write Format("epoch_ms"), or leave EventTime out'
        )
    # The value of the property is a name again, which is read as names are.
    properties = [("TIMESTAMP", string(quoted(field.wire_name)))]
    if scalar.type is datetime and format_ is not None and format_ not in EPOCHS:
        found: list[str] = []
        try:
            properties.append(("TIMESTAMP_FORMAT", string(java_pattern(format_, found))))
        except KsqlError as error:
            found += error.faults
        faults += [
            f'{place}: Format({format_!r}): {one}: write Format("epoch_ms"), or a pattern of numbers'
            for one in found
        ]
        if not has_zone(format_):
            notes.append(
                f"{place}: Format({format_!r}) has no zone, so the server reads it in its own: "
                "run it in UTC, or write %z"
            )
    return properties


def window_properties(model: EntityModel, faults: list[str]) -> list[Property]:
    """Return WINDOW_TYPE and WINDOW_SIZE of a topic whose keys end with the times of a window."""
    form = model.window
    if form is None:
        return []
    if form.has_sequence:
        faults.append(
            f"{model.name}: window_layout='changelog': ksqlDB cannot read keys that end with a number; it "
            "reads those of window_layout='sink'"
        )
    return window_type(form.window)


def window_type(window: Window) -> list[Property]:
    """Return WINDOW_TYPE and WINDOW_SIZE for keys that end with the times of ``window``."""
    if window.is_session:
        return [("WINDOW_TYPE", string("SESSION"))]
    type_ = "TUMBLING" if window.advance is None else "HOPPING"
    return [("WINDOW_TYPE", string(type_)), ("WINDOW_SIZE", string(duration(window.size)))]


def key_columns(model: EntityModel) -> tuple[Field, ...]:
    """Return the key fields, without those that the window fills."""
    return tuple(field for field in model.key_fields if field.window is None)


def value_columns(model: EntityModel) -> tuple[Field, ...]:
    """Return the fields that ksqlDB finds in the value."""
    return tuple(field for field in model.value_fields if field.window is None and not field.is_gap)


def columns_of(model: EntityModel, faults: list[str]) -> tuple[SourceColumn, ...]:
    """Return the columns of a class, the key's first, appending to ``faults`` what no column can be."""
    fields = (*key_columns(model), *value_columns(model))
    for field in fields:
        try:
            quoted(field.wire_name)
        except KsqlError as error:
            faults += [f"{model.name}.{field.name}: {one}" for one in error.faults]
    return tuple(
        SourceColumn(field.wire_name, column_type_of(model, field, faults), field.is_key) for field in fields
    )


def column_type_of(model: EntityModel, field: Field, faults: list[str]) -> str:
    """Return the type of a field's column."""
    place = f"{model.name}.{field.name}"
    text = column_type(field.type, place, faults, is_json=_form(model, field) == "json")
    if "${" in text:
        faults.append(
            f"{place}: a name in it has '${{', which ksqlDB takes for a variable: name it otherwise"
        )
    return text


def stored_format(model: EntityModel, field: Field) -> str | None:
    """Return how a time is written, where its column is the text or number that is written."""
    is_as_written = (
        column_type_of(model, field, []) in ("VARCHAR", "BIGINT") and _form(model, field) == "json"
    )
    return _scalar(field.type).format if is_as_written else None


def _form(model: EntityModel, field: Field) -> str:
    return model.key_format if field.is_key else model.value_format


def key_format(model: EntityModel, faults: list[str]) -> str:
    """Return KEY_FORMAT, appending to ``faults`` what is wrong with the keys."""
    keys = key_columns(model)
    form, names = model.key_format, ", ".join(field.name for field in keys)
    place = f"{model.name}: key_format={form!r}"
    if form not in _KEY_FORMATS:
        faults.append(f'{place}: {_READABLE}; write key_format="kafka", or "json" for several key fields')
        return ""
    types = [_scalar(field.type) for field in keys]
    if form == "ordered" and [one.type for one in types] != [str]:
        faults.append(
            f"{place}: these bytes of ({names}) are this library's own; only those of one str are Kafka's, "
            f'too: write key_format="{"kafka" if len(keys) == 1 else "json"}"'
        )
    elif form == "kafka" and len(keys) > 1:
        faults.append(f'{place} is for one key field, and there are {names}: write key_format="json"')
    elif form == "kafka" and (fault := _kafka_fault(types[0])):
        faults.append(f'{model.name}.{names}: {fault} in key_format="kafka": write key_format="json"')
    return _KEY_FORMATS[form]


def value_format(model: EntityModel, faults: list[str]) -> str:
    """Return VALUE_FORMAT, appending to ``faults`` what is wrong with the values."""
    form, fields = model.value_format, value_columns(model)
    if form not in _VALUE_FORMATS:
        faults.append(
            f'{model.name}: value_format={form!r}: {_READABLE}; write value_format="json", or "avro" with a '
            "schema registry"
        )
        return ""
    if form == "kafka":
        if len(fields) > 1:
            names = ", ".join(field.name for field in fields)
            faults.append(
                f'{model.name}: value_format="kafka" is for one value field, and there are {names}: write '
                'value_format="json"'
            )
        faults += [
            f'{model.name}.{field.name}: {fault} in value_format="kafka": write value_format="json"'
            for field in fields
            if (fault := _kafka_fault(_scalar(field.type)))
        ]
    return _VALUE_FORMATS[form]


def only_passed_on(model: EntityModel) -> list[str]:
    """Return the fault of values that ksqlDB neither joins nor groups; none: it does."""
    if model.value_format != "kafka":
        return []
    return [
        f'{model.name} has value_format="kafka", which ksqlDB neither joins nor groups: write '
        'value_format="json"'
    ]


def _kafka_fault(scalar: Scalar) -> str:
    """Say why ksqlDB's format KAFKA has no such values; empty: it has."""
    if scalar.type not in _OF_KAFKA:
        return f"ksqlDB has no {type_name(scalar)}"
    if scalar.is_16_bits:
        return "ksqlDB has no numbers of 16 bits (Int16)"
    if scalar.type is float and scalar.is_32_bits:
        return "ksqlDB has no numbers of single precision (Float32)"
    return ""


def _scalar(type_: FieldType) -> Scalar:
    bare = type_.item if isinstance(type_, Nullable) else type_
    return bare if isinstance(bare, Scalar) else Scalar(object)
