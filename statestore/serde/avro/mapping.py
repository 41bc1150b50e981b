"""How Avro holds values: what is given to ``fastavro``, and what is made of what it gives back.

Times, dates and decimals are given to it as the numbers and bytes of their logical types: of its own it cuts
microseconds off, and pads and rounds without a word. What it gives back are the values themselves, since a
writer's schema may have another logical type, or another scale.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any
from uuid import UUID

import msgspec

from statestore.entity import EntityModel
from statestore.fields.attributes import Precision
from statestore.fields.types import Scalar
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import days, microseconds
from statestore.serde.field_codecs import Convert, FieldCodec, TypeMapping, msgspec_codec
from statestore.serde.formats import FieldValueError

__all__ = ["convert", "type_mapping"]

# Taken as they are, so that text is none of them. A UUID is text in Avro.
_BUILTIN = (bytes, datetime, date, Decimal)


def type_mapping(model: EntityModel) -> TypeMapping:
    """Return how the values of a class are held."""
    if model.ksql:
        return TypeMapping(_ksql_scalar, _key, lambda name: (name.upper(), name.lower()))
    return TypeMapping(_scalar, _key)


def convert(value: Any, type_: Any) -> Any:
    """Return what ``fastavro`` read as a ``type_``. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(value, type_, builtin_types=_BUILTIN)


def _scalar(scalar: Scalar) -> FieldCodec:
    held = msgspec_codec(scalar)
    if scalar.precision is not None:
        return _written(held, _unscaled(scalar.precision))
    if scalar.type is datetime:
        held = held._replace(read=None)  # fastavro's are in UTC
    to = _TO.get(scalar.type)
    return held if to is None else _written(held, to)


def _ksql_scalar(scalar: Scalar) -> FieldCodec:
    """ksqlDB knows times to the millisecond: the rest of one is not kept."""
    if scalar.type is not datetime:
        return _scalar(scalar)
    held = msgspec_codec(scalar)

    def normalise(value: Any) -> datetime:
        normal: datetime = held.normalise(value)
        return normal.replace(microsecond=normal.microsecond // 1000 * 1000)

    return _written(held._replace(normalise=normalise), lambda value: microseconds(value) // 1000)


def _key(scalar: Scalar) -> FieldCodec:
    """Return how keys of a dict are held, which are text in Avro."""
    held = msgspec_codec(scalar)
    if scalar.type is str:
        return held

    def read(text: str) -> Any:
        try:
            value = msgspec.convert(text, held.type, strict=False)
        except msgspec.ValidationError as error:
            raise FieldValueError(f"a key of the map: {error}: {bounded_repr(text)}") from None
        return held.read(value) if held.read else value

    return _written(held, lambda value: str(msgspec.to_builtins(value)))._replace(type=str, read=read)


def _written(held: FieldCodec, to: Convert) -> FieldCodec:
    """Return ``held`` with ``to`` as what turns its normal value into what is written."""
    normalise = held.normalise
    return held._replace(write=lambda value: to(normalise(value)))


def _unscaled(precision: Precision) -> Convert:
    def to(value: Decimal) -> bytes:
        number = int(value.scaleb(precision.scale, _EXACT))
        return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)

    return to


_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
_TO: dict[type, Convert] = {datetime: microseconds, date: days, UUID: str}
