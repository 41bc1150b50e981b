"""Stores of each backend, and the two ways to columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from statestore import core
from statestore.backends import StoreOptions, find_engine
from statestore.storage.changelog_store import ChangelogStore

HAS_DECODER = core.IMPLEMENTATION == "native" and core.uses("decoder")


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangelogStore]:
    engine = find_engine(request.param)(64 << 20)
    made = ChangelogStore(
        "rows", engine.open(tmp_path / "store", StoreOptions(changelog=True)), engine.max_key_size
    )
    yield made
    made.close()
    engine.close()


@pytest.fixture(params=["native", "rows"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "native" and not HAS_DECODER:
        pytest.skip("no native decoder here")
    return str(request.param)
