"""Queries over a table of six fields, against the same loops in Python and ``sqlite3`` in memory.

The garbage collector is on, as in a program. There are two rows for each of ``--rows``.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Bench, Fresh
from ticks import Tick, encoded

from statestore import F, Table, TableQuery, agg
from statestore.backends import StoreOptions, find_engine
from statestore.bench.turns import Work
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position

SHARE = 0.01
"""Of the rows that a filter keeps."""


class Opened(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable = store
        self.name = "ticks"
        self.mirror = SimpleNamespace(counts=Counts())


@pytest.fixture(scope="module", params=["rocksdb", "lmdb", "memory"])
def table(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[Table[Tick]]:
    engine = find_engine(request.param)(256 << 20)
    backend = engine.open(fresh(), StoreOptions(changelog=True))
    with closing(ChangelogStore("ticks", backend, engine.max_key_size)) as store:
        run = WriteRun(DATA)
        for key, payload in encoded(2 * request.getfixturevalue("sizes").rows):
            run.write(key, payload, 1_000)
        store.apply(run, {0: Position(1)})
        store.flush()
        codec: EntityCodec[Tick] = EntityCodec(model_of(Tick))
        yield Table(cast("Any", Opened(store)), codec, Tick, cast("Any", None))
    engine.close()


@pytest.fixture(scope="module")
def sqlite(table: Table[Tick]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "create table ticks (symbol text primary key, price real, quantity int, venue text, "
            "sequence int, open int) without rowid"
        )
        connection.executemany("insert into ticks values (?, ?, ?, ?, ?, ?)", map(astuple, table))
        yield connection


def collected(call: Callable[[], object]) -> Work:
    """Return work during which the garbage collector is on."""

    def run() -> object:
        gc.enable()
        return call()

    return Work.of(run)


class Rows:
    """Measures rows about one table."""

    def __init__(self, bench: Bench, request: pytest.FixtureRequest, table: Table[Tick]) -> None:
        self.backend: str = request.node.callspec.params["table"]
        self.least = int(table.count() * (1 - SHARE))
        self._bench = bench
        self._count = table.count()

    def add(
        self,
        work: str,
        reference: str,
        ours: Callable[[], Any],
        theirs: Callable[[], Any],
        wanted: tuple[float, float],
        count: int | None = None,
    ) -> None:
        """Measure a row; ``wanted`` is of a backend with files, and of memory."""
        assert len(ours()) == len(theirs())
        self._bench.speed(
            f"{self.backend}, {work}",
            reference,
            collected(ours),
            collected(theirs),
            items=self._count if count is None else count,
            of="rows",
            wanted=wanted[self.backend == "memory"],
        )


@pytest.fixture
def rows(bench: Bench, request: pytest.FixtureRequest, table: Table[Tick]) -> Rows:
    return Rows(bench, request, table)


def measure_filter(rows: Rows, table: Table[Tick]) -> None:
    query = table.where(F.quantity >= rows.least)
    loop = lambda: [row for row in table.scan() if row.quantity >= rows.least]  # noqa: E731
    rows.add("where on a field, 1 % of the rows", "a loop over scan()", query.to_list, loop, (2.0, 3.0))


def measure_filter_beside_sqlite(rows: Rows, table: Table[Tick], sqlite: sqlite3.Connection) -> None:
    query = table.where(F.quantity >= rows.least)
    statement = f"select * from ticks where quantity >= {rows.least}"
    theirs = lambda: sqlite.execute(statement).fetchall()  # noqa: E731
    rows.add("where on a field, 1 % of the rows", "sqlite3 in memory", query.to_list, theirs, (0.5, 1.0))


def measure_groups(rows: Rows, table: Table[Tick]) -> None:
    query = table.group_by(F.open).aggregate(total=agg.sum(F.price))

    def loop() -> dict[bool, float]:
        totals: dict[bool, float] = {}
        for row in table.scan():
            totals[row.open] = totals.get(row.open, 0.0) + row.price
        return totals

    rows.add("group_by, sum", "a loop over scan() with a dict", query.to_list, loop, (3.0, 3.0))


def measure_groups_beside_sqlite(rows: Rows, table: Table[Tick], sqlite: sqlite3.Connection) -> None:
    query = table.group_by(F.open).aggregate(total=agg.sum(F.price))
    statement = "select open, sum(price) from ticks group by open"
    theirs = lambda: sqlite.execute(statement).fetchall()  # noqa: E731
    rows.add("group_by, sum", "sqlite3 in memory", query.to_list, theirs, (0.7, 0.7))


def measure_all_rows(rows: Rows, table: Table[Tick], sqlite: sqlite3.Connection) -> None:
    theirs = lambda: sqlite.execute("select * from ticks").fetchall()  # noqa: E731
    rows.add("to_list()", "sqlite3 in memory", table.to_list, theirs, (1.0, 1.0))


@pytest.mark.parametrize("is_kept", [True, False])
def measure_leading_key(rows: Rows, table: Table[Tick], is_kept: bool) -> None:
    def query() -> TableQuery[Tick]:
        return table.where(F.symbol >= "SYM-000", F.symbol < "SYM-001")

    ours = query().to_list if is_kept else lambda: query().to_list()
    bare = lambda: list(table.scan("SYM-000", "SYM-001"))  # noqa: E731
    work = "where on the key, 1,000 rows" + ("" if is_kept else ", built anew")
    rows.add(work, "scan() of the range", ours, bare, (0.9, 0.9), 1000)
