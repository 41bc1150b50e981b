"""Scalars as ``msgspec`` knows them, for each type of which a format has nothing else to say."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from statestore.fields.types import Scalar
from statestore.serde.scalars import decimals, float32, normal, utc
from statestore.serde.wires import Convert, Wire

_TYPES: dict[type, Any] = {
    bool: bool,
    int: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    float: float,
    Decimal: Decimal,
    str: str,
    bytes: bytes,
    datetime: Annotated[datetime, Meta(tz=True)],
    date: date,
    UUID: UUID,
}
_INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


def plain(scalar: Scalar) -> Wire:
    """Return the wire of a format that ``msgspec`` writes, or that takes the values as they are."""
    kept = normal(scalar)
    read: Convert | None = None
    if scalar.type is datetime:
        read = utc
    elif scalar.precision is not None:
        read = decimals(scalar.precision)
    elif scalar.type is float and scalar.is_32_bits:
        read = float32
    is_int32 = scalar.type is int and scalar.is_32_bits
    return Wire(_INT32 if is_int32 else _TYPES[scalar.type], kept, kept, read)
