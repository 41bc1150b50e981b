"""Values longer than ``MaxLength`` allows: they are not written, but they are read, and counted."""

from __future__ import annotations

from typing import Any

from statestore.fields.types import DictOf, FieldType, ListOf, Nullable, Record


def is_bounded(type_: FieldType) -> bool:
    """Whether a ``MaxLength`` is anywhere in ``type_``."""
    match type_:
        case Nullable(item) | ListOf(item):
            return is_bounded(item)
        case DictOf(key, item):
            return is_bounded(key) or is_bounded(item)
        case Record(_, fields):
            return any(is_bounded(field.type) for field in fields)
        case _:
            return type_.max_length is not None


def overlong(type_: FieldType, value: Any) -> int:
    """Return how many values within ``value``, which is one of ``type_``, are too long."""
    match type_:
        case Nullable(item):
            return 0 if value is None else overlong(item, value)
        case ListOf(item):
            return sum(overlong(item, one) for one in value)
        case DictOf(key, item):
            return sum(overlong(key, name) + overlong(item, one) for name, one in value.items())
        case Record(_, fields):
            return sum(overlong(field.type, getattr(value, field.name)) for field in fields)
        case _:
            return type_.max_length is not None and len(value) > type_.max_length
