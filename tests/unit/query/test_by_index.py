"""Queries by secondary indexes: the rows and the order of filtering and sorting all rows, on every engine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore import F, Index, Key, QueryError, Table, entity
from statestore.backends import Engine, StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.query import index_rows, table_rows
from statestore.query.ordering import Ordering
from statestore.serde.entities import EntityCodec
from statestore.serde.indexes import EntityIndexes
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position

INDEXES: list[Any] = [(F.city, F.amount), (F.weight, F.id), F.amount, (F.open, F.city, F.shop), F.id]


@entity(topic="rows", indexes=INDEXES)
@dataclass(frozen=True, slots=True)
class Row:
    shop: Annotated[str, Key]
    id: Annotated[int, Key]
    city: str | None
    amount: Decimal
    weight: Annotated[float | None, Index]
    open: bool
    size: int = 0


@entity(topic="rows", key_format="json", indexes=[*INDEXES, F.shop])
@dataclass(frozen=True, slots=True)
class JsonRow(Row):
    pass


class Source(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: Any = store.view
        self.name = "rows"
        self.mirror = SimpleNamespace(counts=Counts())

    def reading(self, allow_stale: bool) -> Any:
        return self.readable


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = find_engine(request.param)(16 << 20)
    yield engine
    engine.close()


class Store:
    """A table with indexes over a store of its own."""

    def __init__(self, engine: Engine, path: Path, cls: type) -> None:
        self.codec: EntityCodec[Any] = EntityCodec(model_of(cls))
        backend = engine.open(path, StoreOptions(changelog=True))
        self.store = ChangelogStore(
            "rows",
            backend,
            engine.max_key_size,
            spellings=self.codec.spellings,
            indexes=EntityIndexes(model_of(cls)),
        )
        self.table: Table[Any] = Table(cast("Any", Source(self.store)), self.codec, cls, cast("Any", None))

    def write(self, *pairs: tuple[bytes, bytes | None]) -> None:
        run = WriteRun(DATA)
        for number, (key, value) in enumerate(pairs):
            run.write(key, value, number)
        self.store.apply(run, {0: Position(1)})

    def close(self) -> None:
        self.store.close()


CITIES = [None, "", "a", "b", "ab", "c" * 600]
AMOUNTS = [Decimal(text) for text in ("-1", "0", "1", "1.0", "1.5", "1E+3")]
WEIGHTS = [None, -1.5, 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan]
rows: Any = st.builds(
    lambda *values: values,
    st.sampled_from(["", "x", "y"]),
    st.integers(-2, 2),
    st.sampled_from(CITIES),
    st.sampled_from(AMOUNTS),
    st.sampled_from(WEIGHTS),
    st.booleans(),
)
OPERATORS: list[Any] = [
    lambda field, value: field == value,
    lambda field, value: field < value,
    lambda field, value: field <= value,
    lambda field, value: field > value,
    lambda field, value: field >= value,
    lambda field, value: field != value,
    lambda field, value: field.between(value, value),
]
VALUES: list[tuple[Any, list[Any]]] = [
    (F.city, [one for one in CITIES if one is not None]),
    (F.amount, [*AMOUNTS, 1, -1]),
    (F.weight, [*(one for one in WEIGHTS if one is not None and one == one), 0, 2**53 + 1]),
    (F.id, [-2, 0, 1, 1.5, Decimal("0.5")]),
    (F.shop, ["", "x", "z"]),
]


@st.composite
def conditions(draw: Any) -> Any:
    kind = draw(st.integers(0, 9))
    field, values = draw(st.sampled_from(VALUES))
    if kind == 0:
        return F.open == draw(st.booleans())
    if kind == 1:
        field = draw(st.sampled_from([F.city, F.weight, F.amount, F.open]))
        return field.is_null() if draw(st.booleans()) else ~field.is_null()
    if kind == 2:
        return field.in_(draw(st.lists(st.sampled_from(values), max_size=3)))
    if kind == 3:
        return F.city.startswith(draw(st.sampled_from(["", "a", "cc"])))
    return draw(st.sampled_from(OPERATORS))(field, draw(st.sampled_from(values)))


TERMS: list[Any] = [F.city, F.amount, F.weight, F.id, F.shop, F.size]


def naive(cls: type, held: dict[Any, Any], asked: Any) -> list[Any]:
    found = [held[key] for key in sorted(held)]
    query = asked.value
    if query.condition is not None:
        is_true = compiled(Expr(query.condition), *query.sources)
        found = [row for row in found if is_true(row) is True]
    if query.order:
        if all(term.descending for term in query.order):
            found.reverse()
        found = Ordering(query.order, query.rows).of(found, None)
    end = None if query.limit is None else query.skipped + query.limit
    return found[query.skipped : end]


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Row, JsonRow])
def test_a_query_by_index_equals_filtering_all_rows(
    engine: Engine, cls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(engine, tmp_path / "store", cls)) as opened:
        held: dict[Any, Any] = {}

        @settings(
            deadline=None,
            max_examples=20 if engine.name == "memory" else 6,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def check(data: Any) -> None:
            opened.write(*((opened.codec.encode_key(one), None) for one in held))
            held.clear()
            for one in data.draw(st.lists(rows, max_size=12)):
                held[one[:2]] = cls(*one)
                opened.write(opened.codec.encode(held[one[:2]]))
            for one in sorted(held)[:2]:
                opened.write((opened.codec.encode_key(one), None))
                del held[one]
            monkeypatch.setattr(index_rows, "LEAST_READ", data.draw(st.sampled_from([1, 1000])))
            for _ in range(8):
                asked: Any = opened.table.where(*data.draw(st.lists(conditions(), max_size=3)))
                terms = data.draw(st.lists(st.tuples(st.sampled_from(TERMS), st.booleans()), max_size=2))
                if terms:
                    asked = asked.order_by(*(term.desc() if down else term for term, down in terms))
                if data.draw(st.booleans()):
                    asked = asked.skip(data.draw(st.integers(0, 2))).take(data.draw(st.integers(0, 4)))
                wanted = naive(cls, held, asked)
                assert repr(asked.to_list()) == repr(wanted), asked.explain()
                assert asked.count() == len(wanted), asked.explain()

        check()


@pytest.mark.parametrize(
    "contradiction",
    [
        (F.weight == 0.0, F.weight > math.inf),
        (F.weight >= 0.0, F.weight > math.inf),
        (F.weight > math.inf, F.weight.in_([0.0, 1.0])),
        (F.weight < -math.inf, F.weight <= 0.0),
        (F.weight >= 1.0, F.weight < 1.0),
        (F.weight == 0.0, F.weight == 1.0),
    ],
    ids=repr,
)
def test_conditions_that_no_value_fulfils_find_nothing(
    engine: Engine, contradiction: tuple[Any, ...], tmp_path: Path
) -> None:
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        for number, weight in enumerate([None, 0.0, 1.0, math.inf, -math.inf, math.nan]):
            opened.write(opened.codec.encode(Row("x", number, "", Decimal(0), weight, open=False)))
        asked = opened.table.where(*contradiction)
        assert asked.to_list() == []
        assert asked.count() == 0


def plan(asked: Any) -> str:
    return str(asked.explain()).partition("\n")[2]


def test_the_plan(engine: Engine, tmp_path: Path) -> None:
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        opened.write(opened.codec.encode(Row("x", 1, "a", Decimal(1), None, open=True)))
        rows = opened.table
        assert plan(rows.where(F.city == "a")) == (
            "read the rows of F.city == 'a' by the index (city, amount) "
            "(one seek, then sorted into key order)"
        )
        assert plan(rows.where(F.city == "a", F.size > 1).order_by(F.amount).take(5)) == (
            "read the rows of F.city == 'a' by the index (city, amount) (one seek, in its order)\n"
            "filter: F.size > 1\norder by F.amount: as read\ntake 5 rows, then stop reading"
        )
        assert "(city, amount) (2 seeks, in its order)" in plan(
            rows.where(F.city.in_(["a", "b"])).order_by(F.city, F.amount)
        )
        assert "by the index (amount) (one seek, in its order)\nin reverse index order" in plan(
            rows.order_by(F.amount.desc()).take(1)
        )
        assert "full scan" in plan(rows.order_by(F.amount.desc()))
        assert "by the index (open, city, shop)" in plan(rows.where(F.open == True, F.city.is_null()))  # noqa: E712
        assert "by key" in plan(rows.where(F.shop == "x", F.id == 1, F.city == "a"))
        assert "read the rows of F.shop == 'x' (one seek" in plan(rows.where(F.shop == "x", F.city == "a"))
        assert "by the index (id)" in plan(rows.where(F.shop > "x", F.id == 1))
        assert "amount or open or id, the first of an index, can" in plan(rows.where(F.size == 1))
        assert "not that of the key, (shop, id) or of an index, (" in plan(rows.order_by(F.city).take(1))


def test_the_plan_tells_when_a_run_gives_the_index_up(engine: Engine, tmp_path: Path) -> None:
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        pairs = [
            opened.codec.encode(Row("x", number, "ab"[number < 1160], Decimal(1), None, open=True))
            for number in range(1200)
        ]
        opened.write(*pairs)
        few, many = opened.table.where(F.city == "a"), opened.table.where(F.city == "b")
        assert few.count() == 40
        assert many.count() == 1160
        for asked in (few, many):
            by_index, instead = plan(asked).split("\n")
            assert "by the index (city, amount)" in by_index
            assert re.fullmatch(
                r"if the index finds more than 11\d\d: read all rows, about 1\d{3} "
                r"\(one seek, in key order\), filter: F.city == '[ab]'",
                instead,
            )
        few = opened.table.where(F.city == "a", F.shop > "w")
        assert "if the index finds more than" in plan(few)
        in_its_order = opened.table.where(F.city == "a").order_by(F.amount)
        assert "if the index finds" not in plan(in_its_order)


def test_where_scans_are_refused_an_index_is_never_given_up(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index_rows, "LEAST_READ", 2)
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        made = [Row("x", number, "a", Decimal(1), None, open=True) for number in range(8)]
        opened.write(*map(opened.codec.encode, made))
        asked = opened.table.where(F.city == "a")
        warned = asked.on_scan("warn")
        assert [warned.to_list(), warned.to_list(), asked.to_list()] == [made, made, made]
        (told,) = [record.getMessage() for record in caplog.records]
        assert (
            "looks at all rows of 'rows': the index (city, amount) finds a large part of them, 2 and" in told
        )
        assert "if the index finds more than" in plan(asked)
        kept: list[bool] = []
        opens = index_rows.open_index

        def open_index(*of: Any, keeps: bool) -> Any:
            kept.append(keeps)
            return opens(*of, keeps=keeps)

        monkeypatch.setattr(table_rows, "open_index", open_index)
        assert asked.on_scan("error").to_list() == made
        assert asked.on_scan("error").count() == 8
        assert kept == [True, True]
        assert "if the index finds more than" not in plan(asked.on_scan("error"))
        monkeypatch.setattr(table_rows, "open_index", lambda *_, keeps: "the index (city) is not there")
        with pytest.raises(QueryError, match=r"looks at all rows of 'rows': the index \(city\) is not there"):
            asked.on_scan("error").to_list()
        by_key = opened.table.where(F.city == "a", F.shop == "x", F.id > 3).on_scan("error")
        assert by_key.to_list() == made[4:]


def test_a_field_that_is_never_none(engine: Engine, tmp_path: Path) -> None:
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        opened.write(opened.codec.encode(Row("x", 1, "a", Decimal(1), None, open=False)))
        for field in (F.open, F.amount, F.id):
            assert opened.table.where(field.is_null()).to_list() == []
            assert opened.table.where(~field.is_null()).count() == 1


def test_without_a_usable_index_a_query_scans_and_raises_as_a_scan(engine: Engine, tmp_path: Path) -> None:
    with closing(Store(engine, tmp_path / "store", Row)) as opened:
        opened.write(opened.codec.encode(Row("x", 1, "a", Decimal(1), None, open=True)))
        asked = opened.table.where(F.city == "a")
        assert asked.count() == 1
        bad = opened.codec.encode_key(("y", 2))
        opened.write((bad, b"\xc1"))
        assert "full scan" in asked.explain()
        with pytest.raises(DecodeError):
            asked.to_list()
        opened.write((bad, None))
        assert "by the index" in asked.explain()
        assert asked.count() == 1


def test_a_row_under_several_texts_of_its_key_is_found_once(engine: Engine, tmp_path: Path) -> None:
    with closing(Store(engine, tmp_path / "store", JsonRow)) as opened:
        _, value = opened.codec.encode(JsonRow("x", 1, "a", Decimal(1), None, open=True))
        _, newer = opened.codec.encode(JsonRow("x", 1, "b", Decimal(1), None, open=True))
        opened.write((b'{"shop":"x","id":1}', value), (b'{"id":1,"shop":"x"}', newer))
        assert opened.table.where(F.city == "a").to_list() == []
        assert [row.city for row in opened.table.where(F.city == "b")] == ["b"]
