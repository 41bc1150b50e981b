"""``to_list()`` of an entity of six fields against decoding the same payloads in a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import msgpack  # type: ignore[import-untyped]
import msgspec
from confluent_kafka import Producer
from harness import Fresh, Row, timed

from statestore import Key, StoreManager, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

ROWS = 30_000


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
    """What the payload of a ``Tick`` holds."""

    price: float
    quantity: int
    venue: str
    sequence: int
    open: bool


def rows(stack: ExitStack, fresh: Fresh) -> Iterator[Row]:
    """Return the rows; what they open is closed with ``stack``."""
    codec: EntityCodec[Tick] = EntityCodec(model_of(Tick))
    pairs = [
        codec.encode(Tick(f"SYM-{number:06d}", number / 7, number, "XNYS", number * 3, number % 2 == 0))
        for number in range(ROWS)
    ]
    # librdkafka's own mock broker, in this process: no Java is needed for this.
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    stack.callback(producer.flush, 0)  # the broker lives as long as its owner
    for key, value in pairs:
        producer.produce("ticks", value, key)
    producer.flush(30)
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    stores = stack.enter_context(StoreManager(fresh.directory(), kafka=f"{broker.host}:{broker.port}"))
    table = stores.bind(Tick)
    table.wait_until_ready(60)
    assert table.count() == ROWS

    payloads = [value for _, value in pairs]
    decode = msgspec.msgpack.Decoder(TickValue).decode
    ours = timed(table.to_list)

    def reference(name: str, work: object) -> Row:
        return Row("to_list() of 6 fields", name, ROWS, "rows", 0.8, ours, timed(work))  # type: ignore[arg-type]

    yield reference("msgspec into a dataclass", lambda: [decode(payload) for payload in payloads])
    yield reference("msgpack.unpackb into dicts", lambda: [msgpack.unpackb(payload) for payload in payloads])
