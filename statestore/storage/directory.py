"""The data directory: who owns it, what is in it, and which topic each store mirrors.

::

    state/LOCK                      flock of the owner, its pid inside
    state/manifest.json             format, the stores that must exist
    state/<physical>/store.json     format, backend, identity, current generation
    state/<physical>/g000001/       the backend's files

Each JSON file is replaced by a temporary file, fsync and rename, so it is the old or the new one after a
crash.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from statestore.backends.contract import directory_size, sync
from statestore.errors import (
    DirectoryLockedError,
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreIdentityError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.fields import stored_schema
from statestore.fields.stored_schema import StoredSchema
from statestore.runtime import fork

FORMAT = 1
NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
}

log = logging.getLogger("statestore.store")

_owned_here: set[tuple[int, int]] = set()
"""Device and inode of each lock file held here: the pid in one may be another container's, and equal ours."""


@dataclass(frozen=True, slots=True)
class StoreFile:
    """``store.json``: what a store is.

    ``values`` is ``"raw"`` (an ``open()`` store) or ``"timestamped"`` (a bound one: int64 BE milliseconds,
    then the payload). The identity fields are ``None`` until Kafka has told them, and for ``open()`` stores.
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
    ttl: float | None = None
    """Seconds after which rows ended, the least that there was so far: older ones may be gone."""
    generation: int = 1
    format: int = FORMAT


class StoreDirectory:
    """One store's directory. Not thread-safe: its store's owner calls it."""

    def __init__(self, path: Path, file: StoreFile) -> None:
        self.path = path
        self.file = file
        self._seen = _identity_on_disk(path / "store.json")

    @property
    def generation_path(self) -> Path:
        """Where the backend's files of the current generation are."""
        return self.path / f"g{self.file.generation:06d}"

    def update(self, **changes: Any) -> None:
        """Replace fields of ``store.json``, durably."""
        file = replace(self.file, **changes)
        write_json(self.path / "store.json", asdict(file))
        self.file = file
        self._seen = _identity_on_disk(self.path / "store.json")

    def start_generation(self) -> None:
        """Make an empty next generation the current one and delete all others."""
        self.update(generation=self.file.generation + 1, topic_id=None, cluster_id=None, partitions=None)
        for old in self.path.glob("g[0-9]*"):
            if old != self.generation_path:
                with _os_errors_at(old):
                    shutil.rmtree(old)

    def vanished(self) -> bool:
        """Whether the files opened are no longer the ones at this path (deleted or replaced)."""
        return _identity_on_disk(self.path / "store.json") != self._seen or not self.generation_path.is_dir()


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
            self._lock = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                self.path,
                f"the data directory cannot be used: {error.strerror}",
                "give a directory this user can create and write",
            ) from error
        try:
            self._take_lock()
            self._manifest = self._open_manifest()
        except BaseException:
            os.close(self._lock)
            raise
        self._closed = False
        _owned_here.add(self._lock_file)
        fork.register(self)
        self._warn_of_its_place()

    def _take_lock(self) -> None:
        status = os.fstat(self._lock)
        self._lock_file = status.st_dev, status.st_ino
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).strip()
            raise DirectoryLockedError(
                int(owner) if owner.isdigit() else None, self.path, is_here=self._lock_file in _owned_here
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _open_manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        if path.exists():
            return read_json(path)
        left = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name != "LOCK" and not entry.name.startswith("manifest.json.")
        )
        if left:
            raise StoreMissingError(
                path,
                f"the manifest is missing, but the directory holds {', '.join(left[:5])}",
                "restore it from a backup, or give an empty directory to start anew",
            )
        manifest: dict[str, Any] = {"format": FORMAT, "directory_id": uuid.uuid4().hex, "stores": {}}
        write_json(path, manifest)
        return manifest

    def _warn_of_its_place(self) -> None:
        kind = _file_system(self.path)
        if kind in NETWORK_FILE_SYSTEMS:
            log.warning("%s is on a network mount (%s): locks and fsync may not hold there", self.path, kind)
        if self.path.is_relative_to(Path(tempfile.gettempdir()).absolute()):
            log.warning("%s is under the temporary directory: the system may delete it", self.path)

    @property
    def directory_id(self) -> str:
        """A random name this directory was given when it was made."""
        identity: str = self._manifest["directory_id"]
        return identity

    def store(self, physical: str, wanted: StoreFile, *, on_missing: str = "fail") -> StoreDirectory:
        """Return the directory of a store, made when this is its first time.

        Raises ``StoreMissingError`` for a store that was complete once and is gone (unless ``on_missing``
        is ``"rebuild"``), ``StoreIdentityError`` for one that is something else than ``wanted``.
        """
        path = self.path / physical
        try:
            directory = self._existing(path, wanted)
            if directory is None and physical in self._manifest["stores"] and on_missing == "fail":
                raise StoreMissingError(
                    path,
                    f"store {wanted.logical!r} was complete once and its files are gone",
                    'restore them from a backup, or bind with on_missing="rebuild"',
                )
        except (StoreCorruptError, StoreMissingError) as error:
            if on_missing == "fail":
                log.critical("%s", error)
                raise
            log.warning("%s: rebuilding the store", error)
            directory = None
        return directory or self._create(path, wanted)

    def _existing(self, path: Path, wanted: StoreFile) -> StoreDirectory | None:
        file_path = path / "store.json"
        if not file_path.exists():
            if path.is_dir() and any(entry.is_dir() for entry in path.glob("g[0-9]*")):
                raise StoreMissingError(file_path, "store.json is missing beside data", _REBUILD)
            return None
        try:
            found = StoreFile(**read_json(file_path))
        except TypeError as error:
            raise StoreCorruptError(file_path, f"not a store's description: {error}", _REBUILD) from error
        continued = self._continued(path, found.schema, wanted.schema)
        for field in ("logical", "backend", "values", "serialisation", "topic"):
            old, new = getattr(found, field), getattr(wanted, field)
            if old != new:
                raise StoreIdentityError(
                    path,
                    f"holds {field} {old!r}, opened for {field} {new!r}",
                    "give this store another name, or delete its directory to start it anew",
                )
        if found.ttl is not None and (wanted.ttl is None or wanted.ttl > found.ttl):
            raise StoreIdentityError(
                path,
                f"has no rows older than ttl={found.ttl:g} s any more, opened for ttl={wanted.ttl}",
                'delete the directory and bind with on_missing="rebuild", to have them from Kafka again',
            )
        directory = StoreDirectory(path, found)
        if (continued, wanted.ttl) != (found.schema, found.ttl):
            directory.update(schema=continued, ttl=wanted.ttl)
        if path.name in self._manifest["stores"] and not _has_files(directory.generation_path):
            raise StoreMissingError(
                directory.generation_path, f"the files of store {wanted.logical!r} are gone", _REBUILD
            )
        return directory

    @staticmethod
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

    def _create(self, path: Path, wanted: StoreFile) -> StoreDirectory:
        with _os_errors_at(path):
            if path.exists():  # left by a crash while creating, or given up for a rebuild
                shutil.rmtree(path)
            path.mkdir(mode=0o700)
        write_json(path / "store.json", asdict(wanted))
        return StoreDirectory(path, wanted)

    def remember(self, physical: str) -> None:
        """Note that the store is complete: from now on its absence is an error."""
        with self._mutex:
            if physical not in self._manifest["stores"]:
                stores = {**self._manifest["stores"], physical: {}}
                write_json(self.path / "manifest.json", {**self._manifest, "stores": stores})
                self._manifest["stores"] = stores

    def close(self) -> None:
        """Give the directory up. Idempotent."""
        if not self._closed:
            self._closed = True
            _owned_here.discard(self._lock_file)
            os.close(self._lock)

    def _forked(self) -> None:
        # The child's copy of the descriptor would keep the parent's lock alive after the parent's death.
        self.close()


_REBUILD = 'restore the store from a backup, or bind with on_missing="rebuild"'


def stored(path: Path) -> list[dict[str, Any]]:
    """Describe the stores in a data directory, without taking it from its owner: by logical name.

    ``complete`` tells whether the store must exist from now on; ``size`` is bytes on disk. A store that must
    exist and is gone has its physical name only. Raises ``StoreMissingError`` where there is no manifest.
    """
    if not (path / "manifest.json").exists():
        raise StoreMissingError(path, "is not a data directory (no manifest.json)", "give the path of one")
    remembered = set(read_json(path / "manifest.json")["stores"])
    found = {file.parent.name: read_json(file) for file in path.glob("*/store.json")}
    empty = dict.fromkeys((field.name for field in fields(StoreFile)), None)
    entries = [
        {
            **empty,
            "logical": name,
            **found.get(name, {}),
            "physical": name,
            "path": str(path / name),
            "complete": name in remembered,
            "size": directory_size(path / name) if name in found else None,
        }
        for name in remembered | found.keys()
    ]
    return sorted(entries, key=lambda entry: str(entry["logical"]))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace ``path`` durably: a crash, or an error, leaves the old content or the new.

    Raises ``StoreUnavailableError``, ``StoreFullError`` where no space is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _os_errors_at(path):
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)


@contextlib.contextmanager
def _os_errors_at(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = StoreFullError if full else StoreUnavailableError
        remedy = "free some space" if full else "check the rights and the disk"
        raise kind(path, f"cannot be written: {error.strerror}", remedy) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read one of our JSON files.

    Raises ``StoreCorruptError`` for anything but a JSON object with a format, ``StoreFormatError`` for a
    newer format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreUnavailableError(path, f"cannot be read: {error.strerror}", "check its rights") from error
    except ValueError as error:
        raise StoreCorruptError(path, f"is not JSON: {error}", _REBUILD) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise StoreCorruptError(path, "has no format number", _REBUILD)
    if content["format"] > FORMAT:
        raise StoreFormatError(
            path,
            f"has format {content['format']}, this version of the library reads up to {FORMAT}",
            "use the version that wrote it, or a newer one",
        )
    return content


def _has_files(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _identity_on_disk(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _file_system(path: Path) -> str | None:
    """Return the type of the mount that holds ``path``; ``None`` where the system does not say."""
    best, kind = "", None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, mount, found, *_ = line.split(" ")
            if path.is_relative_to(mount) and len(mount) >= len(best):
                best, kind = mount, found
    return kind
