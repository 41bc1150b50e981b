"""Bars of records, against a loop that keeps the same state in a ``dict``; and what making the bars takes.

The records of a row are of one minute, so each key has one state for each size, and nothing is closed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import pytest
from conftest import Bench

from statestore import EventTime, F, Key, WindowStart, agg, entity
from statestore.bench.pairs import alone
from statestore.bench.turns import Work
from statestore.windowing import WindowAggregate

BEGIN = 1_700_000_000_000 // 14_400_000 * 14_400_000
MINUTE = 60_000
MINUTES = {"a window of a minute": [1], "five windows": [1, 5, 15, 60, 240]}
WANTED = 1.5


@entity(topic="trades", kind="stream")
@dataclass(frozen=True, slots=True)
class Trade:
    symbol: Annotated[str, Key]
    price: float
    quantity: int
    at: Annotated[int, EventTime]


@cache
def candle(windows: str) -> type[Any]:
    """Return the class of the bars of one size or of five."""
    name = "one" if windows == "a window of a minute" else "five"

    @entity(source=Trade, windows=MINUTES[windows], grace=3, topic=name, store_name=name)
    @dataclass(frozen=True, slots=True)
    class Candle:
        symbol: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]
        open: Annotated[float, agg.first(F.price)]
        high: Annotated[float, agg.max(F.price)]
        low: Annotated[float, agg.min(F.price)]
        close: Annotated[float, agg.last(F.price)]
        volume: Annotated[int, agg.sum(F.quantity)]

    return Candle


@cache
def trades(count: int, keys: int) -> list[Trade]:
    """Return the trades of one minute, in the order of their times."""
    chance = random.Random(29)
    symbols = [f"S{number}" for number in range(keys)]
    return [
        Trade(
            chance.choice(symbols),
            chance.uniform(1, 100),
            chance.randrange(100),
            BEGIN + number * MINUTE // count,
        )
        for number in range(count)
    ]


def loop(records: list[Trade], sizes: list[int]) -> dict[Any, list[Any]]:
    states: dict[Any, list[Any]] = {}
    for record in records:
        symbol, price, at = record.symbol, record.price, record.at
        for size in sizes:
            window = (size, at - at % size, symbol)
            state = states.get(window)
            if state is None:
                states[window] = [price, price, price, price, record.quantity]
            else:
                if price > state[1]:
                    state[1] = price
                if price < state[2]:
                    state[2] = price
                state[3] = price
                state[4] += record.quantity
    return states


def one_by_one(aggregate: WindowAggregate[Any], records: list[Trade]) -> None:
    update = aggregate.update
    for record in records:
        update(record)


CALLS: dict[str, Callable[[WindowAggregate[Any], list[Trade]], object]] = {
    "update_all": lambda aggregate, records: aggregate.update_all(records),
    "update": one_by_one,
}


@pytest.mark.parametrize("keys", [100, 10_000, 100_000])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("windows", MINUTES)
def measure_bars(bench: Bench, windows: str, call: str, keys: int) -> None:
    records = trades(bench.sizes.rows, keys)
    sizes = [minutes * 60_000 for minutes in MINUTES[windows]]
    take = CALLS[call]
    bench.speed(
        f"{windows}, {call}, {keys:,} keys",
        "a loop with a dict",
        Work(lambda aggregate: take(aggregate, records), lambda: WindowAggregate(candle(windows))),
        Work(lambda _: loop(records, sizes)),
        items=len(records),
        of="records",
        wanted=WANTED,
    )


def measure_closing(bench: Bench) -> None:
    """Make the bars of one window with a record of each key."""
    keys = bench.sizes.rows // 2
    nanoseconds = []
    for _ in range(bench.sizes.pairs):
        aggregate = WindowAggregate(candle("a window of a minute"))
        aggregate.update_all(Trade(f"S{number}", 1.0, 1, BEGIN) for number in range(keys))
        began = time.perf_counter()
        closed = aggregate.advance(BEGIN + 2 * MINUTE)
        nanoseconds.append((time.perf_counter() - began) * 1e9 / len(closed))
    bench.add(alone("making the bars of a window", nanoseconds, unit="ns a bar"), sizes=f"{keys:,} keys")
