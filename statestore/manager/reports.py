"""What a manager reports: the health of its tables, its stores, and its settings."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from statestore.changelog.binder import Binder
from statestore.changelog.health import TableHealth
from statestore.errors import StateStoreError, StoreClosedError
from statestore.manager.explain import Explanation
from statestore.manager.health import CacheHealth, ManagerHealth
from statestore.manager.opened import OpenStores
from statestore.manager.orphans import OrphansMixin
from statestore.manager.resolve import SettingsResolver
from statestore.manager.sharing import Sharing
from statestore.producing.transaction import Transactions
from statestore.producing.writer import EntityWriter
from statestore.settings import dotted
from statestore.storage.listing import stored
from statestore.storage.opening import StoreOpener
from statestore.storage.stored_window import label_of
from statestore.tables.readiness import ManagerReadiness
from statestore.tables.snapshots import SnapshotsMixin

log = logging.getLogger("statestore.manager")

T = TypeVar("T")

DESCRIBED = (
    "entity",
    "window",
    "topic",
    "logical",
    "physical",
    "path",
    "backend",
    "retention",
    "size",
    "orphan",
)
"""What ``describe`` says of a store."""


class ManagerReports(ManagerReadiness, SnapshotsMixin, OrphansMixin):
    """The reports of a manager. Thread-safe."""

    _opener: StoreOpener
    _sharing: Sharing
    _opened: OpenStores
    _resolver: SettingsResolver
    _writer: EntityWriter
    _transactions: Transactions
    _binder: Binder | None

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    def health(self) -> ManagerHealth:
        """Return a report of all tables and streams, and of what was written; also a mapping."""
        self._check_open()
        cache = self._opener.cache
        return ManagerHealth(
            directory=str(self._opener.path),
            role="owner" if self._opener.owns else "reader",
            owner=self._sharing.owner,
            status=self.state,
            ready=self.is_ready,
            fetcher=None if self._binder is None else self._binder.connection.fetcher,
            cache=CacheHealth(cache.limit, cache.used, cache.count, cache.hits, cache.misses),
            producer=self._writer.health(),
            transactions=self._transactions.health(),
            tables=self._health_of_tables(),
            streams={stream.name: stream.health() for stream in self._opened.streams.values()},
        )

    def describe(self) -> list[dict[str, Any]]:
        """Return one entry for each store and table that is open, and each other store of the directory.

        An entry has ``entity``, ``window``, ``topic``, the names ``logical`` and ``physical``, ``path``,
        ``backend``, ``retention`` (seconds that a row lives, ``None``: for ever) and ``size`` in bytes.
        ``orphan`` is True for a store that is not open and that no declared entity has, as that of a window
        which was taken out of ``windows=[…]``. Of a store that is not open it tells what the files do.
        """
        with self._opened.mutex:
            self._check_open()
            stores, tables = self._opened.stores, self._opened.tables
            entries = [
                self._described(name, None, _unless_closed(one.size), None) for name, one in stores.items()
            ]
            for name, table in tables.items():
                life = table._binding.mirror.retention.row_life  # noqa: SLF001 - made by the manager
                size = _unless_closed(lambda table=table: table.health().size)  # type: ignore[misc]
                entries.append(self._described(name, table.topic, size, life))
            entries += self._not_open([entry["physical"] for entry in entries])
            return sorted(entries, key=lambda entry: str(entry["logical"]))

    def _health_of_tables(self) -> dict[str, TableHealth]:
        """Return the health of each table, but of those that somebody is closing."""
        reports = {table.name: _unless_closed(table.health) for table in self._all_tables()}
        self._check_open()  # else all of them are being closed
        return {name: report for name, report in reports.items() if report is not None}

    def _not_open(self, opened: list[str]) -> list[dict[str, Any]]:
        """Describe the stores in the directory but those with the physical names ``opened``."""
        try:
            found = stored(self._opener.path, opened)
        except StateStoreError as error:
            log.warning("describe() lists only what is open: %s", error)
            return []
        declared = self._declared()
        return [
            {**{name: entry[name] for name in DESCRIBED}, "orphan": entry["physical"] not in declared}
            for entry in found
        ]

    def explain(self) -> Explanation:
        """Return each setting, its value, and where the value comes from.

        The result maps the dotted path of a setting to its ``value`` and ``from``. It has all settings of the
        bound tables, and of the topics of bound entities, streams too. Secrets are ``***``. The result is
        JSON-serialisable, and its ``str`` is a table.
        """
        with self._opened.mutex:
            self._check_open()
            bound = self._opened.tables
            tables = {name: self._opened.registration(name) for name in bound}
            streams = [self._opened.registration(name) for name in self._opened.streams]
            backends = self._opener.backends
        found = [one.table.model for one in (*tables.values(), *streams)]
        models = [model for model in found if model is not None]
        explained = Explanation.of(
            self._resolver.explained_settings(
                {name: one.table for name, one in tables.items()}, models, backends
            )
        )
        for name, table in bound.items():
            if (retention := table._binding.mirror.retention).decides:  # noqa: SLF001 - made by the manager
                place = f"retention.ms of topic {table.topic}"
                explained[dotted(("tables", name, "ttl"))] = {"value": retention.row_life, "from": place}
        return explained

    def _described(
        self, logical: str, topic: str | None, size: int | None, row_life: float | None
    ) -> dict[str, Any]:
        subject, table, window, label = self._opened.registration(logical)
        if window is not None:
            row_life = window["retention_ms"] / 1000
        if table.model is not None and table.model.window is not None:
            kept = table.model.window.retention.total_seconds()
            row_life = kept if row_life is None else min(kept, row_life)
        backend = table.options.backend
        physical, path = self._opener.place(logical, backend)
        return {
            "entity": subject.__name__ if isinstance(subject, type) else None,
            "window": label or label_of(window),
            "topic": topic,
            "logical": logical,
            "physical": physical,
            "path": None if path is None else str(path),
            "backend": backend,
            "retention": row_life,
            "size": size,
            "orphan": False,
        }


def _unless_closed(read: Callable[[], T]) -> T | None:
    """Return what is read of a store; ``None`` while it is being closed, until it is forgotten."""
    try:
        return read()
    except StoreClosedError:
        return None
