"""Real flights through the library: every row is what plain Python makes of the same records.

A month of them, and in the long runs the year.
"""

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

JANUARY, YEAR = (27_004, 3_148, 155), (336_776, 4_043, 2_512)
"""How many flights there are, of how many aircraft, and of unknown ones."""
TEN_YEARS = str(10 * 365 * 86_400_000)
READY_TIMEOUT = 60
BACKENDS = ("rocksdb", "lmdb", "memory")


class Flights(NamedTuple):
    records: Sequence[FlightRecord]
    rows: Rows
    unknown: int
    """How many of the records have no key."""


@pytest.fixture(params=[1, pytest.param(None, marks=pytest.mark.soak)], ids=["month", "year"])
def flights(request: pytest.FixtureRequest) -> Flights:
    flown = read_flights(request.param)
    rows = {key: astuple(flight) for key, flight in latest_by_aircraft(flown).items()}
    records = list(changelog(flown))
    unknown = sum(record.key is None for record in records)
    assert (len(records), len(rows), unknown) == (JANUARY if request.param else YEAR)
    return Flights(records, rows, unknown)


def test_table_equals_the_fold_in_plain_python(
    broker: Broker, topic: NewTopic, flights: Flights, tmp_path: Path
) -> None:
    name = topic("flights")
    write(broker, name, flights.records)

    for backend in BACKENDS:
        rows, health = mirror(broker, name, backend, tmp_path / backend / "before")
        assert rows == flights.rows, backend
        assert (health.records, health.null_keys) == (len(flights.records), flights.unknown), backend

        rows, health = mirror(broker, name, backend, tmp_path / backend / "before")
        assert rows == flights.rows, backend
        assert health.records == (len(flights.records) if backend == "memory" else 0), backend

    broker.force_compaction(name)

    for backend in BACKENDS:
        rows, health = mirror(broker, name, backend, tmp_path / backend / "before")
        assert rows == flights.rows, f"{backend}: the store from before the compaction goes on after it"

        rows, health = mirror(broker, name, backend, tmp_path / backend / "after")
        assert rows == flights.rows, f"{backend}: a new store begins in the compacted log"
        assert len(flights.rows) <= health.records < len(flights.records), backend
        assert health.null_keys == 0, f"{backend}: compaction removes records without a key"

        rows, health = mirror(broker, name, backend, tmp_path / backend / "after")
        assert rows == flights.rows, backend
        assert backend == "memory" or health.records == 0, backend


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
