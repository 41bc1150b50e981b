"""``value_format="msgpack"``. Docs: the table in ``docs/types.md``."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import Meta

from statestore.entity import EntityModel
from statestore.fields.types import FieldType, Scalar
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import (
    FIRST_DAY,
    FIRST_MICROSECOND,
    LAST_DAY,
    LAST_MICROSECOND,
    date_at,
    days,
    microseconds,
    time_at,
)
from statestore.serde.extra import MSGPACK_MEMBERS
from statestore.serde.field_codecs import FieldCodec, TypeMapping, msgspec_codec, scalar_codec
from statestore.serde.formats import FieldValueError, FormatContext
from statestore.serde.scalars import DECIMAL_CONTEXT, decimals, normaliser, without_negative_zero
from statestore.serde.structs import StructCodec

_TIME = Annotated[int, Meta(ge=FIRST_MICROSECOND, le=LAST_MICROSECOND)]
_DATE = Annotated[int, Meta(ge=FIRST_DAY, le=LAST_DAY)]


def msgpack_values(model: EntityModel, _context: FormatContext) -> StructCodec:
    """Return the codec of ``value_format="msgpack"`` for a class. Raises ``ConfigError``."""
    return StructCodec(
        model,
        TypeMapping(_codec, _codec),
        msgspec.msgpack.Encoder(uuid_format="bytes").encode,
        msgspec.msgpack.decode,
        msgspec.msgpack.Decoder,
        MSGPACK_MEMBERS,
    )


def field_codec(type_: FieldType) -> FieldCodec:
    """Return the codec of single values of ``type_``, apart from a class."""
    return TypeMapping(_codec, _codec).codec(type_)


def _codec(scalar: Scalar) -> FieldCodec:
    """Return the codec of a scalar. A type that msgpack lacks is a number or text."""
    normalise = normaliser(scalar)
    if scalar.type is datetime:
        return scalar_codec(_TIME, normalise, microseconds, time_at)
    if scalar.type is date:
        return scalar_codec(_DATE, normalise, days, date_at)
    if scalar.type is not Decimal:
        return msgspec_codec(scalar)
    if scalar.precision is None:
        return scalar_codec(str, normalise, str, _decimal)
    fitting = decimals(scalar.precision)
    return scalar_codec(str, normalise, str, lambda text: fitting(_decimal(text)))


def _decimal(text: str) -> Decimal:
    try:
        return without_negative_zero(Decimal(text, DECIMAL_CONTEXT))
    except InvalidOperation:
        raise FieldValueError(f"expected the text of a Decimal, got {bounded_repr(text)}") from None
