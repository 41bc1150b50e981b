"""Where a data directory is, and what to say of such a place."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr

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


def data_path(given: str | Path) -> Path:
    """Return the absolute path of a data directory.

    Raises ``ConfigError`` for one that not each engine can use, before anything is created, and for an empty
    one, which mostly is a variable that is not set: ``"."`` is the working directory.
    """
    text = str(given)
    fault = None
    if isinstance(given, str) and not given:
        fault = "is empty: give a path, '.' for the working directory"
    elif "\0" in text:
        fault = "has a zero byte: give a path without it"
    elif text != text.encode("utf-8", "replace").decode("utf-8"):
        fault = "has bytes that are not UTF-8, which RocksDB does not take: rename the directory"
    if fault is not None:
        raise ConfigError(f"the data directory {bounded_repr(text)} {fault}")
    return Path(given).absolute()


def warn_of(path: Path) -> None:
    """Log what a data directory at ``path`` cannot rely on."""
    kind = _file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        log.warning("%s is on a network mount (%s): locks and fsync may not hold there", path, kind)
    if path.is_relative_to(Path(tempfile.gettempdir()).absolute()):
        log.warning("%s is under the temporary directory: the system may delete it", path)


def _file_system(path: Path) -> str | None:
    """Return the type of the mount that holds ``path``; ``None`` where the system does not say."""
    best, kind = "", None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, mount, found, *_ = line.split(" ")
            if path.is_relative_to(mount) and len(mount) >= len(best):
                best, kind = mount, found
    return kind
