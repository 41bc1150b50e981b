"""A topic with records of 16 + 100 bytes restored to READY, against the best loop that discards them."""

from __future__ import annotations

import gc
import shutil
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import Bench, Fresh
from content import key
from harness import Sizes, Work, speed
from topics import PATIENCE, Shape, Topics

from statestore import StoreManager

WANTED = 1.0
ROWS = [
    # backend, writes per key, partitions, compression of the topic, whether garbage is collected
    ("rocksdb", 1, 1, "none", True),
    ("rocksdb", 1, 4, "none", True),
    ("rocksdb", 4, 1, "none", True),
    ("rocksdb", 4, 4, "none", True),
    ("rocksdb", 1, 4, "lz4", True),
    ("rocksdb", 1, 4, "zstd", True),
    ("rocksdb", 1, 1, "none", False),
    ("rocksdb", 1, 4, "none", False),
    ("lmdb", 1, 4, "none", True),
    ("lmdb", 4, 4, "none", True),
    ("memory", 1, 4, "none", True),
    ("memory", 4, 4, "none", True),
]


def collecting(work: Work) -> Work:
    """Return ``work`` with garbage collection on, as in a program; the harness turns it off.

    A Python loop makes objects for each record, which the collector visits. Our restore makes none.
    """

    def run(state: Any) -> None:
        gc.enable()
        try:
            work.run(state)
        finally:
            gc.disable()

    return Work(run, work.prepare, work.finish)


@dataclass
class Restore:
    """A restore. The clock runs from ``bind()`` to READY and the first read; a second one until durable."""

    fresh: Fresh
    bootstrap: str
    topic: str
    backend: str
    durable: list[float] = field(default_factory=list)
    """Seconds from ``bind()`` until the data is on disk, run by run."""
    _bound: float = 0.0

    def work(self) -> Work:
        return Work(self._run, self._prepare, self._finish)

    def _prepare(self) -> StoreManager:
        self._directory = self.fresh()
        return StoreManager(self._directory, kafka=self.bootstrap, backend=self.backend)

    def _run(self, stores: StoreManager) -> None:
        self._bound = time.perf_counter()
        table = stores.bind(self.topic)
        table.wait_until_ready(PATIENCE)
        assert table.get(key(0)) is not None

    def _finish(self, stores: StoreManager) -> None:
        stores.bind(self.topic).flush()
        self.durable.append(time.perf_counter() - self._bound)
        stores.close()
        shutil.rmtree(self._directory)


@pytest.mark.parametrize(("backend", "writes", "partitions", "compression", "collected"), ROWS)
def measure_restore(
    bench: Bench,
    fresh: Fresh,
    topics: Topics,
    sizes: Sizes,
    backend: str,
    writes: int,
    partitions: int,
    compression: str,
    collected: bool,
) -> None:
    shape = Shape(sizes.records, writes, partitions, compression)
    discard = topics.discard(shape)
    restore = Restore(fresh, topics.bootstrap, topics.of(shape), backend)
    sides = restore.work(), discard.work()
    pairs = bench.pairs(*map(collecting, sides)) if collected else bench.pairs(*sides)
    durable = [(ours, theirs) for ours, (_, theirs) in zip(restore.durable[1:], pairs, strict=True)]
    wanted = WANTED if backend == "rocksdb" and collected else None
    name = f"{backend}, {shape}" if collected else f"{backend}, {shape}, no garbage collection"
    described: dict[str, Any] = {"items": sizes.records, "of": "records"}
    bench.add(
        speed(name, discard.name, pairs, **described, wanted=wanted),
        speed(f"{name}: durable", discard.name, durable, **described),
        sizes=f"{sizes.records:,} records, {sizes.pairs} pairs",
    )
