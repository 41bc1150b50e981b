"""The event time that a value lacks is the record's timestamp, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import make_dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pytest

from statestore import DecodeError, EventTime, Key, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

START = datetime(1970, 1, 1, tzinfo=UTC)
FORMATS: list[tuple[dict[str, Any], Callable[[Any], Any]]] = [
    ({}, msgspec.msgpack.encode),
    ({"value_format": "json"}, lambda value: json.dumps(value).encode()),
]


def codec(at: Any, *defaults: Any, **declared: Any) -> EntityCodec[Any]:
    fields = [("id", Annotated[int, Key]), ("price", int), ("at", Annotated[at, EventTime], *defaults)]
    return EntityCodec(model_of(entity(make_dataclass("Tick", fields), topic="ticks", **declared)))


@pytest.mark.parametrize(("declared", "encode"), FORMATS)
def test_a_value_without_an_event_time_has_the_timestamp(
    declared: Any, encode: Callable[[Any], bytes]
) -> None:
    for at, expected in ((datetime, START + timedelta(milliseconds=1500)), (int, 1500)):
        for defaults in ([], [START if at is datetime else 7]):
            ticks = codec(at, *defaults, **declared)
            row = ticks.decode(ticks.encode_key((1,)), encode({"price": 5}), lambda _key: (1500, b""))
            assert (row.id, row.price, row.at) == (1, 5, expected)
            back = ticks.decode(*ticks.encode(row), lambda _key: (99, b""))
            assert back == row, "what the value has counts"


@pytest.mark.parametrize(("declared", "encode"), FORMATS)
def test_without_a_timestamp_it_is_the_default(declared: Any, encode: Callable[[Any], bytes]) -> None:
    ticks = codec(int, 7, **declared)
    assert ticks.decode(ticks.encode_key((1,)), encode({"price": 5})).at == 7
    bare = codec(int, **declared)
    with pytest.raises(DecodeError, match=r"Tick\.at: missing in the value.*no timestamp either"):
        bare.decode(bare.encode_key((1,)), encode({"price": 5}))
