"""The part of a manager that opens stores without a topic: of bytes, of windows, of sessions."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, cast

from statestore.errors import ConfigError, StoreMissingError
from statestore.fields.windows import WindowSpec, retention_of
from statestore.fields.windows import window as window_of
from statestore.manager.opened import OpenStores
from statestore.manager.resolve import Registration, ResolvedTable, SettingsResolver
from statestore.naming import physical_name
from statestore.runtime.interrupts import shielded
from statestore.runtime.text import bounded_repr
from statestore.settings import TableOptions
from statestore.storage.opening import StoreOpener
from statestore.storage.store import KeyValueStore
from statestore.storage.stored_window import StoredWindow, stored_window
from statestore.storage.window_store import SessionStore, WindowStore

Missing = Literal["fail", "empty"]

_OWNER_PATIENCE = 5.0
"""Seconds in which an owner is expected to open a store that a reader opens."""


class UserStoresMixin:
    """The part of a manager that opens stores without a topic. Thread-safe."""

    _resolver: SettingsResolver
    _opener: StoreOpener
    _opened: OpenStores

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    @abstractmethod
    def _release(self, logical: str) -> None:
        """Forget a name, whose store was closed."""

    def open(self, name: str, backend: str | None = None, *, on_missing: Missing = "fail") -> KeyValueStore:
        """Open, or create, the key-value store ``name``; it needs no Kafka.

        Opening an open store again returns the same object. If the store was there once and its directory is
        gone, ``on_missing="empty"`` begins without its rows; nothing else can bring them back. A process that
        only reads the directory waits 5 s for the owner to make the store, and cannot write it. Raises
        ``ConfigError`` for an invalid name, or one whose directory another store has, and
        ``StoreUnavailableError`` when its files cannot be used.
        """
        chosen = backend or self._resolver.settings.defaults.backend

        def make(physical: str) -> KeyValueStore:
            return self._opener.open_bytes(name, physical, chosen, lambda: self._release(name), on_missing)

        return cast("KeyValueStore", self._opened_by(name, chosen, None, on_missing, make))

    def open_window(
        self,
        name: str,
        size: WindowSpec,
        retention: WindowSpec,
        backend: str | None = None,
        *,
        on_missing: Missing = "fail",
    ) -> WindowStore:
        """Open, or create, the store of windows ``name``; it needs no Kafka.

        ``size`` and ``retention`` are minutes, a text such as ``"5min"``, ``"1h"`` or ``"7d"``, or a
        ``timedelta``. A window is visible while its start is later than the greatest start of all accepted
        windows less the retention, which is at least one size. A store keeps its size: with another one this
        raises ``StoreIdentityError``. The retention may change; with a longer one, what had ended does not
        come back.

        Otherwise as ``open``.
        """
        window = window_of(size)
        kept = retention_of(retention)
        if kept < window.size:
            raise ConfigError(
                f"retention={bounded_repr(retention)} is less than one window of size={bounded_repr(size)}: "
                "give as much at least"
            )
        opened = self._open_windows(name, stored_window(window.size, kept), backend, on_missing)
        return cast("WindowStore", opened)

    def open_session(
        self,
        name: str,
        retention: WindowSpec,
        backend: str | None = None,
        *,
        on_missing: Missing = "fail",
    ) -> SessionStore:
        """Open, or create, the store of sessions ``name``; it needs no Kafka.

        A session is visible while its end is later than the greatest end of all accepted sessions less the
        ``retention``: minutes, a text such as ``"1h"`` or ``"7d"``, or a ``timedelta``. It may change; with a
        longer one, what had ended does not come back.

        Otherwise as ``open``.
        """
        opened = self._open_windows(name, stored_window(None, retention_of(retention)), backend, on_missing)
        return cast("SessionStore", opened)

    def _open_windows(self, name: str, window: StoredWindow, backend: str | None, on_missing: Missing) -> Any:
        chosen = backend or self._resolver.settings.defaults.backend

        def make(physical: str) -> WindowStore | SessionStore:
            return self._opener.open_windows(
                name, physical, chosen, window, lambda: self._release(name), on_missing
            )

        return self._opened_by(name, chosen, window, on_missing, make)

    def _opened_by(
        self,
        name: str,
        backend: str,
        window: StoredWindow | None,
        on_missing: Missing,
        make: Callable[[str], KeyValueStore | WindowStore | SessionStore],
    ) -> Any:
        """Return the store ``name``; if it is not open, ``make`` makes it in the directory it is given."""
        if on_missing not in ("fail", "empty"):
            raise ConfigError(f"on_missing={bounded_repr(on_missing)}: choose 'fail' or 'empty'")
        registration = Registration(None, ResolvedTable(TableOptions(backend=backend)), window)
        with self._opened.mutex:
            self._check_open()
            opened = self._opened.found(name, registration)
        if opened is not None:
            return opened
        patience = time.monotonic() + _OWNER_PATIENCE
        while True:
            try:
                return shielded(lambda: self._open_once(name, registration, make))
            except StoreMissingError:  # a reader's owner may be about to make it
                if self._opener.owns or time.monotonic() > patience:
                    raise
            time.sleep(self._resolver.settings.defaults.catch_up)

    def _open_once(
        self,
        name: str,
        registration: Registration,
        make: Callable[[str], KeyValueStore | WindowStore | SessionStore],
    ) -> Any:
        with self._opened.mutex:
            self._check_open()
            opened = self._opened.found(name, registration)
            if opened is not None:
                return opened
            physical = physical_name(name)
            self._opener.claim(name, physical)
            try:
                store = make(physical)
            except BaseException:
                self._release(name)
                raise
            self._opened.add(name, store, registration)
            return store
