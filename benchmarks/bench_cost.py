"""The memory, disk and CPU that a table takes, and how they grow with its keys."""

from __future__ import annotations

import shutil

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import records
from topics import Shape, Topics, fill

from statestore.bench.pairs import alone

BACKENDS = ["rocksdb", "lmdb", "memory"]
KEYS = [10_000, 100_000, 1_000_000, 10_000_000]
"""Numbers of keys; those above ``--records`` are left out."""
RATE = 50_000
"""Records a second while following."""
FOLLOWED_SECONDS = 4


@pytest.mark.parametrize("backend", BACKENDS)
def measure_restored(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    for keys in [keys for keys in KEYS if keys <= sizes.records] or [sizes.records]:
        topic = topics.of(Shape(keys))
        arguments = {"kafka": topics.bootstrap, "topic": topic, "backend": backend}
        runs = []
        for _ in range(min(2, sizes.pairs)):
            home = fresh()
            runs.append(Child("restore", directory=str(home), **arguments).run())
            shutil.rmtree(home)
        millions = keys / 1_000_000
        what = f"{backend}, {keys:,} keys"
        bench.add(
            alone(f"{what}: memory", [run["growth"] / keys for run in runs], unit="bytes/key"),
            alone(f"{what}: disk", [run["disk"] / keys for run in runs], unit="bytes/key"),
            alone(f"{what}: CPU to READY", [run["cpu"] / millions for run in runs], unit="s/M records"),
            alone(
                f"{what}: CPU to durable", [run["cpu_durable"] / millions for run in runs], unit="s/M records"
            ),
            alone(f"{what}: READY after", [run["seconds"] for run in runs], unit="s"),
            sizes=f"{len(runs)} runs",
        )


@pytest.mark.parametrize("backend", BACKENDS)
def measure_followed(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    rows = min(sizes.rows, 100_000)
    topic = topics.empty(4)
    fill(topics.bootstrap, topic, records(rows, rows))
    count = min(sizes.records, FOLLOWED_SECONDS * RATE)
    to = {"kafka": topics.bootstrap, "topic": topic, "rows": rows}
    with (
        Child("follow", **to, backend=backend, directory=str(fresh())) as follower,
        Child("write", **to, count=count, per_second=RATE) as writer,
    ):
        follower.start()
        follower.prepared()
        follower.start()
        writer.start()
        took = writer.result()["seconds"]
        run = follower.result()
    bench.add(
        alone(f"{backend}, following: CPU", [run["cpu"] / count * 1e6], unit="s/M records"),
        alone(f"{backend}, following: lag at the end", [run["seconds"] - took], unit="s"),
        sizes=f"{count:,} records at {RATE:,}/s, once",
    )
