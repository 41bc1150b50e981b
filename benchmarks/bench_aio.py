"""How late a loop is while it counts, filters, sorts and groups rows, and how long it takes beside blocking.

A task sleeps 1 ms again and again meanwhile. The longest slice is in processor time, which a busy machine
does not lengthen.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bench_queries import table as table
from conftest import Bench, Sizes
from ticks import Tick

from statestore import F, Table, agg
from statestore.aio import AsyncTable
from statestore.aio.loop import OwnLoop
from statestore.bench.histogram import Latencies
from statestore.bench.pairs import beside
from statestore.runtime import slices

WANTED = 5.0
"""Milliseconds of a slice."""

Awaited = Callable[[AsyncTable[Tick]], Awaitable[object]]
Blocking = Callable[[Table[Tick]], object]

WORKS: dict[str, tuple[Awaited, Blocking]] = {
    "count": (lambda t: t.count(), lambda t: t.count()),
    "filter": (lambda t: t.where(F.quantity < 0).count(), lambda t: t.where(F.quantity < 0).count()),
    "sort": (
        lambda t: t.order_by(F.price.desc()).to_list(),
        lambda t: t.order_by(F.price.desc()).to_list(),
    ),
    "group": (
        lambda t: t.group_by(F.sequence).aggregate(n=agg.count()).to_list(),
        lambda t: t.group_by(F.sequence).aggregate(n=agg.count()).to_list(),
    ),
}


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The processor time of each slice, in seconds."""
    found: list[float] = []
    await_slice = slices.Slices._await_slice  # noqa: SLF001 - what is measured
    began: dict[Any, float] = {}

    def measured(self: slices.Slices, work: Any) -> None:
        if work in began:
            found.append(time.thread_time() - began[work])
        await_slice(self, work)
        began[work] = time.thread_time()

    monkeypatch.setattr(slices.Slices, "_await_slice", measured)
    return found


async def watched(table: Table[Tick], work: Awaited) -> tuple[float, list[float]]:
    """Return the seconds that ``work`` took, and how late each sleep of 1 ms ended."""
    own = OwnLoop()
    late: list[float] = []

    async def sleep() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - began - 0.001)

    sleeping = asyncio.create_task(sleep())
    await asyncio.sleep(0.01)
    late.clear()
    began = time.perf_counter()
    kept = await work(AsyncTable(table, own))
    took = time.perf_counter() - began
    sleeping.cancel()
    own.close()
    del kept  # what a program drops it pays for itself
    return took, late or [0.0]


def _milliseconds(late: list[float]) -> float:
    return Latencies.of_seconds(late).percentiles(99.9)[0] / 1000


@pytest.mark.parametrize("name", WORKS)
def measure_loop(
    bench: Bench, table: Table[Tick], sizes: Sizes, name: str, longest: list[float], request: Any
) -> None:
    awaited, blocking = WORKS[name]
    backend = request.node.callspec.params["table"]
    took: list[tuple[float, float]] = []
    late: list[float] = []
    idle: list[float] = []
    for _ in range(sizes.pairs):
        gc.enable()
        seconds, ends = asyncio.run(watched(table, awaited))
        late += ends
        idle += asyncio.run(watched(table, lambda _: asyncio.sleep(0.3)))[1]
        began = time.perf_counter()
        blocking(table)
        took.append((1000 * seconds, 1000 * (time.perf_counter() - began)))
    size = f"{2 * sizes.rows:,} rows"
    lag = [(_milliseconds(late), _milliseconds(idle))]
    slice_ = [(1000 * max(longest, default=0.0), WANTED)]
    for work, reference, pairs, kind, wanted in (
        ("awaited", "blocking", took, "ratio", None),
        ("loop lag p99.9", "of an idle loop", lag, "value", None),
        ("longest slice", "wanted", slice_, "value", WANTED),
    ):
        bench.add(
            beside(f"{backend}, {name}: {work}", reference, pairs, unit="ms", kind=kind, wanted=wanted),  # type: ignore[arg-type]
            sizes=size,
        )
