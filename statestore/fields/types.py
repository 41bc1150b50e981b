"""The shape of a dataclass, as values: names, types, defaults and attributes of its fields.

``inspection.py`` makes a :class:`RecordType` of a class, and every format is derived from it. It knows no
topic and no format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from statestore.fields.attributes import Precision, WindowEnd, WindowSize, WindowStart

WindowPart = type[WindowStart] | type[WindowEnd] | type[WindowSize]

KEY_TYPES: tuple[type, ...] = (int, str, bytes, UUID, datetime, date)
"""The types of key fields and of the keys of dicts."""
SCALAR_TYPES: tuple[type, ...] = (bool, int, float, Decimal, str, bytes, datetime, date, UUID)
"""The types of all other fields, besides ``None``, and lists, dicts and dataclasses of these types."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of ``SCALAR_TYPES``, as its attributes narrow it."""

    type: type
    is_32_bits: bool = False
    """Whether an ``int`` or ``float`` is of 32 bits, not 64."""
    precision: Precision | None = None
    """Of a ``Decimal``; ``None``: any number of digits."""
    format: str | None = None
    """The ``Format`` of a time, date or ``Decimal``; ``None``: ISO 8601, or the digits as text."""
    max_length: int | None = None
    """The most characters or bytes that are written; ``None``: any number."""
    is_16_bits: bool = False
    """Whether an ``int`` is of 16 bits."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """``item | None``."""

    item: FieldType


@dataclass(frozen=True, slots=True)
class ListOf:
    """``list[item]``."""

    item: FieldType


@dataclass(frozen=True, slots=True)
class DictOf:
    """``dict[key, item]``; keys are of ``KEY_TYPES``."""

    key: Scalar
    item: FieldType


@dataclass(frozen=True, slots=True)
class Field:
    """One stored field of a dataclass."""

    name: str
    type: FieldType
    is_key: bool
    default: Any
    """Its default, ``dataclasses.MISSING`` if it has none."""
    default_factory: Any
    """The function that makes its default, ``dataclasses.MISSING`` if it has none."""
    wire_name: str
    """Its name in records."""
    aliases: tuple[str, ...] = ()
    """Its names in older records."""
    is_event_time: bool = False
    is_indexed: bool = False
    window: WindowPart | None = None
    """The part of the row's window that fills the field; ``None``: the field is stored like any other."""
    is_gap: bool = False
    """Whether it is true in a bar of a window without records."""
    metadata: tuple[Any, ...] = field(default=(), compare=False)
    """Other metadata of its ``Annotated``, in order, such as an aggregate."""


@dataclass(frozen=True, slots=True)
class RecordType:
    """A dataclass and its stored fields, in the order of their definition.

    ``Ignored`` and ``init=False`` fields, ``InitVar`` and ``ClassVar`` are not stored. If ``positional``, the
    constructor may be called with the fields by position, which is faster; by name otherwise (``kw_only``).
    """

    cls: type
    fields: tuple[Field, ...]
    positional: bool
    extra: str | None = None
    """The name of the ``Extra`` field, which is not among ``fields``."""


FieldType = Scalar | Nullable | ListOf | DictOf | RecordType


def scalar_type(type_: FieldType | None) -> type | None:
    """Return the type of a single value, which may be ``None`` besides; ``None`` for all other types."""
    bare = type_.item if isinstance(type_, Nullable) else type_
    return bare.type if isinstance(bare, Scalar) else None


def serializer_of(type_: FieldType) -> str | None:
    """Return the serializer of Kafka's Java client for values of ``type_``; ``None``: there is none."""
    if not isinstance(type_, Scalar):
        return None
    if type_.type is int:
        return (
            "ShortSerializer"
            if type_.is_16_bits
            else _OF_32_BITS[int]
            if type_.is_32_bits
            else "LongSerializer"
        )
    if type_.type is float:
        return _OF_32_BITS[float] if type_.is_32_bits else "DoubleSerializer"
    return {str: "StringSerializer", bytes: "ByteArraySerializer", UUID: "UUIDSerializer"}.get(type_.type)


_OF_32_BITS: dict[type, str] = {int: "IntegerSerializer", float: "FloatSerializer"}


def type_name(type_: FieldType) -> str:
    """Return ``type_`` as a user writes it: ``list[int] | None``."""
    match type_:
        case Scalar(cls) | RecordType(cls):
            return cls.__name__
        case Nullable(item):
            return f"{type_name(item)} | None"
        case ListOf(item):
            return f"list[{type_name(item)}]"
        case DictOf(key, item):
            return f"dict[{type_name(key)}, {type_name(item)}]"
