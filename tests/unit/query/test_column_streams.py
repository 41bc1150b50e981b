"""Streams of columns: their batches, what they hold and for how long, and the libraries that take them."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
import weakref
from decimal import Decimal
from typing import Any

import duckdb
import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from statestore import F, StoreClosedError, agg
from statestore.entity import model_of
from statestore.errors import DecodeError, EncodeError, QueryError
from statestore.query import columns
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA
from statestore.tables.table import Table
from tests.unit.query.conftest import HAS_DECODER
from tests.unit.query.stored import (
    OPTIONAL,
    SPACE,
    Pairs,
    Sparse,
    Wide,
    checked,
    pairs_of,
    plain,
    put,
    table_of,
    wide,
)

# Batches


def stream_of(table: Table[Any]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_stream(table)


def test_batches_end_by_rows_and_by_bytes_and_are_made_as_they_are_read(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [dataclasses.replace(wide(number), name="n" * 1000) for number in range(3_000)]
    monkeypatch.setattr(columns, "MOST_ROWS", 500)
    pairs = pairs_of(rows)
    reader = stream_of(table_of(pairs, Wide, way))
    assert pairs.taken == 0
    assert reader.read_next_batch().num_rows == (500 if way == "native" else 64)
    assert pairs.taken <= 501
    assert max(batch.num_rows for batch in reader) == 500
    monkeypatch.setattr(columns, "MOST_BYTES", 100_000)
    batches = list(stream_of(table_of(pairs_of(rows), Wide, way)))
    assert sum(batch.num_rows for batch in batches) == 3_000
    assert max(batch.nbytes for batch in batches[1:]) < 150_000
    assert min(batch.num_rows for batch in batches[1:-1]) > 50


def test_memory_is_bounded_by_batches(way: str) -> None:
    count, size = 150, 1 << 20

    class Endless(Pairs):
        def __next__(self) -> tuple[bytes, bytes]:
            if self.taken == count:
                raise StopIteration
            self.taken += 1
            payload = msgspec.msgpack.encode(dict.fromkeys(OPTIONAL) | {"name": "x" * size})
            return DATA + self.taken.to_bytes(8), SPACE + payload

    before, most = pa.total_allocated_bytes(), 0
    for batch in stream_of(table_of(Endless(), Sparse, way)):
        most = max(most, batch.nbytes)
    assert most <= (columns.FIRST_ROWS + 1) * size if way == "rows" else most < 12 << 20
    assert pa.total_allocated_bytes() - before < 12 << 20


# Queries


def test_a_query_gives_the_columns_of_its_rows(store: ChangelogStore, way: str) -> None:
    codec: EntityCodec[Sparse] = EntityCodec(model_of(Sparse))
    rows = [
        Sparse(
            number, number % 2 == 0, number % 7 if number % 5 else None, price=Decimal(number) / 8, name="é"
        )
        for number in range(-50, 150)
    ]
    put(store, *map(codec.encode, rows))
    table = table_of(store, Sparse, way)
    by_count = table.group_by(F.count).aggregate(
        n=agg.count(), price=agg.sum(F.price), most=agg.max(F.number)
    )
    for query in (
        table.where(F.number >= 0),
        table.where(F.number.in_([3, 5, 1000])),
        table.where(F.count == 3),
        table.where(lambda row: row.count == 3),
        table.where(F.number > 1_000),
        table.order_by(F.number.desc()),
        table.order_by(F.count, F.number.desc()),
        table.where(F.number.between(-10, 120)).order_by(F.number.desc()).skip(7).take(50),
        table.where(F.count > 2).skip(3).take(20),
        table.where((F.count > 2) & (F.number < 40)).order_by(F.number.desc()).select(F.name, F.number),
        table.where((F.count == 3) | F.good).select(F.price).skip(2),
        table.where(F.price > 2, lambda row: row.number % 3 == 0).select(F.number),
        table.skip(190),
        table.skip(500),
        table.take(0),
        table.select(F.count),
        table.select(F.name, F.number, amount=F.price).skip(3).take(5),
        table.select(F.number, again=F.number),
        table.select(F.number, total=F.price * F.number, whole=F.number + 1, far=F.count > 3),
        by_count,
        by_count.having(F.n > 3).order_by(F.most),
        table.aggregate(n=agg.count(), least=agg.min(F.price)),
        table.where(F.number > 1_000).aggregate(n=agg.count(), least=agg.min(F.price)),
    ):
        made = query.to_arrow()
        assert checked(made) == query.to_dicts(), query
        assert pa.table(query) == made
    assert table.select(F.name, F.number).to_arrow().schema.names == ["name", "number"]


def test_only_the_columns_that_are_wanted_are_read() -> None:
    payload = msgspec.msgpack.encode(dict.fromkeys(OPTIONAL) | {"name": 7})
    pairs = [(number.to_bytes(8), payload) for number in range(3)]
    with pytest.raises(DecodeError, match=r"Sparse\.name: Expected"):
        table_of(Pairs(*pairs), Sparse).select(F.name).to_arrow()
    if HAS_DECODER:
        assert table_of(Pairs(*pairs), Sparse).select(F.number, F.count).to_arrow().num_rows == 3


def test_a_condition_holds_for_rows_that_are_left_to_python(way: str) -> None:
    codec: EntityCodec[Sparse] = EntityCodec(model_of(Sparse))
    pairs = [codec.encode(Sparse(number, count=number % 3, name="x")) for number in range(9)]
    for number, payload in (
        (1, {"count": 1}),
        (2, {"name": "y", "count": 2}),
        (5, {}),
        (7, {"other": 1, "count": 1}),
    ):
        pairs[number] = (pairs[number][0], msgspec.msgpack.encode(payload))
    rows = table_of(Pairs(*pairs), Sparse, way).where(F.count == 1).to_list()
    assert [row.number for row in rows] == [1, 4, 7]
    made = table_of(Pairs(*pairs), Sparse, way).where(F.count == 1).to_arrow()
    assert checked(made) == [plain(row) for row in rows]


def test_a_query_that_must_not_look_at_all_rows_does_not(way: str) -> None:
    table = table_of(pairs_of([Sparse(3, count=1)]), Sparse, way)
    with pytest.raises(QueryError, match="looks at all rows"):
        table.where(F.count == 1).on_scan("error").to_arrow()
    assert table.where(F.number >= 0).on_scan("error").to_arrow().num_rows == 1


def test_computed_decimals_are_rounded_and_stored_ones_are_not() -> None:
    table = table_of(pairs_of([Sparse(3, price=Decimal("1.5")), Sparse(4, price=Decimal(2))]), Sparse)
    made = table.select(third=F.price / 3).to_arrow()
    assert made.to_pylist() == [
        {"third": Decimal("0.500000000000000000")},
        {"third": Decimal("0.666666666666666667")},
    ]
    table = table_of(pairs_of([Sparse(3, price=Decimal("1.5"))]), Sparse)
    with pytest.raises(EncodeError, match=r"Row\.huge: a column of decimals without Precision has 38 digits"):
        table.select(huge=F.price * Decimal("1e30")).to_arrow()


def test_rows_of_map_have_no_columns() -> None:
    with pytest.raises(QueryError, match="to_arrow"):
        table_of(pairs_of([wide(1)]), Wide).map(str).to_arrow()


# What a stream holds


def test_a_stream_lets_go_at_its_end_when_it_is_closed_and_when_nobody_has_it(way: str) -> None:
    rows = [wide(number) for number in range(1_000)]

    for left in ("at its end", "closed", "dropped", "never read"):
        pairs = pairs_of(rows)
        table = table_of(pairs, Wide, way)
        gone = weakref.ref(pairs)
        reader = stream_of(table)
        table._binding.readable = None
        del pairs
        gc.collect()
        assert gone() is not None
        if left == "at its end":
            assert sum(batch.num_rows for batch in reader) == len(rows)
        elif left != "never read":
            reader.read_next_batch()
        if left == "closed":
            reader.close()
        if left in {"dropped", "never read"}:
            del reader
        gc.collect()
        assert gone() is None, left


def test_nothing_leaks() -> None:
    rows = [wide(number) for number in range(300)]

    def blocks() -> int:
        for _ in range(20):
            table_of(pairs_of(rows), Wide).to_arrow()
            stream_of(table_of(pairs_of(rows), Wide)).read_next_batch()
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()
    assert blocks() - before < 300
    assert pa.total_allocated_bytes() < 1 << 20


def test_a_table_that_is_closed_in_the_middle_says_so(
    store: ChangelogStore, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec: EntityCodec[Wide] = EntityCodec(model_of(Wide))
    put(store, *(codec.encode(wide(number)) for number in range(3_000)))
    monkeypatch.setattr(columns, "MOST_ROWS", 100)
    table = table_of(store, Wide, way)
    reader, untouched = stream_of(table), stream_of(table)
    reader.read_next_batch()
    store.close()
    for one in (reader, untouched):
        with pytest.raises(Exception, match="closed"):
            one.read_all()
    with pytest.raises(StoreClosedError):
        table.to_arrow()


# Those who take columns


def test_libraries_take_a_table_as_it_is(store: ChangelogStore) -> None:
    codec: EntityCodec[Wide] = EntityCodec(model_of(Wide))
    rows = [wide(number) for number in range(2_000)]
    put(store, *map(codec.encode, rows))
    orders = table_of(store, Wide)
    expected = [plain(row) for row in rows]
    assert pa.table(orders).to_pylist() == expected
    frame = pl.DataFrame(orders)
    assert frame.equals(orders.to_polars())
    uuids = {"uuid", "id"}  # which Polars has as bytes
    assert frame.drop(uuids).to_dicts() == [
        {name: value for name, value in row.items() if name not in uuids} for row in expected
    ]
    assert frame["uuid"].to_list() == [row.uuid.bytes for row in rows]
    assert orders.to_pandas().to_dict("list")["price"] == [row.price for row in rows]
    assert pd.DataFrame.from_arrow(orders)["name"].tolist() == [row.name for row in rows]
    assert duckdb.sql("from orders").fetchall() == [tuple(row.values()) for row in expected]
    assert duckdb.sql("select sum(price) from orders where name like '%7' and count > 1990").fetchall() == [
        (Decimal("1997.000"),)
    ]
    wanted = pa.schema([pa.field(one.name, pa.large_string() if one.name == "name" else one.type)
                        for one in orders.to_arrow().schema])  # fmt: skip
    assert pa.RecordBatchReader.from_stream(orders, wanted).schema.field("name").type == pa.large_string()


@pytest.mark.parametrize(
    ("missing", "call", "message"),
    [
        ("pyarrow", "to_arrow", r"columns need pyarrow .*pip install 'statestore\[arrow\]'"),
        ("pyarrow", "__arrow_c_stream__", r"columns need pyarrow .*pip install 'statestore\[arrow\]'"),
        ("pandas", "to_pandas", r"to_pandas\(\) needs pandas .*pip install pandas"),
        ("polars", "to_polars", r"to_polars\(\) needs polars .*pip install polars"),
    ],
)
def test_a_library_that_is_missing_is_named(
    missing: str, call: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=message):
        getattr(table_of(pairs_of([wide(1)]), Wide), call)()


def test_the_library_alone_imports_none_of_them() -> None:
    libraries = {"pyarrow", "pandas", "polars", "duckdb"}
    program = f"import statestore, sys; print({libraries} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
