"""What is open in a manager, by its logical name."""

from __future__ import annotations

from typing import Any, NamedTuple

from statestore.changelog.binding import Binding
from statestore.manager.resolve import Registration
from statestore.runtime import fork
from statestore.storage.store import KeyValueStore
from statestore.storage.window_store import SessionStore, WindowStore
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable
from statestore.tables.windowed_table import WindowedTable

OpenStore = KeyValueStore | WindowStore | SessionStore
"""A store without a topic."""
Opened = OpenStore | BoundTable[Any] | Stream[Any]


class Entry(NamedTuple):
    """One name's store, table or stream, and how it was opened."""

    opened: Opened
    registration: Registration


class OpenStores:
    """The stores, tables and streams of one manager. Hold ``mutex`` from a question to what depends on it."""

    def __init__(self) -> None:
        self.mutex = fork.rlock()
        self._entries: dict[str, Entry] = {}

    def add(self, logical: str, opened: Opened, registration: Registration) -> None:
        """Have ``logical`` stand for ``opened`` from now on."""
        self._entries[logical] = Entry(opened, registration)

    def release(self, logical: str) -> None:
        """Forget a name, whose store was closed, and the table of windows that had it as one of them."""
        self._entries.pop(logical, None)
        for name, table in self.windowed.items():
            if logical in [one.name for one in table._tables.values()]:  # noqa: SLF001 - the manager makes both
                self._entries.pop(name, None)

    def found(self, logical: str, registration: Registration) -> Opened | None:
        """Return what ``logical`` stands for, ``None`` for nothing yet.

        Raises ``ConfigError`` naming the difference if it was opened in another way than ``registration``.
        """
        entry = self._entries.get(logical)
        if entry is None:
            return None
        entry.registration.check_same(logical, registration)
        return entry.opened

    def registration(self, logical: str) -> Registration:
        """Return how an open store, table or stream was opened."""
        return self._entries[logical].registration

    def shut(self) -> None:
        """Make every call of what is open raise that it is closed; wait for nothing, not for ``mutex``."""
        for entry in list(self._entries.values()):
            if not isinstance(entry.opened, Stream):
                entry.opened.shut()

    @property
    def bindings(self) -> list[Binding]:
        """The bindings of the tables, without waiting for ``mutex``, which may be held for long."""
        opened = [one.opened for one in list(self._entries.values())]
        tables = [one for one in opened if isinstance(one, BoundTable) and not isinstance(one, WindowedTable)]
        return [table._binding for table in tables]  # noqa: SLF001 - the manager makes both

    @property
    def all_stores(self) -> list[OpenStore]:
        """The stores without a topic, without waiting for ``mutex``."""
        return [one.opened for one in list(self._entries.values()) if isinstance(one.opened, OpenStore)]

    @property
    def stores(self) -> dict[str, OpenStore]:
        """The stores without a topic, by logical name."""
        return {name: one for name, one in self._all() if isinstance(one, OpenStore)}

    @property
    def tables(self) -> dict[str, BoundTable[Any]]:
        """The bound tables, by logical name; of an entity with windows that of each window."""
        return {
            name: one
            for name, one in self._all()
            if isinstance(one, BoundTable) and not isinstance(one, WindowedTable)
        }

    @property
    def windowed(self) -> dict[str, WindowedTable[Any]]:
        """The tables of all windows of an entity, by its logical name."""
        return {name: one for name, one in self._all() if isinstance(one, WindowedTable)}

    @property
    def streams(self) -> dict[str, Stream[Any]]:
        """The bound streams, by logical name."""
        return {name: one for name, one in self._all() if isinstance(one, Stream)}

    def _all(self) -> list[tuple[str, Opened]]:
        with self.mutex:
            return [(name, entry.opened) for name, entry in self._entries.items()]
