"""A year of real flights through the library: every row is what plain Python makes of the same records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, Message, Producer
from flights_data import Flight, FlightRecord, changelog, latest_by_aircraft, read_flights

from statestore import StoreManager, TableHealth, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka(seconds=8)

NewTopic = Callable[..., str]
Rows = dict[str, tuple[Any, ...]]

FLIGHTS, AIRCRAFT, UNKNOWN_AIRCRAFT = 336_776, 4_043, 2_512
TEN_YEARS = str(10 * 365 * 86_400_000)
READY_TIMEOUT = 60


class Year(NamedTuple):
    records: Sequence[FlightRecord]
    rows: Rows


@pytest.fixture(scope="module")
def year() -> Year:
    flights = read_flights()
    rows = {key: astuple(flight) for key, flight in latest_by_aircraft(flights).items()}
    records = list(changelog(flights))
    assert len(records) == FLIGHTS
    assert len(rows) == AIRCRAFT
    return Year(records, rows)


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
def test_table_equals_the_fold_in_plain_python(
    backend: str, broker: Broker, topic: NewTopic, year: Year, tmp_path: Path
) -> None:
    name = topic("flights")
    write(broker, name, year.records)

    rows, health = mirror(broker, name, backend, tmp_path / "before")
    assert rows == year.rows
    assert (health.records, health.null_keys) == (FLIGHTS, UNKNOWN_AIRCRAFT)

    rows, health = mirror(broker, name, backend, tmp_path / "before")
    assert rows == year.rows
    assert health.records == (FLIGHTS if backend == "memory" else 0)

    broker.force_compaction(name)

    rows, health = mirror(broker, name, backend, tmp_path / "before")
    assert rows == year.rows, "the store from before the compaction goes on after it"

    rows, health = mirror(broker, name, backend, tmp_path / "after")
    assert rows == year.rows, "a new store begins in the compacted log"
    assert AIRCRAFT <= health.records < FLIGHTS
    assert health.null_keys == 0, "compaction removes records without a key"

    rows, health = mirror(broker, name, backend, tmp_path / "after")
    assert rows == year.rows
    assert backend == "memory" or health.records == 0


def mirror(broker: Broker, topic: str, backend: str, directory: Path) -> tuple[Rows, TableHealth]:
    """Bind the topic, and return every row and the table's health once it is ready."""

    @entity(topic=topic)
    @dataclass(frozen=True, slots=True)
    class LatestFlight(Flight):
        pass

    with StoreManager(directory, kafka=broker.bootstrap, backend=backend) as stores:
        table = stores.bind(LatestFlight)
        table.wait_until_ready(READY_TIMEOUT)
        rows = {row.tail_number: astuple(row) for row in table}
        assert table.count() == len(rows)
        return rows, table.health()


def write(broker: Broker, topic: str, records: Sequence[FlightRecord]) -> None:
    # A compacted topic takes no record without a key, so it is compacted only once it is written. Until then
    # it keeps records of 2013, in one segment: a rolled one could be compacted before the test says so.
    config = {"cleanup.policy": "delete", "retention.ms": "-1", "segment.ms": TEN_YEARS}
    broker.create_topic(topic, partitions=4, config=config)
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "queue.buffering.max.messages": 0}
    )
    for key, value, timestamp in records:
        producer.produce(topic, value, key, timestamp=timestamp, on_delivery=delivered)
    assert producer.flush(READY_TIMEOUT) == 0
    assert not failures, failures[0]
    broker.configure_topic(topic, {"cleanup.policy": "compact"})
