"""Directories of stores: who has one for itself, and copies that are complete or not there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from statestore.backends.contract import sync


def lock(directory: Path, *, shared: bool = False) -> int:
    """Return a descriptor that keeps every other one, of this process too, from the same lock.

    With ``shared`` others may share it, and it keeps off who wants it alone: an owner. Raises ``OSError``,
    ``BlockingIOError`` where the lock is taken.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_new(directory: Path) -> None:
    """Raise ``FileExistsError`` where there is something already."""
    if directory.exists():
        raise FileExistsError(f"{directory} exists: a checkpoint needs a directory of its own")


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Give a directory to fill, on disk and named ``directory`` after the block; none after a failure."""
    unfinished = directory.with_name(f"{directory.name}.tmp")
    try:
        unfinished.mkdir(mode=0o700)
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            sync(path)
        unfinished.rename(directory)
        sync(directory.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
