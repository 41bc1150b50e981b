"""Tables as columns: the values of ``to_list``, in Arrow's types, natively and by rows, on every backend."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Annotated, Any
from uuid import UUID

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import Key, StoreClosedError, entity
from statestore.entity import model_of
from statestore.errors import DecodeError, EncodeError
from statestore.fields.attributes import Int16, Precision
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from tests.unit.query.stored import (
    OPTIONAL,
    Pairs,
    Sparse,
    Wide,
    checked,
    pairs_of,
    plain,
    put,
    same,
    table_of,
    wide,
)

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    city: str
    id: UUID | None
    ways: dict[str, list[int]]


@entity(topic="nested")
@dataclass(frozen=True, slots=True)
class Nested:
    number: Annotated[int, Key]
    names: list[str | None]
    place: Place | None
    places: list[Place]
    marks: dict[date, Annotated[Decimal, Precision(5, 2)]] | None
    grid: list[list[float]] | None


@entity(topic="checked")
@dataclass
class Checked:
    """The class says what its values are."""

    number: Annotated[int, Key]
    text: str

    def __post_init__(self) -> None:
        self.text = self.text.upper()


KEYS = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5) | st.sampled_from(["a\0b", "\0", "é\0\0"]),
    st.binary(max_size=4),
    st.datetimes(timezones=st.just(UTC)) | st.sampled_from([FIRST, LAST]),
    st.dates(),
    st.uuids(),
    st.text(max_size=5),
)
TEXTS = st.text(max_size=40) | st.sampled_from(["\U0010ffff", "ÿ" * 9, "12345678é", "\ud7ff\ue000"])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "good": st.booleans(),
    "count": st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300),
    "ratio": st.floats(allow_nan=False),
    "price": st.decimals(-999_999, 999_999, places=3),
    "whole": st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
    "free": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-18, Context(prec=40)))
    | st.decimals(-1000, 1000, places=2)
    | st.sampled_from([Decimal("1E+19"), Decimal("1.0000000000000000000"), Decimal("0E-30")]),
    "name": TEXTS,
    "raw": st.binary(max_size=300),
    "at": st.datetimes(timezones=st.just(UTC)) | st.sampled_from([FIRST, LAST]),
    "day": st.dates(),
    "uuid": st.uuids(),
    "short": st.integers(-(2**15), 2**15 - 1),
    "half": st.integers(-(2**31), 2**31 - 1),
    "single": st.floats(width=32, allow_nan=False),
    "bounded": st.text("ab€", max_size=4),
}
WIDES = st.builds(
    lambda key, values: Wide(
        **dict(zip(("number", "text", "data", "time", "born", "id", "last"), key, strict=True)), **values
    ),
    KEYS,
    st.fixed_dictionaries(SCALARS),
)
SPARSES = st.builds(
    lambda number, values: Sparse(number, **values),
    st.integers(-5, 5),
    st.fixed_dictionaries({}, optional={name: st.none() | SCALARS[name] for name in OPTIONAL}),
)
PLACES = st.builds(
    Place,
    st.text(max_size=4),
    st.none() | st.uuids(),
    st.dictionaries(st.text(max_size=2), st.lists(st.integers(-3, 3), max_size=3), max_size=2),
)
NESTED = st.builds(
    Nested,
    st.integers(-5, 5),
    st.lists(st.none() | st.text(max_size=3), max_size=3),
    st.none() | PLACES,
    st.lists(PLACES, max_size=2),
    st.none() | st.dictionaries(st.dates(), st.decimals(-99, 99, places=2), max_size=2),
    st.none() | st.lists(st.lists(st.floats(allow_nan=False), max_size=2), max_size=2),
)
# Values


def test_each_type_has_the_type_of_arrow_that_a_reader_of_sql_expects(way: str) -> None:
    schema = table_of(Pairs(), Wide, way).to_arrow().schema
    assert {one.name: str(one.type) for one in schema} == {
        "number": "int64",
        "text": "string",
        "good": "bool",
        "count": "int64",
        "ratio": "double",
        "price": "decimal128(9, 3)",
        "whole": "decimal128(38, 0)",
        "free": "decimal128(38, 18)",
        "name": "string",
        "raw": "binary",
        "at": "timestamp[us, tz=UTC]",
        "day": "date32[day]",
        "uuid": "extension<arrow.uuid>",
        "short": "int16",
        "half": "int32",
        "single": "float",
        "bounded": "string",
        "data": "binary",
        "time": "timestamp[us, tz=UTC]",
        "born": "date32[day]",
        "id": "extension<arrow.uuid>",
        "last": "string",
    }
    assert not any(one.nullable for one in schema)
    assert [one.nullable for one in table_of(Pairs(), Sparse, way).to_arrow().schema] == [False, *[True] * 10]


def test_nested_types_are_lists_maps_and_structs() -> None:
    schema = table_of(Pairs(), Nested).to_arrow().schema
    place = pa.struct(
        [
            pa.field("city", pa.string(), False),
            pa.field("id", pa.uuid(), True),
            pa.field(
                "ways",
                pa.map_(pa.string(), pa.field("value", pa.list_(pa.field("item", pa.int64(), False)), False)),
                False,
            ),
        ]
    )
    assert schema.field("place").type == place
    assert schema.field("names").type == pa.list_(pa.field("item", pa.string(), True))
    assert schema.field("places").type == pa.list_(pa.field("item", place, False))
    assert schema.field("marks").type == pa.map_(pa.date32(), pa.field("value", pa.decimal128(5, 2), False))


@pytest.mark.slow
@given(rows=st.lists(WIDES, min_size=1, max_size=12), native=st.booleans())
def test_scalars_are_those_of_the_rows(rows: list[Wide], native: bool) -> None:
    pairs = pairs_of(rows)
    made = table_of(pairs, Wide, "native" if native else "rows").to_arrow()
    assert checked(made) == [plain(row) for row in rows]


@given(rows=st.lists(SPARSES, min_size=1, max_size=20), native=st.booleans())
def test_nulls_are_those_of_the_rows(rows: list[Sparse], native: bool) -> None:
    made = table_of(pairs_of(rows), Sparse, "native" if native else "rows").to_arrow()
    assert checked(made) == [plain(row) for row in rows]


@given(st.lists(NESTED, min_size=1, max_size=8))
def test_nested_values_are_those_of_the_rows(rows: list[Nested]) -> None:
    assert checked(table_of(pairs_of(rows), Nested).to_arrow()) == [plain(row) for row in rows]


def test_not_a_number_stays_one(way: str) -> None:
    rows = [Sparse(1, ratio=float("nan")), Sparse(2, ratio=float("-inf"))]
    made = table_of(pairs_of(rows), Sparse, way).to_arrow()["ratio"].to_pylist()
    assert made[0] != made[0]
    assert made[1] == float("-inf")


@pytest.mark.parametrize("count", [0, 1, 8, 9, 3_000])
def test_all_backends_and_snapshots_give_the_columns_of_their_rows(
    store: ChangelogStore, count: int, way: str
) -> None:
    codec: EntityCodec[Wide] = EntityCodec(model_of(Wide))
    put(store, *(codec.encode(wide(number)) for number in range(count)))
    made = same(table_of(store, Wide, way))
    assert made.num_rows == count
    table = table_of(store, Wide, way)
    table._manager = None
    with table.snapshot() as snapshot:
        put(store, codec.encode(wide(count)))
        assert snapshot.to_arrow() == made
    assert table.to_arrow().num_rows == count + 1
    with pytest.raises(StoreClosedError):
        snapshot.to_arrow()


def test_a_class_that_makes_its_values_is_asked_for_them(store: ChangelogStore) -> None:
    codec: EntityCodec[Checked] = EntityCodec(model_of(Checked))
    put(store, *(codec.encode(Checked(number, "a")) for number in range(3)))
    assert same(table_of(store, Checked))["text"].to_pylist() == ["A", "A", "A"]


# Rows that C does not read


def test_other_payloads_are_rows_as_ever(way: str) -> None:
    codec: EntityCodec[Sparse] = EntityCodec(model_of(Sparse))
    pairs = [codec.encode(Sparse(number, number > 2, name="x")) for number in range(5)]
    pairs[1] = (pairs[1][0], b"\x82\xa5other\x01\xa4name\xa1y")
    pairs[3] = (
        pairs[3][0],
        msgspec.msgpack.encode({"price": "1.5", "at": 7, "uuid": bytes(16), "ratio": 1.5}),
    )
    made = checked(table_of(Pairs(*pairs), Sparse, way).to_arrow())
    assert made == [plain(codec.decode(*pair)) for pair in pairs]


@given(rows=st.lists(SPARSES, min_size=3, max_size=3), data=st.data())
def test_damaged_bytes_are_read_alike(rows: list[Sparse], data: st.DataObject) -> None:
    codec: EntityCodec[Sparse] = EntityCodec(model_of(Sparse))
    pairs = [codec.encode(row) for row in rows]
    parts = [bytearray(part) for part in pairs[1]]
    for _ in range(data.draw(st.integers(1, 3))):
        part = parts[data.draw(st.sampled_from([0, 1, 1, 1]))]
        at = data.draw(st.integers(0, len(part)))
        match data.draw(st.sampled_from(["cut", "drop", "insert", "change"])):
            case "cut":
                del part[at:]
            case "drop":
                del part[at : at + 1]
            case "insert":
                part.insert(at, data.draw(st.integers(0, 255)))
            case "change" if at < len(part):
                part[at] = data.draw(st.integers(0, 255))
    pairs[1] = bytes(parts[0]), bytes(parts[1])

    def outcome(way: str) -> Any:
        try:
            return repr(checked(table_of(Pairs(*pairs), Sparse, way).to_arrow()))
        except (DecodeError, EncodeError) as error:
            return type(error), str(error)

    assert outcome("native") == outcome("rows")


def test_a_row_that_does_not_fit_is_told_as_ever(way: str) -> None:
    table = table_of(Pairs((bytes(8), b"\x81\xa4name\x01")), Sparse, way)
    with pytest.raises(DecodeError, match=r"Sparse\.name: Expected `str \| null`, got `int`"):
        table.to_arrow()
    orders = table_of(Pairs((bytes(8), b"\x81\xa4name\x01")), Sparse, way)
    assert orders is not None  # DuckDB finds it by its name
    with pytest.raises(Exception, match=r"Sparse\.name: Expected `str \| null`, got `int`"):
        duckdb.sql("from orders").fetchall()


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e20", "1.0000000000000000001"])
def test_a_decimal_that_no_column_can_have_is_told_with_the_remedy(value: str, way: str) -> None:
    row = dataclasses.replace(wide(1), free=Decimal(value))
    with pytest.raises(EncodeError, match=r"Wide\.free: .*Annotated\[Decimal, Precision\(digits, scale\)\]"):
        table_of(pairs_of([row]), Wide, way).to_arrow()


@entity(topic="keyed")
@dataclass(frozen=True, slots=True)
class Keyed:
    key: Annotated[int, Key, Int16]
    price: Annotated[Decimal, Precision(60, 2)]
    huge: Annotated[Decimal, Precision(90, 2)]


def test_decimals_beyond_128_bits_and_keys_beyond_their_width(way: str) -> None:
    row = Keyed(1, Decimal("-" + "9" * 58 + ".99"), Decimal("1.50"))
    made = table_of(pairs_of([row]), Keyed, way).to_arrow()
    assert str(made.schema.field("price").type) == "decimal256(60, 2)"
    assert made.to_pylist() == [{"key": 1, "price": row.price, "huge": "1.50"}]
    codec: EntityCodec[Keyed] = EntityCodec(model_of(Keyed))
    key, payload = codec.encode(row)
    with pytest.raises(EncodeError, match=r"Keyed\.key: the column is of int16"):
        table_of(Pairs((b"\x80" + key[1:5] + b"\x01" + key[6:], payload)), Keyed, way).to_arrow()
