"""Lookups by a secondary index beside those by the key, and a restore with an index beside one without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Bench, Fresh
from mock_topics import MockTopics
from ticks import Tick, encoded
from topics import PATIENCE

from statestore import F, StoreManager, Table, entity
from statestore.bench.turns import Work

WANTED = 1 / 3
LOOKUPS = 200


@entity(topic="ticks", indexes=[F.quantity])
@dataclass(frozen=True, slots=True)
class IndexedTick(Tick):
    pass


@pytest.fixture(params=["rocksdb", "lmdb", "memory"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def count(request: pytest.FixtureRequest, mock_topics: MockTopics) -> int:
    """How many rows the topic has."""
    rows: int = max(1, request.getfixturevalue("sizes").rows // 3)
    if "ticks" not in mock_topics.topics:
        mock_topics.fill("ticks", encoded(rows))
    return rows


@pytest.fixture
def table(backend: str, count: int, fresh: Fresh, mock_topics: MockTopics) -> Iterator[Table[Any]]:
    with StoreManager(fresh(), kafka=mock_topics.bootstrap, backend=backend) as stores:
        bound: Table[Any] = stores.bind(IndexedTick)
        bound.wait_until_ready(PATIENCE)
        bound.flush()
        assert bound.count() == count
        yield bound


def measure_lookups(bench: Bench, backend: str, count: int, table: Table[Any]) -> None:
    numbers = [number * (count // LOOKUPS or 1) % count for number in range(LOOKUPS)]
    by_index = [table.where(F.quantity == number) for number in numbers]
    by_key = [table.where(F.symbol == f"SYM-{number:06d}") for number in numbers]
    assert [one.to_list() for one in by_index] == [one.to_list() for one in by_key]

    def run(queries: list[Any]) -> Callable[[], None]:
        def look_up() -> None:
            for query in queries:
                query.to_list()

        return look_up

    bench.speed(
        f"{backend}, query of one row by an index",
        "query of one row by the key",
        Work.of(run(by_index)),
        Work.of(run(by_key)),
        items=LOOKUPS,
        of="rows",
        wanted=WANTED,
    )


def measure_restore(bench: Bench, backend: str, count: int, fresh: Fresh, mock_topics: MockTopics) -> None:
    def restore(cls: type) -> Callable[[], None]:
        def until_ready() -> None:
            with StoreManager(fresh(), kafka=mock_topics.bootstrap, backend=backend) as stores:
                stores.bind(cls).wait_until_ready(PATIENCE)

        return until_ready

    bench.speed(
        f"{backend}, restore with one index",
        "restore without an index",
        Work.of(restore(IndexedTick)),
        Work.of(restore(Tick)),
        items=count,
        of="rows",
    )
