"""How long one ``get`` takes while the process does other work: percentiles, with breaks between reads."""

from __future__ import annotations

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import records
from topics import Shape, Topics, fill

from statestore.bench.histogram import Latencies
from statestore.bench.pairs import beside

BACKENDS = ["rocksdb", "lmdb", "memory"]
ROWS = 10_000
PERCENTS = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
RATE = 50_000
FOLLOWED_SECONDS = 5


@pytest.mark.parametrize("backend", BACKENDS)
def measure_get(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    rows = min(ROWS, sizes.rows)
    small, large = topics.of(Shape(rows, partitions=1)), topics.of(Shape(sizes.records))
    quiet: list[float] = []
    restoring: list[float] = []
    for _ in range(sizes.pairs):
        run = Child(
            "read_while_restoring",
            kafka=topics.bootstrap,
            small=small,
            rows=rows,
            topic=large,
            backend=backend,
            directory=str(fresh()),
        ).run()
        quiet += run["quiet"]
        restoring += run["busy"]
    following = _following(topics, str(fresh()), rows, min(sizes.records, RATE * FOLLOWED_SECONDS), backend)
    for what, samples in (("another table restores", restoring), ("following at 50,000/s", following)):
        found = (Latencies.of_seconds(one).percentiles(*PERCENTS.values()) for one in (samples, quiet))
        bench.add(
            *(
                beside(
                    f"{backend}, get while {what}: {name}",
                    "while nothing happens",
                    [pair],
                    unit="us",
                    kind="value",
                )
                for name, pair in zip(PERCENTS, zip(*found, strict=True), strict=True)
            ),
            sizes=f"{sizes.records:,} records, {len(samples):,} reads",
        )


def _following(topics: Topics, directory: str, rows: int, count: int, backend: str) -> list[float]:
    topic = topics.empty(4)
    fill(topics.bootstrap, topic, records(rows, rows))
    to = {"kafka": topics.bootstrap, "topic": topic, "rows": rows}
    with (
        Child("follow", **to, backend=backend, directory=directory, read=True) as follower,
        Child("write", **to, count=count, per_second=RATE) as writer,
    ):
        follower.start()
        follower.prepared()
        follower.start()
        writer.start()
        writer.result()
        found: list[float] = follower.result()["busy"]
        return found
