"""The files of an LMDB store.

``000001/`` holds an LMDB environment (``data.mdb`` and ``lock.mdb``). LMDB cannot shrink a file, so
compaction writes ``000002/``; the highest number counts. Each comes into being as ``NNNNNN.tmp`` and gets
its name, in one step, when it is complete and on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb

from statestore.backends.contract import is_nobodys, sync
from statestore.backends.lifetime import closed_error
from statestore.backends.lmdb import errors, extent
from statestore.backends.lmdb.options import LMDBOptions
from statestore.errors import StoreMissingError
from statestore.runtime import fork

_HOME = re.compile(r"\d{6}")
_UNFINISHED = re.compile(r"\d{6}\.tmp")
_SMALLEST_MAP = 1 << 20
_LOOKS = 5
"""How often a file that is being written is compared with what it claims to hold."""

Opener = Callable[[Path], lmdb.Environment]


class EnvironmentOpener:
    """Opens environments with the options of one store."""

    def __init__(self, options: LMDBOptions, changelog: bool) -> None:
        self._options = options
        # Without metasync, power loss may take the last writes, as a whole, and harms nothing else.
        self._metasync = not changelog

    def __call__(
        self, home: Path, map_size: int | None = None, *, readonly: bool = False, lock: bool = True
    ) -> lmdb.Environment:
        """Open ``home``, with a smaller map where the system refuses the address space.

        Without ``lock`` no process may write meanwhile.
        """
        size = map_size or self._options.map_size
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
                    create=False,
                    readonly=readonly,
                    lock=lock,
                )
            except lmdb.MemoryError as error:
                if size // 2 < _SMALLEST_MAP:
                    raise errors.translate(home, "opening", error) from error
                size //= 2
            except (lmdb.Error, OSError) as error:
                raise errors.translate(home, "opening", error) from error


def prepare(directory: Path, opener: Opener) -> Path:
    """Return the environment that counts in ``directory``, a new one where there is none; remove remnants."""
    try:
        names = sorted(entry.name for entry in directory.iterdir() if not is_nobodys(entry.name))
        for name in names:
            if not _HOME.fullmatch(name) and not _UNFINISHED.fullmatch(name):
                raise errors.foreign(directory, name)
        homes = [name for name in names if _HOME.fullmatch(name)]
        for name in names:
            if name not in homes[-1:]:
                remove(directory / name)
        home = directory / homes[-1] if homes else _create(directory, opener)
        _check(home)
    except OSError as error:
        raise errors.translate(directory, "opening", error) from error
    return home


def _check(home: Path, looks: int = 1) -> None:
    data = home / "data.mdb"
    if not data.is_file() or data.stat().st_size == 0:
        raise errors.headless(home)
    what = None
    for _ in range(looks):  # a writer may change what a look compares
        what = extent.lacking(data)
        if what is None:
            return
    raise errors.cut_short(home, str(what))


def current(directory: Path) -> Path:
    """Return the environment that counts in ``directory``, which another process may be writing.

    Raises ``StoreMissingError`` where there is none.
    """
    try:
        homes = [entry for entry in directory.iterdir() if _HOME.fullmatch(entry.name)]
        if not homes:
            raise errors.headless(directory)
        home = max(homes)
        _check(home, _LOOKS)
    except OSError as error:
        raise errors.translate(directory, "opening", error) from error
    return home


def open_current(directory: Path, opener: Opener) -> tuple[lmdb.Environment, Path]:
    """Open the environment that counts; a compaction of its owner may replace it meanwhile."""
    home = current(directory)
    while True:
        try:
            return opener(home), home
        except StoreMissingError:
            missed, home = home, current(directory)
            if home == missed:
                raise


def remove(home: Path) -> None:
    """Delete an environment that does not count. No reader finds it half deleted, and fills it again."""
    if _HOME.fullmatch(home.name):
        home = home.rename(home.with_name(f"{home.name}.tmp"))
    shutil.rmtree(home)


def _create(directory: Path, opener: Opener) -> Path:
    home = directory / "000001"
    unfinished = directory / "000001.tmp"
    unfinished.mkdir(mode=0o700)
    opener(unfinished).close()
    finish(unfinished, home)
    sync(directory)
    return home


class Copies:
    """Writes copies of a store, which may take minutes, and cuts them short for its closing. Thread-safe."""

    def __init__(self) -> None:
        self._lock = fork.lock()  # compacting and closing are on threads that run no signal handlers
        self._written: set[int] = set()
        self._ended = False

    def write(self, environment: lmdb.Environment, transaction: lmdb.Transaction, home: Path) -> None:
        """Write what ``transaction`` sees, without free pages, into the new directory ``home``.

        Raises ``StoreClosedError`` where it was cut short. The caller removes what is there then.
        """
        home.mkdir(mode=0o700)
        target = os.open(home / "data.mdb", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "O_DIRECT"):
                with contextlib.suppress(
                    OSError
                ):  # past the system's cache, as LMDB does, where that is possible
                    fcntl.fcntl(target, fcntl.F_SETFL, fcntl.fcntl(target, fcntl.F_GETFL) | os.O_DIRECT)
            with self._lock:
                self._written.add(target)
            try:
                if not self._ended:
                    environment.copyfd(target, compact=True, txn=transaction)
            except lmdb.Error:
                if not self._ended:
                    raise
            finally:
                with self._lock:
                    self._written.remove(target)
        finally:
            os.close(target)
        if self._ended:
            raise closed_error()
        sync(home / "data.mdb")

    def cut_short(self) -> None:
        """End those that are being written: LMDB cannot write on into a file that is open for reading."""
        with self._lock:
            self._ended = True
            if self._written:
                unwritable = os.open(os.devnull, os.O_RDONLY)
                for target in self._written:
                    os.dup2(unwritable, target, inheritable=False)
                os.close(unwritable)


def successor(home: Path) -> Path:
    """Return where the environment after ``home`` goes."""
    return home.with_name(f"{int(home.name) + 1:06d}")


def finish(unfinished: Path, final: Path) -> None:
    """Give the directory ``unfinished``, complete and on disk, its name."""
    sync(unfinished)
    unfinished.rename(final)
