"""Joins by key, by index and by hash give the rows that nested loops give, on every engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore import F, Format, Index, Key, QueryError, entity
from statestore.core import WriteRun
from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.query import index_rows, joining
from statestore.query import table_rows as table_rows_of
from statestore.storage.layout import DATA, Position
from tests.unit.query.tables import Filled, store_of

INDEXES: list[Any] = [(F.city, F.amount), F.amount, (F.open, F.city)]


@entity(topic="lefts")
@dataclass(frozen=True, slots=True)
class Left:
    id: Annotated[int, Key]
    number: int | None
    shop: str | None
    amount: Decimal
    ratio: float | None


@entity(topic="rights", indexes=INDEXES)
@dataclass(frozen=True, slots=True)
class Right:
    shop: Annotated[str, Key]
    number: Annotated[int, Key]
    city: str | None
    amount: Decimal
    weight: Annotated[float | None, Index]
    open: bool


@entity(topic="rights", key_format="json", indexes=[*INDEXES, F.shop])
@dataclass(frozen=True, slots=True)
class JsonRight(Right):
    pass


@entity(topic="thirds", indexes=[F.city])
@dataclass(frozen=True, slots=True)
class Third:
    number: Annotated[int, Key]
    city: str | None


TEXTS = [None, "", "a", "b", "c" * 600]
DECIMALS = [Decimal(text) for text in ("-1", "0", "1", "1.0", "NaN")]
FLOATS = [None, 0.0, -0.0, 1.0, math.inf, math.nan]
lefts = st.builds(
    Left,
    st.integers(0, 9),
    st.sampled_from([None, -1, 0, 1]),
    st.sampled_from(TEXTS),
    st.sampled_from(DECIMALS),
    st.sampled_from(FLOATS),
)
rights = st.tuples(
    st.sampled_from(["", "a", "b"]),
    st.integers(-1, 1),
    st.sampled_from(TEXTS),
    st.sampled_from(DECIMALS),
    st.sampled_from(FLOATS),
    st.booleans(),
)


@entity(topic="seconds", key_format="json")
@dataclass(frozen=True, slots=True)
class Second:
    at: Annotated[datetime, Key, Format("epoch_s")]


@entity(topic="signed", key_format="kafka", indexes=[F.city])
@dataclass(frozen=True, slots=True)
class Signed:
    id: Annotated[int, Key]
    city: str


class SignedToo(Signed):
    pass


@entity(topic="instants")
@dataclass(frozen=True, slots=True)
class Instant:
    at: Annotated[datetime, Key]


thirds = st.builds(Third, st.integers(-1, 1), st.sampled_from(TEXTS))


def equalities(right: type) -> list[tuple[Any, Any]]:
    """Both sides of what ``on`` may say."""
    left, other = F[Left], F[right]
    return [
        (left.shop, other.shop),
        (left.number, other.number),
        (left.shop, other.city),
        (left.amount, other.amount),
        (left.ratio, other.weight),
        (left.number, other.weight),  # an int and a float
        (left.number + 2**62 + 2**62, other.number),  # past 64 bits
        (left.number * 1, other.number),
        (left.id > 4, other.open),
    ]


def conditions(right: type) -> list[Any]:
    other = F[right]
    return [
        other.city == "a",
        other.city.is_null(),
        other.weight.is_null(),
        ~other.weight.is_null(),
        (other.number == 1) | other.number.is_null(),
        other.number >= 0,
        other.amount.in_([1, 2]),
        (other.shop == "a") & (other.number == 0),
        other.shop == "b",
        other.open == True,  # noqa: E712
        F[Left].id > 3,
        F[Left].id < other.number + 5,
    ]


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def tables_of(right: type, backend: str, path: Path) -> Iterator[list[Filled]]:
    with ExitStack() as stack:
        made = []
        for cls in (Left, right, Third):
            (path / cls.__name__).mkdir()
            store = stack.enter_context(store_of(backend, path / cls.__name__, cls))
            made.append(Filled(store, cls, ()))
        yield made


def naive(query: Any, rows_of: dict[type, list[Any]]) -> list[Any]:
    """Return the joined rows that loops find."""
    rows = [(one,) for one in rows_of[query.entity]]
    for place, join in enumerate(query.joins, 1):
        before = query.sources[:place]
        values = [compiled(Expr(node), *before) for node in join.left]
        others = [compiled(Expr(node), query.sources[place]) for node in join.right]
        made: list[Any] = []
        for row in rows:
            left = [value_of(row if place > 1 else row[0]) for value_of in values]
            partners = [
                one
                for one in rows_of[join.entity]
                if all(a is not None and a == value_of(one) for a, value_of in zip(left, others, strict=True))
            ]
            made += [(*row, one) for one in partners or ([None] if join.is_outer else [])]
        rows = made
    if query.condition is not None:
        is_true = compiled(Expr(query.condition), *query.sources)
        rows = [row for row in rows if is_true(row) is True]
    return rows


@pytest.fixture(params=[Right, JsonRight])
def tables(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Iterator[list[Filled]]:
    with tables_of(request.param, backend, tmp_path) as made:
        yield made


@pytest.mark.slow
def test_every_way_to_join_gives_what_loops_give(
    tables: list[Filled], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = tables[1].cls

    @settings(
        deadline=None,
        max_examples=15 if backend == "memory" else 5,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: Any) -> None:
        for table, rows in zip(tables, (lefts, rights.map(lambda one: right(*one)), thirds), strict=True):
            table.change([*table.rows, *data.draw(st.lists(rows, max_size=10))])
        for _ in range(6):
            monkeypatch.setattr(joining, "FEWEST_LOOKUPS", data.draw(st.sampled_from([0, 1, 2, 100])))
            monkeypatch.setattr(joining, "FIRST_ROWS", data.draw(st.sampled_from([1, 2, 16])))
            monkeypatch.setattr(index_rows, "LEAST_READ", data.draw(st.sampled_from([1, 1000])))
            asked: Any = tables[0].table
            some = data.draw(
                st.lists(st.sampled_from(equalities(right)), min_size=1, max_size=3, unique_by=repr)
            )
            asked = join(asked, tables[1], some, data)
            if data.draw(st.booleans()):
                other = data.draw(
                    st.sampled_from([(F[right].city, F[Third].city), (F[right].number, F[Third].number)])
                )
                asked = join(asked, tables[2], [other], data)
            for condition in data.draw(st.lists(st.sampled_from(conditions(right)), max_size=3)):
                asked = asked.where(condition)
            wanted = naive(asked.value, {table.cls: table.naive() for table in tables})
            assert repr(asked.to_list()) == repr(wanted), asked.explain()
            assert asked.count() == len(wanted), asked.explain()
            assert repr(asked.skip(1).take(2).to_list()) == repr(wanted[1:3]), asked.explain()

    check()


def join(asked: Any, table: Filled, equal: list[tuple[Any, Any]], data: Any) -> Any:
    on = equal[0][0] == equal[0][1]
    for one, other in equal[1:]:
        on &= other == one
    return (asked.left_join if data.draw(st.booleans()) else asked.join)(table.table, on=on)


def steps(asked: Any) -> list[str]:
    return cast("list[str]", asked.explain().split("\n")[2:])


@pytest.fixture
def of_right(backend: str, tmp_path: Path) -> Iterator[list[Any]]:
    with tables_of(Right, backend, tmp_path) as made:
        made[0].change([Left(number, number, "a", Decimal(number), None) for number in range(3)])
        made[1].change([Right("a", number, "x", Decimal(number), None, open=True) for number in range(5)])
        yield [one.table for one in made]


def test_the_plan_tells_the_way_of_a_join(of_right: list[Any]) -> None:
    left, right, _ = of_right
    shop, amount = F[Left].shop == F[Right].shop, F[Left].amount == F[Right].amount
    way = steps(left.join(right, on=shop & (F[Left].number == F[Right].number)))
    assert way[0] == "full scan: no condition: all rows are asked for"
    assert way[1] == "join Right: look up shop, number by key, each value once"
    assert way[2].startswith("past 100 values, read all rows, about ")
    assert way[2].endswith(" (one seek, in key order) into a hash table")
    assert steps(left.join(right, on=shop))[1] == "join Right: look up shop by key, each value once"
    by_index = left.left_join(right, on=(F[Left].shop == F[Right].city) & amount)
    assert "left join Right: look up city, amount by the index (city, amount), each" in steps(by_index)[1]
    by_hash = left.join(right, on=F[Left].number == F[Right].weight)
    assert steps(by_hash)[1].startswith("join Right: read all rows, about ")
    assert "into a hash table" in steps(by_hash)[1]
    why = "could be looked up if on gave shop or weight or city or amount or open, which begin"
    with pytest.raises(QueryError, match=why):
        left.where(F.id == 1).join(right, on=F[Left].number == F[Right].weight).on_scan("error").to_list()
    assert left.where(F.id == 1).join(right, on=shop).on_scan("error").count() == 5


def test_where_scans_are_refused_partners_are_always_looked_up(
    of_right: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(joining, "FEWEST_LOOKUPS", 0)
    monkeypatch.setattr(joining, "BY_KEY", 1_000)
    left, right, _ = of_right
    name = right._binding.name = "rights"
    read: list[str] = []
    rows_of = table_rows_of.table_rows

    def table_rows(plan: Any, access: Any, source: Any) -> Any:
        read.append(source.name)
        return rows_of(plan, access, source)

    monkeypatch.setattr(joining, "table_rows", table_rows)
    asked = left.where(F.id < 3).join(
        right, on=(F[Left].number == F[Right].number) & (F[Left].shop == F[Right].shop)
    )
    rows = asked.to_list()
    assert (len(rows), read) == (3, [name])
    assert asked.on_scan("warn").to_list() == rows
    (told,) = [record.getMessage() for record in caplog.records]
    assert "looks at all rows of 'rights': a join has so many values of shop, number to look up that" in told
    assert (asked.on_scan("error").to_list(), read) == (rows, [name, name])
    assert not any(step.startswith("past") for step in steps(asked.on_scan("error")))
    hashed = left.where(F.id < 3).join(right, on=F[Left].number == F[Right].weight)
    assert any(step.startswith("full scan of Right: the rows of Right could be") for step in steps(hashed))
    for refusing in (hashed.on_scan("error"), hashed.on_scan("error").take(1)):
        with pytest.raises(QueryError, match="looks at all rows of 'rights': the rows of Right could be"):
            refusing.to_list()
    right._scans.on_scan = "error"
    with pytest.raises(QueryError, match="looks at all rows of 'rights'"):
        hashed.to_list()
    assert asked.to_list() == rows


@pytest.mark.parametrize("most", [0, 100])
def test_a_partner_under_several_texts_of_its_key_is_found_once(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(joining, "FEWEST_LOOKUPS", most)
    with tables_of(JsonRight, backend, tmp_path) as (lefts, rights, _):
        lefts.change([Left(1, 1, "a", Decimal(1), None)])
        of_other = JsonRight("a", 1, "b", Decimal(1), None, open=True)
        newer = JsonRight("a", 1, "c", Decimal(1), None, open=True)
        rights.change([of_other])
        run = WriteRun(DATA)
        run.write(b'{"number":1,"shop":"a"}', rights.codec.encode(newer)[1], 2)
        rights.store.apply(run, {0: Position(2)})
        left, right = F[Left], F[JsonRight]
        for on in (
            left.amount == right.amount,
            (left.shop == right.shop) & (left.number == right.number),
        ):
            found = lefts.table.join(rights.table, on=on).to_list()
            assert [row[1].city for row in found] == ["c"]


def test_a_partner_whose_key_has_one_text_for_several_times_is_found_once(tmp_path: Path) -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    with (
        store_of("memory", tmp_path / "instants", Instant) as instants,
        store_of("memory", tmp_path / "seconds", Second) as seconds,
    ):
        left, right = Filled(instants, Instant, ()), Filled(seconds, Second, ())
        left.change([Instant(noon), Instant(noon + timedelta(microseconds=1))])
        right.change([Second(noon)])
        found: Any = left.table.join(right.table, on=F[Instant].at == F[Second].at)
        assert found.to_list() == [(Instant(noon), Second(noon))]


def test_an_index_keeps_the_order_of_keys_whose_bytes_have_another(tmp_path: Path) -> None:
    with store_of("memory", tmp_path, Signed) as store:
        filled = Filled(store, Signed, ())
        filled.change([Signed(number, "a") for number in (1, -1, 0, -2)])
        table, other = filled.table, filled.table.alias(SignedToo)
        ascending = [-2, -1, 0, 1]
        found = table.where(F.city == "a")
        assert "by the index (city)" in found.explain()
        assert [row.id for row in found] == ascending
        assert [row.id for row in found.order_by(F.city.desc()).take(3)] == [1, 0, -1]
        assert [row.id for row in table.order_by(F.city).take(3)] == ascending[:3]
        joined: Any = table.where(F.id == 0).join(other, on=F[Signed].city == F[SignedToo].city)
        assert "look up city by the index (city)" in joined.explain()
        assert [row.id for _, row in joined] == ascending


def test_conditions_on_a_joined_table_are_part_of_its_reading(of_right: list[Any]) -> None:
    left, right, _ = of_right
    numbers = F[Left].number == F[Right].number
    by_hash = left.join(right, on=numbers).where(F[Right].shop == "a", F[Right].city == "x")
    assert steps(by_hash)[1:] == [
        "join Right: read the rows of F[Right].shop == 'a' (one seek, in key order) into a hash table",
        "filter Right: F[Right].city == 'x'",
    ]
    assert by_hash.count() == 3
    by_key = left.join(right, on=numbers & (F[Left].shop == F[Right].shop)).where(F[Right].city == "x")
    assert steps(by_key)[-1] == "filter Right: F[Right].city == 'x'"
    optional = left.left_join(right, on=numbers)
    assert steps(optional.where(F[Right].city.is_null()))[-1] == "filter joined rows: F[Right].city.is_null()"
    some = optional.where(F[Right].city == "x")
    assert steps(some)[1].startswith(
        "left join Right, of rows with a partner only, as a condition needs one:"
    )
    assert some.count() == 3


def test_lookups_end_where_a_hash_table_is_less_work(
    of_right: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right, _ = of_right
    tables_read: list[Any] = []
    table_rows = table_rows_of.table_rows

    def counted(read: Any, *of: Any) -> Any:
        tables_read.append(read)
        return table_rows(read, *of)

    monkeypatch.setattr(joining, "table_rows", counted)
    monkeypatch.setattr(joining, "FIRST_ROWS", 1)
    asked = left.join(right, on=F[Left].amount == F[Right].amount)
    assert (asked.count(), len(tables_read)) == (3, 0)
    monkeypatch.setattr(joining, "FEWEST_LOOKUPS", 2)
    assert (asked.count(), len(tables_read)) == (3, 1)
