"""The Avro schema of a class: the table in ``docs/types.md``, the rules in ``docs/avro.md``.

The schemas of one topic are in a namespace made of the topic's name, so that they do not depend on the module
in which a program defines its class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import MISSING
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.serde.field_codecs import TypeMapping

__all__ = ["key_schema", "value_schema"]

_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_NAME = "Key"


def value_schema(model: EntityModel, mapping: TypeMapping) -> dict[str, Any]:
    """Return the schema of the value: a record of the value fields, and of the key's with ``key_in_value``.

    Raises ``ConfigError`` with every fault of the class.
    """
    deriving = _Deriving(model, mapping)
    fields = [
        field
        for field in model.record_type.fields
        if field in model.value_fields or (field.is_key and model.key_in_value)
    ]
    schema = deriving.record(model.record_type, model.name, fields)
    deriving.finish()
    return {"namespace": namespace(model.topic), **schema}


def key_schema(model: EntityModel, mapping: TypeMapping) -> Any:
    """Return the schema of the key: the type of its one field, or a record. Raises ``ConfigError``."""
    deriving = _Deriving(model, mapping)
    if len(model.key_fields) == 1:
        return deriving.type(model.key_fields[0].type, model.name)
    fields = [
        deriving.field(field, f"{model.name}.{field.name}", with_default=False) for field in model.key_fields
    ]
    deriving.finish()
    return {"namespace": namespace(model.topic), "type": "record", "name": _KEY_NAME, "fields": fields}


def namespace(topic: str) -> str:
    """Return a topic's name as a legal Avro namespace: ``my-orders.v1`` becomes ``my_orders.v1``."""
    steps = [re.sub(r"[^A-Za-z0-9_]", "_", step) for step in topic.split(".")]
    return ".".join(step if _LEGAL.fullmatch(step) else f"_{step}" for step in steps)


class _Deriving:
    def __init__(self, model: EntityModel, mapping: TypeMapping) -> None:
        self._mapping = mapping
        self._has_millis = model.ksql
        self._named: dict[str, type] = {}
        self._faults: list[str] = []

    def finish(self) -> None:
        if self._faults:
            raise ConfigError(self._faults)

    def record(self, record: RecordType, where: str, fields: Sequence[Field]) -> dict[str, Any]:
        name = record.cls.__name__
        self._must_be_legal(name, where, "rename the class")
        self._named[name] = record.cls
        return {
            "type": "record",
            "name": name,
            "fields": [self.field(field, f"{where}.{field.name}") for field in fields],
        }

    def field(self, field: Field, where: str, *, with_default: bool = True) -> dict[str, Any]:
        for name in (field.wire_name, *field.aliases):
            self._must_be_legal(name, where, "give the field another name with Name(…)")
        schema: dict[str, Any] = {"name": field.wire_name, "type": self.type(field.type, where)}
        if field.aliases:
            schema["aliases"] = list(field.aliases)
        if with_default and not self._faults:
            schema |= self._default(field, schema["type"])
        return schema

    def type(self, type_: FieldType, where: str) -> Any:
        match type_:
            case Scalar():
                return self._scalar(type_, where)
            case Nullable(item):
                inner = self.type(item, where)
                return inner if isinstance(inner, list) else ["null", inner]
            case ListOf(item):
                return {"type": "array", "items": self.type(item, where)}
            case DictOf(_, item):
                return {"type": "map", "values": self.type(item, where)}
            case RecordType(cls, fields):
                known = self._named.get(cls.__name__)
                if known is None:
                    return self.record(type_, where, fields)
                if known is not cls:
                    self._faults.append(
                        f"{where}: two dataclasses of this entity are called {cls.__name__}, but names in "
                        "an Avro schema are unique: rename one"
                    )
                return cls.__name__

    def _scalar(self, scalar: Scalar, where: str) -> Any:
        if scalar.type is Decimal:
            if scalar.precision is None:
                self._faults.append(
                    f"{where}: Avro needs the precision of a Decimal: write "
                    "Annotated[Decimal, Precision(digits, scale)]"
                )
                return "bytes"
            digits, scale = scalar.precision.digits, scalar.precision.scale
            return {"type": "bytes", "logicalType": "decimal", "precision": digits, "scale": scale}
        if scalar.type is datetime:
            return {"type": "long", "logicalType": f"timestamp-{'millis' if self._has_millis else 'micros'}"}
        return (_NARROW if scalar.is_32_bits or scalar.is_16_bits else _SCALARS)[scalar.type]

    def _default(self, field: Field, schema: Any) -> dict[str, Any]:
        """Return type and default in the schema of ``field``; nothing if JSON cannot hold the default."""
        if field.default_factory in (list, dict):
            value = field.default_factory()
        elif field.default is MISSING:
            return {}  # a factory may make another default each time, and so another schema
        else:
            value = field.default
        try:
            default = _json(self._mapping.codec(field.type).write(value))
        except ValueError:  # a number that JSON lacks; or a value of another type, reported elsewhere
            return {}
        if isinstance(schema, list) and default is not None:
            schema = schema[::-1]  # the default of a union has its first type
        return {"type": schema, "default": default}

    def _must_be_legal(self, name: str, where: str, remedy: str) -> None:
        if not _LEGAL.fullmatch(name):
            self._faults.append(
                f"{where}: {name!r} is not a legal Avro name (ASCII letters, digits and _, no digit first): "
                f"{remedy}"
            )


_SCALARS: dict[type, Any] = {
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
    bytes: "bytes",
    date: {"type": "int", "logicalType": "date"},
    UUID: {"type": "string", "logicalType": "uuid"},
}
_NARROW: dict[type, Any] = {int: "int", float: "float"}


def _json(datum: Any) -> Any:
    """Return a default in the JSON of a schema. Raises ``ValueError`` for a number that is not finite."""
    match datum:
        case bytes():
            return datum.decode("latin-1")
        case list():
            return [_json(item) for item in datum]
        case dict():
            return {name: _json(item) for name, item in datum.items()}
        case float() if not math.isfinite(datum):
            raise ValueError("JSON has finite numbers only")
    return datum
