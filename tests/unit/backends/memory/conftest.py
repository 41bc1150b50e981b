"""Both implementations of the sorted map, so that one suite proves both."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

from statestore.backends.memory import ordered as pure
from statestore.backends.memory.ordered import OrderedMap


def _native() -> ModuleType:
    try:
        return importlib.import_module("statestore._native")
    except ImportError:
        if os.environ.get("STATESTORE_PURE_PYTHON") == "1":
            pytest.skip("built with STATESTORE_PURE_PYTHON=1: there is no extension")
        raise


@pytest.fixture(scope="session")
def native_map() -> type[OrderedMap]:
    made: type[OrderedMap] = _native().OrderedMap
    return made


@pytest.fixture(scope="session", params=["native", "pure"])
def ordered_map(request: pytest.FixtureRequest) -> type[OrderedMap]:
    if request.param == "pure":
        return pure.OrderedMap
    made: type[OrderedMap] = request.getfixturevalue("native_map")
    return made
