"""The stored schema: the fields with which a store was written, and whether a class can read them.

``store.json`` has the stored schema as a JSON object:
``{"fingerprint", "key_format", "key": [field, …], "value": [field, …]}``. A field is
``{"name", "type", "aliases", "optional"}``: its name in records, and whether a record may lack it. A type is
``{"type": "int"}`` and so on, together with its attributes and its ``item``, ``key`` or ``fields``.

Payloads are decoded when they are read. So a change of the class needs no rebuild if old records can be read
through it. Any other change is refused; the error names the field and both types.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from datetime import date, datetime
from typing import Any

from statestore.fields.types import (
    DictOf,
    Field,
    FieldType,
    ListOf,
    Nullable,
    RecordType,
    Scalar,
    serializer_of,
)

StoredSchema = Mapping[str, Any]

_NAMELESS_KEYS = ("ordered", "kafka", "raw")
"""Key formats that never write the names of the fields, so that one may be renamed."""
_WITHOUT_PATTERNS = (*_NAMELESS_KEYS, "msgpack", "avro")
"""Formats on which a ``Format`` has no effect."""
_NUMBERS_OF_KSQL = {datetime: "epoch_ms", date: "epoch_days"}
"""How ksqlDB's dialect of JSON writes times without a ``Format``."""
_WIDER = {
    "Int16": ("Int32", "int", "float"),
    "Int32": ("int", "float"),
    "Float32": ("float",),
    "int": ("float",),
}
"""The types as which stored values of a type can be read, besides itself."""


def stored_schema(
    key_format: str, value_format: str, key: Sequence[Field], value: Sequence[Field], *, ksql: bool = False
) -> dict[str, Any]:
    """Return the schema of a class with these fields; ``ksql``: with ksqlDB's names and dialect of JSON."""
    keys = _Describer(key_format, ksql, is_value=False).fields(key, any_case=False)
    values = _Describer(value_format, ksql, is_value=True).fields(value, any_case=ksql)
    return _sealed(key_format, keys, values)


def _sealed(key_format: str, key: list[Any], value: list[Any]) -> dict[str, Any]:
    content = {"key_format": key_format, "key": key, "value": value}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {**content, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}


class _Describer:
    """Describes fields as the format named ``form`` holds them."""

    def __init__(self, form: str, ksql: bool, *, is_value: bool) -> None:
        self._ksql = ksql
        self._has_patterns = form not in _WITHOUT_PATTERNS
        self._has_numbers = ksql and form == "json"
        self._serializes = is_value and form == "kafka"

    def fields(self, fields: Sequence[Field], *, any_case: bool) -> list[dict[str, Any]]:
        """Describe ``fields``, whose names are the same in upper and lower case if ``any_case``."""
        taken = {name for field in fields for name in (field.wire_name, *field.aliases)}
        return [self._field(field, any_case, taken) for field in fields]

    def _field(self, field: Field, any_case: bool, taken: set[str]) -> dict[str, Any]:
        aliases = [*field.aliases]
        if any_case:
            names = [case for name in (field.wire_name, *aliases) for case in (name.upper(), name.lower())]
            aliases += [name for name in dict.fromkeys(names) if name not in taken]
        elif self._ksql:  # a key, which is looked for in upper case
            aliases = [name.upper() for name in aliases]
        return {
            "name": field.wire_name,
            "type": self._type(field.type),
            "aliases": aliases,
            "optional": field.default is not MISSING or field.default_factory is not MISSING,
        }

    def _type(self, type_: FieldType) -> dict[str, Any]:
        match type_:
            case Nullable(item):
                return {"type": "optional", "item": self._type(item)}
            case ListOf(item):
                return {"type": "list", "item": self._type(item)}
            case DictOf(key, item):
                return {"type": "dict", "key": self._type(key), "item": self._type(item)}
            case RecordType(cls, fields):
                described = self.fields(fields, any_case=self._ksql)
                return {"type": "record", "name": cls.__name__, "fields": described}
            case Scalar():
                return self._scalar(type_)

    def _scalar(self, scalar: Scalar) -> dict[str, Any]:
        name = scalar.type.__name__
        described: dict[str, Any] = {"type": f"{name.capitalize()}32" if scalar.is_32_bits else name}
        if scalar.is_16_bits:
            described["type"] = "Int16"
        if self._serializes and (serializer := serializer_of(scalar)) is not None:
            described["serializer"] = serializer
        if scalar.precision is not None:
            described["precision"] = [scalar.precision.digits, scalar.precision.scale]
        if scalar.format is not None and self._has_patterns:
            described["format"] = scalar.format
        elif self._has_numbers and scalar.type in _NUMBERS_OF_KSQL:
            described["format"] = _NUMBERS_OF_KSQL[scalar.type]
        return described


def conflicts(old: StoredSchema, new: StoredSchema) -> list[str]:
    """Return each reason why a class with the schema ``new`` cannot read records of ``old``."""
    return [
        *_key_conflicts(old, new),
        *(_serializer_conflicts(old, new) or _field_conflicts(old["value"], new["value"], "")),
    ]


def unreadable(old: StoredSchema, new: StoredSchema) -> list[str]:
    """Return the fields of ``new`` that have no default and that records of ``old`` lack."""
    known = {field["name"] for field in old["value"]}
    return [
        field["name"]
        for field in new["value"]
        if not field["optional"] and known.isdisjoint((field["name"], *field["aliases"]))
    ]


def merged(old: StoredSchema, new: StoredSchema) -> dict[str, Any]:
    """Return ``new`` with the fields of ``old`` that it lacks, since old records still have them.

    That way, a removed field that comes back with another type is found.
    """
    known = {name for field in new["value"] for name in (field["name"], *field["aliases"])}
    gone = [field for field in old["value"] if field["name"] not in known]
    return _sealed(new["key_format"], new["key"], [*new["value"], *gone])


def _key_conflicts(old: StoredSchema, new: StoredSchema) -> list[str]:
    if old["key_format"] != new["key_format"]:
        return [f"its keys have key_format={old['key_format']!r}, but the class has {new['key_format']!r}"]
    before, after = old["key"], new["key"]
    if len(before) != len(after):
        return [f"its key is ({_listed(before)}), but the key of the class is ({_listed(after)})"]
    # A single key field is written bare, without its name, by all formats.
    named = new["key_format"] not in _NAMELESS_KEYS and len(after) > 1
    faults = [
        f"key field {_shown_field(one)}, but in the class {_shown_field(other)}"
        for one, other in zip(before, after, strict=True)
        if one["type"] != other["type"] or (named and one["name"] not in (other["name"], *other["aliases"]))
    ]
    return faults or _mixed_up(old, new)


def _mixed_up(old: StoredSchema, new: StoredSchema) -> list[str]:
    """Return why key fields of the same types may hold other values than before, although each key decodes.

    Keys without names are told apart by their place alone. So a field that is known under another name, at
    another place or as a value is not the one that was written there.
    """
    before, after = ([_folded_names(field) for field in one["key"]] for one in (old, new))
    was_value, is_value = (set().union(*map(_folded_names, one["value"])) for one in (old, new))
    # The names of a store are those with which it was written last; its aliases were of even older ones.
    renamed = [
        (one, other)
        for one, other, names in zip(old["key"], new["key"], after, strict=True)
        if one["name"].casefold() not in names
    ]
    faults = []
    for one, other in renamed:
        name, names = one["name"].casefold(), _folded_names(other)
        alike = [_shown_field(pair[0]) for pair in renamed if pair[0]["type"] == one["type"]]
        shown = f"key field {one['name']} is {other['name']} in the class"
        if any(name in known for known in after) or any(names & known for known in before):
            faults.append(f"{shown}, and key fields of one type have changed places")
        elif name in is_value or names & was_value:
            faults.append(f"{shown}, and a field of the value has one of these names")
        elif len(alike) > 1:
            faults.append(
                f"{shown}, and other key fields of its type are renamed, too: write Alias({one['name']!r}) "
                "at the field that was it"
            )
    return faults


def _folded_names(field: Mapping[str, Any]) -> set[str]:
    return {name.casefold() for name in (field["name"], *field["aliases"])}


def _serializer_conflicts(old: StoredSchema, new: StoredSchema) -> list[str]:
    """Compare the one value field of ``value_format="kafka"``, whose bytes have no name and one width."""
    was, is_ = (
        {
            str(field["type"]["serializer"]): field["name"]
            for field in one["value"]
            if "serializer" in field["type"]
        }
        for one in (old, new)
    )
    return [
        f"its values are {', '.join(was)}'s, but field {name} of the class is {serializer}'s"
        for serializer, name in is_.items()
        if was and serializer not in was
    ]


def _field_conflicts(old: list[dict[str, Any]], new: list[dict[str, Any]], path: str) -> list[str]:
    before = {field["name"]: field for field in old}
    found = []
    for field in new:
        # A record has the newest of its names, if it has several.
        for name in (field["name"], *field["aliases"]):
            if name in before and not _reads(before[name]["type"], field["type"]):
                was, is_ = shown(before[name]["type"]), shown(field["type"])
                found.append(f"field {path}{name} is {was}, but in the class {is_}")
    return found


def _reads(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a value written as ``old`` can be read as ``new``."""
    if new["type"] == "optional":
        return _reads(old["item"] if old["type"] == "optional" else old, new["item"])
    if old["type"] != new["type"]:
        return new["type"] in _WIDER.get(old["type"], ())
    match new["type"]:
        case "list":
            return _reads(old["item"], new["item"])
        case "dict":
            return bool(old["key"] == new["key"]) and _reads(old["item"], new["item"])
        case "record":
            return not _field_conflicts(old["fields"], new["fields"], "")
        case "Decimal":
            return _holds(old.get("precision"), new.get("precision"))
        case _:
            return bool(old.get("format") == new.get("format"))


def _holds(old: list[int] | None, new: list[int] | None) -> bool:
    """Whether every number of the precision ``old``, (digits, scale), is one of ``new``."""
    if old is None or new is None:
        return new is None
    return new[1] >= old[1] and new[0] - new[1] >= old[0] - old[1]


def shown(type_: Mapping[str, Any]) -> str:
    """Return a type as a user writes it."""
    match type_["type"]:
        case "optional":
            return f"{shown(type_['item'])} | None"
        case "list":
            return f"list[{shown(type_['item'])}]"
        case "dict":
            return f"dict[{shown(type_['key'])}, {shown(type_['item'])}]"
        case "record":
            return f"{type_['name']}({_listed(type_['fields'])})"
        case "Decimal" if type_.get("precision"):
            return "Decimal({}, {})".format(*type_["precision"])
        case name:
            return f"{name} as {type_['format']!r}" if type_.get("format") else str(name)


def _shown_field(field: Mapping[str, Any]) -> str:
    return f"{field['name']}: {shown(field['type'])}"


def _listed(fields: list[dict[str, Any]]) -> str:
    return ", ".join(map(_shown_field, fields))
