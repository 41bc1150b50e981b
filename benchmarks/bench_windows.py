"""Stores of windows, against the bindings with keys of key and start; and what removing rows takes."""

from __future__ import annotations

import random
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from bindings import BINDINGS
from conftest import Bench, Fresh
from content import key

from statestore.backends import KeyRange
from statestore.bench import windows
from statestore.bench.candidates import Opening
from statestore.bench.pairs import alone
from statestore.bench.turns import Work
from statestore.bench.windows import WINDOWS, ComposedWindows, OwnWindows, Row, Windows
from statestore.storage.layout import WINDOWS as WINDOW_ROWS

SIZE = timedelta(milliseconds=windows.SIZE)
RETENTION = WINDOWS * SIZE
"""In whose segments each key has a row in each window."""
BATCH = 1_000
FETCHES, READS = 200, 2_000
WANTED = 0.9
START = struct.Struct(">q")
BEGIN = 1_700_000_000_000 // windows.SIZE * windows.SIZE
BACKENDS = ["rocksdb", "lmdb", "memory"]

Store = TypeVar("Store", bound=Windows)


def rows(count: int) -> list[Row]:
    """Return about ``count`` rows by time: each key has a row in each window."""
    chance = random.Random(19)
    keys = [key(number) for number in range(max(1, count // WINDOWS))]
    starts = [BEGIN + number * windows.SIZE for number in range(WINDOWS)]
    values = [chance.randbytes(50) + bytes(50) for _ in range(997)]
    return [(one, start, values[(at * 31) % 997]) for start in starts for at, one in enumerate(keys)]


def own(backend: str, directory: Path) -> OwnWindows:
    directory.mkdir()
    return OwnWindows(backend, Opening(directory, durable=False))


def filled(store: Store, content: list[Row]) -> Store:
    for at in range(0, len(content), BATCH):
        store.write(content[at : at + BATCH])
    return store


@pytest.mark.parametrize("backend", BACKENDS)
def measure_put(bench: Bench, fresh: Fresh, backend: str) -> None:
    content = rows(bench.sizes.rows // 2)

    def work(made: Callable[[Path], Windows]) -> Work:
        def prepare() -> tuple[Windows, Path]:
            directory = fresh()
            return made(directory), directory

        def finish(opened: tuple[Windows, Path]) -> None:
            opened[0].close()
            shutil.rmtree(opened[1])

        return Work(lambda opened: filled(opened[0], content), prepare, finish)

    bench.speed(
        f"{backend}, put in batches of {BATCH:,}",
        BINDINGS[backend].names["write"],
        work(lambda directory: own(backend, directory)),
        work(lambda directory: ComposedWindows(BINDINGS[backend](directory))),
        items=len(content),
        of="rows",
        wanted=WANTED,
    )


@pytest.mark.parametrize("work", ["fetch", "get"])
@pytest.mark.parametrize("backend", BACKENDS)
def measure_read(bench: Bench, fresh: Fresh, backend: str, work: str) -> None:
    content = rows(bench.sizes.rows)
    chance = random.Random(23)
    binding = BINDINGS[backend](fresh())
    with (
        closing(filled(own(backend, fresh()), content)) as ours,
        closing(filled(ComposedWindows(binding), content)) as theirs,
    ):
        ours.flush()
        theirs.flush()
        if work == "fetch":
            keys = sorted({one for one, _, _ in content})
            chosen = [chance.choice(keys) for _ in range(FETCHES)]
            sides = [_fetches(store, chosen) for store in (ours, theirs)]
            items, reference = FETCHES * WINDOWS, binding.names["between"]
        else:
            points = [chance.choice(content)[:2] for _ in range(READS)]
            get_ours, get_theirs = ours.store.get, binding.get

            def read_ours() -> None:
                for one, start in points:
                    get_ours(one, start)

            def read_theirs() -> None:
                for one, start in points:
                    get_theirs(one + START.pack(start))

            sides = [Work.of(read_ours), Work.of(read_theirs)]
            items, reference = READS, binding.names["get"]
        bench.speed(
            f"{backend}, {work}" + (f" of {WINDOWS} windows" if work == "fetch" else ""),
            reference,
            *sides,
            items=items,
            of="rows",
            wanted=WANTED,
        )


def _fetches(store: Windows, chosen: list[bytes]) -> Work:
    """Return work that fetches all windows of some keys."""
    end = BEGIN + WINDOWS * windows.SIZE

    def run() -> None:
        for one in chosen:
            assert len(store.fetch(one, BEGIN, end)) == WINDOWS

    return Work.of(run)


@pytest.mark.parametrize("backend", BACKENDS)
def measure_expiry(bench: Bench, fresh: Fresh, backend: str) -> None:
    """Remove all rows as a segment goes, in all the steps that it takes; and the longest of these."""
    content = rows(bench.sizes.rows)
    totals, longest = [], []
    for _ in range(bench.sizes.pairs):
        with closing(filled(own(backend, fresh()), content)) as store:
            store.flush()
            steps = [0.0]
            is_all = False
            while not is_all:
                began = time.perf_counter()
                is_all = store.backend.delete_range(KeyRange(prefix=WINDOW_ROWS))
                steps.append(time.perf_counter() - began)
            totals.append(sum(steps) * 1e9 / len(content))
            longest.append(max(steps) * 1e3)
    bench.add(
        alone(f"{backend}, removing rows that ended", totals, unit="ns a row"),
        alone(f"{backend}, longest step of it", longest, unit="ms"),
        sizes=f"{len(content):,} rows",
    )
