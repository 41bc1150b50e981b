"""The engines of this library against the suite that it ships."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from statestore.backends import Engine, find_engine
from statestore.testing import BackendConformance


@pytest.mark.parametrize("name", ["memory", "rocksdb", "lmdb"])
class TestEngine(BackendConformance):
    @pytest.fixture
    def engine_factory(self, name: str) -> Callable[[], Engine]:
        return partial(find_engine(name), memory_budget=16 << 20)
