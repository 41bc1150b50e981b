"""Storage engines, found by entry point ``statestore.backends``; :mod:`.contract` says what one must do."""

from __future__ import annotations

from importlib.metadata import entry_points

from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    Engine,
    KeyRange,
    Snapshot,
    SortedRun,
    StoreOptions,
)
from statestore.backends.options import EngineOptions
from statestore.backends.wrapper import WrapperBackend, WrapperReader, WrapperSnapshot
from statestore.errors import ConfigError

__all__ = [
    "ALL_KEYS",
    "Backend",
    "BackendIterator",
    "BackendReader",
    "Batch",
    "Engine",
    "EngineOptions",
    "KeyRange",
    "Snapshot",
    "SortedRun",
    "StoreOptions",
    "WrapperBackend",
    "WrapperReader",
    "WrapperSnapshot",
    "find_engine",
]


def find_engine(name: str) -> type[Engine]:
    """Return the engine class registered as ``name``.

    Raises ``ConfigError`` naming the registered ones where there is no such engine, or where its
    package cannot be imported.
    """
    found = {entry.name: entry for entry in entry_points(group="statestore.backends")}
    if name not in found:
        known = ", ".join(sorted(found)) or "none: is statestore installed?"
        raise ConfigError(f"backend {name!r} is not registered; registered: {known}")
    try:
        engine: type[Engine] = found[name].load()
    except ImportError as error:
        raise ConfigError(f"backend {name!r} ({found[name].value}) cannot be imported: {error}") from error
    return engine
