"""The lock of a data directory: one process owns it, and says in it who it is."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from statestore.errors import DirectoryLockedError

TRIES = 5
"""How often a lock is tried that another process holds, which may only have looked whether it is free ..."""
BETWEEN_TRIES = 0.01
"""... and the seconds in between."""

PATIENCE = 20.0
"""Seconds to wait for a lock that this process is about to give up."""

_INTERVAL = 0.05
"""Seconds between two tries for the lock of another process."""

_given_up: dict[tuple[int, int], threading.Event] = {}
"""The locks whose owners were forgotten and are being closed; set when that is done."""

_owned_here: set[tuple[int, int]] = set()
"""Device and inode of each lock file held here: the pid in one may be another container's, and equal ours."""


class Owner(NamedTuple):
    """Who holds a lock, as the lock file says, a line each; older versions wrote the first only."""

    pid: int | None
    host: str = ""
    namespace: str = ""
    """The kernel's name for the set of processes in which ``pid`` counts: containers have one each."""

    @classmethod
    def here(cls) -> Owner:
        namespace = ""
        with contextlib.suppress(OSError):
            namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(os.getpid(), socket.gethostname(), namespace)

    @classmethod
    def of(cls, text: bytes) -> Owner:
        first, host, namespace, *_ = (*text.decode(errors="replace").split("\n"), "", "")
        return cls(int(first) if first.strip().isdigit() else None, host.strip(), namespace.strip())

    @property
    def place(self) -> str:
        """Where its process is, unless that is where this one is, or not known."""
        here = Owner.here()
        if self.host and self.host != here.host:
            return f"on host {self.host!r}"
        if self.namespace and self.namespace != here.namespace:
            return "in another container"
        return ""

    @property
    def name(self) -> str:
        """Return how a sentence names it."""
        process = "another process" if self.pid is None else f"process {self.pid}"
        return f"{process} {self.place}" if self.place else process

    def __str__(self) -> str:
        return "".join(f"{'' if line is None else line}\n" for line in self)


def once_free(take: Callable[[], None], timeout: float) -> None:
    """Call ``take`` until it gets its directory from another process, for ``timeout`` seconds at most.

    It waits in the caller's thread, where a signal handler may raise. A directory that this process has is
    not waited for: who would give it up may be the caller. Raises ``DirectoryLockedError`` when time is over.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            return take()
        except DirectoryLockedError as error:
            left = end - time.monotonic()
            if error.is_here or left <= 0:
                raise
        time.sleep(min(_INTERVAL, left))


class DirectoryLock:
    """The lock of ``directory``, which must exist. Raises ``DirectoryLockedError`` at once where it is held.

    It is held until ``close``, or until this process ends, however it ends.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(self._descriptor)
            self._file = status.st_dev, status.st_ino
            self._take(directory)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._closed = False
        _owned_here.add(self._file)

    def _take(self, directory: Path) -> None:
        if self._file in _owned_here:
            gc.collect()  # the owner may be one that nobody refers to any more
        if (closing := _given_up.get(self._file)) is not None:
            closing.wait(PATIENCE)
        tries = 1 if self._file in _owned_here else TRIES
        while not _locked(self._descriptor, fcntl.LOCK_EX):
            tries -= 1
            if not tries:
                owner = Owner.of(os.pread(self._descriptor, 1024, 0))
                raise DirectoryLockedError(
                    owner.pid, directory, is_here=self._file in _owned_here, place=owner.place
                )
            time.sleep(BETWEEN_TRIES)
        told = str(Owner.here()).encode()
        os.pwrite(self._descriptor, told, 0)  # over the last owner's: a full disk has room for that
        os.ftruncate(self._descriptor, len(told))

    def give_up(self) -> None:
        """Say that ``close`` follows soon, on another thread; who wants this waits for it. Takes no lock."""
        _given_up[self._file] = threading.Event()

    def close(self) -> None:
        """Give the directory up. Idempotent."""
        if not self._closed:
            self._closed = True
            _owned_here.discard(self._file)
            os.close(self._descriptor)
            if (closing := _given_up.pop(self._file, None)) is not None:
                closing.set()


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owner_of(directory: Path) -> Owner | None:
    """Return who holds the lock of ``directory``, as the lock file says; ``None``: nobody does.

    The lock alone decides: a process id counts in its container only, and the lock of a process ends with it.
    To ask takes a shared lock for a moment, which others of this kind do not notice.
    """
    try:
        descriptor = os.open(directory / "LOCK", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else Owner.of(os.pread(descriptor, 1024, 0))
    finally:
        os.close(descriptor)


def wait_for_closing() -> None:
    """Return when no owner that was forgotten is being closed any more."""
    for closing in list(_given_up.values()):
        closing.wait(PATIENCE)
