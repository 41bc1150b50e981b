"""Defaults of fields: whether the value, or what the ``default_factory`` makes, has the field's type.

This looks at types only. What attributes narrow (lengths, digits) is compared where formats are made.
"""

from __future__ import annotations

from dataclasses import MISSING
from datetime import date, datetime
from typing import Any

from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar, type_name
from statestore.runtime.text import bounded_repr, typed_repr

_APART: dict[type, type | tuple[type, ...]] = {int: bool, float: bool, date: datetime}
"""Types whose instances are not taken, although Python makes them subclasses."""


def factory_faults(field: Field, where: str) -> list[str]:
    """Return the fault of a ``default_factory`` whose value is not of the field's type.

    The factory is called once for each field that leads to it. What it raises is no fault here: it may need
    what is there later.
    """
    if field.default_factory is MISSING:
        return []
    try:
        value = field.default_factory()
    except Exception:  # noqa: BLE001 - whatever the user's function raises
        return []
    found = _mismatch(field.type, value, "")
    if found is None:
        return []
    path, expected, given = found
    return [f"{where}{path}: its default_factory: expected {expected}, got {typed_repr(given)}"]


def _mismatch(type_: FieldType, value: Any, path: str) -> tuple[str, str, Any] | None:
    """Return path, expected type and value of the first part of ``value`` that is not of its type."""
    match type_:
        case Scalar(type=kind):
            taken: type | tuple[type, ...] = (float, int) if kind is float else kind
            fits = isinstance(value, taken) and not isinstance(value, _APART.get(kind, ()))
            return None if fits else (path, kind.__name__, value)
        case Nullable(item):
            return None if value is None else _mismatch(item, value, path)
        case ListOf(item):
            if not isinstance(value, list):
                return path, type_name(type_), value
            parts = [_mismatch(item, one, f"{path}[{index}]") for index, one in enumerate(value)]
        case DictOf(key, item):
            if not isinstance(value, dict):
                return path, type_name(type_), value
            parts = [
                _mismatch(part, one, f"{path}[{bounded_repr(name)}]")
                for name, inner in value.items()
                for part, one in ((key, name), (item, inner))
            ]
        case RecordType(cls, fields):
            if type(value) is not cls:
                return path, cls.__name__, value
            parts = [
                _mismatch(field.type, getattr(value, field.name), f"{path}.{field.name}") for field in fields
            ]
    return next((part for part in parts if part is not None), None)
