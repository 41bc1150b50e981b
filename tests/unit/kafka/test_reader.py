"""Both readers give and tell the same: the native fetcher, and the ordinary consumer with the apply loop."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, cimpl
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import StoreManager, core
from statestore.core import Folded
from statestore.kafka.reader import (
    BatchLimits,
    BatchReader,
    ConsumerReader,
    Event,
    NativeReader,
    why_not_native,
)

PATIENCE = 60.0
PARTITIONS = 4  # of a topic that librdkafka's mock broker makes

MakeReader = Callable[..., BatchReader]
LIMITS = BatchLimits(records=1 << 40, memory=1 << 20, wait=0.05, idle=0.01, span=1.0)
PROPERTIES: dict[str, Any] = {
    "group.id": "a test",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 10,
    "log_level": 0,
}

WHY_NOT = why_not_native(PROPERTIES)
native_only = pytest.mark.skipif(WHY_NOT is not None, reason=f"no fetcher: {WHY_NOT}")

KINDS = [
    pytest.param(NativeReader, marks=native_only, id="native"),
    pytest.param(ConsumerReader, id="consumer"),
]


class Everything(NamedTuple):
    """What a reader gave until it had told every partition's end."""

    rows: dict[bytes, bytes]
    positions: dict[int, tuple[int, int]]
    counts: tuple[int, ...]
    longest_key: int
    last_timestamp: int
    events: list[Event]


@pytest.fixture(scope="module")
def producer() -> Producer:
    """A producer that is a broker, too: librdkafka's in-process mock."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture(scope="module")
def address(producer: Producer) -> str:
    return ",".join(f"{one.host}:{one.port}" for one in producer.list_topics(timeout=60).brokers.values())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[BatchReader]:
    found: type[BatchReader] = request.param
    return found


@pytest.fixture
def make(kind: type[Any], address: str) -> Iterator[MakeReader]:
    """Make readers that are closed after the test."""
    made: list[BatchReader] = []

    def make_one(limits: BatchLimits = LIMITS, heard: Any = print, **more: Any) -> BatchReader:
        properties = {"bootstrap.servers": address, **PROPERTIES, **more}
        made.append(kind(properties, limits, heard))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


NUMBERS = itertools.count()


def new_topic() -> str:
    return f"topic-{next(NUMBERS)}"


def write(
    producer: Producer, topic: str, *records: tuple[bytes | None, bytes | None], partition: int = 0
) -> None:
    for key, value in records:
        producer.produce(topic, key=key, value=value, partition=partition)
    assert producer.flush(PATIENCE) == 0


def read_until(
    one: BatchReader, done: Callable[[list[Folded], list[Event]], bool]
) -> tuple[list[Folded], list[Event]]:
    deadline = time.monotonic() + PATIENCE
    given_: list[Folded] = []
    events: list[Event] = []
    while not done(given_, events):
        assert time.monotonic() < deadline, f"only {given_} and {events}"
        by_topic, told = one.read()
        given_ += by_topic.values()
        events += told
    return given_, events


def ended(count: int) -> Callable[[list[Folded], list[Event]], bool]:
    return lambda given_, events: sum(one.code == KafkaError._PARTITION_EOF for one in events) >= count


def everything(one: BatchReader, topic: str, positions: Mapping[int, tuple[int, int]]) -> Everything:
    one.assign(topic, positions, {})
    given_, events = read_until(one, ended(len(positions)))
    one.unassign(topic)
    rows: dict[bytes, bytes] = {}
    reached: dict[int, tuple[int, int]] = {}
    for folded in given_:
        rows.update(folded.writes.puts())
        for key in folded.writes.deletes():
            rows.pop(key, None)
        reached.update(folded.positions)
    counts = [(f.records, f.upserts, f.tombstones, f.null_keys, f.stale, f.bytes) for f in given_]
    return Everything(
        rows,
        reached,
        tuple(map(sum, zip(*counts, strict=True))),
        max((f.longest_key for f in given_), default=0),
        max((f.last_timestamp for f in given_), default=-1),
        sorted(events),
    )


# The same records through both

RECORD = st.tuples(
    st.integers(0, PARTITIONS - 1),
    st.none() | st.binary(max_size=3) | st.sampled_from([b"a", b"b", b"k" * 300]),
    st.none() | st.binary(max_size=4) | st.sampled_from([b"v" * 5000]),
    st.sampled_from([0, 1, 1_700_000_000_000]),  # 0: the time of writing
    st.booleans(),
)


@pytest.mark.slow
@native_only
@settings(max_examples=40, deadline=None)
@given(
    records=st.lists(RECORD, max_size=60),
    codec=st.sampled_from(["none", "gzip", "snappy", "lz4", "zstd"]),
    ours=st.sets(st.integers(0, PARTITIONS - 1), min_size=1),
    start=st.integers(0, 3),
)
def test_both_read_the_same(address: str, records: list[Any], codec: str, ours: set[int], start: int) -> None:
    topic = new_topic()
    producer = Producer(
        {"bootstrap.servers": address, "compression.type": codec, "linger.ms": 1, "log_level": 0}
    )
    written = dict.fromkeys(range(PARTITIONS), 0)
    for partition, key, value, timestamp, headed in records:
        if key is not None and partition > 0:
            key = b"%d" % partition + key  # a key of several partitions would have no last write
        headers: Any = {"h": b"1"} if headed else None
        producer.produce(topic, value, key, partition, timestamp=timestamp, headers=headers)
        written[partition] += 1
    producer.list_topics(topic, timeout=PATIENCE)
    assert producer.flush(PATIENCE) == 0
    positions = {number: (min(start, written[number]), -1) for number in ours}
    found = []
    for kind in (NativeReader, ConsumerReader):
        one = kind({"bootstrap.servers": address, **PROPERTIES}, LIMITS, print)
        try:
            found.append(everything(one, topic, positions))
        finally:
            one.close()
    assert found[0] == found[1]
    expected = sum(written[number] - positions[number][0] for number in ours)
    assert sum(found[0].counts[:1]) == expected


def test_a_read_ends_at_its_bounds(kind: type[Any], make: MakeReader, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, *((b"%04d" % number, b"v" * 1000) for number in range(2000)))
    few = make(BatchLimits(records=100, memory=1 << 30, wait=1.0, idle=1.0, span=10.0))
    few.assign(topic, {0: (0, -1)}, {})
    given_, _ = read_until(few, ended(1))
    assert max(one.records for one in given_) == 100
    if kind is ConsumerReader:
        return  # it counts no memory
    small = make(BatchLimits(records=1 << 40, memory=100_000, wait=1.0, idle=1.0, span=10.0))
    small.assign(topic, {0: (0, -1)}, {0: 2000})
    given_, _ = read_until(small, ended(1))
    assert sum(one.records for one in given_) == 2000
    assert len(given_) > 5


def test_partitions_of_others_leave_no_trace(make: MakeReader, producer: Producer) -> None:
    topic = new_topic()
    for number in range(PARTITIONS):
        write(producer, topic, (b"%d" % number, b"v"), partition=number)
    found = everything(make(), topic, {1: (0, -1), 3: (0, -1)})
    assert {event.partition for event in found.events} == found.positions.keys() == {1, 3}
    assert found.rows.keys() == {b"\x011", b"\x013"}


def test_what_is_unassigned_comes_no_more(make: MakeReader, producer: Producer) -> None:
    left, kept = new_topic(), new_topic()
    write(producer, left, (b"a", b"1"))
    write(producer, kept, (b"a", b"1"))
    one = make()
    one.assign(left, {0: (0, -1)}, {})
    one.assign(kept, {0: (0, -1)}, {})
    read_until(one, ended(2))
    one.unassign(left)
    one.unassign(left)
    write(producer, left, (b"b", b"2"))
    write(producer, kept, (b"b", b"2"))
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE
    while kept not in seen:
        assert time.monotonic() < deadline
        seen |= one.read()[0].keys()
    assert seen == {kept}
    one.assign(left, {0: (0, -1)}, {})  # once more, from the start
    given_, _ = read_until(one, lambda given_, _: sum(folded.records for folded in given_) == 2)
    assert given_[-1].positions == {0: (2, 0)}


@native_only
def test_a_read_that_failed_leaves_no_end_behind(
    address: str, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by a later read, it would stand before records that were never applied."""
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    whole = BatchLimits(records=1 << 40, memory=1 << 20, wait=PATIENCE, idle=PATIENCE, span=PATIENCE)
    one = NativeReader({"bootstrap.servers": address, **PROPERTIES}, whole, print)

    def fail(**_fields: object) -> None:
        raise MemoryError("as a test has it")

    try:
        one.assign(topic, {0: (0, -1)}, {})
        with monkeypatch.context() as patched:
            patched.setattr("statestore.core.common.Folded", fail)
            with pytest.raises(MemoryError):  # of the record and of the end after it
                read_until(one, lambda by_topic, _: bool(by_topic))
        one.unassign(topic)
        one._limits = BatchLimits(records=1, memory=1, wait=0.0, idle=0.0, span=0.0)
        assert one.read() == ({}, [])
    finally:
        one.close()


def test_a_position_outside_of_the_log_is_told(make: MakeReader, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    one = make()
    one.assign(topic, {0: (100, -1)}, {})
    _, events = read_until(one, lambda _, events: bool(events))
    assert (events[0].topic, events[0].partition, events[0].code) == (topic, 0, KafkaError._AUTO_OFFSET_RESET)
    assert (events[0].offset, "out of range" in events[0].text) == (100, True)


def test_a_topic_that_is_read_already_is_refused(make: MakeReader, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    one = make()
    one.assign(topic, {0: (0, -1)}, {})
    with pytest.raises((KafkaException, ValueError)):
        one.assign(topic, {0: (0, -1)}, {})
    read_until(one, ended(1))


# What is refused, and what is told of the connection

REFUSED = [
    {"no.such.property": "1"},
    {"fetch.wait.max.ms": "soon"},
    {"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"},
    {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "NONESUCH"},
    {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN"},
]


@native_only
@pytest.mark.parametrize("properties", REFUSED, ids=str)
def test_both_refuse_properties_for_the_same_reason(properties: dict[str, str]) -> None:
    told = []
    for kind in (NativeReader, ConsumerReader):
        with pytest.raises(KafkaException) as refused:
            kind({"bootstrap.servers": "127.0.0.1:1", **PROPERTIES, **properties}, LIMITS, print)
        error = refused.value.args[0]
        told.append((error.code(), error.str()))
    assert told[0] == told[1]


@pytest.mark.parametrize("busy", [True, False], ids=["reading", "idle"])
def test_an_address_where_nobody_answers_is_heard_of(make: MakeReader, busy: bool) -> None:
    heard: list[KafkaError] = []
    one = make(heard=heard.append, **{"bootstrap.servers": "127.0.0.1:1"})
    if busy:
        one.assign("t", {0: (0, -1)}, {})
    deadline = time.monotonic() + PATIENCE
    while KafkaError._ALL_BROKERS_DOWN not in {error.code() for error in heard}:
        assert time.monotonic() < deadline, heard
        if busy:
            one.read()
        else:
            one.poll()
            time.sleep(0.01)
    assert any("127.0.0.1:1" in error.str() for error in heard)


def test_the_log_goes_to_our_logger(make: MakeReader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "statestore.changelog")
    one = make(debug="generic,broker", log_level=7)
    deadline = time.monotonic() + PATIENCE
    while not any("rdkafka#consumer" in record.getMessage() for record in caplog.records):
        assert time.monotonic() < deadline
        one.poll()
        time.sleep(0.01)
    assert {record.levelno for record in caplog.records if "rdkafka#" in record.getMessage()} == {
        logging.DEBUG
    }


# Waking, closing

LONG = BatchLimits(records=1 << 40, memory=1 << 20, wait=1000.0, idle=1000.0, span=1000.0)


@native_only
@pytest.mark.parametrize("arrived", [0, 3], ids=["waiting for a first record", "waiting for another"])
def test_a_wait_is_cut_short(
    address: str, producer: Producer, arrived: int, eventually: Callable[..., None]
) -> None:
    topic = new_topic()
    write(producer, topic, *((b"%d" % number, b"v") for number in range(arrived)))
    producer.list_topics(topic, timeout=PATIENCE)
    properties = {"bootstrap.servers": address, **PROPERTIES, "enable.partition.eof": False}
    one = NativeReader(properties, LONG, print)
    one.assign(topic, {0: (0, -1)}, {})
    counts: list[int] = []

    def read_all() -> None:
        while not counts or sum(counts) < arrived:
            counts.append(sum(folded.records for folded in one.read()[0].values()))

    thread = threading.Thread(target=read_all)
    thread.start()
    reader = NativeReader.read.__code__.co_filename
    eventually(lambda: sys._current_frames()[thread.ident or 0].f_code.co_filename == reader)
    time.sleep(0.3)
    assert thread.is_alive(), "the read did not wait"
    with pytest.raises(RuntimeError, match="one thread at a time"):
        one.close()
    deadline = time.monotonic() + PATIENCE
    while thread.is_alive():
        assert time.monotonic() < deadline
        one.wake()
        thread.join(0.3)
    assert sum(counts) == arrived
    one.wake()  # before a read: that returns at once
    assert one.read() == ({}, [])
    one.close()
    one.wake()


@native_only
def test_an_end_that_is_waited_for_is_told_at_once(address: str, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, (b"a", b"1"), (b"b", b"2"))
    properties = {"bootstrap.servers": address, **PROPERTIES, "enable.partition.eof": False}
    one = NativeReader(properties, LONG, print)
    one.assign(topic, {0: (0, -1), 1: (0, -1)}, {0: 2, 1: None})
    assert one.read()[0][topic].records == 2
    one.close()


@native_only
@pytest.mark.parametrize("ahead", [False, True])
def test_runs_read_ahead_are_sorted_by_the_reader(address: str, producer: Producer, ahead: bool) -> None:
    topic = new_topic()
    write(producer, topic, (b"b", b"1"), (b"a", b"2"), (b"c", b"3"), (b"c", None))
    one = NativeReader({"bootstrap.servers": address, **PROPERTIES}, replace(LONG, read_ahead=ahead), print)
    one.assign(topic, {0: (0, -1)}, {0: 4})
    run: Any = one.read()[0][topic].writes
    one.close()
    told: list[bytes] = []
    if ahead:  # sorting ends a run
        with pytest.raises(RuntimeError, match="no more writes"):
            run.write(b"d", b"4", 0)
    else:
        run.write(b"d", b"4", 0)
    run.feed(lambda key, _: told.append(key), told.append)
    assert told == [b"\1a", b"\1b", b"\1c", *([] if ahead else [b"\1d"])]


def test_a_closed_reader_is_closed(make: MakeReader, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    one = make()
    one.assign(topic, {0: (0, -1)}, {})
    one.close()
    one.close()
    one.wake()
    for call in (one.read, one.poll, lambda: one.assign(topic, {0: (0, -1)}, {})):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_reader_nobody_closes_ends(kind: type[Any], address: str, producer: Producer) -> None:
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    one: BatchReader | None = kind({"bootstrap.servers": address, **PROPERTIES}, LIMITS, print)
    assert one is not None
    one.assign(topic, {0: (0, -1)}, {})
    one.read()
    one = None
    gc.collect()


# Which one it is


@native_only
@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"oauth_cb": lambda _: None}, "oauth_cb is a Python object"),
        ({"stats_cb": print}, "stats_cb is a Python object"),
        ({"default.topic.config": {}}, "default.topic.config is a Python object"),
        ({"plugin.library.paths": "x"}, "plugin.library.paths is a property of confluent_kafka"),
        ({"fetch.wait.max.ms": 1, "a": None, "b": True, "c": "x", "d": 0.5}, None),
    ],
)
def test_what_the_fetcher_cannot_do(properties: dict[str, Any], why: str | None) -> None:
    assert why_not_native({**PROPERTIES, **properties}) == why


@native_only
def test_without_the_library_the_consumer_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cimpl, "__file__", "/no/such/library.so")
    no_api = "librdkafka's C API is not available: "
    assert why_not_native(PROPERTIES) == f"{no_api}/no/such/library.so is not loaded"
    other = importlib.util.find_spec("statestore._native")
    assert other is not None
    monkeypatch.setattr(cimpl, "__file__", other.origin)
    assert why_not_native(PROPERTIES) == f"{no_api}the library has no rd_kafka_version"


def test_without_the_fast_path_the_consumer_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "uses", lambda path: path != "fetcher")
    assert why_not_native(PROPERTIES) is not None


def test_health_tells_which_one_it_is(
    tmp_path: Path, address: str, producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "statestore.changelog")
    topic = new_topic()
    write(producer, topic, (b"a", b"1"))
    native = "native" if WHY_NOT is None else f"consumer: {WHY_NOT}"
    for properties, expected in (
        ({}, native),
        ({"stats_cb": print}, "consumer: stats_cb is a Python object" if native == "native" else native),
    ):
        kafka = {"bootstrap.servers": address, **properties}
        with StoreManager(tmp_path / str(len(properties)), kafka=kafka, backend="memory") as manager:
            assert manager.health().fetcher is None
            table = manager.bind(topic)
            table.wait_until_ready(PATIENCE)
            assert manager.health().fetcher == table.health().fetcher == expected
            assert list(table.scan()) == [(b"a", b"1")]
        assert expected in caplog.text
        caplog.clear()
