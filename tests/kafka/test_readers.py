"""Both readers on a real broker: transactions, aborted ones too, and a log with gaps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from statestore.kafka.reader import (
    DIVIDED,
    BatchLimits,
    BatchReader,
    ConsumerReader,
    Event,
    NativeReader,
    why_not_native,
)
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


NATIVE_ONLY = pytest.mark.skipif(why_not_native(PROPERTIES) is not None, reason="there is no fetcher")
KINDS = [
    pytest.param(NativeReader, marks=NATIVE_ONLY, id="native"),
    pytest.param(ConsumerReader, id="consumer"),
]
SMALL = BatchLimits(records=4_000, memory=512 << 10, wait=0.1, idle=0.001, span=0.05)
ROWS = 20


@pytest.fixture(params=KINDS)
def follower(request: pytest.FixtureRequest, broker: Broker, topic: Callable[..., str]) -> Any:
    """Return the name of a fresh topic and a maker of readers of it, which follow from its beginning."""
    name = topic()
    broker.create_topic(name)
    made: list[BatchReader] = []

    def make(limits: BatchLimits = SMALL, ends: int = 0) -> BatchReader:
        made.append(request.param({"bootstrap.servers": broker.bootstrap, **PROPERTIES}, limits, print))
        made[-1].assign(name, {0: (0, -1)}, {0: ends})
        return made[-1]

    yield name, make
    for one in made:
        one.close()


class Writer:
    """Writes transactions, each of which gives all rows another number; a row without one lies between."""

    def __init__(self, broker: Broker, topic: str, size: int) -> None:
        self.topic, self.size = topic, size
        self.plain = Producer({"bootstrap.servers": broker.bootstrap})
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
        self.producer.init_transactions(60)

    def write(self, number: int, commits: bool = True) -> None:
        self.producer.begin_transaction()
        for row in range(ROWS):
            self.producer.produce(self.topic, b"%06d" % number + os.urandom(self.size), b"row %d" % row)
            if row == ROWS // 2:
                self.plain.produce(self.topic, b"%06d" % number, b"plain")
                self.plain.poll(0)
        assert self.producer.flush(60) == 0  # an abort would drop what was not sent
        (self.producer.commit_transaction if commits else self.producer.abort_transaction)(60)

    def write_many(self, count: int, first: int = 0) -> threading.Thread:
        """Write transactions without a pause between them, every fourth of which is aborted."""

        def run() -> None:
            for number in range(first, first + count):
                self.write(number, number % 4 != 2)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def numbers_seen(reader: BatchReader, until: Callable[[dict[bytes, bytes], list[Event]], bool]) -> list[Any]:
    """Apply what is read until ``until`` holds; return the sets of numbers that the rows had on the way."""
    rows: dict[bytes, bytes] = {}
    told: list[Event] = []
    seen = []
    deadline = time.monotonic() + 60
    while not until(rows, told):
        assert time.monotonic() < deadline, f"only {sorted(rows)} and {told}"
        by_topic, events = reader.read()
        told += events
        for folded in by_topic.values():
            rows.update((key[1:], payload[8:14]) for key, payload in folded.writes.puts())
        found = [number for key, number in rows.items() if key != b"plain"]
        if by_topic:
            seen.append((len(found), set(found)))
    return seen


def test_transactions_are_given_whole(broker: Broker, follower: Any) -> None:
    name, make = follower
    writer = Writer(broker, name, 60_000)  # 1.2 MB each, more than a fetch and more than a batch
    reader = make()
    writer.write(0)
    # The first one may be cut where its second fetch takes long: no transaction is known of yet.
    numbers_seen(reader, lambda rows, _: len(rows) == ROWS + 1)
    seen: list[Any] = []
    for first in range(0, 80, 8):
        thread = writer.write_many(8, first=first)
        last = b"%06d" % (first + 7)
        seen += numbers_seen(reader, lambda rows, _, last=last: rows.get(b"row 0") == last)  # type: ignore[misc]
        thread.join(60)
        if len(seen) > 3:  # a reader on a busy machine takes several transactions at once
            break
    assert [one for one in seen if one[0] not in (0, ROWS) or len(one[1]) > 1] == []
    assert len(seen) > 3


def test_a_restore_ends_where_no_transaction_is_cut(broker: Broker, follower: Any) -> None:
    name, make = follower
    writer = Writer(broker, name, 20_000)
    for number in range(4):
        writer.write(number)
    end = broker.end_offsets(name)[0]
    writer.write_many(6, first=4).join(60)
    seen = numbers_seen(make(SMALL, end), lambda _, told: bool(told))
    assert seen[-1] == (ROWS, {b"000009"})
    past_the_end = [numbers for _, numbers in seen if max(numbers) > b"000003"]
    assert all(len(numbers) == 1 for numbers in past_the_end)


def test_a_transaction_that_is_larger_than_what_is_held_back_is_told(broker: Broker, follower: Any) -> None:
    name, make = follower
    writer = Writer(broker, name, 60_000)
    reader = make(replace(SMALL, held=200_000))
    if isinstance(reader, ConsumerReader):
        return  # it takes all of the transaction at once, and its end with it
    told: list[Event] = []

    def until(rows: dict[bytes, bytes], events: list[Event]) -> bool:
        told[:] = [one for one in events if one.code == DIVIDED]
        return rows.get(b"row 19") == b"%06d" % number

    for number in range(20):
        writer.write(number)
        numbers_seen(reader, until)
        if told:  # a reader that comes late takes a whole transaction at once
            break
    assert told
    assert all(one[:2] == (name, 0) for one in told)


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
    for _ in range(20):  # the log may be compacted once more between the two
        after = read_whole(NativeReader, broker, name)
        if after == read_whole(ConsumerReader, broker, name):
            break
    assert after == read_whole(ConsumerReader, broker, name)
    assert after[2][0] < records, "nothing was compacted away"
    assert {key: value for key, value in after[0].items() if key != b"\x01" + FILLER_KEY} == rows
