"""Values as JSON, and in the dialect of ksqlDB for an entity with ``ksql=True``: ``docs/types.md``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from statestore.entity import EntityModel
from statestore.fields.attributes import EPOCHS
from statestore.fields.types import Scalar
from statestore.serde.formats import FormatContext
from statestore.serde.misfit import MisfitError, expected
from statestore.serde.plain import plain
from statestore.serde.scalars import date_at, days, finite, microseconds, normal, time_at, utc
from statestore.serde.structs import StructCodec
from statestore.serde.wires import Convert, Wire, Wiring, made_of

_FIRST, _LAST = (microseconds(time.replace(tzinfo=UTC)) for time in (datetime.min, datetime.max))


def codec(model: EntityModel, _context: FormatContext) -> StructCodec:
    """Return the codec of a class. Raises ``ConfigError``."""
    # ksqlDB has DECIMAL as a number, which other readers take for a float, and lose digits.
    encoder = msgspec.json.Encoder(decimal_format="number" if model.ksql else "string")
    return StructCodec(model, wiring_of(model), encoder.encode, msgspec.json.decode, msgspec.json.Decoder)


def wiring_of(model: EntityModel) -> Wiring:
    """Return how the entities of a class are held, in values and in keys."""
    return Wiring(_ksql, _iso, _cases) if model.ksql else Wiring(_iso, _iso)


def _iso(scalar: Scalar) -> Wire:
    """Return how a scalar is held: as ``msgspec`` does it, or in the pattern of the field; and finite."""
    if scalar.type is datetime and scalar.format is not None:
        kept = normal(scalar)
        return _epoch(kept, EPOCHS[scalar.format]) if scalar.format in EPOCHS else _text(kept, scalar.format)
    wire = plain(scalar)
    if scalar.type not in (float, Decimal):
        return wire
    written = finite(wire.normal, "JSON")
    return Wire(wire.type, written, written, finite(wire.read or _same, "JSON"))


def _ksql(scalar: Scalar) -> Wire:
    """Return how ksqlDB has a scalar: TIMESTAMP and DATE are numbers."""
    if scalar.type is datetime and scalar.format is None:
        return _epoch(normal(scalar), EPOCHS["epoch_ms"])
    if scalar.type is date:
        return made_of(
            Annotated[int, Meta(ge=days(date.min), le=days(date.max))], normal(scalar), days, date_at
        )
    return _iso(scalar)


def _cases(name: str) -> tuple[str, str]:
    return name.upper(), name.lower()


def _epoch(kept: Convert, unit: int) -> Wire:
    """Return the wire of times as a number of units, of so many microseconds each, since 1970 UTC."""

    def units(time: datetime) -> int:
        return microseconds(time) // unit

    def time_of(number: int) -> datetime:
        return time_at(number * unit)

    numbers = Annotated[int, Meta(ge=-(-_FIRST // unit), le=_LAST // unit)]
    return Wire(numbers, lambda value: time_of(units(kept(value))), lambda value: units(kept(value)), time_of)


def _text(kept: Convert, pattern: str) -> Wire:
    """Return the wire of times in a pattern, which says how much of a time is stored."""

    def read(text: str) -> datetime:
        try:
            time = datetime.strptime(text, pattern)
        except ValueError:
            raise expected(f"datetime as {pattern!r}", text) from None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else utc(time)

    def write(value: Any) -> str:
        time: datetime = kept(value)
        text = time.strftime(pattern)
        try:
            if read(text).date() == time.date():
                return text
        except MisfitError:
            pass
        raise expected(f"datetime that {pattern!r} can tell", value)

    return Wire(str, lambda value: read(write(value)), write, read)


def _same(value: Any) -> Any:
    return value
