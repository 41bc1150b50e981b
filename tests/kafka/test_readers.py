"""Both readers on a real broker: transactions, aborted ones too, and a log with gaps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from statestore.kafka.reader import BatchLimits, ConsumerReader, Event, NativeReader, why_not_native
from statestore.testing.kafka import FILLER_KEY, Broker

pytestmark = pytest.mark.kafka

LIMITS = BatchLimits(records=1 << 40, memory=1 << 20, wait=0.05, idle=0.01, span=1.0)
PROPERTIES: dict[str, Any] = {
    "group.id": "a test",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 10,
}

Found = tuple[dict[bytes, bytes], tuple[int, int], list[int], list[Event]]


def read_whole(kind: type[Any], broker: Broker, topic: str) -> Found:
    """Return rows, position, counts and events of the topic's one partition."""
    one = kind({"bootstrap.servers": broker.bootstrap, **PROPERTIES}, LIMITS, print)
    try:
        one.assign(topic, {0: (0, -1)}, {})
        rows: dict[bytes, bytes] = {}
        position = (0, -1)
        counts = [0, 0, 0, 0]
        ends: list[Event] = []
        deadline = time.monotonic() + 60
        while not ends:
            assert time.monotonic() < deadline
            by_topic, ends = one.read()
            for folded in by_topic.values():
                rows.update(folded.writes.puts())
                for key in folded.writes.deletes():
                    rows.pop(key, None)
                position = folded.positions[0]
                found = (folded.records, folded.tombstones, folded.stale, folded.bytes)
                counts = [sum(pair) for pair in zip(counts, found, strict=True)]
        return rows, position, counts, ends
    finally:
        one.close()


@pytest.mark.skipif(why_not_native(PROPERTIES) is not None, reason="there is no fetcher to compare")
def test_transactions_and_gaps_are_read_alike(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"})
    broker.produce(name, [(b"%d" % (number % 7), b"%d" % number) for number in range(500)])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions(60)
    for ending in (producer.commit_transaction, producer.abort_transaction) * 2:
        producer.begin_transaction()
        for number in range(10):
            producer.produce(name, key=b"t%d" % number, value=ending.__name__.encode())
        producer.produce(name, key=b"1", value=None)
        assert producer.flush(60) == 0  # an abort would drop what was not sent
        ending(60)
    before = read_whole(NativeReader, broker, name)
    assert before == read_whole(ConsumerReader, broker, name)
    rows, (position, _), (records, *_), (end,) = before
    assert rows[b"\x01t3"].endswith(b"commit_transaction")
    assert b"\x011" not in rows
    assert records == 500 + 2 * 11
    assert (end.code, end.offset) == (KafkaError._PARTITION_EOF, 500 + 4 * 12)
    assert position < end.offset, "the last marker is no record"
    broker.force_compaction(name)
    after = read_whole(NativeReader, broker, name)
    assert after == read_whole(ConsumerReader, broker, name)
    assert after[2][0] < records, "nothing was compacted away"
    assert {key: value for key, value in after[0].items() if key != b"\x01" + FILLER_KEY} == rows
