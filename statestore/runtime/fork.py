"""Live objects in a child made by ``os.fork()``.

The threads of RocksDB, librdkafka and ours do not exist in the child, so closing or even freeing one of their
objects there can hang, and using one can corrupt the parent's files. Each class that owns such an object
calls :func:`register`; in the child its ``_forked()`` is called once, before any user code runs, and the
object is never freed. Locks that are taken in the child too are made by :func:`lock` and :func:`rlock`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from functools import cache
from typing import Any, Protocol

from statestore.errors import ForkedProcessError
from statestore.runtime.weak import Living


class ForkAware(Protocol):
    def _forked(self) -> None:
        """Runs in the child: make every later call raise :func:`forked_error`. Must not block."""


_live: Living[ForkAware] = Living()


def register(thing: ForkAware) -> None:
    """Have ``thing._forked()`` called in every child forked while ``thing`` lives."""
    _live.add(thing)


_locks: Living[Any] = Living()


def lock() -> threading.Lock:
    """Return a lock that is free in a forked child: the thread that held it does not exist there."""
    made = threading.Lock()
    _locks.add(made)
    return made


def rlock() -> threading.RLock:
    """Return a lock that its holder may take again; in a forked child it is free, as one of ``lock`` is."""
    made = threading.RLock()
    _locks.add(made)
    return made


def leak(thing: object) -> None:
    """Keep ``thing`` from ever being freed in this process, by a reference that is never dropped."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


@cache
def skip_exit_handlers() -> None:
    """Let children that are forked from now on end without the exit handlers of the C libraries.

    For a library whose handler waits for threads that do not exist in the child. Files of C's stdio are still
    written out. Only glibc has the call for it; elsewhere such a child should end by ``os._exit``.
    """
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        on_exit, end, close_files = libc.on_exit, libc._exit, libc.fcloseall  # noqa: SLF001 - C's name

        def register() -> None:
            on_exit(end, None)  # called with the exit status
            on_exit(close_files, None)  # the last one registered is called first

        os.register_at_fork(after_in_child=register)


def forked_error() -> ForkedProcessError:
    return ForkedProcessError(
        f"the object was opened in another process and is used in its forked child {os.getpid()}: "
        "open the StoreManager in the child (gunicorn: in the hook post_fork), with role='auto' to share "
        "a directory, and with backend='lmdb' or 'memory' where the parent has used RocksDB, whose threads a "
        "fork does not copy"
    )


def _after_fork_in_child() -> None:
    for one in list(_locks):
        one._at_fork_reinit()  # noqa: SLF001 - as Python's own modules do with theirs
    for thing in list(_live):
        leak(thing)
        thing._forked()  # noqa: SLF001 - the protocol of this module


os.register_at_fork(after_in_child=_after_fork_in_child)
