"""Both implementations of the native core, so that one suite proves both."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("STATESTORE_PURE_PYTHON") == "1":
            pytest.skip("built with STATESTORE_PURE_PYTHON=1: there is no extension")
        raise


@pytest.fixture(scope="session")
def native() -> ModuleType:
    return _load("statestore._native")


@pytest.fixture(scope="session")
def pure() -> ModuleType:
    return _load("statestore.core.pure")


@pytest.fixture(scope="session", params=["native", "pure"])
def core(request: pytest.FixtureRequest) -> ModuleType:
    module = request.getfixturevalue(request.param)
    assert isinstance(module, ModuleType)
    return module


@pytest.fixture
def resident_memory() -> None:
    """For tests that measure it: the address sanitizer keeps for a while what was freed."""
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the address sanitizer keeps what is freed for a while")
