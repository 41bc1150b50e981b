"""Point reads of files that are not in the system's page cache, against the backends' bindings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bindings import BINDINGS
from conftest import Bench, Fresh, Sizes
from content import pairs, some_keys
from stores import fill

from statestore import StoreManager
from statestore.bench.pairs import speed
from statestore.bench.turns import Work

TIMES = 5
"""This group has so many times the keys of the others: read-ahead must not load all of them."""
READS = 500
WANTED = 0.9


def drop(directory: Path) -> None:
    """Drop the files below ``directory`` from the page cache. No process may have them mapped."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # pages that are not written yet cannot be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def measure_cold_get(bench: Bench, fresh: Fresh, sizes: Sizes, backend: str) -> None:
    content = pairs(TIMES * sizes.rows)
    wanted = list(dict.fromkeys(some_keys(READS, len(content))))
    homes = {"ours": fresh(), "theirs": fresh()}
    with StoreManager(homes["ours"], backend=backend) as stores:
        fill(stores.open("pairs"), content)
        stores.open("pairs").compact()
    with BINDINGS[backend](homes["theirs"]) as binding:
        binding.fill(content)
        binding.compact()

    def open_ours() -> Any:
        drop(homes["ours"])
        manager = StoreManager(homes["ours"], backend=backend)
        return manager, manager.open("pairs").get

    def open_theirs() -> Any:
        drop(homes["theirs"])
        opened = BINDINGS[backend](homes["theirs"])
        return opened, opened.get

    def read(opened: tuple[Any, Callable[[bytes], object]]) -> None:
        get = opened[1]
        for key in wanted:
            get(key)

    ours = Work(read, open_ours, lambda opened: opened[0].close())
    theirs = Work(read, open_theirs, lambda opened: opened[0].close())
    bench.add(
        speed(
            f"{backend}, cold get among {len(content):,} keys",
            binding.names["get"],
            bench.pairs(ours, theirs),
            items=len(wanted),
            of="reads",
            wanted=WANTED,
        ),
        sizes=f"{len(wanted)} reads, {sizes.pairs} pairs",
    )
