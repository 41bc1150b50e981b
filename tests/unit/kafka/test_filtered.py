"""Topics whose records are decoded before they are applied, through both readers and a dict as the model."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.changelog.long_keys import LongKeys
from statestore.changelog.undecodable import DecodingFilter, SkipLog, SkippedRecord, located
from statestore.core import Folded, KeyLimit, RecordFilter, RejectedRecord
from statestore.errors import DecodeError, UnreachableRegistryError
from statestore.kafka.read_ahead import ReadAhead
from statestore.kafka.reader import BatchLimits, BatchReader, ConsumerReader, NativeReader, why_not_native

PATIENCE = 60.0
LIMITS = BatchLimits(records=1 << 40, memory=1 << 20, wait=0.02, idle=0.01, span=1.0)
PROPERTIES: dict[str, Any] = {
    "group.id": "a test",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 10,
    "log_level": 0,
}
NUMBERS = itertools.count()

MakeReader = Callable[[], BatchReader]


@pytest.fixture(scope="module")
def producer() -> Producer:
    """A producer that is a broker, too: librdkafka's in-process mock."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            kind,
            marks=[]
            if kind == "consumer"
            else pytest.mark.skipif(bool(why_not_native(PROPERTIES)), reason="no fetcher"),
        )
        for kind in ("native", "ahead", "consumer")
    ],
)
def make(request: pytest.FixtureRequest, producer: Producer) -> MakeReader:
    """Make readers of each kind."""
    brokers = producer.list_topics(timeout=60).brokers.values()
    properties = {
        "bootstrap.servers": ",".join(f"{one.host}:{one.port}" for one in brokers),
        **PROPERTIES,
    }

    def make_one() -> BatchReader:
        if request.param == "consumer":
            return ConsumerReader(properties, LIMITS, print)
        native = NativeReader(properties, LIMITS, print)
        return native if request.param == "native" else ReadAhead(native, "a test's")

    return make_one


def decode(key: bytes, value: bytes) -> None:
    if key == b"badkey" or value.startswith(b"bad"):
        raise DecodeError(f"{value!r} is bad")
    if value == b"unknown":
        raise UnreachableRegistryError("http://registry", "t-value", "away")


class Applied:
    """A table as a lane would keep it, by the dict."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.position = 0
        self.skipped = 0
        self.long_keys = 0
        self.last: RejectedRecord | None = None

    def read(
        self,
        one: BatchReader,
        topic: str,
        end: int,
        record_filter: RecordFilter | None,
        key_limit: KeyLimit | None = None,
    ) -> RejectedRecord | None:
        """Read on until ``end``, or until the filter stops the topic; return where."""
        one.assign(topic, {0: (self.position, -1)}, {0: end}, record_filter, key_limit)
        deadline = time.monotonic() + PATIENCE
        stopped = None
        try:
            while self.position < end and stopped is None:
                assert time.monotonic() < deadline, f"stands at {self.position} of {end}"
                by_topic, _ = one.read()
                for name, folded in by_topic.items():
                    assert name == topic
                    self.apply(folded)
                    stopped = stopped or folded.stopped
            if stopped is not None:  # there is nothing after it, not even an end
                for _ in range(3):
                    assert one.read() == ({}, [])
        finally:
            one.unassign(topic)
        return stopped

    def apply(self, folded: Folded) -> None:
        self.rows.update((key[1:], value[8:]) for key, value in folded.writes.puts())
        for key in folded.writes.deletes():
            self.rows.pop(key[1:], None)
        self.position = folded.positions.get(0, (self.position, -1))[0]
        self.skipped += folded.skipped
        self.long_keys += folded.long_keys
        self.last = folded.last_skipped or self.last


KEYS = st.sampled_from([b"a", b"b", b"c"])
GOOD = st.tuples(KEYS, st.sampled_from([b"1", b"22", b""]))
BAD = st.tuples(KEYS, st.sampled_from([b"bad", b"bad2"])) | st.just((b"badkey", b"1"))
TOMBSTONE = st.tuples(KEYS, st.none())
RECORDS = st.lists(GOOD | GOOD | BAD | TOMBSTONE | st.just((b"badkey", None)), min_size=1, max_size=40)

Records = list[tuple[bytes, bytes | None]]


def is_bad(key: bytes, value: bytes | None) -> bool:
    return value is not None and (key == b"badkey" or value.startswith(b"bad"))


def fold_of(records: Records) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for key, value in records:
        if value is None:
            rows.pop(key, None)
        elif not is_bad(key, value):
            rows[key] = value
    return rows


def written(producer: Producer, records: Records) -> str:
    topic = f"checked-{next(NUMBERS)}"
    for key, value in records:
        producer.produce(topic, key=key, value=value, partition=0, timestamp=1_700_000_000_000)
    assert producer.flush(PATIENCE) == 0
    return topic


@settings(max_examples=10, deadline=None)
@given(records=RECORDS, cut=st.integers(0, 40))
def test_skipping_leaves_the_fold_of_what_decodes(
    make: MakeReader, producer: Producer, records: Records, cut: int
) -> None:
    topic = written(producer, records)
    one, table, record_filter = make(), Applied(), DecodingFilter(decode, skip=True)
    try:
        # In two parts, the second from where the first left off: as after a restart.
        table.read(one, topic, min(cut, len(records)), record_filter)
        assert table.read(one, topic, len(records), record_filter) is None
    finally:
        one.close()
    bad = [offset for offset, record in enumerate(records) if is_bad(*record)]
    assert table.rows == fold_of(records)
    assert (table.position, table.skipped) == (len(records), len(bad))
    assert (table.last.offset if table.last else None) == (bad[-1] if bad else None)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(records=RECORDS)
def test_failing_stops_before_the_first_bad_record_each_time(
    make: MakeReader, producer: Producer, records: Records
) -> None:
    topic = written(producer, records)
    first = next((offset for offset, record in enumerate(records) if is_bad(*record)), len(records))
    one, table, record_filter = make(), Applied(), DecodingFilter(decode, skip=False)
    try:
        for _ in range(2):  # and again after a restart
            stopped = table.read(one, topic, len(records), record_filter)
            assert table.position == first
            assert table.rows == fold_of(records[:first])
            if first == len(records):
                assert stopped is None
                return
            assert stopped is not None
            assert (stopped.partition, stopped.offset, stopped.key) == (0, first, records[first][0])
            assert stopped.timestamp == 1_700_000_000_000
            assert isinstance(stopped.error, DecodeError)
        assert table.read(one, topic, len(records), None) is None, "what was wrong is right now"
        assert table.position == len(records)
    finally:
        one.close()


@pytest.mark.parametrize("decodes", [True, False])
def test_long_keys_are_skipped_or_stop_the_topic(make: MakeReader, producer: Producer, decodes: bool) -> None:
    records: Records = [
        (b"a", b"1"),
        (b"long", None),
        (b"long", b"1"),
        (b"b", b"bad"),
        (b"b", b"2"),
        (b"longer", b"bad"),
        (b"longer", None),
        (b"a", None),
        (b"c", b"3"),
    ]
    topic = written(producer, records)
    judge = DecodingFilter(decode, skip=True) if decodes else None
    one, table = make(), Applied()
    try:
        for _ in range(2):  # and again after a restart
            stopped = table.read(one, topic, 9, judge, LongKeys("T", "lmdb", 3, skip=False))
            assert stopped is not None
            assert (stopped.partition, stopped.offset, stopped.key, table.position) == (0, 2, b"long", 2)
            assert "key of 4 bytes is longer than the 3 that table 'T' (backend 'lmdb')" in str(stopped.error)
        assert table.rows == {b"a": b"1"}
        assert table.read(one, topic, 9, judge, LongKeys("T", "lmdb", 3, skip=True)) is None
        assert table.rows == {b"b": b"2", b"c": b"3"}
        assert (table.position, table.skipped, table.long_keys) == (9, 2 + decodes, 4)
    finally:
        one.close()


def test_what_cannot_be_judged_is_never_skipped(make: MakeReader, producer: Producer) -> None:
    records: Records = [(b"a", b"1"), (b"a", b"bad"), (b"a", b"unknown"), (b"b", b"2"), (b"a", b"bad")]
    topic = written(producer, records)
    one, table = make(), Applied()
    try:
        for _ in range(2):
            stopped = table.read(one, topic, 5, DecodingFilter(decode, skip=True))
            assert isinstance(stopped and stopped.error, UnreachableRegistryError)
            assert (table.position, table.rows, table.skipped) == (2, {b"a": b"1"}, 1)

        def answered(key: bytes, value: bytes) -> None:
            decode(key, b"known" if value == b"unknown" else value)

        answering = DecodingFilter(answered, skip=True)
        assert table.read(one, topic, 5, answering) is None
        assert (table.position, table.rows) == (5, {b"a": b"unknown", b"b": b"2"})
    finally:
        one.close()


def test_other_topics_of_the_reader_go_on(make: MakeReader, producer: Producer) -> None:
    stopping = written(producer, [(b"a", b"1"), (b"a", b"bad"), (b"b", b"2")])
    other = written(producer, [(b"a", b"bad"), (b"b", b"2")])
    one = make()
    rows: dict[str, int] = {}
    try:
        one.assign(stopping, {0: (0, -1)}, {}, DecodingFilter(decode, skip=False))
        one.assign(other, {0: (0, -1)}, {})
        deadline = time.monotonic() + PATIENCE
        while rows != {stopping: 1, other: 2}:
            assert time.monotonic() < deadline, rows
            for name, folded in one.read()[0].items():
                rows[name] = rows.get(name, 0) + folded.records
        written_more = [(b"c", b"3")]
        for name in (stopping, other):
            for key, value in written_more:
                producer.produce(name, key=key, value=value, partition=0)
        assert producer.flush(PATIENCE) == 0
        while rows[other] == 2:
            assert time.monotonic() < deadline, rows
            for name, folded in one.read()[0].items():
                rows[name] += folded.records
        assert rows == {stopping: 1, other: 3}
    finally:
        one.close()


# What is told of it


def rejected(offset: int = 7, **changed: Any) -> RejectedRecord:
    fields: dict[str, Any] = {"key": b"k", "timestamp": 0, "error": DecodeError("no"), "stops": False}
    return RejectedRecord(partition=3, offset=offset, **{**fields, **changed})


def test_a_refused_record_is_located() -> None:
    assert located("t", rejected()) == "t [3] @ 7, key b'k', 1970-01-01T00:00:00.000+00:00: no"
    assert located("t", rejected(timestamp=-1)) == "t [3] @ 7, key b'k', no timestamp: no"
    assert "9223372036854775807 ms since 1970" in located("t", rejected(timestamp=(1 << 63) - 1))
    long = located("t", rejected(key=b"k" * 100_000))
    assert "(100000 bytes)" in long
    assert len(long) < 300


def test_a_crowd_of_skipped_records_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "statestore.changelog")
    skips = SkipLog("table 'x'", "t")
    assert skips.report() is None
    for offset in range(100):
        skips.add(10, rejected(offset))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("table 'x': 10 records skipped; the last is t [3] @ 0")
    assert skips.report() == SkippedRecord(3, 99, 0, "no")
