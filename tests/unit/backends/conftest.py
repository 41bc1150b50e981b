"""What the tests of the persistent engines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statestore.backends import StoreOptions, find_engine
from statestore.backends.contract import Backend

Opener = Callable[..., Backend]

BUDGET = 16 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(params=["rocksdb", "lmdb"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of each persistent engine in turn."""
    found: str = request.param
    return found


@pytest.fixture
def open_store(directory: Path, name: str) -> Iterator[Opener]:
    """Open the store of the test with the options given; all are closed at its end."""
    opened: list[Backend] = []

    def open_store(path: Path = directory, *, changelog: bool = True, **options: Any) -> Backend:
        kind = find_engine(name)
        opened.append(
            kind(BUDGET, kind.options_type(**options)).open(path, StoreOptions(changelog=changelog))
        )
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()
