"""The timestamp of a record: read with its row, and the event time of a value that has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from statestore import EventTime, Key, StoreManager, Timestamped, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
WRITTEN = 1_700_000_000_123
AT = datetime.fromtimestamp(1_700_000_000, UTC).replace(microsecond=123_000)


def tick_entity(topic: str, **declared: Any) -> Any:
    @entity(topic=topic, **declared)
    @dataclass(frozen=True, slots=True)
    class Tick:
        symbol: Annotated[str, Key]
        at: Annotated[datetime, EventTime]
        price: int

    return Tick


@pytest.mark.parametrize("formats", [{}, {"key_format": "json", "value_format": "json"}], ids=str)
def test_a_row_has_its_records_timestamp_and_event_time(
    backend: str, broker: Broker, topic: Callable[..., str], managers: Managers, formats: dict[str, Any]
) -> None:
    name = topic()
    cls = tick_entity(name, on_undecodable="skip", **formats)
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    early = datetime(2001, 2, 3, tzinfo=UTC)
    without = json.dumps({"price": 2}).encode() if formats else msgspec.msgpack.encode({"price": 2})
    broker.create_topic(name)
    records = [codec.encode(cls("a", early, 1)), (codec.encode_key(("b",)), without)]
    broker.produce(name, records, timestamp=WRITTEN)
    manager = managers(broker, backend=backend)
    table = manager.bind(cls)
    table.wait_until_ready(60)
    rows = [cls("a", early, 1), cls("b", AT, 2)]
    assert table.to_list() == rows
    assert [table.get("a"), table.get("b")] == rows
    assert table.get_with_timestamp("b") == Timestamped(rows[1], AT)
    assert table.get_with_timestamp("c") is None
    timed = [Timestamped(row, AT) for row in rows]
    assert list(table.scan_with_timestamps()) == timed
    assert list(table.scan_with_timestamps(reverse=True, limit=1)) == timed[:0:-1]
    assert list(table.scan_with_timestamps("a", "b")) == timed[:1]
    assert table.health().skipped == 0
    table.close()
    plain = managers(broker, backend="memory", directory="bytes").bind(name)
    plain.wait_until_ready(60)
    assert plain.get_with_timestamp(records[1][0]) == Timestamped(records[1][1], AT)
    assert dict(plain.scan_with_timestamps()) == dict.fromkeys(records, AT)
