"""What LMDB reports, as the errors of the contract. The first line that fits counts.

===========================================  =========================  ==========================
LMDB or the system says                      raised                     remedy
===========================================  =========================  ==========================
``ENOSPC``, ``EDQUOT``, ``EFBIG``,           ``StoreFullError``         free or allow space
``EIO`` while there is no room (LMDB
answers a write cut short so)
``MDB_MAP_FULL``                             (grown, else)              close snapshots, or raise
                                             ``StoreFullError``         ``max_map_size``
``MDB_VERSION_MISMATCH``, "data format"      ``StoreFormatError``       newer lmdb
``MDB_INVALID``, ``MDB_CORRUPTED``,          ``StoreCorruptError``      restore or rebuild
``MDB_PAGE_NOTFOUND``, ``MDB_PANIC``
``ENOENT``                                   ``StoreMissingError``      restore or rebuild
``MDB_READERS_FULL``                         ``StoreUnavailableError``  close snapshots, or raise
                                                                        ``max_readers``
``ENOMEM``                                   ``StoreUnavailableError``  lower ``map_size``
``EACCES``, ``EPERM``, ``EROFS``             ``StoreUnavailableError``  change the rights
anything else                                ``StoreUnavailableError``  see the message
``MDB_BAD_VALSIZE``                          ``ValueError``             1 to 511 bytes of key
===========================================  =========================  ==========================
"""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import lmdb

from statestore.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)

_REBUILD = "restore the directory from a checkpoint, or delete it and let the store be rebuilt"
_SPACE = "free space on the disk or raise the quota, then write again"
_RIGHTS = "give this process the right to read and write there"
_ROOM = 1 << 20
"""Bytes below which a file system counts as full: LMDB writes many pages at once."""

_Kind = tuple[type[StoreUnavailableError], str]

_BY_CODE: dict[int, _Kind] = {
    errno.ENOSPC: (StoreFullError, _SPACE),
    errno.EDQUOT: (StoreFullError, _SPACE),
    errno.EFBIG: (StoreFullError, _SPACE),
    errno.ENOENT: (StoreMissingError, _REBUILD),
    errno.ENOMEM: (StoreUnavailableError, "lower LMDBOptions.map_size, or raise `ulimit -v`"),
    errno.EACCES: (StoreUnavailableError, _RIGHTS),
    errno.EPERM: (StoreUnavailableError, _RIGHTS),
    errno.EROFS: (StoreUnavailableError, _RIGHTS),
    errno.EEXIST: (StoreUnavailableError, "a file is where a directory should be: move it away"),
    errno.ENOTDIR: (StoreUnavailableError, "a file is where a directory should be: move it away"),
    errno.EMFILE: (StoreUnavailableError, "raise `ulimit -n`"),
}
_NEWER: _Kind = (StoreFormatError, "it was written by a newer LMDB: install a newer lmdb")
_BY_CLASS: dict[type[Exception], _Kind] = {
    lmdb.VersionMismatchError: _NEWER,
    lmdb.InvalidError: (StoreCorruptError, _REBUILD),
    lmdb.CorruptedError: (StoreCorruptError, _REBUILD),
    lmdb.PageNotFoundError: (StoreCorruptError, _REBUILD),
    lmdb.PanicError: (StoreCorruptError, _REBUILD),
    lmdb.ReadersFullError: (
        StoreUnavailableError,
        "close snapshots and scans, or raise LMDBOptions.max_readers",
    ),
}
_OTHERWISE: _Kind = (StoreUnavailableError, "close the store and open it again")


def translate(path: Path, doing: str, error: Exception) -> StoreUnavailableError | ValueError:
    """Return what to raise for ``error``, which came up ``doing`` something in ``path``."""
    if isinstance(error, lmdb.BadValsizeError):
        return ValueError(f"{path}: {doing}: a key must have 1 to 511 bytes ({error})")
    code = (error.errno if isinstance(error, OSError) else getattr(error, "code", 0)) or 0
    if "data format" in str(error):  # lmdb finds a newer format before LMDB does, and has no class for it
        kind, remedy = _NEWER
    elif code == errno.EIO and _is_full(path):
        kind, remedy = _BY_CODE[errno.ENOSPC]
    else:
        kind, remedy = _BY_CLASS.get(type(error)) or _BY_CODE.get(code, _OTHERWISE)
    return kind(path, f"{doing}: {error}", remedy)


def _is_full(path: Path) -> bool:
    system = os.statvfs(path)
    largest_file, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return system.f_bavail * system.f_frsize < _ROOM or largest_file != resource.RLIM_INFINITY


def foreign(path: Path, name: str) -> StoreCorruptError:
    """Return what to raise for a directory with a file of somebody else in it."""
    return StoreCorruptError(
        path,
        f"holds {name!r}, which is not of this engine",
        "the directory is not a store of this library: give the store another one",
    )


def headless(path: Path) -> StoreMissingError:
    """Return what to raise for an environment without its data."""
    return StoreMissingError(path, "data.mdb is missing or empty", _REBUILD)


def in_use(path: Path) -> StoreUnavailableError:
    """Return what to raise for a directory that is open already."""
    return StoreUnavailableError(
        path, "is open already, here or in another process", "use the store that is open, or close it"
    )


def map_full(path: Path, size: int, hindrance: str, remedy: str) -> StoreFullError:
    """Return what to raise when the map is full and cannot grow."""
    return StoreFullError(path, f"the map of {size} bytes is full and {hindrance}", remedy)
