"""The files of an LMDB store.

``000001/`` holds an LMDB environment (``data.mdb`` and ``lock.mdb``). LMDB cannot shrink a file, so
compaction writes ``000002/``; the highest number counts. Each comes into being as ``NNNNNN.tmp`` and gets
its name, in one step, when it is complete and on disk.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import lmdb

from statestore.backends.contract import sync
from statestore.backends.lmdb import errors
from statestore.backends.lmdb.options import LMDBOptions

_HOME = re.compile(r"\d{6}")
_UNFINISHED = re.compile(r"\d{6}\.tmp")
_SMALLEST_MAP = 1 << 20


class EnvironmentOpener:
    """Opens environments with the options of one store."""

    def __init__(self, options: LMDBOptions, changelog: bool) -> None:
        self._options = options
        # Without metasync, power loss may take the last writes, as a whole, and harms nothing else.
        self._metasync = not changelog

    def __call__(self, home: Path) -> lmdb.Environment:
        """Open ``home``, with a smaller map where the system refuses the address space."""
        size = self._options.map_size
        while True:
            try:
                return lmdb.open(
                    str(home),
                    map_size=size,
                    metasync=self._metasync,
                    sync=self._options.sync,
                    mode=0o600,
                    readahead=self._options.readahead,
                    meminit=False,
                    max_readers=self._options.max_readers,
                    max_spare_txns=8,
                )
            except lmdb.MemoryError as error:
                if size // 2 < _SMALLEST_MAP:
                    raise errors.translate(home, "opening", error) from error
                size //= 2
            except (lmdb.Error, OSError) as error:
                raise errors.translate(home, "opening", error) from error


def prepare(directory: Path, opener: EnvironmentOpener) -> Path:
    """Return the environment that counts in ``directory``, a new one where there is none; remove remnants."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
        for name in names:
            if not _HOME.fullmatch(name) and not _UNFINISHED.fullmatch(name):
                raise errors.foreign(directory, name)
        homes = [name for name in names if _HOME.fullmatch(name)]
        for name in names:
            if name not in homes[-1:]:
                shutil.rmtree(directory / name)
        home = directory / homes[-1] if homes else _create(directory, opener)
        data = home / "data.mdb"
        if not data.is_file() or data.stat().st_size == 0:
            raise errors.headless(home)
    except OSError as error:
        raise errors.translate(directory, "opening", error) from error
    return home


def _create(directory: Path, opener: EnvironmentOpener) -> Path:
    home = directory / "000001"
    unfinished = directory / "000001.tmp"
    unfinished.mkdir(mode=0o700)
    opener(unfinished).close()
    finish(unfinished, home)
    sync(directory)
    return home


def copy(environment: lmdb.Environment, transaction: lmdb.Transaction, home: Path) -> None:
    """Write what ``transaction`` sees, without free pages, into the new directory ``home``."""
    home.mkdir(mode=0o700)
    environment.copy(str(home), compact=True, txn=transaction)
    sync(home / "data.mdb")


def successor(home: Path) -> Path:
    """Return where the environment after ``home`` goes."""
    return home.with_name(f"{int(home.name) + 1:06d}")


def finish(unfinished: Path, final: Path) -> None:
    """Give the directory ``unfinished``, complete and on disk, its name."""
    sync(unfinished)
    unfinished.rename(final)
