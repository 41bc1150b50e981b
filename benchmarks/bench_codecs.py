"""The native codecs of keys against their pure-Python twins, and the codecs of entities against ``msgspec``.

The reference of an entity is a struct of the same fields, which checks and converts no more than it must.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from conftest import Bench
from msgspec.structs import astuple, fields

from statestore import Key, Precision, core, entity
from statestore.bench.turns import Work
from statestore.core import pure as _pure
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

CALLS = 20_000
WANTED = 10.0
KEYS: list[tuple[Any, ...]] = [
    (42,),
    ("SYM-000042",),
    ("SYM-000042", 42),
    ("Zürich", b"\x00\x01", 42),
    (uuid.UUID(int=42), date(2024, 2, 29)),
    ("SYM-000042", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
]


def calls(call: Callable[..., object], times: int, *arguments: Any) -> Work:
    def work() -> None:
        for _ in range(times):
            call(*arguments)

    return Work.of(work)


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("values", KEYS, ids=str)
def measure_key(bench: Bench, values: tuple[Any, ...], direction: str) -> None:
    kinds = [type(value).__name__.lower() for value in values]
    native, pure = core.KeyCodec(kinds), _pure.KeyCodec(kinds)
    encoded = native.encode(values)
    assert pure.encode(values) == encoded
    argument = values if direction == "encode" else encoded
    _row(
        bench,
        f"{direction} ({', '.join(kinds)})",
        getattr(native, direction),
        getattr(pure, direction),
        argument,
    )


class Quote(msgspec.Struct):
    """The value of the entity that is measured."""

    price: Decimal
    quantity: int
    venue: str
    at: datetime
    open: bool


QUOTE = Quote(Decimal("12.3400"), 100, "XETR", datetime(2024, 2, 29, 12, 30, tzinfo=UTC), True)
FORMATS: dict[str, dict[str, Any]] = {
    "msgpack": {"value_format": "msgpack"},
    "json": {"value_format": "json"},
    "json of ksqlDB": {"value_format": "json", "ksql": True},
}


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("form", FORMATS)
def measure_entity(bench: Bench, form: str, direction: str) -> None:
    declared = [
        ("symbol", Annotated[str, Key]),
        ("price", Annotated[Decimal, Precision(18, 4)]),
        *((one.name, one.type) for one in fields(Quote)[1:]),
    ]
    cls: Any = make_dataclass("Quoted", declared, frozen=True, slots=True)
    codec: EntityCodec[Any] = EntityCodec(model_of(entity(cls, topic="quotes", **FORMATS[form])))
    one = cls("SYM-000042", *astuple(QUOTE))
    record = codec.encode(one)
    assert codec.decode(*record) == one
    bare: Any = msgspec.msgpack if form == "msgpack" else msgspec.json
    theirs = calls(bare.Encoder().encode, times := min(CALLS, bench.sizes.rows), QUOTE)
    ours = calls(codec.encode, times, one)
    if direction == "decode":
        theirs = calls(bare.Decoder(Quote).decode, times, bare.encode(QUOTE))
        ours = calls(codec.decode, times, *record)
    work = f"{direction} an entity of 6 fields, {form}"
    bench.speed(work, "msgspec with a struct", ours, theirs, items=times, of="entities")


def measure_window_key(bench: Bench) -> None:
    _row(bench, "window_key", core.window_key, _pure.window_key, b"SYM-000042", 1_709_209_800_000)


def measure_split_window_key(bench: Bench) -> None:
    key = core.window_key(b"SYM-000042", 1_709_209_800_000)
    _row(bench, "split_window_key", core.split_window_key, _pure.split_window_key, key)


def _row(
    bench: Bench, work: str, native: Callable[..., object], pure: Callable[..., object], *key: Any
) -> None:
    times = min(CALLS, bench.sizes.rows)
    bench.speed(
        work,
        "pure-Python twin",
        calls(native, times, *key),
        calls(pure, times, *key),
        items=times,
        of="keys",
        wanted=WANTED,
    )
