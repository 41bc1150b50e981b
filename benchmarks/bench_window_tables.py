"""``to_list()`` and ``fetch`` of the table of a window, against the same rows in a plain table.

The plain class has the start of the window as a second key field. Both are mirrored from a mock broker.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest
from bench_windows import BEGIN, FETCHES, RETENTION, SIZE
from conftest import Bench, Fresh
from mock_topics import MockTopics
from topics import PATIENCE

from statestore import Key, StoreManager, Table, WindowStart, WindowTable, entity
from statestore.bench.turns import Work
from statestore.bench.windows import WINDOWS
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

WANTED = 0.9
MINUTES = SIZE.seconds // 60


@entity(topic="bars", windows=[MINUTES], window_layout="sink", retention=RETENTION)
@dataclass(frozen=True, slots=True)
class Bar:
    symbol: Annotated[str, Key]
    start: Annotated[int, WindowStart]
    close: float
    volume: int
    trades: int


@entity(topic="plain-bars")
@dataclass(frozen=True, slots=True)
class PlainBar:
    symbol: Annotated[str, Key]
    start: Annotated[int, Key]
    close: float
    volume: int
    trades: int


@dataclass(frozen=True, slots=True)
class Both:
    backend: str
    count: int
    symbols: list[str]
    windows: WindowTable[Bar]
    plain: Table[PlainBar]


def rows(count: int) -> list[tuple[str, int, float, int, int]]:
    """Return about ``count`` rows by time: each symbol has one in each window."""
    chance = random.Random(37)
    symbols = [f"S{number:06d}" for number in range(max(1, count // WINDOWS))]
    starts = [BEGIN + number * SIZE.seconds * 1_000 for number in range(WINDOWS)]
    return [(one, at, chance.uniform(1, 100), chance.randrange(1_000), 7) for at in starts for one in symbols]


@pytest.fixture(scope="module", params=["rocksdb", "lmdb", "memory"])
def both(request: pytest.FixtureRequest, fresh: Fresh, mock_topics: MockTopics) -> Iterator[Both]:
    content = rows(max(WINDOWS, request.getfixturevalue("sizes").rows // 5))
    model = model_of(Bar)
    if "bars" not in mock_topics.topics:
        of_window: EntityCodec[Bar] = EntityCodec(model.of_window(model.windows[0]))
        of_plain: EntityCodec[PlainBar] = EntityCodec(model_of(PlainBar))
        mock_topics.fill("bars", [of_window.encode(Bar(*row)) for row in content])
        mock_topics.fill("plain-bars", [of_plain.encode(PlainBar(*row)) for row in content])
    with StoreManager(fresh(), kafka=mock_topics.bootstrap, backend=request.param) as stores:
        windows, plain = stores.bind(Bar).window(MINUTES), stores.bind(PlainBar)
        for table in (windows, plain):
            table.wait_until_ready(PATIENCE)
            table.flush()
            assert table.count() == len(content), "the mock broker keeps 5 MB of a partition: fewer --rows"
        symbols = sorted({row[0] for row in content})
        yield Both(request.param, len(content), symbols, windows, plain)


def measure_to_list(bench: Bench, both: Both) -> None:
    bench.speed(
        f"{both.backend}, to_list() of the table of a window",
        "the same rows of a plain table",
        Work.of(both.windows.to_list),
        Work.of(both.plain.to_list),
        items=both.count,
        of="rows",
        wanted=WANTED,
    )


def measure_fetch(bench: Bench, both: Both) -> None:
    chance = random.Random(41)
    chosen = [chance.choice(both.symbols) for _ in range(FETCHES)]
    bench.speed(
        f"{both.backend}, fetch of {WINDOWS} rows of a window's table",
        "scan(prefix=…) of a plain table",
        Work.of(lambda: [list(both.windows.fetch(one)) for one in chosen]),
        Work.of(lambda: [list(both.plain.scan(prefix=one)) for one in chosen]),
        items=FETCHES * WINDOWS,
        of="rows",
    )
