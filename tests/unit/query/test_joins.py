"""Joins: the rows that two or three loops give, by key and by hash, on every engine."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import pytest

from statestore import F, Key, Query, QueryError, StoreClosedError, agg, entity
from statestore.errors import StoreNotReadyError
from statestore.tables.snapshots import SnapshotsMixin
from tests.unit.query.tables import Filled, store_of


@entity(topic="flights")
@dataclass(frozen=True, slots=True)
class Flight:
    day: Annotated[int, Key]
    number: Annotated[int, Key]
    origin: str
    hour: int
    tail: str | None


@entity(topic="planes", key_format="json")
@dataclass(frozen=True, slots=True)
class Plane:
    tail: Annotated[str, Key]
    year: int


@entity(topic="weather")
@dataclass(frozen=True, slots=True)
class Weather:
    origin: Annotated[str, Key]
    day: Annotated[int, Key]
    hour: Annotated[int, Key]
    wind: float


FLIGHTS = [
    Flight(day, number, "JFK" if number % 2 else "LGA", number % 3, None if number == 2 else f"N{number % 4}")
    for day in (1, 2)
    for number in range(1, 7)
]
PLANES = [Plane("N1", 1999), Plane("N2", 2004), Plane("N3", 2004), Plane("N9", 1970)]
WEATHER = [
    Weather(origin, day, hour, day + hour / 2)
    for origin in ("JFK", "LGA")
    for day in (1, 3)
    for hour in (0, 1)
]

Tables = tuple[Any, Any, Any]


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Filled]]:
    with ExitStack() as stack:
        made = []
        for cls, rows in ((Flight, FLIGHTS), (Plane, PLANES), (Weather, WEATHER)):
            path = tmp_path / cls.__name__
            path.mkdir()
            store = stack.enter_context(store_of(request.param, path))
            made.append(Filled(store, cls, ()))
            made[-1].change(cast("Any", rows))
        yield made


@pytest.fixture
def tables(filled: list[Filled]) -> Tables:
    flights, planes, weather = (one.table for one in filled)
    return flights, planes, weather


def test_inner_and_left_by_key(tables: Tables) -> None:
    flights, planes, _ = tables
    on = F[Flight].tail == F[Plane].tail
    pairs = [(flight, plane) for flight in FLIGHTS for plane in PLANES if flight.tail == plane.tail]
    assert flights.join(planes, on=on).to_list() == pairs
    partners: dict[str | None, Plane] = {plane.tail: plane for plane in PLANES}
    left = flights.left_join(planes, on=on)
    assert left.to_list() == [(flight, partners.get(flight.tail)) for flight in FLIGHTS]
    assert left.where(F.year.is_null()).count() == 4
    assert flights.where(F.day == 2).left_join(planes, on=on).where(F.year == 2004).count() == 2
    assert "left join Plane: look up tail by key, each value once" in left.explain()


def test_by_hash_where_the_key_is_not_given(tables: Tables) -> None:
    flights, planes, weather = tables
    on = (F[Weather].day == F[Flight].day) & (F[Flight].hour == F[Weather].hour)
    wanted = [
        (flight, one)
        for flight in FLIGHTS
        for one in WEATHER
        if (flight.day, flight.hour) == (one.day, one.hour)
    ]
    joined = flights.join(weather, on=on)
    assert joined.to_list() == wanted
    assert joined.count() == len(wanted)
    assert "join Weather: read all rows, about" in joined.explain()
    assert planes.join(flights, on=F[Plane].year == F[Flight].hour + 2003).count() == 8


def test_three_tables_with_every_clause(tables: Tables) -> None:
    flights, planes, weather = tables
    on = (F[Flight].origin == F[Weather].origin) & (F[Flight].day == F[Weather].day)
    three = (
        flights.where(F.number > 1)
        .left_join(planes, on=F[Flight].tail == F[Plane].tail)
        .join(weather, on=on & (F[Flight].hour == F[Weather].hour))
    )
    partners: dict[str | None, Plane] = {plane.tail: plane for plane in PLANES}
    wanted = [
        (flight, partners.get(flight.tail), one)
        for flight in FLIGHTS
        for one in WEATHER
        if flight.number > 1 and (flight.origin, flight.day, flight.hour) == (one.origin, one.day, one.hour)
    ]
    assert wanted
    assert three.to_list() == wanted
    windy = three.where(F.wind > 1, lambda row: row[0].number != 3)
    assert windy.to_list() == [row for row in wanted if row[2].wind > 1 and row[0].number != 3]
    assert three.order_by(F.wind.desc(), F[Flight].number).to_list() == sorted(
        wanted, key=lambda row: (-row[2].wind, row[0].number)
    )
    assert three.order_by(F[Flight].day, F.number, F.wind.desc()).take(2).to_list() == wanted[:2]
    assert three.order_by(F[Flight].day.desc(), F.number.desc()).to_list() == wanted[::-1]
    assert three.select(F.number, F.year, wind=F.wind * 2).take(1).to_dicts() == [
        {
            "number": wanted[0][0].number,
            "year": wanted[0][1] and wanted[0][1].year,
            "wind": wanted[0][2].wind * 2,
        }
    ]
    groups = three.group_by(F.year).aggregate(n=agg.count(), most=agg.max(F.wind)).order_by(F.year)
    years = {row[1] and row[1].year for row in wanted}
    assert [row.year for row in groups] == [
        *sorted(year for year in years if year),
        *([None] if None in years else []),
    ]
    assert groups.sum(F.n) == len(wanted)
    assert three.take(1).to_dicts()[0]["Weather"]["wind"] == wanted[0][2].wind
    assert three.max(F.wind) == max(row[2].wind for row in wanted)


def test_order_by_a_joined_field_behind_the_whole_key_is_sorted(tables: Tables) -> None:
    planes, weather = tables[1:]
    joined = weather.join(tables[0], on=F[Weather].day == F[Flight].day).where(F.wind > 0)
    terms = (F[Weather].origin, F[Weather].day, F[Weather].hour, F.number.desc())
    rows = joined.to_list()
    assert joined.order_by(*terms).to_list() == sorted(
        rows, key=lambda row: (row[0].origin, row[0].day, row[0].hour, -row[1].number)
    )
    assert planes.count() == 4


class Later(Flight):
    """A flight of the same aircraft on another day."""


def test_a_table_is_joined_with_itself_under_another_name(filled: list[Filled], tables: Tables) -> None:
    flights, planes, _ = tables
    on = F[Flight].number == F[Later].number
    pairs = [(one, other) for one in FLIGHTS for other in FLIGHTS if one.number == other.number]
    both = flights.join(flights.alias(Later), on=on)
    assert both.to_list() == pairs
    assert type(both.first()[1]) is Flight
    later = both.where(F[Later].day > F[Flight].day, F[Later].hour == 1)
    wanted = [(one, other) for one, other in pairs if other.day > one.day and other.hour == 1]
    assert later.to_list() == wanted
    assert later.select(F[Flight].number, then=F[Later].day).to_list() == [
        (one.number, other.day) for one, other in wanted
    ]
    assert set(both.take(1).to_dicts()[0]) == {"Flight", "Later"}
    value = Query.of(Flight).join(Later, on=on)
    assert pickle.loads(pickle.dumps(value)) == value == both.value
    assert flights.query(value, flights.alias(Later)).count() == len(pairs)
    third = both.left_join(planes, on=F[Later].tail == F[Plane].tail)
    assert third.where(F[Plane].year == 2004).count() == 8
    assert flights.alias(Later).where(F.day == 2).count() == 6
    begun: Any = iter(flights.join(flights.alias(Later), on=on & (F[Flight].day == F[Later].day)))
    first = next(begun)
    filled[0].change([(flight.day, flight.number) for flight in FLIGHTS])
    assert [first, *begun] == [(one, one) for one in FLIGHTS]
    for other in (Flight, Plane, int, None, entity(type("Late", (Flight,), {}), topic="late")):
        with pytest.raises(QueryError, match="is no other name of Flight: give a subclass that adds nothing"):
            flights.alias(other)
    with pytest.raises(QueryError, match="name the table first"):
        flights.where(F.day == 1).alias(Later)


def test_each_table_is_read_at_one_instant(filled: list[Filled], tables: Tables) -> None:
    flights, planes, _ = tables
    begun: Any = iter(flights.join(planes, on=F[Flight].tail == F[Plane].tail))
    first = next(begun)
    filled[1].change([(plane.tail,) for plane in PLANES])
    assert len([first, *begun]) == 8
    assert flights.join(planes, on=F[Flight].tail == F[Plane].tail).count() == 0
    filled[1].change(cast("Any", PLANES))
    with SnapshotsMixin().snapshot(flights, planes) as (one, other):
        assert (one.positions, other.positions) == ({0: 1}, {0: 1})
        query = one.join(other, on=F[Flight].tail == F[Plane].tail)
        filled[1].change([("N1",)])
        assert query.count() == query.count() == 8
    with pytest.raises(StoreClosedError):
        query.to_list()


def test_all_tables_are_ready_or_none_is_read(tables: Tables) -> None:
    flights, planes, _ = tables
    planes._binding.readable = None
    taken: Any = flights._binding.readable
    for read in (
        flights.join(planes, on=ON).to_list,
        lambda: SnapshotsMixin().snapshot(flights, planes).__enter__(),
    ):
        with pytest.raises(StoreNotReadyError):
            read()
    assert held(taken) == 0


def held(store: Any) -> int:
    """Return how many snapshots and scans of a store are open, where its engine knows."""
    lifetime = getattr(store._backend, "_lifetime", None)
    return 0 if lifetime is None else cast("int", lifetime.holding())


def test_a_join_that_ends_early_releases_its_tables(tables: Tables) -> None:
    flights, planes, _ = tables
    store: Any = flights._binding.readable
    joined = flights.join(planes, on=ON)
    with pytest.raises(QueryError, match="looks at all rows"):
        joined.on_scan("error").to_list()
    assert held(store) == 0
    rows: Any = joined.scan()
    next(rows)
    rows.close()
    assert (joined.any(), joined.first().__class__, held(store)) == (True, tuple, 0)


def test_a_value_joins_classes(tables: Tables) -> None:
    flights, planes, _ = tables
    value = Query.of(Flight).join(Plane, on=F[Flight].tail == F[Plane].tail).where(F.year > 2000)
    assert flights.query(value, planes).count() == 4
    same = flights.where(F.day > 0).join(planes, on=F[Plane].tail == F[Flight].tail)
    assert same.value == Query.of(Flight).where(F[Flight].day > 0).join(
        Plane, on=F[Flight].tail == F[Plane].tail
    )
    assert (
        repr(value) == "Query.of(Flight).join(Plane, on=F[Flight].tail == F[Plane].tail).where(F.year > 2000)"
    )
    with pytest.raises(QueryError, match="give it the tables of Flight, Plane, without clauses"):
        flights.query(value)


FLYING: Any = Query.of(Flight)
ON = F[Flight].tail == F[Plane].tail
FAULTS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: FLYING.join(Plane, on=F.hour > 1),
        "F[Flight].hour > 1 does not say which rows belong together: write",
    ),
    (lambda: FLYING.join(Plane, on=F[Flight].tail == "N1"), "does not say which rows belong together"),
    (
        lambda: FLYING.join(Plane, on=F[Flight].tail == F[Flight].origin),
        "does not say which rows belong together",
    ),
    (
        lambda: FLYING.join(Plane, on=ON & (F.year > 1)),
        "F[Plane].year > 1 does not say which rows belong together",
    ),
    (
        lambda: FLYING.join(Plane, on=F[Flight].hour == F[Plane].tail),
        "F[Plane].tail a str: they cannot be compared",
    ),
    (lambda: FLYING.join(Plane, on=F.tail == F.tail), "write F[Flight].tail or F[Plane].tail"),
    (
        lambda: FLYING.join(Plane, on=F[Weather].wind == F.year),
        "is a field of Weather, but this expression is over",
    ),
    (
        lambda: FLYING.join(Flight, on=F[Flight].day == F[Flight].day),
        "two tables are named Flight, so that F[Flight]",
    ),
    (lambda: FLYING.join(Plane, on=ON).join(Plane, on=ON), "two tables are named Plane"),
    (
        lambda: FLYING.join(Plane, on=ON).where(F.tail == "x"),
        "several classes have this field: write F[Flight].tail",
    ),
    (lambda: FLYING.join(Plane, on=ON).where(F.wing == 1), "neither of Flight, Plane has a field 'wing'"),
    (lambda: FLYING.take(1).join(Plane, on=ON), "join: it stands before take"),
    (lambda: FLYING.where(str).join(Plane, on=ON), "a function in where takes the joined rows"),
    (lambda: FLYING.join(Plane, on=ON).select(F[Flight].tail, F[Plane].tail), "two columns are named 'tail'"),
]


@pytest.mark.parametrize(("make", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_what_cannot_be_joined(make: Callable[[], Any], fault: str) -> None:
    with pytest.raises(QueryError) as caught:
        make()
    assert fault in str(caught.value)


def test_joined_rows_as_columns(tables: Tables) -> None:
    pytest.importorskip("pyarrow")
    joined = tables[0].join(tables[1], on=ON)
    with pytest.raises(QueryError, match=r"a joined row has no columns: write select\("):
        joined.to_arrow()
    assert (
        joined.select(F.number, F.year).to_arrow().to_pylist() == joined.select(F.number, F.year).to_dicts()
    )


def test_only_tables_are_joined(tables: Tables) -> None:
    flights, planes, _ = tables
    for other in (planes.where(F.year > 1), Plane, planes.to_list()):
        with pytest.raises(
            QueryError, match="is not a table: give a table or a snapshot, and filter after the join"
        ):
            flights.join(other, on=ON)
