"""Storage engines, found by name; :mod:`.contract` says what one must do, and how one is registered."""

from __future__ import annotations

from collections.abc import Callable

from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    Engine,
    KeyRange,
    OpenStore,
    Snapshot,
    SortedRun,
    StoreOptions,
)
from statestore.backends.database import Database, DatabaseEngine, DatabaseReader
from statestore.backends.options import EngineOptions
from statestore.backends.sharing import ReadOnlyBackend, SharingEngine, sharing
from statestore.backends.wrapper import WrapperBackend, WrapperReader, WrapperSnapshot
from statestore.errors import ConfigError
from statestore.runtime.plugins import BACKENDS, find, installed

AROUND_ENGINES: list[Callable[[type[Engine]], type[Engine]]] = []
"""What is put around each engine class that is looked up: of tests, whose stores fail."""

__all__ = [
    "ALL_KEYS",
    "Backend",
    "BackendIterator",
    "BackendReader",
    "Batch",
    "Database",
    "DatabaseEngine",
    "DatabaseReader",
    "Engine",
    "EngineOptions",
    "KeyRange",
    "OpenStore",
    "ReadOnlyBackend",
    "SharingEngine",
    "Snapshot",
    "SortedRun",
    "StoreOptions",
    "WrapperBackend",
    "WrapperReader",
    "WrapperSnapshot",
    "find_engine",
    "sharing",
]


def find_engine(name: str) -> type[Engine]:
    """Return the engine class registered as ``name``.

    Raises ``ConfigError`` naming the registered ones where there is no such engine, or where its
    package cannot be imported.
    """
    found = find(BACKENDS, name)
    if found is None:
        known = ", ".join(installed(BACKENDS))
        raise ConfigError(f"backend {name!r} is not registered; registered: {known}")
    try:
        engine: type[Engine] = found.load()
    except ImportError as error:
        raise ConfigError(f"backend {name!r} ({found.value}) cannot be imported: {error}") from error
    for around in AROUND_ENGINES:
        engine = around(engine)
    return engine
