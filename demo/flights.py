"""The main job on real data: mirror a topic of flights, read it, close it, go on, query it; and bars.

``make demo`` needs nothing but this checkout. Its broker is librdkafka's own mock, inside this process, and
gets the flights of January. ``make demo KAFKA=host:port`` writes the whole year to a real broker.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from statestore import RestoreProgress, StateStoreError, StoreManager, Table

sys.path.insert(0, str(Path(__file__).parent))  # run with -P, Python does not look beside the script

from flights_bars import show_bars
from flights_data import Flight, FlightRecord, changelog, read_flights, retirements
from flights_questions import ask
from nyc_tables import Weather, weather

TOPIC = "statestore-demo-latest-flights"
WEATHER_TOPIC = "statestore-demo-weather"
STATE = Path(__file__).parent.parent / "demo-state"
CONTACT_TIMEOUT = 5
"""Seconds that a broker may take for its first answer."""
TIMEOUT = 120
"""Seconds that anything else may take."""
SETTINGS = {"defaults": {"progress_interval": 0.02}}
"""The default is 5 s, and this restore is shorter than that."""

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--kafka", metavar="HOST:PORT", help="a real broker; otherwise one inside this process"
    )
    parser.add_argument("--backend", choices=["rocksdb", "lmdb", "memory"], default="rocksdb")
    arguments = parser.parse_args()
    try:
        if arguments.kafka:
            if prepare_topic(arguments.kafka):
                write(arguments.kafka, records_of(None))
                compact_topic(arguments.kafka)
            demonstrate(arguments.kafka, arguments.backend, None)
        else:
            with mock_broker() as address:
                write(address, records_of(1))
                demonstrate(address, arguments.backend, 1)
    except (FileNotFoundError, KafkaException, StateStoreError, TimeoutError) as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}")
        return 1
    return 0


def demonstrate(address: str, backend: str, month: int | None) -> None:
    """Mirror the topic in a new directory, then open the same directory again, and query it."""
    STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE) as directory:
        heading("First start: the store is empty")
        with StoreManager(directory, kafka=address, backend=backend, settings=SETTINGS) as stores:
            flights = stores.bind(Flight)
            restore(flights)
            read(flights)
        heading("Second start: the store has the rows")
        with StoreManager(directory, kafka=address, backend=backend, settings=SETTINGS) as stores:
            flights = stores.bind(Flight)
            flights.wait_until_ready(TIMEOUT)
            health = flights.health()
            console.print(f"  {health}")
            console.print(
                f"  [bold green]resumed with {health.records:,} records replayed[/], "
                f"{flights.count():,} aircraft ready after {health.ready_in:.2f} s"
            )
            if backend == "memory":
                console.print("  (the memory backend has no files, so each start replays the topic)")
            heading("Three questions, with the plans of their queries")
            ask(flights, weather_table(stores, month), console)
    heading("Bars: the delays by airport, in windows of five sizes")
    show_bars(read_flights(month), console)


def restore(flights: Table[Flight]) -> None:
    """Wait until the table is ready, and show the progress of the restore."""
    columns = TextColumn("  restoring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("restore", total=None)

        def show(event: RestoreProgress) -> None:
            total = None if event.lag is None else event.records + event.lag
            progress.update(task, completed=event.records, total=total)

        flights.on_progress(show)
        flights.wait_until_ready(TIMEOUT)
        records = flights.health().records
        progress.update(task, completed=records, total=records)
    health = flights.health()
    console.print(f"  {health}")
    console.print(
        f"  [bold green]restored {flights.count():,} aircraft[/] from {health.records:,} records: "
        f"{health.upserts:,} flights, {health.tombstones:,} retired aircraft, "
        f"{health.null_keys:,} flights of an unknown aircraft"
    )


def read(flights: Table[Flight]) -> None:
    """Read the table by each of its reading methods."""
    everything = flights.to_list()
    console.print(f"  to_list()           {len(everything):,} flights, in key order")
    some = everything[len(everything) // 2]
    console.print(f"  get({some.tail_number!r})       {describe(flights.get(some.tail_number))}")
    console.print(f"  get('N00000')       {describe(flights.get('N00000'))}")
    prefix = some.tail_number[:3]
    matching = sum(1 for _ in flights.scan(prefix=prefix))
    console.print(f"  scan(prefix={prefix!r})  {matching:,} flights, found by seeking")
    carriers: Counter[str] = Counter()
    flights.for_each(lambda flight: carriers.update([flight.carrier]))
    most = ", ".join(f"{carrier} {count:,}" for carrier, count in carriers.most_common(4))
    console.print(f"  for_each(fn)        aircraft by carrier: {most}, ...")
    start = time.perf_counter()
    for flight in everything:
        flights.get(flight.tail_number)
    microseconds = (time.perf_counter() - start) / len(everything) * 1e6
    console.print(f"  get(), once each    {microseconds:.1f} µs a read, without asking Kafka")


def weather_table(stores: StoreManager, month: int | None) -> Table[Weather]:
    """Return a second table: the weather of one month or of the year. The first run writes it."""
    if month is None:
        stores.ensure_topics(Weather)  # a real broker; the mock has the topic
    table = stores.bind(Weather)
    table.wait_until_ready(TIMEOUT)
    hours = weather(month)
    if table.count() < len(hours):
        table.add_all(hours, wait=True)
    console.print(f"  a second table has the weather, {table.count():,} rows; add_all() wrote them")
    return table


def describe(flight: Flight | None) -> str:
    if flight is None:
        return "None: no such aircraft"
    delay = "cancelled or diverted" if flight.delay is None else f"{flight.delay:+d} min"
    return (
        f"{flight.carrier}{flight.number} {flight.origin}-{flight.destination}, "
        f"{flight.departure:%d %b %Y %H:%M} UTC, {delay}"
    )


def heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


# Writing the topic


def records_of(month: int | None) -> list[FlightRecord]:
    """Return the records of one month or of the year, and then the tombstones of retired aircraft."""
    heading("The data: flights from New York City in 2013")
    with console.status("reading the data set"):
        flights = read_flights(month)
        records = [*changelog(flights), *retirements(flights)]
    console.print(f"  {len(flights):,} flights of {'the year' if month is None else f'month {month}'}")
    return records


def write(address: str, records: Sequence[FlightRecord]) -> None:
    """Write ``records`` in order. The bytes of a key choose its partition."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    properties = {"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 20, "log_level": 0}
    producer = Producer(properties)
    start = time.perf_counter()
    with console.status(f"writing topic {TOPIC}"):
        for key, value, timestamp in records:
            while True:
                try:
                    producer.produce(TOPIC, value, key, timestamp=timestamp, on_delivery=delivered)
                    break
                except BufferError:  # the client's queue is full
                    producer.poll(0.1)
        unsent = producer.flush(TIMEOUT)
    if failures:
        raise KafkaException(failures[0])
    if unsent:
        raise TimeoutError(f"Kafka at {address} did not take {unsent:,} records in {TIMEOUT} s")
    console.print(
        f"  {len(records):,} records written to topic {TOPIC} in {time.perf_counter() - start:.1f} s"
    )


@contextlib.contextmanager
def mock_broker() -> Iterator[str]:
    """Run librdkafka's mock broker in this process and yield its address. Its topics exist once asked for."""
    owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    for topic in (TOPIC, WEATHER_TOPIC):
        found = owner.list_topics(topic, timeout=TIMEOUT)
    broker = next(iter(found.brokers.values()))
    yield f"{broker.host}:{broker.port}"
    owner.flush(0)  # the broker lives as long as its owner


def prepare_topic(address: str) -> bool:
    """Create the topic if it is missing. Return whether the flights must still be written."""
    admin = admin_client(address)
    # A compacted topic accepts no record without a key, and the flights of unknown aircraft have none. So the
    # topic becomes a compacted one after it is written, and keeps records of 2013 without limit until then.
    topic = NewTopic(TOPIC, num_partitions=4, config={"cleanup.policy": "delete", "retention.ms": "-1"})
    heading(f"Topic {TOPIC} at {address}")
    try:
        admin.list_topics(timeout=CONTACT_TIMEOUT)
    except KafkaException as error:
        raise TimeoutError(
            f"no Kafka at {address} in {CONTACT_TIMEOUT} s ({error.args[0].str()}): "
            "start it, or name another address, or run make demo without KAFKA"
        ) from error
    try:
        admin.create_topics([topic], request_timeout=TIMEOUT)[TOPIC].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
        found = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
        written = "compact" in found["cleanup.policy"].value
        console.print("  exists already" if written else "  exists, but is not complete")
        return not written
    console.print("  created, 4 partitions")
    return True


def compact_topic(address: str) -> None:
    """Make the topic compacted: the broker then keeps the latest record of each key for ever."""
    admin = admin_client(address)
    policy = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC, incremental_configs=[policy])
    admin.incremental_alter_configs([resource], request_timeout=TIMEOUT)[resource].result()


def admin_client(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 0})


if __name__ == "__main__":
    sys.exit(main())
