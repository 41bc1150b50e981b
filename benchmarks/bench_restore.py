"""A topic with records of 16 + 100 bytes restored to READY, against the best loop that discards them."""

from __future__ import annotations

import gc
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from conftest import Bench, Fresh, Sizes
from content import key, values
from topics import PATIENCE, Shape, Topics, fill

from statestore import Key, StoreManager, WindowStart, entity
from statestore.bench.pairs import speed
from statestore.bench.turns import Work

WANTED = 1.0
WANTED_OF_WINDOWS = 0.9
WINDOWS = 100
"""Windows of each key."""
BEGIN = 1_700_000_000_000 // 60_000 * 60_000
START = struct.Struct(">q")
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


@entity(
    topic="bench-windows",
    windows=[1],
    window_layout="sink",
    key_format="raw",
    value_format="raw",
    retention=10**7,
)
@dataclass(frozen=True, slots=True)
class Window:
    key: Annotated[bytes, Key]
    start: Annotated[int, WindowStart]
    value: bytes


def windows(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield ``count`` records of windows by time, each key in each; the key of a record has 16 bytes."""
    pool = values()
    keys = max(1, count // WINDOWS)
    for number in range(count):
        turn, place = divmod(number, keys)
        yield b"k-%06d" % place + START.pack(BEGIN + 60_000 * turn), pool[number % len(pool)]


@dataclass
class WindowRestore:
    """A restore of one topic of windows to READY and the first read: by its class, or as plain bytes."""

    fresh: Fresh
    bootstrap: str
    topic: str
    backend: str
    by_class: bool

    def work(self) -> Work:
        return Work(self._run, self._prepare, self._finish)

    def _prepare(self) -> StoreManager:
        self._directory = self.fresh()
        return StoreManager(self._directory, kafka=self.bootstrap, backend=self.backend)

    def _run(self, stores: StoreManager) -> None:
        if self.by_class:
            table = stores.bind(Window).window(1)
            table.wait_until_ready(PATIENCE)
            assert table.get(b"k-000000", BEGIN) is not None
        else:
            plain = stores.bind(self.topic)
            plain.wait_until_ready(PATIENCE)
            assert plain.get(b"k-000000" + START.pack(BEGIN)) is not None

    def _finish(self, stores: StoreManager) -> None:
        stores.close()
        shutil.rmtree(self._directory)


@pytest.mark.parametrize("backend", ["rocksdb"])
def measure_windows(bench: Bench, fresh: Fresh, topics: Topics, sizes: Sizes, backend: str) -> None:
    """Rows that end by event time, against the same bytes as a plain topic, whose rows do not."""
    topic = topics.empty(1, "bench-windows")
    fill(topics.bootstrap, topic, windows(sizes.records))
    ours, theirs = (
        WindowRestore(fresh, topics.bootstrap, topic, backend, one).work() for one in (True, False)
    )
    pairs = bench.pairs(collecting(ours), collecting(theirs))
    bench.add(
        speed(
            f"{backend}, a topic of windows",
            "the same bytes, bound as a plain topic",
            pairs,
            items=sizes.records,
            of="records",
            wanted=WANTED_OF_WINDOWS,
        ),
        sizes=f"{sizes.records:,} records, {sizes.pairs} pairs",
    )
