"""Whose rows the files of a store hold: said in the engine's own files, too, and compared at each open.

``store.json`` says what a store is, but its rows are in files beside it, and these can be put in another
store's place. So the metadata of the rows names their store, by a random id and the number of the generation.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from statestore.backends import Backend, BackendReader, Batch
from statestore.errors import StoreCorruptError, StoreIdentityError, StoreMissingError
from statestore.storage.directory import StoreDirectory
from statestore.storage.layout import IDENTITY

_NAMES = ("logical", "topic", "values", "serialisation")
"""What else of the identity is told where the files are not the store's own."""


def identify(backend: Backend, directory: StoreDirectory, *, is_complete: bool) -> None:
    """Compare the files of ``backend`` with ``directory``, in which they were opened.

    Files without an identity are new, or an earlier version wrote them: they are given one. Raises
    ``StoreIdentityError`` for the files of another store, or of a generation that was given up, and
    ``StoreCorruptError`` for those of a store that ``is_complete`` and are empty.
    """
    stored = backend.get(IDENTITY)
    found = None if stored is None else _read(stored)
    if found is None and is_complete and directory.file.store_id is not None:
        raise StoreCorruptError(
            directory.generation_path,
            "the files were cut short or replaced by empty ones: not even whose they are is in them",
            directory.file.remedy,
        )
    file = directory.file
    if found is None:
        found = {name: getattr(file, name) for name in ("store_id", "generation", *_NAMES)}
        found["store_id"] = file.store_id or uuid.uuid4().hex
        backend.write(Batch([(IDENTITY, json.dumps(found, sort_keys=True).encode())]))
        if file.store_id is None:
            backend.flush()  # before store.json has the id: from then on files without one are damage
    if file.store_id is None:  # an earlier version wrote store.json
        known = all(found[name] == getattr(file, name) for name in _NAMES)
        directory.update(store_id=str(found["store_id"]) if known else uuid.uuid4().hex)
        file = directory.file
    _check_same(found, directory)


def check_identity(reader: BackendReader, directory: StoreDirectory) -> None:
    """Compare files that another process writes with ``directory``, in which they were opened.

    Raises ``StoreIdentityError`` for the files of another store or generation, and ``StoreMissingError`` for
    those that say nothing yet: their owner is about to begin them.
    """
    if directory.file.store_id is None:  # an earlier version wrote the files, and no owner has come since
        return
    stored = reader.get(IDENTITY)
    if stored is None:
        raise StoreMissingError(
            directory.generation_path,
            f"the files of store {directory.file.logical!r} do not say yet whose they are",
            "have its owner open it",
        )
    _check_same(_read(stored), directory)


def _check_same(found: Mapping[str, Any], directory: StoreDirectory) -> None:
    file = directory.file
    if (found["store_id"], found["generation"]) != (file.store_id, file.generation):
        remedy = f"put this store's own files there again: {file.remedy}"
        raise StoreIdentityError(directory.generation_path, _difference(found, directory), remedy)


def _read(stored: bytes) -> dict[str, Any]:
    try:
        found = json.loads(stored)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {}
    return {name: found.get(name) for name in ("store_id", "generation", *_NAMES)}


def _difference(found: Mapping[str, Any], directory: StoreDirectory) -> str:
    differing = [
        f"{name} {found[name]!r}, not {wanted!r}"
        for name in _NAMES
        if found[name] != (wanted := getattr(directory.file, name))
    ]
    if differing:
        return f"the files are those of another store: {', '.join(differing)}"
    if found["store_id"] != directory.file.store_id:
        return "the files are those of another store of this name, perhaps of another data directory"
    return f"the files are those of generation {found['generation']}, which was given up"
