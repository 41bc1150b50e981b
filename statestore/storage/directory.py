"""The data directory: who owns it, what is in it, and which topic each store mirrors.

::

    state/LOCK                      flock of the owner, who says inside who it is
    state/SHARED                    what the owner tells those that read beside it (shared_state.py)
    state/manifest.json             format, the stores that must exist
    state/<physical>/store.json     format, backend, identity, current generation
    state/<physical>/g000001/       the backend's files

Each JSON file is replaced by a temporary file, fsync and rename, so it is the old or the new one after a
crash. Beside these a directory may hold what is nobody's data: hidden files, ``lost+found``.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from statestore.backends.contract import is_nobodys
from statestore.errors import (
    StoreCorruptError,
    StoreIdentityError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.fields import stored_schema
from statestore.fields.stored_schema import StoredSchema
from statestore.runtime import fork
from statestore.storage.json_files import FORMAT, os_errors_at, read_json, remedy_of, write_json
from statestore.storage.lock import DirectoryLock
from statestore.storage.shared_state import SHARED
from statestore.storage.stored_window import StoredWindow, continued_window, label_of

log = logging.getLogger("statestore.store")

_GENERATION = re.compile(r"g\d{6,}")
_OF_A_STORE = re.compile(r"store\.json|g\d{6,}|CURRENT|MANIFEST-\d+|\d+\.sst|data\.mdb")
"""What is in the directory of a store, or is an engine's."""
NO_MANIFEST = "restore manifest.json from a backup, or give an empty directory to start anew"


@dataclass(frozen=True, slots=True)
class StoreFile:
    """``store.json``: what a store is.

    ``values`` is ``"raw"`` (an ``open()`` store), ``"windows"`` or ``"sessions"`` (of ``open_window()`` and
    ``open_session()``, raw) or ``"timestamped"`` (a bound one: int64 BE milliseconds, then the payload). The
    identity fields are ``None`` until Kafka has told them, and for stores without a topic.
    """

    logical: str
    backend: str
    values: str
    serialisation: str
    topic: str | None = None
    topic_id: str | None = None
    cluster_id: str | None = None
    partitions: int | None = None
    schema: StoredSchema | None = None
    """The fields it was written with; ``None`` for stores of bytes."""
    entity: str | None = None
    """The name of the class that was bound last; ``None``: none, or an earlier version made it."""
    ttl: float | None = None
    """Seconds after which rows ended, the least that there was so far: older ones may be gone."""
    retention_ms: int | None = None
    """How long the topic keeps a record, where its policy has "delete"; ``None``: for ever, or unknown."""
    foreign: str | None = None
    """Why rows of another topic may be in it: it is not read then, and is to be rebuilt."""
    window: StoredWindow | None = None
    """Of a store of windows or sessions: their size, how long they are kept, and by what they are removed. Of
    the table of a window: the same, but for that its rows are removed one by one."""
    label: str | None = None
    """The label of the window whose rows it has, of the table of one window of a class."""
    store_id: str | None = None
    """A random name of this store, which its files have, too; ``None``: an earlier version made it."""
    generation: int = 1
    damage: str | None = None
    """What a read found wrong with the files of this generation, which are not used any more."""
    rebuilding: bool = False
    """Whether the generation is not complete yet: its files may be missing, as those of a new store may."""
    format: int = FORMAT

    @property
    def remedy(self) -> str:
        """What to do about files that are missing or damaged."""
        return REBUILD if self.values == "timestamped" else RESTORE


class StoreDirectory:
    """One store's directory. ``update`` and ``vanished`` are called by different threads of its owner."""

    def __init__(self, path: Path, file: StoreFile) -> None:
        self.path = path
        self.file = file
        self._changing = fork.lock()
        self._seen = _identity_on_disk(path / "store.json")

    @property
    def generation_path(self) -> Path:
        """Where the backend's files of the current generation are."""
        return self.path / f"g{self.file.generation:06d}"

    def update(self, **changes: Any) -> None:
        """Replace fields of ``store.json``, durably."""
        with self._changing:
            file = replace(self.file, **changes)
            write_json(self.path / "store.json", asdict(file))
            self.file = file
            self._seen = _identity_on_disk(self.path / "store.json")

    def start_generation(self) -> None:
        """Make an empty next generation the current one and delete all others."""
        self.update(
            generation=self.file.generation + 1,
            topic_id=None,
            cluster_id=None,
            partitions=None,
            rebuilding=True,
            foreign=None,
            damage=None,
        )
        self.remove_old_generations()

    def remove_old_generations(self) -> None:
        """Delete every generation but the current one; what cannot be deleted is logged and stays."""
        for name in _names(self.path):
            old = self.path / name
            if _GENERATION.fullmatch(name) and old != self.generation_path:
                try:
                    shutil.rmtree(old)
                except OSError as error:
                    log.warning("%s is not used any more and cannot be deleted: %s", old, error)

    def mark_complete(self) -> None:
        """Note that the generation is complete: from now on its files must be there."""
        if self.file.rebuilding:
            self.update(rebuilding=False)

    def vanished(self) -> bool:
        """Whether the files opened are no longer the ones at this path (deleted or replaced)."""
        with self._changing:  # an update replaces the file, too
            replaced = _identity_on_disk(self.path / "store.json") != self._seen
        return replaced or not self.generation_path.is_dir()


class DataDirectory:
    """Owns one data directory for the life of a manager.

    Raises ``DirectoryLockedError`` at once while another process (or another manager of this one) owns it.
    Thread-safe.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._mutex = threading.Lock()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = DirectoryLock(self.path)
        except OSError as error:
            raise StoreUnavailableError(
                self.path,
                f"the data directory cannot be used: {error.strerror}",
                remedy_of(error, "give a directory this user can create and write"),
            ) from error
        try:
            self._manifest = self._open_manifest()
        except BaseException:
            self._lock.close()
            raise
        fork.register(self)

    def _open_manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        if path.exists():
            return checked_manifest(path, read_json(path, NO_MANIFEST))
        others = [
            name
            for name in _names(self.path)
            if name not in ("LOCK", SHARED, "manifest.json.tmp") and not is_nobodys(name)
        ]
        if stores := [name for name in others if _is_of_a_store(self.path / name)]:
            raise StoreMissingError(
                path,
                f"the manifest is missing, but the directory holds data: {', '.join(stores[:5])}",
                NO_MANIFEST,
            )
        if others:
            log.warning("%s also holds what is not of a store: %s", self.path, ", ".join(others[:5]))
        manifest: dict[str, Any] = {"format": FORMAT, "directory_id": uuid.uuid4().hex, "stores": {}}
        write_json(path, manifest)
        return manifest

    @property
    def directory_id(self) -> str:
        """A random name this directory was given when it was made."""
        identity: str = self._manifest["directory_id"]
        return identity

    def store(self, physical: str, wanted: StoreFile, *, on_missing: str = "fail") -> StoreDirectory:
        """Return the directory of a store, made when this is its first time.

        Raises ``StoreMissingError`` for a store that was complete once and is gone, ``StoreCorruptError`` for
        one that cannot be understood, ``StoreIdentityError`` for one that is something else than ``wanted``.
        With ``on_missing="rebuild"`` the first two are replaced by a new one, with ``"empty"`` what is gone.
        """
        path = self.path / physical
        try:
            directory = self._existing(path, wanted)
            if directory is None and physical in self._manifest["stores"]:
                raise StoreMissingError(
                    path, f"store {wanted.logical!r} was complete once and its files are gone", wanted.remedy
                )
        except (StoreCorruptError, StoreMissingError) as error:
            # Of a store without a topic nothing is deleted: that might be all there is of its data.
            if on_missing == "fail" or (on_missing == "empty" and _is_of_a_store(path)):
                log.critical("%s", error)
                raise
            log.warning("%s: starting the store anew", error)
            directory = None
        if directory is None:
            return self._create(path, wanted)
        directory.remove_old_generations()
        return directory

    def _existing(self, path: Path, wanted: StoreFile) -> StoreDirectory | None:
        file_path = path / "store.json"
        if not file_path.exists():
            if any(_GENERATION.fullmatch(name) for name in _names(path)):
                raise StoreMissingError(file_path, "store.json is missing beside data", wanted.remedy)
            return None
        found = _described(file_path, wanted.remedy)
        continued = _continued(path, found.schema, wanted.schema)
        _check_same(path, found, wanted)
        if found.ttl is not None and (wanted.ttl is None or wanted.ttl > found.ttl):
            raise StoreIdentityError(
                path,
                f"has no rows older than ttl={found.ttl:g} s any more, opened for ttl={wanted.ttl}",
                'delete the directory and bind with on_missing="rebuild", to have them from Kafka again',
            )
        directory = StoreDirectory(path, found)
        window = continued_window(found.window, wanted.window)
        if (continued, wanted.ttl, wanted.entity, window) != (
            found.schema,
            found.ttl,
            found.entity,
            found.window,
        ):
            directory.update(schema=continued, ttl=wanted.ttl, entity=wanted.entity, window=window)
        complete = path.name in self._manifest["stores"] and not found.rebuilding
        if complete and not _has_files(directory.generation_path):
            raise StoreMissingError(
                directory.generation_path, f"the files of store {wanted.logical!r} are gone", wanted.remedy
            )
        return directory

    def _create(self, path: Path, wanted: StoreFile) -> StoreDirectory:
        with os_errors_at(path):
            path.mkdir(mode=0o700, exist_ok=True)
            for name in _names(path):  # left by a crash while creating, or given up for a rebuild
                if _GENERATION.fullmatch(name):
                    shutil.rmtree(path / name)
        # One that was complete once is being rebuilt: a kill before its files are there is no loss.
        again = path.name in self._manifest["stores"]
        made = replace(wanted, store_id=uuid.uuid4().hex, rebuilding=again)
        write_json(path / "store.json", asdict(made))
        return StoreDirectory(path, made)

    def is_remembered(self, physical: str) -> bool:
        """Whether the store was complete once."""
        return physical in self._manifest["stores"]

    def remember(self, physical: str) -> None:
        """Note that the store is complete: from now on its absence is an error."""
        with self._mutex:
            if physical not in self._manifest["stores"]:
                self._write_manifest(stores={**self._manifest["stores"], physical: {}})

    def note_orphans(self, found: Collection[str], declared: Collection[str]) -> bool:
        """Note for who lists the stores that nothing declares ``found``; return whether one is new."""
        with self._mutex:
            noted = set(self._manifest.get("orphans", ()))
            orphans = noted.difference(declared).union(found)
            if orphans != noted:
                self._write_manifest(orphans=sorted(orphans))
            return not orphans <= noted

    def drop(self, physical: str) -> None:
        """Delete a store that is not open, and forget that it was there.

        A process that dies in the middle leaves a store without rows, which is an orphan like this one.
        """
        with self._mutex:
            stores = {name: one for name, one in self._manifest["stores"].items() if name != physical}
            orphans = [name for name in self._manifest.get("orphans", ()) if name != physical]
            self._write_manifest(stores=stores, orphans=orphans)
        path = self.path / physical
        with os_errors_at(path):
            for name in _names(path):
                if _GENERATION.fullmatch(name):
                    shutil.rmtree(path / name)
            if path.exists():
                shutil.rmtree(path)

    def _write_manifest(self, **changes: Any) -> None:
        manifest = {**self._manifest, **changes}
        write_json(self.path / "manifest.json", manifest)
        self._manifest = manifest

    def give_up(self) -> None:
        """Say that ``close`` follows soon, on another thread. Takes no lock."""
        self._lock.give_up()

    def close(self) -> None:
        """Give the directory up. Idempotent."""
        self._lock.close()

    def _forked(self) -> None:
        # The child's copy of the descriptor would keep the parent's lock alive after the parent's death.
        self.close()


REBUILD = 'restore the store from a backup, or bind with on_missing="rebuild"'
RESTORE = (
    "restore the store from a backup, or move what is left of it elsewhere and open it with "
    'on_missing="empty" to begin without its rows'
)


def checked_manifest(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a manifest; raises ``StoreCorruptError`` for that of something else."""
    if not isinstance(content.get("directory_id"), str) or not isinstance(content.get("stores"), dict):
        raise StoreCorruptError(path, "is not the manifest of a data directory", NO_MANIFEST)
    return content


def _described(path: Path, remedy: str) -> StoreFile:
    """Return what ``store.json`` says; raises ``StoreCorruptError`` where it cannot be understood."""
    try:
        found = StoreFile(**read_json(path, remedy))
    except TypeError as error:
        raise StoreCorruptError(path, f"not a store's description: {error}", remedy) from error
    generation: Any = found.generation
    if not isinstance(generation, int) or generation < 0:
        raise StoreCorruptError(path, f"not a store's description: generation {generation!r}", remedy)
    return found


def described_store(path: Path, wanted: StoreFile) -> StoreFile:
    """Return what the store in the directory ``path`` is, to a process that only reads it.

    Raises ``StoreMissingError`` where there is none yet, ``StoreCorruptError`` for one that cannot be
    understood, and ``StoreIdentityError`` for one that is something else than ``wanted``.
    """
    file = path / "store.json"
    if not file.exists():
        raise StoreMissingError(path, f"there is no store {wanted.logical!r} yet", "have its owner open it")
    found = _described(file, wanted.remedy)
    _check_same(path, found, wanted)
    _continued(path, found.schema, wanted.schema)
    return found


def directory_id_of(path: Path) -> str | None:
    """Return the random name of the data directory ``path``; ``None`` where no process has made it yet."""
    manifest = path / "manifest.json"
    if not manifest.exists():
        return None
    identity: str = checked_manifest(manifest, read_json(manifest, NO_MANIFEST))["directory_id"]
    return identity


def _check_same(path: Path, found: StoreFile, wanted: StoreFile) -> None:
    """Raise ``StoreIdentityError`` unless the store is the one that is wanted."""
    for field in ("logical", "backend", "values", "serialisation", "topic"):
        old, new = getattr(found, field), getattr(wanted, field)
        if old != new:
            remedy = _of_another(field, found, wanted)
            raise StoreIdentityError(path, f"holds {field} {old!r}, opened for {field} {new!r}", remedy)
    if (size := label_of(found.window)) != label_of(wanted.window):
        raise StoreIdentityError(
            path,
            f"holds windows of {size}, opened for windows of {label_of(wanted.window)}",
            f"open it with size={size!r}, or give this store another name",
        )


def _continued(path: Path, old: StoredSchema | None, new: StoredSchema | None) -> StoredSchema | None:
    """Return the schema of a store that was written with ``old`` and goes on with ``new``."""
    if old is None or new is None or old["fingerprint"] == new["fingerprint"]:
        return new
    if faults := stored_schema.conflicts(old, new):
        raise StoreIdentityError(
            path,
            "the class has changed so that it cannot read the store: " + "; ".join(faults),
            "change it back (a field of another type needs another name); where every record of the "
            'topic is of the new class, delete the directory and bind with on_missing="rebuild"',
        )
    if lacking := stored_schema.unreadable(old, new):
        log.warning(
            "%s: records from before %s was added have no value for it: give it a default to read them",
            path,
            ", ".join(lacking),
        )
    return stored_schema.merged(old, new)


def _of_another(field: str, found: StoreFile, wanted: StoreFile) -> str:
    """Return what to do about a store whose ``field`` is another than is wanted."""
    verb = "bind" if wanted.values == "timestamped" else "open"
    remedies = ["give this store another name"]
    if field == "backend":
        remedies.insert(0, f"{verb} it with backend={found.backend!r}")
    if verb == "bind":
        remedies.append('delete its directory and bind with on_missing="rebuild"')
    return ", or ".join(remedies)


def _is_of_a_store(path: Path) -> bool:
    """Whether ``path`` is a store's directory, or a file of one."""
    return any(_OF_A_STORE.fullmatch(name) for name in (path.name, *_names(path)))


def _names(path: Path) -> list[str]:
    """Return the sorted names in a directory; none where it is not there, or is not ours to look into."""
    try:
        return sorted(entry.name for entry in path.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _has_files(path: Path) -> bool:
    return any(not is_nobodys(name) for name in _names(path))


def _identity_on_disk(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
