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
``Too many open files``                      ``StoreUnavailableError``  ``ulimit -n``
anything else                                ``StoreUnavailableError``  look at ``LOG``
===========================================  =========================  ==========================
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from statestore.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)

_REBUILD = "restore the directory from a checkpoint, or delete it and let the store be rebuilt"
# RocksDB stays in the error, and rocksdict has no Resume().
_SPACE = "free space on the disk or raise the quota, then close the store and open it again"
_RIGHTS = "give this process the right to read and write there"
_SLOW = (
    "flushing and compacting cannot keep up with the writes: raise "
    "RocksDBOptions.background_jobs or stall_timeout, or use a faster disk"
)
_FOREIGN = "the directory is not a store of this library: give the store another one"

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
        (r"No such file or directory", StoreMissingError, _REBUILD),
        (r"^Corruption|truncated|Truncated", StoreCorruptError, _REBUILD),
        (r"Permission denied|Read-only file system|Operation not permitted", StoreUnavailableError, _RIGHTS),
        (
            r"Too many open files",
            StoreUnavailableError,
            "raise `ulimit -n`, or lower RocksDBOptions.max_open_files",
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
    message = str(error)
    for pattern, kind, remedy in _TABLE:
        if pattern.search(message):
            return kind(path, f"{doing}: {message}", remedy)
    return StoreUnavailableError(path, f"{doing}: {message}", f"see {path / 'LOG'} for what RocksDB did")


def from_os(path: Path, doing: str, error: OSError) -> StoreUnavailableError:
    """The same for an error of the operating system."""
    cause = f"{doing}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFullError(path, cause, _SPACE)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return StoreUnavailableError(path, cause, "a file is where a directory should be: move it away")
    return StoreUnavailableError(path, cause, _RIGHTS)


def stalled(path: Path, doing: str) -> StoreUnavailableError:
    """Return what to raise where ``doing`` something has waited long enough for compaction."""
    return StoreUnavailableError(path, f"{doing}: too many files wait for compaction", _SLOW)


def foreign(path: Path, name: str) -> StoreCorruptError:
    """Return what to raise for a directory with a file of somebody else in it."""
    return StoreCorruptError(path, f"holds {name!r}, which is not RocksDB's", _FOREIGN)


def headless(path: Path) -> StoreMissingError:
    """Return what to raise for data without the file that says which of it counts."""
    return StoreMissingError(path, "the file CURRENT is missing beside RocksDB's data", _REBUILD)
