"""Stores of windows, against the bindings with keys of key and start; and what removing rows takes."""

from __future__ import annotations

import random
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bindings import BINDINGS
from conftest import Bench, Fresh
from content import key

from statestore import WindowStore
from statestore.backends import Backend, KeyRange, StoreOptions, find_engine
from statestore.bench.pairs import alone
from statestore.bench.turns import Work
from statestore.storage.layout import WINDOWS as WINDOW_ROWS
from statestore.storage.stored_window import stored_window

MEMORY = 192 << 20
SIZE, RETENTION = timedelta(minutes=5), timedelta(hours=8)
WINDOWS = RETENTION // SIZE
"""Windows of each key, in all segments of a retention."""
BATCH = 1_000
FETCHES, READS = 200, 2_000
WANTED = 0.9
START = struct.Struct(">q")
BEGIN = 1_700_000_000_000 // 300_000 * 300_000
BACKENDS = ["rocksdb", "lmdb", "memory"]

Row = tuple[bytes, int, bytes]


def rows(count: int) -> list[Row]:
    """Return about ``count`` rows by time: each key has a row in each window."""
    chance = random.Random(19)
    keys = [key(number) for number in range(max(1, count // WINDOWS))]
    starts = [BEGIN + number * (SIZE // timedelta(milliseconds=1)) for number in range(WINDOWS)]
    values = [chance.randbytes(50) + bytes(50) for _ in range(997)]
    return [(one, start, values[(at * 31) % 997]) for start in starts for at, one in enumerate(keys)]


@contextmanager
def opened(backend: str, directory: Path) -> Iterator[tuple[WindowStore, Backend]]:
    engine = find_engine(backend)(MEMORY)
    store = engine.open(directory, StoreOptions(changelog=True))
    yield WindowStore("bench", store, engine.max_key_size, stored_window(SIZE, RETENTION)), store
    store.close()
    engine.close()
    shutil.rmtree(directory, ignore_errors=True)


def put_ours(store: WindowStore, content: list[Row]) -> None:
    for at in range(0, len(content), BATCH):
        with store.batch() as batch:
            put = batch.put
            for one, start, value in content[at : at + BATCH]:
                put(one, start, value)


def put_theirs(store: Any, content: list[Row]) -> None:
    for at in range(0, len(content), BATCH):
        store.write([(one + START.pack(start), value) for one, start, value in content[at : at + BATCH]])


@pytest.mark.parametrize("backend", BACKENDS)
def measure_put(bench: Bench, fresh: Fresh, backend: str) -> None:
    content = rows(bench.sizes.rows // 2)
    binding = BINDINGS[backend]

    def open_ours() -> Any:
        scope = opened(backend, fresh())
        store, _ = scope.__enter__()
        return store, scope

    def open_theirs() -> Any:
        directory = fresh()
        return binding(directory), directory

    def close_theirs(made: Any) -> None:
        made[0].close()
        shutil.rmtree(made[1], ignore_errors=True)

    bench.speed(
        f"{backend}, put in batches of {BATCH:,}",
        binding.names["write"],
        Work(
            lambda made: put_ours(made[0], content),
            open_ours,
            lambda made: made[1].__exit__(None, None, None),
        ),
        Work(lambda made: put_theirs(made[0], content), open_theirs, close_theirs),
        items=len(content),
        of="rows",
        wanted=WANTED,
    )


@pytest.mark.parametrize("work", ["fetch", "get"])
@pytest.mark.parametrize("backend", BACKENDS)
def measure_read(bench: Bench, fresh: Fresh, backend: str, work: str) -> None:
    content = rows(bench.sizes.rows)
    keys = sorted({one for one, _, _ in content})
    chance = random.Random(23)
    binding = BINDINGS[backend]
    end = BEGIN + RETENTION // timedelta(milliseconds=1)
    with opened(backend, fresh()) as (ours, _), binding(fresh()) as theirs:
        put_ours(ours, content)
        ours.flush()
        put_theirs(theirs, content)
        theirs.flush()
        if work == "fetch":
            chosen = [chance.choice(keys) for _ in range(FETCHES)]

            def read_ours(_: object) -> None:
                for one in chosen:
                    found = list(ours.fetch(one))
                    assert len(found) == WINDOWS

            def read_theirs(_: object) -> None:
                for one in chosen:
                    pairs = theirs.between(one + START.pack(BEGIN), one + START.pack(end))
                    found = [(START.unpack(stored[-8:])[0], value) for stored, value in pairs]
                    assert len(found) == WINDOWS

            items, reference = FETCHES * WINDOWS, binding.names["between"]
        else:
            points = [chance.choice(content)[:2] for _ in range(READS)]

            def read_ours(_: object) -> None:
                for one, start in points:
                    ours.get(one, start)

            def read_theirs(_: object) -> None:
                for one, start in points:
                    theirs.get(one + START.pack(start))

            items, reference = READS, binding.names["get"]
        bench.speed(
            f"{backend}, {work}" + (f" of {WINDOWS} windows" if work == "fetch" else ""),
            reference,
            Work(read_ours),
            Work(read_theirs),
            items=items,
            of="rows",
            wanted=WANTED,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def measure_expiry(bench: Bench, fresh: Fresh, backend: str) -> None:
    """Remove all rows as a segment goes, in all the steps that it takes; and the longest of these."""
    content = rows(bench.sizes.rows)
    totals, longest = [], []
    for _ in range(bench.sizes.pairs):
        with opened(backend, fresh()) as (store, engine):
            put_ours(store, content)
            store.flush()
            steps = [0.0]
            is_all = False
            while not is_all:
                began = time.perf_counter()
                is_all = engine.delete_range(KeyRange(prefix=WINDOW_ROWS))
                steps.append(time.perf_counter() - began)
            totals.append(sum(steps) * 1e9 / len(content))
            longest.append(max(steps) * 1e3)
    bench.add(
        alone(f"{backend}, removing rows that ended", totals, unit="ns a row"),
        alone(f"{backend}, longest step of it", longest, unit="ms"),
        sizes=f"{len(content):,} rows",
    )
