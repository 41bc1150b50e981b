"""Values as msgpack: the table in ``docs/types.md``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import Meta

from statestore.entity import EntityModel
from statestore.fields.types import Scalar
from statestore.serde.formats import FormatContext
from statestore.serde.misfit import MisfitError, show
from statestore.serde.plain import plain
from statestore.serde.scalars import (
    DECIMAL_CONTEXT,
    date_at,
    days,
    decimals,
    microseconds,
    normal,
    time_at,
)
from statestore.serde.structs import StructCodec
from statestore.serde.wires import Wire, Wiring, made_of

_FIRST_TIME, _LAST_TIME = (microseconds(time.replace(tzinfo=UTC)) for time in (datetime.min, datetime.max))
_TIME = Annotated[int, Meta(ge=_FIRST_TIME, le=_LAST_TIME)]
_DATE = Annotated[int, Meta(ge=days(date.min), le=days(date.max))]


def codec(model: EntityModel, _context: FormatContext) -> StructCodec:
    """Return the codec of a class. Raises ``ConfigError``."""
    return StructCodec(
        model,
        Wiring(_wire, _wire),
        msgspec.msgpack.Encoder(uuid_format="bytes").encode,
        msgspec.msgpack.decode,
        msgspec.msgpack.Decoder,
    )


def _wire(scalar: Scalar) -> Wire:
    """Return how a scalar is held; what msgpack has no type for is a number or text."""
    kept = normal(scalar)
    if scalar.type is datetime:
        return made_of(_TIME, kept, microseconds, time_at)
    if scalar.type is date:
        return made_of(_DATE, kept, days, date_at)
    if scalar.type is not Decimal:
        return plain(scalar)
    if scalar.precision is None:
        return made_of(str, kept, str, _decimal)
    fitting = decimals(scalar.precision)
    return made_of(str, kept, str, lambda text: fitting(_decimal(text)))


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text, DECIMAL_CONTEXT)
    except InvalidOperation:
        raise MisfitError(f"expected the text of a Decimal, got str {show(text)}") from None
