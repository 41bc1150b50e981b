"""The engines of this library against the suite that it ships."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from statestore.backends import Engine, find_engine
from statestore.testing import BackendConformance, SharingConformance
from statestore.testing.conformance.crashing import Victim


@pytest.mark.parametrize("name", ["memory", "rocksdb", "lmdb"])
class TestEngine(BackendConformance):
    if os.environ.get("STATESTORE_SOAK") != "1":
        machine_settings = settings(BackendConformance.machine_settings, max_examples=20)
        kills = 20

    @pytest.fixture
    def engine_factory(self, name: str) -> Callable[[], Engine]:
        return partial(find_engine(name), memory_budget=16 << 20)

    @pytest.mark.slow(seconds=3)
    @pytest.mark.parametrize("changelog", [False, True])
    def test_a_killed_store_comes_back_as_of_one_of_its_writes(
        self, engine: Engine, victim: Victim, directory: Path, changelog: bool
    ) -> None:
        super().test_a_killed_store_comes_back_as_of_one_of_its_writes(engine, victim, directory, changelog)

    @pytest.mark.slow
    def test_a_killed_store_of_windows_has_what_is_visible(
        self, engine: Engine, victim: Victim, directory: Path
    ) -> None:
        super().test_a_killed_store_of_windows_has_what_is_visible(engine, victim, directory)

    @pytest.mark.slow
    def test_a_damaged_file_gives_an_error_or_what_was_once_there(
        self, engine: Engine, victim: Victim, closed_directory: Path, tmp_path: Path
    ) -> None:
        super().test_a_damaged_file_gives_an_error_or_what_was_once_there(
            engine, victim, closed_directory, tmp_path
        )

    @pytest.mark.slow
    def test_behaves_as_a_dict_under_any_sequence_of_calls(
        self, engine_factory: Callable[[], Engine], tmp_path: Path
    ) -> None:
        super().test_behaves_as_a_dict_under_any_sequence_of_calls(engine_factory, tmp_path)


@pytest.mark.parametrize("name", ["rocksdb", "lmdb"])
class TestShared(SharingConformance):
    if os.environ.get("STATESTORE_SOAK") == "1":
        pytestmark = pytest.mark.timeout(1800)
        kills = 300
        readers = 8
    else:
        kills = 4
        readers = 2

    @pytest.fixture
    def engine_factory(self, name: str) -> Callable[[], Engine]:
        return partial(find_engine(name), memory_budget=16 << 20)
