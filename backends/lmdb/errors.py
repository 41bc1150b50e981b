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
``MDB_PAGE_NOTFOUND``, ``MDB_PANIC``,
a file shorter than its content
``ENOENT``                                   ``StoreMissingError``      restore or rebuild
``MDB_READERS_FULL``                         ``StoreUnavailableError``  close snapshots, or raise
                                                                        ``max_readers``
``ENOMEM``                                   ``StoreUnavailableError``  ``ulimit -v``
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

from statestore.backends import descriptors
from statestore.backends.place import RESTORE
from statestore.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.runtime.interrupts import pass_on

_SPACE = "free space on the disk or raise the quota, then write again"
_RIGHTS = "give this process the right to read and write there"
_ROOM = 1 << 20
"""Bytes below which a file system counts as full: LMDB writes many pages at once."""

_Kind = tuple[type[StoreUnavailableError], str]

_BY_CODE: dict[int, _Kind] = {
    errno.ENOSPC: (StoreFullError, _SPACE),
    errno.EDQUOT: (StoreFullError, _SPACE),
    errno.EFBIG: (StoreFullError, _SPACE),
    errno.ENOENT: (StoreMissingError, RESTORE),
    # map_size was lowered by then: a map has at least the size of the file.
    errno.ENOMEM: (StoreUnavailableError, "raise `ulimit -v`: the whole file has to be mapped"),
    errno.EACCES: (StoreUnavailableError, _RIGHTS),
    errno.EPERM: (StoreUnavailableError, _RIGHTS),
    errno.EROFS: (StoreUnavailableError, _RIGHTS),
    errno.EEXIST: (StoreUnavailableError, "a file is where a directory should be: move it away"),
    errno.ENOTDIR: (StoreUnavailableError, "a file is where a directory should be: move it away"),
    errno.EISDIR: (StoreUnavailableError, "a directory is where a file should be: move it away"),
    errno.EMFILE: (StoreUnavailableError, descriptors.REMEDY),
}
_NEWER: _Kind = (StoreFormatError, "it was written by a newer LMDB: install a newer lmdb")
_BY_CLASS: dict[type[Exception], _Kind] = {
    lmdb.VersionMismatchError: _NEWER,
    lmdb.InvalidError: (StoreCorruptError, RESTORE),
    lmdb.CorruptedError: (StoreCorruptError, RESTORE),
    lmdb.PageNotFoundError: (StoreCorruptError, RESTORE),
    lmdb.PanicError: (StoreCorruptError, RESTORE),
    lmdb.ReadersFullError: (
        StoreUnavailableError,
        "close snapshots and scans, or raise max_readers under [backends.lmdb]",
    ),
}
_OTHERWISE: _Kind = (StoreUnavailableError, "close the store and open it again")


def translate(path: Path, doing: str, error: Exception) -> StoreUnavailableError | ValueError:
    """Return what to raise for ``error``, which came up ``doing`` something in ``path``."""
    pass_on(error)
    if isinstance(error, lmdb.BadValsizeError):
        return ValueError(f"{path}: {doing}: a key must have 1 to 511 bytes ({error})")
    code = (error.errno if isinstance(error, OSError) else getattr(error, "code", 0)) or 0
    if isinstance(error, BlockingIOError) or "already open in this process" in str(error):
        return in_use(path)
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
    return StoreMissingError(path, "data.mdb is missing or empty", RESTORE)


def cut_short(path: Path, what: str) -> StoreCorruptError:
    """Return what to raise for a data file that is shorter than what it holds."""
    return StoreCorruptError(path, what, RESTORE)


def in_use(path: Path) -> StoreUnavailableError:
    """Return what to raise for a directory that is open already."""
    return StoreUnavailableError(
        path, "is open already, here or in another process", "use the store that is open, or close it"
    )


def map_full(path: Path, size: int, hindrance: str, remedy: str) -> StoreFullError:
    """Return what to raise when the map is full and cannot grow."""
    return StoreFullError(path, f"the map of {size} bytes is full and {hindrance}", remedy)


def outgrown(path: Path, views: int) -> StoreUnavailableError:
    """Return what to raise where another process made the file larger than the map of it here."""
    return StoreUnavailableError(
        path,
        "the owner has made the file larger than its map here, which cannot grow under "
        f"{views} open snapshots and scans",
        "close them and read again, or raise map_size under [backends.lmdb]",
    )


def unprotected(path: Path) -> StoreUnavailableError:
    """Return what to raise where a reader cannot tell the writer what it reads."""
    return StoreUnavailableError(
        path,
        "another process writes the store, and this one may not write its lock.mdb, where LMDB notes what is "
        "being read: pages that this process reads would be overwritten",
        "let this user write the directory and its files, or read when no other process has the store open",
    )


def read_only(path: Path) -> StoreUnavailableError:
    """Return what to raise where a reader cannot become the owner."""
    return StoreUnavailableError(path, "taking it over: this process may only read the files", _RIGHTS)
