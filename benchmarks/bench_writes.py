"""Batches written together with a position, against the binding's own batch of the same pairs."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from bindings import BINDINGS
from conftest import Bench, Fresh
from content import Pairs

from statestore.backends import StoreOptions, find_engine
from statestore.bench.turns import Work
from statestore.core import WriteRun
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, HEADER, Position, timestamp_of

BATCH = 1_000
MEMORY = 192 << 20
WANTED = 0.9

Batches = list[tuple[Pairs, tuple[bytes, bytes]]]


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def measure_batch(bench: Bench, fresh: Fresh, backend: str) -> None:
    batches = _batches(max(1, bench.sizes.rows // BATCH // 2))
    binding = BINDINGS[backend]

    def open_ours() -> Any:
        directory = fresh()
        engine = find_engine(backend)(MEMORY)
        opened = engine.open(directory, StoreOptions(changelog=True))
        return ChangelogStore("bench", opened, engine.max_key_size), engine, directory, _runs(batches)

    def write_ours(opened: Any) -> None:
        store, runs = opened[0], opened[-1]
        for number, run in enumerate(runs):
            store.apply(run, {0: Position(number)})

    def close_ours(opened: Any) -> None:
        store, engine, directory, _ = opened
        store.close()
        engine.close()
        shutil.rmtree(directory)

    def open_theirs() -> Any:
        directory = fresh()
        return binding(directory), directory

    def write_theirs(opened: Any) -> None:
        store = opened[0]
        for batch, position in batches:
            store.write([*batch, position])

    def close_theirs(opened: tuple[Any, Path]) -> None:
        opened[0].close()
        shutil.rmtree(opened[1])

    bench.speed(
        f"{backend}, batches of {BATCH:,} and a position",
        binding.names["write"],
        Work(write_ours, open_ours, close_ours),
        Work(write_theirs, open_theirs, close_theirs),
        items=BATCH * len(batches),
        of="pairs",
        wanted=WANTED,
    )


def _batches(count: int) -> Batches:
    """Return batches of pairs, their keys as a store writes them, each with a position's pair."""
    chance = random.Random(17)
    return [
        (
            [(DATA + chance.randbytes(16), chance.randbytes(108)) for _ in range(BATCH)],
            (b"\x00pos\x00\x00\x00\x00", b"%020d" % number),
        )
        for number in range(count)
    ]


def _runs(batches: Batches) -> list[WriteRun]:
    """Return the batches as the changelog hands them to a store."""
    runs = []
    for batch, _ in batches:
        runs.append(WriteRun(DATA))
        for key, value in batch:
            timestamp = timestamp_of(value)
            runs[-1].write(key.removeprefix(DATA), value[HEADER:], timestamp)
    return runs
