"""What RocksDB reports, as the errors of the contract.

rocksdict raises bare ``Exception``: what happened is told by the beginning of the message, RocksDB's
``Status::ToString()``. One table maps it; the first line that fits counts.

===========================================  =========================  ==========================
RocksDB says                                 raised                     remedy
===========================================  =========================  ==========================
``No space left``, ``File too large``,       ``StoreFullError``         allow space, open again
``quota exceeded``
``Result incomplete: Write stall``           (retried, then)            faster disk, more jobs
                                             ``StoreUnavailableError``
``LOCK`` is held                             ``StoreUnavailableError``  close the other one
unknown ``format_version``,                  ``StoreFormatError``       newer rocksdict
``Not implemented``
another comparator or column family          ``StoreCorruptError``      another directory
a file is gone                               ``StoreMissingError``      restore or rebuild
``Corruption``, an unexpected end            ``StoreCorruptError``      restore or rebuild
``Permission denied``, ``Read-only``         ``StoreUnavailableError``  change the rights
``Writer has previous error``                as the error before        open again
``Too many open files``                      ``StoreUnavailableError``  ``ulimit -n``
``Is a directory``                           ``StoreUnavailableError``  move it away
anything else                                ``StoreUnavailableError``  look at ``LOG``
===========================================  =========================  ==========================
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

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

# RocksDB stays in the error, and rocksdict has no Resume().
_SPACE = "free space on the disk or raise the quota, then close the store and open it again"
_AGAIN = "an earlier write to the file failed: remove its cause, then close the store and open it again"
_RIGHTS = "give this process the right to read and write there"
_SLOW = (
    "flushing and compacting cannot keep up with the writes: raise "
    "background_jobs or stall_timeout under [backends.rocksdb], or use a faster disk"
)
_FOREIGN = "the directory is not a store of this library: give the store another one"

_AFTERMATH = "Writer has previous error"

_TABLE: tuple[tuple[re.Pattern[str], type[StoreUnavailableError], str], ...] = tuple(
    (re.compile(pattern), kind, remedy)
    for pattern, kind, remedy in (
        (r"No space left on device|File too large|[Qq]uota exceeded", StoreFullError, _SPACE),
        (r"Write stall", StoreUnavailableError, _SLOW),
        (
            r"lock hold by current process|While lock file",
            StoreUnavailableError,
            "the store is open already, here or in another process: use that one, or close it",
        ),
        (
            r"unsupported format_version|Not implemented|unknown tag",
            StoreFormatError,
            "it was written by a newer RocksDB: install a newer rocksdict",
        ),
        (r"does not match existing comparator|Column families not opened", StoreCorruptError, _FOREIGN),
        (r"No such file or directory", StoreMissingError, RESTORE),
        (r"^Corruption|truncated|Truncated", StoreCorruptError, RESTORE),
        (_AFTERMATH, StoreUnavailableError, _AGAIN),
        (r"Permission denied|Read-only file system|Operation not permitted", StoreUnavailableError, _RIGHTS),
        (
            r"Is a directory",
            StoreUnavailableError,
            "a directory is where a file should be: move it away",
        ),
        (
            r"Too many open files",
            StoreUnavailableError,
            descriptors.REMEDY,
        ),
    )
)


def is_write_stall(error: Exception) -> bool:
    """Whether a write with ``no_slowdown`` was refused because RocksDB wants it to wait."""
    return "Write stall" in str(error)


def is_absent(error: Exception) -> bool:
    """Whether a snapshot of rocksdict says in this way that it does not have a key."""
    return str(error) == "key not found"


def translate(path: Path, doing: str, error: Exception) -> StoreUnavailableError:
    """Return what to raise for ``error``, which came up ``doing`` something in ``path``."""
    pass_on(error)
    message = str(error)
    for pattern, kind, remedy in _TABLE:
        if pattern.search(message):
            return kind(path, f"{doing}: {message}", remedy)
    return StoreUnavailableError(path, f"{doing}: {message}", f"see {path / 'LOG'} for what RocksDB did")


def full_before(failure: StoreUnavailableError) -> StoreUnavailableError:
    """Return ``failure`` as what it is in a store that has met a full disk before."""
    if _AFTERMATH in failure.cause:
        return StoreFullError(failure.path, f"{failure.cause} (no space was left before)", _SPACE)
    return failure


def from_os(path: Path, doing: str, error: OSError) -> StoreUnavailableError:
    """The same for an error of the operating system."""
    cause = f"{doing}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFullError(path, cause, _SPACE)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return StoreUnavailableError(path, cause, "a file is where a directory should be: move it away")
    if error.errno == errno.EMFILE:
        return StoreUnavailableError(path, cause, descriptors.REMEDY)
    return StoreUnavailableError(path, cause, _RIGHTS)


def stalled(path: Path, doing: str) -> StoreUnavailableError:
    """Return what to raise where ``doing`` something has waited long enough for compaction."""
    return StoreUnavailableError(path, f"{doing}: too many files wait for compaction", _SLOW)


def foreign(path: Path, name: str) -> StoreCorruptError:
    """Return what to raise for a directory with a file of somebody else in it."""
    return StoreCorruptError(path, f"holds {name!r}, which is not RocksDB's", _FOREIGN)


def headless(path: Path) -> StoreMissingError:
    """Return what to raise for data without the file that says which of it counts."""
    return StoreMissingError(path, "the file CURRENT is missing beside RocksDB's data", RESTORE)


def absent(path: Path) -> StoreMissingError:
    """Return what to raise for a reader of a directory that has no database."""
    return StoreMissingError(path, "the file CURRENT is missing: no store is there", RESTORE)


def without_place(path: Path, error: OSError) -> StoreUnavailableError:
    """Return what to raise where RocksDB's log of a reader cannot be written."""
    return StoreUnavailableError(
        path,
        f"reading beside the owner needs a temporary directory, for RocksDB's log: {error.strerror}",
        "set TMPDIR to a directory that this process may write",
    )
