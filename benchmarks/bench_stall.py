"""How late another Python thread, which sleeps 1 ms again and again, wakes up during a restore."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from topics import Shape, Topics

from statestore.bench.histogram import Latencies
from statestore.bench.pairs import beside

PERCENT = 99.9
WANTED = 20.0
"""Milliseconds."""


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
@pytest.mark.parametrize("writes", [1, 4])
def measure_overshoot(
    bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str, writes: int
) -> None:
    shape = Shape(sizes.records, writes)
    topic, tuning = topics.of(shape), topics.discard(shape).tuning
    ours: list[float] = []
    theirs: list[float] = []
    common: dict[str, Any] = {"kafka": topics.bootstrap, "topic": topic, "watch": True}
    for _ in range(sizes.pairs):
        home = fresh()
        ours += Child("restore", **common, backend=backend, directory=str(home)).run()["late"]
        shutil.rmtree(home)
        loop = Child("discard", **common, records=shape.records, partitions=shape.partitions, tuning=tuning)
        theirs += loop.run()["late"]
    # All runs together: one run has too few samples for its p99.9.
    one, two = (Latencies.of_seconds(side).percentiles(PERCENT)[0] / 1000 for side in (ours, theirs))
    bench.add(
        beside(
            f"{backend}, {shape}: overshoot p99.9",
            f"discard loop, {tuning}",
            [(one, two)],
            unit="ms",
            kind="value",
            wanted=WANTED,
        ),
        sizes=f"{sizes.records:,} records, {sizes.pairs} runs, {len(ours):,} and {len(theirs):,} sleeps",
    )
