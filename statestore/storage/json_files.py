"""The small JSON files of a data directory: replaced as a whole, read with a judgement of their format."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from statestore.backends import descriptors
from statestore.backends.contract import sync
from statestore.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreUnavailableError,
)

FORMAT = 1


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace ``path`` durably: a crash, or an error, leaves the old content or the new.

    Raises ``StoreUnavailableError``, ``StoreFullError`` where no space is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    with os_errors_at(path):
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read one of our JSON files.

    Raises ``StoreCorruptError`` with ``remedy`` for anything but a JSON object with a format,
    ``StoreFormatError`` for a newer format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = remedy_of(error, "give this user the right to read it, and try again")
        raise StoreUnavailableError(path, f"cannot be read: {error.strerror}", remedy) from error
    except (ValueError, RecursionError) as error:
        raise StoreCorruptError(path, f"is not JSON: {error}", remedy) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise StoreCorruptError(path, "has no format number", remedy)
    if content["format"] > FORMAT:
        raise StoreFormatError(
            path,
            f"has format {content['format']}, this version of the library reads up to {FORMAT}",
            "use the version that wrote it, or a newer one",
        )
    return content


@contextlib.contextmanager
def os_errors_at(path: Path) -> Iterator[None]:
    """Raise what the operating system reports as ``StoreUnavailableError``, or ``StoreFullError``."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind = StoreFullError if full else StoreUnavailableError
        remedy = (
            "free some space, or raise the quota" if full else remedy_of(error, "let this user write there")
        )
        raise kind(path, f"cannot be written: {error.strerror}", remedy) from error


def remedy_of(error: OSError, otherwise: str) -> str:
    """Return what to do about an error of the system."""
    return _REMEDIES.get(error.errno or 0, otherwise)


_REMEDIES = {
    errno.EEXIST: "a file is where a directory should be: move it away",
    errno.ENOTDIR: "a file is where a directory should be: move it away",
    errno.EISDIR: "a directory is where a file should be: move it away",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EROFS: "mount its volume for writing",
    errno.EMFILE: descriptors.REMEDY,
    errno.EIO: "see that the disk is sound",
}
