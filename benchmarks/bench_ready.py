"""How soon small tables are ready, beside a new client's ``list_topics``; and a hundred tables at once."""

from __future__ import annotations

import statistics

import pytest
from children import Child
from confluent_kafka import Consumer
from conftest import Bench, Fresh, Sizes
from content import records
from topics import PATIENCE, Topics, fill

from statestore import StoreManager
from statestore.bench.pairs import alone, beside
from statestore.bench.turns import Work

FEW = 1_000
WANTED = 100.0
"""Milliseconds more than the reference."""


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
@pytest.mark.parametrize("count", [0, FEW])
def measure_small_topic(bench: Bench, fresh: Fresh, topics: Topics, backend: str, count: int) -> None:
    topic = topics.empty()
    if count:
        fill(topics.bootstrap, topic, records(count, count))

    def ready(stores: StoreManager) -> None:
        stores.bind(topic).wait_until_ready(PATIENCE)

    ours = Work(
        ready,
        lambda: StoreManager(fresh(), kafka=topics.bootstrap, backend=backend),
        lambda stores: stores.close(),
    )

    def list_topics(made: list[Consumer]) -> None:
        made.append(Consumer({"bootstrap.servers": topics.bootstrap, "group.id": "statestore-bench"}))
        made[0].list_topics(timeout=PATIENCE)

    theirs = Work(list_topics, list, lambda made: made.pop().close())
    found = [(1000 * ours, 1000 * theirs) for ours, theirs in bench.pairs(ours, theirs)]
    content = f"{count:,} records" if count else "empty topic"
    bench.add(
        beside(
            f"{backend}, {content} to READY",
            "new client's list_topics",
            found,
            unit="ms",
            kind="difference",
            wanted=WANTED,
        ),
        sizes=f"{len(found)} pairs",
    )


@pytest.fixture(scope="module")
def names(topics: Topics, sizes: Sizes) -> list[str]:
    made = [topics.empty() for _ in range(sizes.tables)]
    for name in made:
        fill(topics.bootstrap, name, records(FEW, FEW))
    return made


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
def measure_many_tables(
    bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, names: list[str], backend: str
) -> None:
    arguments = {"kafka": topics.bootstrap, "topics": names, "backend": backend}
    runs = [Child("tables", directory=str(fresh()), **arguments).run() for _ in range(min(3, sizes.pairs))]
    what = f"{backend}, {sizes.tables} tables in one manager"
    bench.add(
        alone(f"{what}: all READY", [run["seconds"] for run in runs], unit="s"),
        alone(f"{what}: CPU", [run["cpu"] for run in runs], unit="s"),
        alone(f"{what}: memory", [run["growth"] / 2**20 for run in runs], unit="MiB"),
        alone(f"{what}: threads", [statistics.median(run["threads"] for run in runs)], unit="threads"),
        sizes=f"{FEW:,} records each, {len(runs)} runs",
    )
