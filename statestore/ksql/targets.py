"""What a persistent query makes: its name, topic and formats, and whether the rows fit the class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from statestore.entity import EntityModel, Field, entity_of, model_of
from statestore.errors import ConfigError
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.expr import Expr
from statestore.expressions.type_checking import expression_type, record_of
from statestore.fields.types import FieldType, Nullable, Scalar, scalar_type, type_name
from statestore.ksql.inference import Shape
from statestore.ksql.lexis import string
from statestore.ksql.reads import Read
from statestore.ksql.results import ResultColumn, Translation, field_of, is_never_none
from statestore.ksql.scope import Scope
from statestore.ksql.sources import (
    Property,
    column_type_of,
    columns_of,
    key_columns,
    stored_format,
    timestamp_properties,
    topic_properties,
    value_columns,
)
from statestore.ksql.windows import QueryWindow
from statestore.naming import MAX_TOPIC_NAME
from statestore.runtime.text import bounded_repr

_NUMBERS: Final = ("INT", "BIGINT", "DECIMAL", "DOUBLE")
"""Types of numbers, each of which holds those before it but for the greatest ones."""
_OF_KAFKA_KEYS: Final = ("INT", "BIGINT", "DOUBLE", "VARCHAR", "BYTES")
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+), (\d+)\)")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What the rows of a persistent query go into."""

    name: str
    topic: str
    model: EntityModel | None
    """Of the class; of its window's table. ``None``: a name only."""


def target_of(into: type[Any] | str, window: QueryWindow | None, emit: str, faults: list[str]) -> Target:
    """Return what the rows go into, appending to ``faults`` what is wrong with it."""
    if isinstance(into, str):
        if not _NAME.fullmatch(into):
            faults.append(
                f"into={bounded_repr(into)}: the name of a stream or table has letters, digits, _ and - only"
            )
        if len(into) > MAX_TOPIC_NAME:
            faults.append(
                f"into={bounded_repr(into)}: it names a topic, too, and these have at most {MAX_TOPIC_NAME} "
                "characters: give a shorter one"
            )
        return Target(into, into, None)
    try:
        model = model_of(entity_of(into))
    except ConfigError as error:
        faults += [f"into: {one}" for one in error.faults]
        return Target("", "", None)
    name = f"into={model.name}"
    if not model.ksql:
        faults.append(
            f'{name}: the class does not say ksql=True: write @entity(…, ksql=True, value_format="json")'
        )
    if window is None:
        if model.windowing is not None:
            faults.append(f"{name}: the class has windows, and the query none: write window=…")
        return Target(model.ksql_name, model.topic, model)
    model = _of_window(model, window, emit, faults)
    return Target(model.ksql_name, model.topic, model)


def _of_window(model: EntityModel, window: QueryWindow, emit: str, faults: list[str]) -> EntityModel:
    name, wanted, windowing = f"into={model.name}", window.window, model.windowing
    label = "'sessions'" if wanted.is_session else f"[{wanted.label!r}]"
    if windowing is None:
        faults.append(
            f"{name}: the keys of its topic would have the window in them, and the class has no windows: "
            f"write @entity(…, windows={label}, window_layout='sink') with a field Annotated[datetime, "
            "WindowStart]"
        )
        return model
    if windowing.source is not None:
        faults.append(f"{name}: the class has a source of its own: write ksql.statements({model.name})")
    elif wanted not in windowing.windows:
        labels = ", ".join(one.label for one in windowing.windows)
        faults.append(
            f"{name}: window={wanted.label!r} is none of the class's windows ({labels}): add it there"
        )
        return model
    if windowing.layout == "changelog":
        faults.append(f"{name}: ksqlDB writes what window_layout='sink' reads, not 'changelog': write 'sink'")
    if windowing.layout == "final" and emit != "final" and windowing.source is None:
        faults.append(
            f"{name}: its topic is for windows that are closed: write emit='final', or window_layout='sink' "
            "in the class"
        )
    try:
        return model.of_window(wanted)
    except ConfigError as error:
        faults += error.faults
        return model


def check_key(target: Target, shape: Shape, columns: Sequence[ResultColumn], faults: list[str]) -> None:
    """Append to ``faults`` where the key of the rows is not that of the class, in its order."""
    if target.model is None:
        return
    wanted = key_columns(target.model)
    names = ", ".join(one.name for one in wanted) or "none"
    own = ", ".join(shape.key_names) or "none"
    what = f"into={target.model.name}: its key is ({names}), that of the rows ({own})"
    if len(wanted) != len(shape.keys):
        faults.append(f"{what}: mark the same fields with Key, or group, partition or join by others")
        return
    places = [next((one.place for one in columns if one.field == field.name), None) for field in wanted]
    if places == list(range(len(wanted))):
        return
    if None not in places and sorted(one for one in places if one is not None) == list(range(len(wanted))):
        faults.append(f"{what}: give both the same order, for it is that of the key's bytes")
    else:
        faults.append(f"{what}: select the key of the rows as {names}, and no other value")


def fitted(
    given: Translation, target: Target, columns: Sequence[ResultColumn], others: Sequence[str]
) -> list[ResultColumn]:
    """Return the columns with the types of the class, appending to the faults what does not fit.

    ``others`` are fields that have a value besides.
    """
    model, faults = target.model, given.scope.faults
    if model is None:
        return list(columns)
    have = {*others, *(one.field for one in columns)}
    faults += [
        f"{model.name}.{one.name} has no value: select it, or take the field off the class"
        for one in (*key_columns(model), *value_columns(model))
        if one.name not in have
    ]
    found = []
    for column in columns:
        field = field_of(model, column.field)
        if field is not None:
            found.append(_fitted(given, model, field, column))
    return found


def check_names(given: Translation, target: Target, names: Sequence[str]) -> None:
    """Append to the faults the columns for which the class has no field."""
    model = target.model
    if model is not None:
        given.scope.faults.extend(
            f"into={model.name}: it has no field {name!r}: add one, or select the columns of its fields"
            for name in names
            if field_of(model, name) is None
        )


def _fitted(given: Translation, model: EntityModel, field: Field, column: ResultColumn) -> ResultColumn:
    faults = given.scope.faults
    place, declared = f"{model.name}.{field.name}", column_type_of(model, field, [])
    type_ = _type_of(given, column)
    if isinstance(type_, Nullable) and is_never_none(given, column):
        type_ = type_.item
    if type_ is not None and (wrong := _python_fault(type_, field.type)):
        faults.append(
            f"{column.shown} {wrong}, but {place} is declared {type_name(field.type)}: declare it so"
        )
        return column
    if _format_of(given, column, declared) != stored_format(model, field):
        faults.append(
            f"{place}: its Format is not that of {column.shown}, and ksqlDB copies text and numbers as they "
            "are: give both the same"
        )
    return cast_to(declared, place, column, given.scope)


def cast_to(declared: str, place: str, column: ResultColumn, scope: Scope) -> ResultColumn:
    """Return a column of the type ``declared``, appending to the faults what no CAST makes so."""
    if column.type is None or _is_same(column.type, declared):
        return column if column.type else replace(column, type=declared)
    if column.place is not None or not _can_cast(column.type, declared):
        scope.fault(
            f"{column.shown} is {column.type} in ksqlDB, and {place} is {declared}: declare both as the same "
            "type"
        )
        return column
    scope.note(f"{place}: CAST of {column.type} to its type.")
    return replace(column, text=f"CAST({column.text} AS {declared})", type=declared)


def _type_of(given: Translation, column: ResultColumn) -> FieldType | None:
    if isinstance(column.value, Aggregate):
        fields = record_of(given.query.rows[0]).fields
        return next((one.type for one in fields if one.name == column.field), None)
    return expression_type(Expr(column.value), *given.query.rows)


def _python_fault(found: FieldType, declared: FieldType) -> str:
    one, other = scalar_type(found), scalar_type(declared)
    if one is not other and not (one is int and other is float):
        return f"is {type_name(found)}"
    if isinstance(found, Nullable) and not isinstance(declared, Nullable):
        return "can be None"
    return ""


def _format_of(given: Translation, column: ResultColumn, declared: str) -> str | None:
    """Return how the text or number of a time is stored in a column; ``None``: as the type says."""
    if isinstance(column.value, Aggregate) or declared not in ("VARCHAR", "BIGINT"):
        return None
    type_ = expression_type(Expr(column.value), *given.query.rows)
    bare = type_.item if isinstance(type_, Nullable) else type_
    return bare.format if isinstance(bare, Scalar) else None


def _is_same(found: str, declared: str) -> bool:
    """Whether two types are one, in whatever order a STRUCT has its fields: records have them by name."""
    both = [text.removeprefix("STRUCT<").removesuffix(">").split(", `") for text in (found, declared)]
    one, other = (sorted(part.removeprefix("`") for part in parts) for parts in both)
    return found == declared or (found.startswith("STRUCT<") and one == other)


def _can_cast(found: str, declared: str) -> bool:
    """Whether a CAST changes no value that both types can hold."""
    one, other = (text.partition("(")[0] for text in (found, declared))
    if one not in _NUMBERS or other not in _NUMBERS:
        return False
    of, to = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(declared)
    if of and to:
        return int(of[2]) <= int(to[2])
    return _NUMBERS.index(one) < _NUMBERS.index(other)


def target_properties(
    target: Target,
    reads: Sequence[Read],
    columns: Sequence[ResultColumn],
    faults: list[str],
    notes: list[str],
) -> list[Property]:
    """Return the properties of what a query makes: its topic and formats."""
    model = target.model
    if model is not None:
        columns_of(model, faults)
        return [*topic_properties(model, faults), *timestamp_properties(model, faults, notes)]
    key_format, value_format = formats_of(reads, columns, notes)
    properties = [("KAFKA_TOPIC", string(target.topic))]
    if key_format:
        properties.append(("KEY_FORMAT", string(key_format)))
    return [*properties, ("VALUE_FORMAT", string(value_format))]


def formats_of(reads: Sequence[Read], columns: Sequence[ResultColumn], notes: list[str]) -> tuple[str, str]:
    """Return the formats of keys and values where no class says them: those of the first source."""
    model = reads[0].model
    keys = [one for one in columns if one.place is not None]
    key_format = "KAFKA" if model.key_format in ("kafka", "ordered") else model.key_format.upper()
    if key_format == "KAFKA" and (len(keys) > 1 or any(one.type not in _OF_KAFKA_KEYS for one in keys)):
        key_format = "JSON"
        notes.append("Its keys are JSON: the format KAFKA has keys of one number or text.")
    value_format = "AVRO" if model.value_format == "avro" else "JSON"
    return key_format if keys else "", value_format
