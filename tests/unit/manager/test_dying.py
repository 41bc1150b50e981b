"""Where an object of the library dies, no Python runs: what a signal handler raises would be lost there."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest

from statestore import Key, entity
from statestore.backends import StoreOptions, find_engine
from statestore.testing.interrupts import count_instants


def store(backend: str, path: Path) -> object:
    return find_engine(backend)(16 << 20).open(path, StoreOptions())


MADE: dict[str, Callable[[Path], object]] = {
    "memory": partial(store, "memory"),
    "lmdb": partial(store, "lmdb"),
    "rocksdb": partial(store, "rocksdb"),
    "declaration": lambda _: entity(make_dataclass("Row", [("id", Annotated[int, Key])]), topic="rows"),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_no_python_runs_where_an_object_dies(make: Callable[[Path], object], tmp_path: Path) -> None:
    dying = [make(tmp_path)]
    gc.collect()

    def die() -> None:
        dying.clear()
        gc.collect()

    assert count_instants(die) == 0
