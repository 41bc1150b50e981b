"""``to_arrow()`` of six fields against columns made of ``to_list()``; DuckDB on the stream of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from conftest import Bench, Fresh
from mock_topics import MockTopics
from ticks import Tick, encoded
from topics import PATIENCE

from statestore import StoreManager, Table
from statestore.bench.turns import Work

WANTED = 5.0
NAMES = [field.name for field in fields(Tick)]
STATEMENTS = {
    "sum by group": "select venue, sum(quantity), avg(price) from {rows} group by venue",
    "filter": "select count(*) from {rows} where quantity % 7 = 3 and symbol > 'SYM-0001'",
}


def by_column(table: Table[Tick]) -> Any:
    rows = table.to_list()
    return pa.table({name: [getattr(row, name) for row in rows] for name in NAMES})


def by_row(table: Table[Tick]) -> Any:
    return pa.Table.from_pylist([asdict(row) for row in table.to_list()])


BY_HAND: dict[str, Callable[[Table[Tick]], Any]] = {
    "pa.table of columns of to_list()": by_column,
    "from_pylist of dicts of to_list()": by_row,
}


@pytest.fixture(scope="module", params=["rocksdb", "lmdb", "memory"])
def table(request: pytest.FixtureRequest, fresh: Fresh, mock_topics: MockTopics) -> Iterator[Table[Tick]]:
    count = max(1, request.getfixturevalue("sizes").rows // 3)
    if "ticks" not in mock_topics.topics:
        mock_topics.fill("ticks", encoded(count))
    with StoreManager(fresh(), kafka=mock_topics.bootstrap, backend=request.param) as stores:
        bound = stores.bind(Tick)
        bound.wait_until_ready(PATIENCE)
        bound.flush()
        assert bound.count() == count
        assert bound.to_arrow().to_pylist() == by_row(bound).to_pylist()
        yield bound


@pytest.mark.parametrize("way", BY_HAND)
def measure_to_arrow(bench: Bench, request: pytest.FixtureRequest, table: Table[Tick], way: str) -> None:
    backend = request.node.callspec.params["table"]
    bench.speed(
        f"{backend}, to_arrow() of 6 fields",
        way,
        Work.of(table.to_arrow),
        Work.of(lambda: BY_HAND[way](table)),
        items=table.count(),
        of="rows",
        wanted=WANTED,
    )


@pytest.mark.parametrize("statement", STATEMENTS)
def measure_duckdb(bench: Bench, request: pytest.FixtureRequest, table: Table[Tick], statement: str) -> None:
    backend = request.node.callspec.params["table"]
    with duckdb.connect() as connection:
        connection.register("ticks", table)
        connection.execute("create table own as from ticks")

        def streamed() -> Any:
            return connection.sql(STATEMENTS[statement].format(rows="ticks")).fetchall()

        def own() -> Any:
            return connection.sql(STATEMENTS[statement].format(rows="own")).fetchall()

        assert sorted(streamed()) == sorted(own())
        bench.speed(
            f"{backend}, DuckDB over the stream: {statement}",
            "DuckDB over its own table",
            Work.of(streamed),
            Work.of(own),
            items=table.count(),
            of="rows",
        )
