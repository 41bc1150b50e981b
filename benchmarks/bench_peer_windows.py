"""Window stores and bars beside those of Quix Streams, without a broker: see ``peers/quix_windows.py``.

- ``put``: rows of 100 bytes into an empty store, in batches that are one commit each. Quix Streams keeps the
  bytes as they are, because its JSON takes longer. Neither side has a changelog, and both write a log that is
  not synced. Quix Streams also stores the last time of each key; statestore the greatest start, and it
  refuses rows older than the retention. Quix Streams removes ended windows with another call: not measured.
- ``fetch``: all windows of a key, in a store that was closed after it was filled and is open again.
- Bars: from decoded records in the order of their times to a list of the closed bars. The time of the
  partition closes windows, with 3 s of grace. Quix Streams keeps open windows in its RocksDB stores and
  commits them once, at the end; its default is every 5 s. Statestore keeps them in memory, and a ``state()``
  at the end counts. So the ratio has in it what a store costs. Neither side decodes or produces messages.

Both sides take turns, A B B A, each in a process of its own that did the work once before, without garbage
collection. The clock runs during the work, and not while stores are opened and input is read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from bench_bars import BEGIN as MIDNIGHT
from bench_bars import MINUTES, Trade, candle
from bench_windows import BATCH, BEGIN, FETCHES, RETENTION, SIZE
from conftest import Bench, Fresh, of_short
from content import key, values
from peer_programs import installed, turns

from statestore import F, Key, StoreManager, WindowStart, WindowStore, agg, entity
from statestore.bench.pairs import speed
from statestore.bench.turns import Work, in_pairs
from statestore.bench.windows import WINDOWS, Row
from statestore.windowing import WindowAggregate

STORES, BARS = 10, 15
"""The wanted ratios."""
SYMBOLS, SPAN = 100, 600_000
"""Keys of the trades, and the milliseconds they span: windows of a minute close nine times."""
SLOW = 20_000
"""Most records for Quix Streams, which takes seconds for them in five windows."""
MILLISECOND = timedelta(milliseconds=1)
UNSYNCED = {"backends": {"rocksdb": {"sync": False}}}


@entity(source=Trade, windows=[1], grace=3, topic="turnover")
@dataclass(frozen=True, slots=True)
class Turnover:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    total: Annotated[int, agg.sum(F.quantity)]
    trades: Annotated[int, agg.count()]


def rows(count: int) -> list[Row]:
    """Return about ``count`` rows by time: each key has a row in each window."""
    pool = values()
    keys = [key(number) for number in range(max(1, count // WINDOWS))]
    starts = [BEGIN + number * (SIZE // MILLISECOND) for number in range(WINDOWS)]
    return [
        (one, start, pool[(number * 31 + at) % len(pool)])
        for number, start in enumerate(starts)
        for at, one in enumerate(keys)
    ]


def given(content: list[Row], chosen: list[bytes]) -> dict[str, Any]:
    """Return what the program of Quix Streams reads."""
    return {
        "rows": [(one.decode(), start, value.decode()) for one, start, value in content],
        "keys": [one.decode() for one in chosen],
        "size": SIZE // MILLISECOND,
        "batch": BATCH,
        "begin": BEGIN,
        "end": BEGIN + RETENTION // MILLISECOND,
    }


@contextmanager
def opened(directory: Path) -> Iterator[WindowStore]:
    with StoreManager(directory, settings=UNSYNCED) as manager:
        yield manager.open_window("bench", SIZE, RETENTION, "rocksdb")


def put_ours(store: WindowStore, content: list[Row]) -> None:
    for at in range(0, len(content), BATCH):
        with store.batch() as batch:
            put = batch.put
            for one, start, value in content[at : at + BATCH]:
                put(one, start, value)


def taken_in_turns(
    pairs: int, home: Path, work: str, source: dict[str, Any], ours: Work, found: Callable[[], int]
) -> list[tuple[float, float]]:
    """Return the seconds of both sides, pair by pair, and check that both found as much."""
    home.mkdir()
    (home / "given.json").write_text(json.dumps(source))
    with turns("quix_windows.py", work, home / "given.json", home) as quix:

        def theirs() -> float:
            run = quix.take()
            assert run["found"] == found(), run
            return float(run["seconds"])

        ours.seconds()
        theirs()
        return in_pairs(ours.seconds, theirs, pairs)


def measure_put(bench: Bench, fresh: Fresh) -> None:
    name = f"Quix Streams {installed('quixstreams')}"
    content = rows(bench.sizes.rows // 2)
    count = len(content)

    def prepare() -> tuple[Any, WindowStore]:
        scope = opened(fresh())
        return scope, scope.__enter__()

    def finish(made: tuple[Any, WindowStore]) -> None:
        made[0].__exit__(None, None, None)

    ours = Work(lambda made: put_ours(made[1], content), prepare, finish)
    pairs = of_short(bench.sizes.pairs)
    taken = taken_in_turns(pairs, fresh(), "put", given(content, []), ours, lambda: count)
    bench.add(
        speed(f"rocksdb, put in batches of {BATCH:,}", name, taken, items=count, of="rows", wanted=STORES),
        sizes=f"{count:,} rows, {pairs} pairs",
    )


def measure_fetch(bench: Bench, fresh: Fresh) -> None:
    name = f"Quix Streams {installed('quixstreams')}"
    content = rows(bench.sizes.rows // 2)
    chance = random.Random(23)
    keys = sorted({one for one, _, _ in content})
    chosen = [chance.choice(keys) for _ in range(FETCHES)]
    count = FETCHES * WINDOWS
    pairs = of_short(bench.sizes.pairs)
    directory = fresh()
    with opened(directory) as store:
        put_ours(store, content)
    with opened(directory) as store:
        ours = Work.of(lambda: [list(store.fetch(one)) for one in chosen])
        taken = taken_in_turns(pairs, fresh(), "fetch", given(content, chosen), ours, lambda: count)
    bench.add(
        speed(f"rocksdb, fetch of {WINDOWS} windows", name, taken, items=count, of="rows", wanted=STORES),
        sizes=f"{count:,} rows, {pairs} pairs",
    )


@pytest.mark.parametrize("bars", ["sum", "ohlcv"])
def measure_bars(bench: Bench, fresh: Fresh, bars: str) -> None:
    name = f"Quix Streams {installed('quixstreams')}"
    windows = "a window of a minute" if bars == "sum" else "five windows"
    count = min(bench.sizes.rows, SLOW)
    chance = random.Random(29)
    trades = [
        Trade(
            f"S{chance.randrange(SYMBOLS)}",
            chance.uniform(1, 100),
            chance.randrange(100),
            MIDNIGHT + number * SPAN // count,
        )
        for number in range(count)
    ]
    source = {
        "trades": [(one.symbol, one.price, one.quantity, one.at) for one in trades],
        "minutes": MINUTES[windows],
        "grace": 3_000,
        "bars": bars,
    }
    closed = 0

    def run(aggregate: WindowAggregate[Any]) -> None:
        nonlocal closed
        closed = len(aggregate.update_all(trades))
        aggregate.state()

    ours = Work(run, lambda: WindowAggregate(Turnover if bars == "sum" else candle(windows)))
    pairs = bench.sizes.pairs
    taken = taken_in_turns(pairs, fresh(), "bars", source, ours, lambda: closed)
    work = "sum and count" if bars == "sum" else "open, high, low, close, volume"
    bench.add(
        speed(f"{work} in {windows}", name, taken, items=count, of="records", wanted=BARS),
        sizes=f"{count:,} records, {SYMBOLS} keys, {pairs} pairs",
    )
