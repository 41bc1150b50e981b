"""How a manager ends: by its user, a signal handler, the collector, or the end of the process."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from statestore.changelog.binder import Binder
from statestore.errors import StateStoreError, StoreClosedError
from statestore.kafka.admin import AdminConnection
from statestore.manager.opened import OpenStores
from statestore.manager.sharing import Sharing
from statestore.producing.transaction import Transactions
from statestore.producing.writer import EntityWriter
from statestore.runtime import ending, fork
from statestore.runtime.interrupts import GRACE, Ending, called_back
from statestore.runtime.weak import Living
from statestore.storage.lock import wait_for_closing
from statestore.storage.opening import StoreOpener

log = logging.getLogger("statestore.store")

_CLOSING_PATIENCE = 60.0
"""Seconds that a new manager waits for the end of an earlier one of its directory."""

_open_managers: Living[ManagerLifetime] = Living()


class ManagerLifetime:
    """The part of a manager that ends it. Thread-safe."""

    _path: Path
    _opened: OpenStores
    _opener: StoreOpener
    _sharing: Sharing
    _admin: AdminConnection
    _writer: EntityWriter
    _transactions: Transactions
    _binder: Binder | None
    _closed: bool
    _is_set_up: bool
    _forked_here: bool
    _ending: Ending

    def _lives(self) -> None:
        """All is set up: from now on it is to be closed."""
        self._is_set_up = True
        fork.register(self)
        _open_managers.add(self)

    def _check_open(self) -> None:
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError(f"the manager of {self._path} is closed")

    def close(self) -> None:
        """Flush and close everything, and give the directory up. Idempotent; ends live iterators.

        A signal handler may call this in the middle of a call of its own thread. From then on every call
        raises ``StoreClosedError``; what the interrupted call still needs is closed when that call has ended.
        An open snapshot or scan of a table can be read until then.
        A later ``close``, the end of ``with``, and a new manager of the directory wait for that.
        """
        if self._forked_here:
            raise fork.forked_error()
        self._closed = True
        if called_back():
            self._shut()
        self._ending.finish(self._end)

    def _shut(self) -> None:
        """Make every call from now on raise that it is closed, and wait for nothing."""
        self._opened.shut()
        if self._is_set_up:
            self._writer.shut()
            self._transactions.shut()

    def _end(self) -> None:
        """Close everything; on a thread that runs no signal handlers."""
        with self._opened.mutex:  # who opens a store now has seen that the manager is open, and ends first
            stores = list(self._opened.stores.values())
        if not self._is_set_up:
            return
        # Outside the mutex: a callback that calls the manager must not keep the binder's threads from ending.
        with contextlib.ExitStack() as closing:  # last one first; one that fails keeps none from closing
            closing.callback(self._opener.close)
            closing.callback(self._sharing.close)
            closing.callback(self._admin.close)
            for store in stores:
                closing.callback(store.close)
            if self._binder is not None:
                closing.callback(self._binder.close)
            closing.callback(self._writer.close)
            closing.callback(self._transactions.close)
            closing.callback(self._sharing.leave)

    def __del__(self) -> None:
        """Close a manager that nobody refers to any more, nor to its stores and tables.

        That takes a while, and locks. The collector runs in the middle of anything, so a thread does it.
        """
        # Not asked is whether close() was called: it may have been interrupted before anything was closed.
        if not getattr(self, "_is_set_up", False) or self._ending.done or self._forked_here:
            return
        self._opener.give_up()
        try:
            _thread.start_new_thread(_start_closing, (self,))
        except RuntimeError:  # the interpreter ends, and gives everything up
            return

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, since it owns the files of this process: open one where "
            "it is needed"
        )

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _forked(self) -> None:
        self._forked_here = True


def _start_closing(manager: ManagerLifetime) -> None:
    """Close a forgotten manager on a thread that ``threading`` knows, and forgets when it has ended."""
    try:
        threading.Thread(
            target=_close_forgotten, args=(manager,), name="statestore-close", daemon=True
        ).start()
    except RuntimeError:  # the interpreter ends, and waits for this
        _close_forgotten(manager)


def _close_forgotten(manager: ManagerLifetime) -> None:
    log.warning("%r was not closed; nobody refers to it any more, so it is closed now", manager)
    try:
        manager.close()
    except Exception:
        log.exception("%r could not be closed", manager)


def await_closing(path: Path, *, replace: bool) -> None:
    """Wait for managers of the directory that are closed and have not ended; ``replace``: close others."""
    place = path.resolve()
    for manager in [one for one in _open_managers if one._path.resolve() == place]:  # noqa: SLF001 - of this module
        if replace and not manager._closed:  # noqa: SLF001
            log.info("%r is closed: another manager replaces it", manager)
            manager.close()
        if manager._closed:  # noqa: SLF001
            manager._ending.begin(manager._end)  # noqa: SLF001 - the close itself may have been interrupted
            manager._ending.wait(GRACE if called_back() else _CLOSING_PATIENCE)  # noqa: SLF001


@atexit.register
def _close_all() -> None:
    for manager in list(_open_managers):
        with contextlib.suppress(StateStoreError):
            manager.close()
    wait_for_closing()
    ending.end()
