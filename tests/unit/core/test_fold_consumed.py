"""The apply loop on records that a real consumer got, from librdkafka's broker in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import ModuleType

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition


@pytest.fixture(scope="module")
def consumed() -> Iterator[list[Message]]:
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for key, value, timestamp in [
        (b"a", b"1", 1_000),
        (b"b", b"2", 2_000),
        (None, b"nobody", 3_000),
        (b"a", None, 4_000),
        (b"b", b"", 5_000),
    ]:
        producer.produce("orders", value, key, partition=0, timestamp=timestamp)
    assert producer.flush(60) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": f"{broker.host}:{broker.port}",
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition("orders", 0, 0)])
        messages: list[Message] = []
        deadline = time.monotonic() + 60
        while len(messages) < 6:
            assert time.monotonic() < deadline, f"only {len(messages)} messages within 30 s"
            messages += consumer.consume(100, timeout=0.1)
        yield messages
    finally:
        consumer.close()


def test_consumed_records_are_folded(core: ModuleType, consumed: list[Message]) -> None:
    tables, events = core.fold(consumed, {("orders", 0): 1}, b"\x01")
    orders = tables["orders"]
    assert orders.writes.puts() == [(b"\x01b", (5_000).to_bytes(8, "big"))]
    assert orders.writes.deletes() == [b"\x01a"]
    assert orders.positions == {0: (5, 0)}
    assert (orders.stale, orders.records, orders.null_keys, orders.last_timestamp) == (1, 4, 1, 5_000)
    (end,) = events
    assert end.error().code() == KafkaError._PARTITION_EOF
    assert end.offset() == 5
