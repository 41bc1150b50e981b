"""What is in a data directory, told by its files alone: nothing is opened, and no owner is in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from statestore.backends.contract import directory_size
from statestore.errors import StoreMissingError
from statestore.storage.directory import NO_MANIFEST, REBUILD, StoreFile, checked_manifest
from statestore.storage.json_files import read_json
from statestore.storage.stored_window import label_of


def stored(path: Path, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Describe the stores in a data directory, without taking it from its owner: by logical name.

    ``without`` are physical names to leave out. ``complete`` tells whether the store must exist from now on;
    ``size`` is bytes on disk; ``retention`` is the seconds that rows live. ``orphan`` is True for what the
    owner noted as one, else ``None``: files do not tell it. A store that must exist and is gone has its
    physical name only. Raises ``StoreMissingError`` where there is no manifest.
    """
    if not (path / "manifest.json").exists():
        raise StoreMissingError(path, "is not a data directory (no manifest.json)", "give the path of one")
    manifest = path / "manifest.json"
    content = checked_manifest(manifest, read_json(manifest, NO_MANIFEST))
    remembered, orphans = set(content["stores"]), content.get("orphans", ())
    found = {
        file.parent.name: read_json(file, REBUILD)
        for file in path.glob("*/store.json")
        if file.parent.name not in without
    }
    empty = dict.fromkeys((field.name for field in fields(StoreFile)), None)
    entries = [
        {
            **empty,
            "logical": name,
            **found.get(name, {}),
            "window": found.get(name, {}).get("label") or label_of(found.get(name, {}).get("window")),
            "retention": _row_life(found.get(name, {})),
            "orphan": True if name in orphans else None,
            "physical": name,
            "path": str(path / name),
            "complete": name in remembered,
            "size": directory_size(path / name) if name in found else None,
        }
        for name in (remembered | found.keys()).difference(without)
    ]
    return sorted(entries, key=lambda entry: str(entry["logical"]))


def stores_of_windows(path: Path, entity: str) -> dict[str, str]:
    """Return the logical name, by the physical one, of each store of a window of the class ``entity``."""
    found = {}
    for file in path.glob("*/store.json"):
        content = read_json(file, REBUILD)
        if content.get("entity") == entity and content.get("label") is not None:
            found[file.parent.name] = str(content["logical"])
    return found


def _row_life(file: Mapping[str, Any]) -> float | None:
    """Return the seconds that rows live by the content of ``store.json``; ``None``: for ever."""
    retention = file.get("retention_ms")
    window = file.get("window")
    lives = [
        file.get("ttl"),
        None if retention is None else retention / 1000,
        None if window is None else window["retention_ms"] / 1000,
    ]
    return min((life for life in lives if life is not None), default=None)
