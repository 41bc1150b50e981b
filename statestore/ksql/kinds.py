"""The types of values in ksqlDB, with what a translation must know of them beyond their names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from statestore.fields.attributes import EPOCHS
from statestore.fields.ksql_types import column_type
from statestore.fields.types import FieldType, Nullable, Scalar

INT32_MAX: Final = 2**31 - 1
MILLISECOND: Final = 1000
"""In microseconds: the unit of a TIMESTAMP."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a value in ksqlDB, and what it stands for."""

    name: str
    """Without parameters: ``BIGINT``, ``DECIMAL``, ``ARRAY<VARCHAR>``."""
    python: type | None
    """The type of the value here; ``None`` for one with parts."""
    limit: int = 0
    """Of INT, BIGINT and DECIMAL: no value is farther from 0, in units of the last decimal place."""
    scale: int = 0
    """Of a DECIMAL: its decimal places."""
    precision: int = 0
    """Of a DECIMAL: the digits that ksqlDB gives it."""
    unit: int = 0
    """Of an instant: its unit in microseconds; 0 if it is a text, which has no order."""

    def __str__(self) -> str:
        return f"DECIMAL({self.precision}, {self.scale})" if self.name == "DECIMAL" else self.name


BOOLEAN: Final = Kind("BOOLEAN", bool)
DOUBLE: Final = Kind("DOUBLE", float)


def decimal(python: type, precision: int, scale: int, limit: int) -> Kind:
    """Return the kind of a DECIMAL."""
    return Kind("DECIMAL", python, limit, scale, precision)


def kind_of(type_: FieldType, *, is_json: bool) -> Kind:
    """Return the kind of a column, or of a part of it."""
    bare = type_.item if isinstance(type_, Nullable) else type_
    name = column_type(bare, "", [], is_json=is_json)
    if not isinstance(bare, Scalar):
        return Kind(name, None)
    if bare.type is int:
        limit = 2**15 if bare.is_16_bits else 2**31 if bare.is_32_bits else 2**63
        return Kind(name, int, limit)
    if bare.type is Decimal:
        digits, scale = (bare.precision.digits, bare.precision.scale) if bare.precision else (38, 0)
        return decimal(Decimal, digits, scale, 10**digits - 1)
    unit = 0
    if bare.type is datetime:
        unit = MILLISECOND if name == "TIMESTAMP" else EPOCHS.get(bare.format or "", 0)
    elif bare.type is date and name == "DATE":
        unit = 86_400_000_000
    return Kind(name, bare.type, unit=unit)
