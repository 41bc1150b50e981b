"""How Avro represents each field: the values that ``fastavro`` writes, and how those it reads are converted.

``fastavro`` gets times, dates and decimals as the numbers and bytes of their logical types; it would silently
cut microseconds off, and pad and round decimals. It returns datetimes, dates and decimals, since the writer's
schema may have another logical type, or another scale.
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

# fastavro returns these themselves, so text must not be converted into them. A UUID is text in Avro.
_BUILTIN = (bytes, datetime, date, Decimal)


def type_mapping(model: EntityModel) -> TypeMapping:
    """Return how Avro represents the fields of a class."""
    if model.ksql:
        return TypeMapping(_ksql_scalar, _key, lambda name: (name.upper(), name.lower()))
    return TypeMapping(_scalar, _key)


def convert(value: Any, type_: Any) -> Any:
    """Return a value that ``fastavro`` read as a ``type_``. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(value, type_, builtin_types=_BUILTIN)


def _scalar(scalar: Scalar) -> FieldCodec:
    codec = msgspec_codec(scalar)
    if scalar.precision is not None:
        return _written(codec, _unscaled(scalar.precision))
    if scalar.type is datetime:
        codec = codec._replace(read=None)  # fastavro's are in UTC
    to = _TO.get(scalar.type)
    return codec if to is None else _written(codec, to)


def _ksql_scalar(scalar: Scalar) -> FieldCodec:
    """Return the codec of a scalar for ksqlDB, whose times have milliseconds: the rest is cut off."""
    if scalar.type is not datetime:
        return _scalar(scalar)
    codec = msgspec_codec(scalar)

    def normalise(value: Any) -> datetime:
        normal: datetime = codec.normalise(value)
        return normal.replace(microsecond=normal.microsecond // 1000 * 1000)

    return _written(codec._replace(normalise=normalise), lambda value: microseconds(value) // 1000)


def _key(scalar: Scalar) -> FieldCodec:
    """Return the codec of the keys of a dict, which are text in Avro."""
    codec = msgspec_codec(scalar)
    if scalar.type is str:
        return codec

    def read(text: str) -> Any:
        try:
            value = msgspec.convert(text, codec.type, strict=False)
        except msgspec.ValidationError as error:
            raise FieldValueError(f"a key of the map: {error}: {bounded_repr(text)}") from None
        return codec.read(value) if codec.read else value

    return _written(codec, lambda value: str(msgspec.to_builtins(value)))._replace(type=str, read=read)


def _written(codec: FieldCodec, to: Convert) -> FieldCodec:
    """Return ``codec``, with ``to`` turning its normalised value into the value that is written."""
    normalise = codec.normalise
    return codec._replace(write=lambda value: to(normalise(value)))


def _unscaled(precision: Precision) -> Convert:
    def to(value: Decimal) -> bytes:
        number = int(value.scaleb(precision.scale, _EXACT))
        return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)

    return to


_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
_TO: dict[type, Convert] = {datetime: microseconds, date: days, UUID: str}
