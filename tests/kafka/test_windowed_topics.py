"""Topics that Kafka Streams writes for windows: what their mirrors hold is what its own stores answer.

A real application (``streams/WindowedAggregates.java``) aggregates some hundred records in tumbling, hopping,
sliding and session windows, with and without caches, suppressed and not, and prints what its interactive
queries answer.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from statestore import (
    EventTime,
    F,
    Hopping,
    Key,
    StoreManager,
    WindowEnd,
    WindowStart,
    WindowTable,
    entity,
)
from statestore.testing.kafka import Broker
from statestore.testing.kafka.maven import BrokerUnavailableError, find_java, streams_jars
from statestore.testing.kafka.topics import COMPACT

pytestmark = pytest.mark.kafka

JAVA = Path(__file__).parent / "streams" / "WindowedAggregates.java"
MINUTE = 60_000
# As in the Java program.
SIZE, GRACE, SHORT_RETENTION = 5 * MINUTE, 2 * MINUTE, 30 * MINUTE

# "A" with two more zero bytes and a start sorts among the windows of "A".
SYMBOLS = ("A", "AB", "A\0\0", "grüße", "", "B")
PARTITIONS = 2
SPAN = 90 * MINUTE
"""From the first record to the last one of each partition, which closes all windows but its own."""

Managers = Callable[..., StoreManager]

STORES = ("tumbling", "hopping", "sliding", "sessions")
SINKS = (*STORES, "tumbling-suppressed", "sessions-suppressed")


class Row(NamedTuple):
    """What Kafka Streams answers of one key and window; times are in ms."""

    symbol: str
    start: int
    end: int
    value: str
    timestamp: int | None


@dataclass(frozen=True)
class Streams:
    """The application after its end."""

    id: str
    first: int
    """Time of the first record, in ms."""
    rows: dict[str, list[Row]]
    """What each of its stores held."""

    def topic(self, name: str) -> str:
        return f"{self.id}-{name}"

    def final(self, store: str) -> list[Row]:
        """The rows of a store whose windows are closed."""
        gap = SIZE if store.startswith("sessions") else 0
        return [row for row in self.rows[store] if row.end + gap + GRACE <= self.first + SPAN]


@pytest.fixture(scope="module")
def streams(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    """The application, which has read its records and ended. Its topics are deleted after the last test."""
    try:
        classpath = f"{streams_jars()}/*"
    except BrokerUnavailableError as error:
        pytest.skip(f"no broker: {error}")
    name = f"streams.{uuid4().hex[:8]}"
    sinks = [f"{name}-{sink}{cached}-sink" for sink in SINKS for cached in ("", "-cached")]
    topics = [NewTopic(one, PARTITIONS, config=dict(COMPACT)) for one in [*sinks, f"{name}-closing-sink"]]
    # The times of its records are hours ago: they may not be deleted by age.
    topics.append(NewTopic(name, PARTITIONS, config={"retention.ms": "-1"}))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    made = admin.create_topics(topics)
    for created in made.values():
        created.result(60)
    first = (int(time.time()) // 3600 - 3) * 60 * MINUTE
    produce(broker, name, first)
    keys = ",".join(symbol.encode().hex() for symbol in symbols())
    directory = tmp_path_factory.mktemp("streams")
    program = [find_java(), "-Dlog4j2.level=ERROR", "-cp", classpath, str(JAVA)]
    run = subprocess.run(
        [*program, broker.bootstrap, name, name, str(directory), keys],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    yield Streams(name, first, read_rows(run.stdout))
    left = [one for one in admin.list_topics(timeout=60).topics if one.startswith(name)]
    for deleted in admin.delete_topics(left).values():
        deleted.result(60)


def symbols() -> list[str]:
    return [*SYMBOLS, *(f"closing{partition}" for partition in range(PARTITIONS))]


def produce(broker: Broker, topic: str, first: int) -> None:
    """Write records 20 s apart: some out of order, some twice, some so late that their windows are closed."""
    drawn = random.Random(7)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(240):
        late = drawn.choice([0, 0, 30_000, 100_000, 25 * MINUTE, -1, -999])
        value = "delete" if drawn.random() < 0.08 else str(drawn.randrange(100))
        symbol = drawn.choice(SYMBOLS)
        at = max(first, first + number * 20_000 - late)
        producer.produce(topic, value, symbol.encode(), len(symbol) % PARTITIONS, timestamp=at)
        if number % 10 == 9:
            producer.produce(topic, "1000", symbol.encode(), len(symbol) % PARTITIONS, timestamp=at)
    for partition in range(PARTITIONS):
        producer.produce(topic, "0", f"closing{partition}".encode(), partition, timestamp=first + SPAN)
    assert producer.flush(60) == 0


def read_rows(printed: str) -> dict[str, list[Row]]:
    """Read what the application printed, between which it may have logged."""
    rows: dict[str, list[Row]] = {}
    for line in printed.splitlines():
        if line.count("\t") != 5:
            continue
        store, key, start, end, value, timestamp = line.split("\t")
        row = Row(bytes.fromhex(key).decode(), int(start), int(end), value, int(timestamp or -1))
        rows.setdefault(store, []).append(row._replace(timestamp=None) if not timestamp else row)
    return rows


def record_key(row: Row, form: str) -> bytes:
    """The key of a row's record in a topic of the form "sink", "changelog" or "sessions"."""
    key = row.symbol.encode()
    if form == "sessions":
        return key + struct.pack(">qq", row.end, row.start)
    return key + struct.pack(">q", row.start) + struct.pack(">i", 0) * (form == "changelog")


@pytest.mark.parametrize(
    ("store", "topic", "form"),
    [
        ("tumbling", "changelog", "changelog"),
        ("hopping", "sink", "sink"),
        ("sessions", "changelog", "sessions"),
        ("sessions", "sink", "sessions"),
    ],
)
def test_the_keys_of_records_are_laid_out_as_documented(
    store: str, topic: str, form: str, streams: Streams, broker: Broker
) -> None:
    left: dict[bytes, str] = {}
    for partition in range(PARTITIONS):
        for message in broker.read(streams.topic(f"{store}-{topic}"), partition):
            key, value = message.key() or b"", message.value()
            left[key] = "" if value is None else value.decode()
    expected = {record_key(row, form): row.value for row in streams.rows[store]}
    assert {key: value for key, value in left.items() if value} == expected
    assert len(expected) == len(streams.rows[store]) < len(left), "tombstones were written, too"


@dataclass(frozen=True)
class Case:
    """A topic of the application, and the rows that its mirror must have."""

    topic: str
    store: str
    closed: bool = False
    """Only the rows whose windows are closed are in the topic."""

    @property
    def kind(self) -> str:
        """What the store's windows are."""
        return self.store.partition("-")[0]

    def rows(self, streams: Streams) -> list[Row]:
        return sorted(streams.final(self.store) if self.closed else streams.rows[self.store])


CASES = [
    *(
        Case(f"{store}{cached}-{topic}", store + cached)
        for store in STORES
        for cached in ("", "-cached")
        for topic in ("changelog", "sink")
    ),
    *(
        Case(f"{store}-suppressed{cached}-sink", store + cached, closed=True)
        for store in ("tumbling", "sessions")
        for cached in ("", "-cached")
    ),
    Case("closing-sink", "closing", closed=True),
    Case("tumbling-short-changelog", "tumbling-short"),
    Case("sessions-short-changelog", "sessions-short"),
]
ONE_OF_EACH = [
    one
    for one in CASES
    if one.topic in ("hopping-changelog", "tumbling-short-changelog", "sessions-sink", "sliding-sink")
]


def entity_of(case: Case, streams: Streams) -> Any:
    """Declare the class of one topic."""
    windows: Any = {"sessions": "sessions", "hopping": [Hopping(5, 1)]}.get(case.kind, ["5min"])
    retention = 24 * 60 * MINUTE if not case.store.endswith("-short") else SHORT_RETENTION

    @entity(
        topic=streams.topic(case.topic),
        store_name=case.topic.replace("-", "_"),
        key_format="kafka",
        value_format="json",
        windows=windows,
        window_layout="changelog" if case.topic.endswith("changelog") else "sink",
        retention=timedelta(milliseconds=retention),
    )
    @dataclass(frozen=True)
    class Sums:
        symbol: Annotated[str, Key]
        count: int
        total: int
        at: Annotated[datetime, EventTime]
        start: Annotated[datetime, WindowStart]
        end: Annotated[datetime, WindowEnd]

    return Sums


def row_of(sums: Any, kind: str) -> Row:
    """Return what Kafka Streams would print of a row of a mirror."""
    value = json.dumps({"count": sums.count, "total": sums.total}, separators=(",", ":"))
    timestamp = None if kind == "sessions" else milliseconds(sums.at)
    return Row(sums.symbol, milliseconds(sums.start), milliseconds(sums.end), value, timestamp)


def milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def mirrors(
    streams: Streams, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, WindowTable[Any]]]:
    """The mirror of each topic, ready."""
    path = tmp_path_factory.mktemp("mirrors")
    with StoreManager(path, kafka=broker.bootstrap, backend="memory") as manager:
        tables = {one.topic: manager.bind(entity_of(one, streams)) for one in CASES}
        manager.wait_until_ready(timeout=60)
        yield {topic: table.window() for topic, table in tables.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.topic)
def test_a_mirror_has_the_rows_of_the_store(
    case: Case, streams: Streams, mirrors: dict[str, WindowTable[Any]]
) -> None:
    expected = case.rows(streams)
    assert len(expected) > 10
    table = mirrors[case.topic]
    assert sorted(row_of(one, case.kind) for one in table) == expected
    assert len(table) == len(expected)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda one: one.topic)
def test_rows_are_read_by_key_and_time_as_the_store_has_them(
    case: Case, streams: Streams, mirrors: dict[str, WindowTable[Any]]
) -> None:
    table = mirrors[case.topic]
    is_session = case.kind == "sessions"
    of_symbol: dict[str, list[Row]] = {}
    for row in sorted(case.rows(streams), key=lambda one: (one.end, one.start)):
        of_symbol.setdefault(row.symbol, []).append(row)
    assert len(of_symbol) > 4

    def rows(found: Any) -> list[Row]:
        return [row_of(one, case.kind) for one in found]

    for symbol, expected in of_symbol.items():
        assert rows(table.fetch(symbol)) == expected
        assert rows(table.fetch(symbol, reverse=True)) == expected[::-1]
        assert rows([table.latest(symbol)]) == expected[-1:]
        low, high = expected[len(expected) // 3].start, expected[-1].start
        between = [one for one in expected if low <= one.start < high]
        assert rows(table.fetch(symbol, start=low, stop=high)) == between
        for row in expected:
            end = row.end if is_session else None
            assert rows([table.get(symbol, start=row.start, end=end)]) == [row]
    low = streams.first + 70 * MINUTE
    late = [one for one in case.rows(streams) if one.start >= low]
    assert late
    assert sorted(rows(table.fetch_all(start=low))) == late
    assert sorted(rows(table.where(F.start >= datetime.fromtimestamp(low / 1000, UTC)).to_list())) == late
    assert table.get("C", start=low, end=low if is_session else None) is None
    assert table.latest("C") is None


def test_one_class_has_windows_of_several_topics(
    streams: Streams, broker: Broker, managers: Managers
) -> None:
    hopping = Hopping(5, 1)

    @entity(
        topic="sums",
        key_format="kafka",
        value_format="json",
        windows=[5, hopping],
        window_layout="changelog",
        window_topics={
            5: streams.topic("tumbling-changelog"),
            hopping: streams.topic("hopping-changelog"),
        },
        retention=timedelta(milliseconds=SHORT_RETENTION),
    )
    @dataclass(frozen=True)
    class Sums:
        symbol: Annotated[str, Key]
        total: int
        start: Annotated[int, WindowStart]

    table = managers(broker).bind(Sums)
    table.wait_until_ready(60)
    assert [one.label for one in table.windows] == ["5min", "5min_by_1min"]
    for spec, store in ((5, "tumbling"), (hopping, "hopping")):
        of_store = [row for row in streams.rows[store] if row.start > streams.first + SPAN - SHORT_RETENTION]
        expected = {Sums(row.symbol, json.loads(row.value)["total"], row.start) for row in of_store}
        window = table.window(spec)
        assert set(window) == expected
        assert window.stats().newest == max(row.start for row in of_store)


def test_rows_of_a_joins_store_are_told_apart_by_their_numbers(
    streams: Streams, broker: Broker, managers: Managers
) -> None:
    store = "join-this-join-store"

    @entity(
        topic=streams.topic(f"{store}-changelog"),
        key_format="kafka",
        value_format="kafka",
        windows=["5min"],
        window_layout="changelog",
        retention=timedelta(minutes=22),
    )
    @dataclass(frozen=True)
    class Joined:
        symbol: Annotated[str, Key]
        text: str
        start: Annotated[int, WindowStart]

    table = managers(broker).bind(Joined).window()
    table.wait_until_ready(60)
    of_key: dict[tuple[str, int], list[str]] = {}
    for row in streams.rows[store]:
        of_key.setdefault((row.symbol, row.start), []).append(row.value)
    assert sorted((one.symbol, one.start, one.text) for one in table) == sorted(
        (row.symbol, row.start, row.value) for row in streams.rows[store]
    )
    assert max(map(len, of_key.values())) > 1, "no two records of one key and time"
    for (symbol, start), texts in of_key.items():
        assert [one.text for one in table.fetch(symbol, start=start, stop=start + 1)] == texts
        assert table.get(symbol, start=start) == Joined(symbol, texts[-1], start)


def test_a_mirror_on_disk_has_them_after_a_restart_too(
    streams: Streams, broker: Broker, managers: Managers, persistent: str
) -> None:
    for _ in range(2):
        manager = managers(broker, backend=persistent)
        tables = [(case, manager.bind(entity_of(case, streams)).window()) for case in ONE_OF_EACH]
        manager.wait_until_ready(timeout=60)
        for case, table in tables:
            assert sorted(row_of(one, case.kind) for one in table) == case.rows(streams)
        manager.close()
