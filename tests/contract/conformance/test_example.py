"""The example of docs/backends.md against the suite."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import settings
from sqlite_backend import SQLiteEngine

from statestore.backends import Engine
from statestore.testing import BackendConformance

pytestmark = pytest.mark.slow


class TestSQLite(BackendConformance):
    if os.environ.get("STATESTORE_SOAK") != "1":
        machine_settings = settings(BackendConformance.machine_settings, max_examples=3)
        kills = 4

    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        return partial(SQLiteEngine, memory_budget=16 << 20)
