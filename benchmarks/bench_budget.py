"""The memory of a restore while it runs, librdkafka's queues included: RssAnon, read from outside."""

from __future__ import annotations

import shutil

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from topics import Shape, Topics

from statestore.bench.pairs import beside
from statestore.settings import Defaults

ALLOWANCE = 64 << 20


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
@pytest.mark.parametrize("partitions", [1, 4])
def measure_growth(
    bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str, partitions: int
) -> None:
    shape = Shape(sizes.records, partitions=partitions)
    topic, tuning = topics.of(shape), topics.discard(shape).tuning
    runs = min(2, sizes.pairs)
    found = []
    for _ in range(runs):
        home = fresh()
        ours = Child(
            "restore", kafka=topics.bootstrap, topic=topic, backend=backend, directory=str(home)
        ).run()
        shutil.rmtree(home)
        theirs = Child(
            "discard",
            kafka=topics.bootstrap,
            topic=topic,
            records=shape.records,
            partitions=partitions,
            tuning=tuning,
        ).run()
        found.append((ours["peak"] / 2**20, theirs["peak"] / 2**20))
    wanted = (Defaults().memory_budget + ALLOWANCE) / 2**20
    bench.add(
        beside(
            f"{backend}, {shape}: growth of RssAnon",
            f"discard loop, {tuning}",
            found,
            unit="MiB",
            kind="value",
            wanted=wanted,
        ),
        sizes=f"{sizes.records:,} records, {runs} runs",
    )
