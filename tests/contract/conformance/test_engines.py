"""The engines of this library against the suite that it ships."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from statestore.backends import Engine, find_engine
from statestore.testing import BackendConformance


@pytest.mark.parametrize("name", ["memory", "rocksdb", "lmdb"])
class TestEngine(BackendConformance):
    if os.environ.get("STATESTORE_SOAK") != "1":
        machine_settings = settings(BackendConformance.machine_settings, max_examples=20)

    @pytest.fixture
    def engine_factory(self, name: str) -> Callable[[], Engine]:
        return partial(find_engine(name), memory_budget=16 << 20)

    @pytest.mark.slow
    def test_behaves_as_a_dict_under_any_sequence_of_calls(
        self, engine_factory: Callable[[], Engine], tmp_path: Path
    ) -> None:
        super().test_behaves_as_a_dict_under_any_sequence_of_calls(engine_factory, tmp_path)
