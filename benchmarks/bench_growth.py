"""What grows with the rows: load, point reads, scans, opening, disk, memory, beside the backends' bindings.

The stores are used without the record cache, so that each read reaches the engine. Values compress well: then
one file has many rows, and a large index. Those of one size do not compress at all: then the files are large.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from bindings import BINDINGS, Binding, settle
from conftest import Bench, Fresh, Sizes, of_short
from content import Pairs, key, some_keys

from statestore.backends import Backend, find_engine
from statestore.backends.contract import directory_size
from statestore.backends.rocksdb.store import RocksDBBackend
from statestore.bench.candidates import Opened, Opening
from statestore.bench.machine import private_memory
from statestore.bench.pairs import alone, beside, speed
from statestore.bench.turns import Work, in_pairs
from statestore.core import PairRun, count_pairs

ROWS = [10_000, 100_000, 1_000_000, 3_000_000, 10_000_000]
"""Numbers of rows; those above ``--rows`` are left out."""
VALUES = [20, 100, 300, 1000]
RANDOM = 300
"""Bytes of values that do not compress."""
POOL = 32_749
"""Random values, more than any window of a compressor holds; a prime number, as that of the others."""
RUN = 32 << 20
"""Bytes of one loaded run, as a restore with the default budget has them."""
READS = 5_000
SHORT_SECONDS = 0.1
STEP = 7_919
"""Keys come in this order, so that runs overlap as those of a topic do."""


def runs(rows: int, size: int, compressible: bool) -> Iterator[Pairs]:
    """Yield sorted runs that together have each of ``rows`` keys once."""
    chance = random.Random(size)
    text = b"the same text in each value, " * (size // 28 + 1)
    if compressible:
        pool = [(b"%08x" % chance.getrandbits(32) + text)[:size] for _ in range(997)]
    else:
        pool = [chance.randbytes(size) for _ in range(POOL)]
    numbers = iter(range(rows))
    while some := list(itertools.islice(numbers, max(1, RUN // (size + 40)))):
        yield sorted((key(number * STEP % rows), pool[number % len(pool)]) for number in some)


def opened(backend: str, directory: Path) -> Backend:
    directory.mkdir(exist_ok=True)
    return Opened(find_engine(backend), Opening(directory, durable=False)).backend


def scan(store: Backend) -> None:
    for _ in store.scan():
        pass


def count(store: Backend) -> None:
    count_pairs(store.scan())


def turns(ours: Work, theirs: Work, pairs: int) -> list[tuple[float, float]]:
    """Return the seconds of both sides, which take turns; the first turn of each does not count.

    Short turns are many, because other processes disturb them more.
    """
    first = max(ours.seconds(), theirs.seconds())
    return in_pairs(ours.seconds, theirs.seconds, of_short(pairs) if first < SHORT_SECONDS else pairs)


@pytest.mark.parametrize(
    ("size", "compressible"), [(size, True) for size in VALUES] + [(RANDOM, False)], ids=str
)
@pytest.mark.parametrize("backend", ["rocksdb", "lmdb", "memory"])
def measure_growth(
    bench: Bench, fresh: Fresh, sizes: Sizes, backend: str, size: int, compressible: bool
) -> None:
    for rows in [rows for rows in ROWS if rows <= sizes.rows] or [sizes.rows]:
        what = f"{backend}, {rows:,} rows of {size} {'' if compressible else 'random '}bytes"
        _measure(bench, fresh, what, backend, rows, runs(rows, size, compressible))


def _measure(
    bench: Bench, fresh: Fresh, what: str, backend: str, rows: int, content: Iterator[Pairs]
) -> None:
    homes, kind, pairs = (fresh(), fresh()), BINDINGS[backend], bench.sizes.pairs
    store, theirs = opened(backend, homes[0]), kind(homes[1])
    loads = []
    for run in content:
        one = PairRun(run)
        ours = Work.of(partial(store.load, [one])).seconds()
        loads.append((ours, Work.of(partial(theirs.write, run)).seconds()))
    seconds = [(sum(ours for ours, _ in loads), sum(other for _, other in loads))]
    bench.add(
        speed(f"{what}: load", kind.names["write"], seconds, items=rows, of="rows"),
        sizes=f"{rows:,} rows, once",
    )
    store.flush()
    theirs.flush()
    if isinstance(store, RocksDBBackend):
        settle(store._database)  # noqa: SLF001
    theirs.settle()
    if backend == "memory":
        _read_all(bench, what, backend, rows, store, theirs)
        store.close()
        theirs.close()
        return
    store.close()
    theirs.close()

    openings = turns(
        Work(lambda _: opened(backend, homes[0]).close()), Work(lambda _: kind(homes[1]).close()), pairs
    )
    thousandths = [(1000 * ours, 1000 * other) for ours, other in openings]
    bench.add(
        beside(f"{what}: open and close", "the same", thousandths, unit="ms", kind="difference"),
        sizes=f"{rows:,} rows, {len(openings)} pairs",
    )
    before = private_memory(os.getpid()) or 0
    with opened(backend, homes[0]) as store:
        for wanted in _wanted(rows):  # until the cache is full
            _read(store, wanted)
        memory = (private_memory(os.getpid()) or 0) - before
        bench.add(alone(f"{what}: memory", [memory / 2**20], unit="MiB"), sizes=f"{rows:,} rows, once")
        with kind(homes[1]) as theirs:
            for wanted in _wanted(rows):
                _read(theirs, wanted)
            _read_all(bench, what, backend, rows, store, theirs)
    disk = [directory_size(home) / rows for home in homes]
    bench.add(
        beside(f"{what}: disk", "the same", [(disk[0], disk[1])], unit="bytes/row", kind="ratio"),
        sizes=f"{rows:,} rows, once",
    )
    for home in homes:
        shutil.rmtree(home)


def _read_all(bench: Bench, what: str, backend: str, rows: int, store: Backend, theirs: Binding) -> None:
    """Measure point reads, a scan and a count of both."""
    pairs = bench.sizes.pairs
    wanted = itertools.cycle(_wanted(rows))
    reads = turns(
        Work(lambda _: _read(store, next(wanted))), Work(lambda _: _read(theirs, next(wanted))), pairs
    )
    at_once = min(READS, 5 * rows)
    row = speed(f"{what}: get", theirs.names["get"], reads, items=at_once, of="reads", wanted=0.7)
    bench.add(row, sizes=f"{at_once:,} reads, {len(reads)} pairs")
    for name, read in (("scan", scan), ("count", count)):
        found = turns(Work.of(partial(read, store)), Work.of(theirs.read_all), min(3, pairs))
        row = speed(
            f"{what}: {name}",
            theirs.names["scan"],
            found,
            items=rows,
            of="pairs",
            wanted={"rocksdb": 0.9, "lmdb": 0.8, "memory": 0.8}[backend],
        )
        bench.add(row, sizes=f"{rows:,} rows, {len(found)} pairs")


def _wanted(rows: int) -> list[list[bytes]]:
    return [some_keys(min(READS, 5 * rows), rows, seed) for seed in range(20)]


def _read(store: Backend | Binding, wanted: list[bytes]) -> None:
    get = store.get
    for one in wanted:
        get(one)
