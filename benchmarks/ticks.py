"""An entity of six fields, and a decoder of its payload that needs no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from statestore import Key, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    symbol: Annotated[str, Key]
    price: float
    quantity: int
    venue: str
    sequence: int
    open: bool


@dataclass(frozen=True, slots=True)
class TickValue:
    """The fields in the payload of a ``Tick``: all but the key."""

    price: float
    quantity: int
    venue: str
    sequence: int
    open: bool


decode = msgspec.msgpack.Decoder(TickValue).decode


def encoded(count: int) -> list[tuple[bytes, bytes]]:
    """Return the records of ``count`` ticks, in the order of their keys."""
    codec: EntityCodec[Tick] = EntityCodec(model_of(Tick))
    return [
        codec.encode(Tick(f"SYM-{number:06d}", number / 7, number, "XNYS", number * 3, number % 2 == 0))
        for number in range(count)
    ]
