"""What a manager reports: the health of its tables, its stores, and its settings."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from statestore.changelog.binder import Binder
from statestore.entity import model_of
from statestore.manager.explain import Explanation
from statestore.manager.health import ManagerHealth
from statestore.manager.opened import OpenStores
from statestore.manager.resolve import SettingsResolver
from statestore.producing.writer import EntityWriter
from statestore.storage.opening import StoreOpener
from statestore.tables.readiness import ManagerReadiness


class ManagerReports(ManagerReadiness):
    """The reports of a manager. Thread-safe."""

    _opener: StoreOpener
    _opened: OpenStores
    _resolver: SettingsResolver
    _writer: EntityWriter
    _binder: Binder | None

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    def health(self) -> ManagerHealth:
        """Return a report of all tables and streams, and of what was written; ``asdict`` of it is JSON."""
        self._check_open()
        return ManagerHealth(
            directory=str(self._opener.path),
            status=self.state,
            ready=self.is_ready,
            fetcher=None if self._binder is None else self._binder.source.fetcher,
            producer=self._writer.health(),
            tables={table.name: table.health() for table in self._all_tables()},
            streams={stream.name: stream.health() for stream in self._opened.streams.values()},
        )

    def describe(self) -> list[dict[str, Any]]:
        """Return one entry for each open store and bound table: names, path, backend, size in bytes."""
        with self._opened.mutex:
            self._check_open()
            stores, tables = self._opened.stores, self._opened.tables
            entries = [self._described(name, None, store.size()) for name, store in stores.items()]
            entries += [
                self._described(name, table.topic, table.health().size) for name, table in tables.items()
            ]
            return sorted(entries, key=lambda entry: entry["logical"])

    def explain(self) -> Explanation:
        """Return each setting, its value, and where the value comes from.

        The result maps the dotted path of a setting to its ``value`` and ``from``. It has all settings of the
        bound tables, and of the topics of bound entities, streams too. Secrets are ``***``. The result is
        JSON-serialisable, and its ``str`` is a table.
        """
        with self._opened.mutex:
            self._check_open()
            tables = {name: self._opened.registration(name) for name in self._opened.tables}
            streams = [self._opened.registration(name) for name in self._opened.streams]
            backends = self._opener.backends
        subjects = [one.subject for one in (*tables.values(), *streams)]
        models = [model_of(subject) for subject in subjects if isinstance(subject, type)]
        return Explanation.of(
            self._resolver.explained_settings(
                {name: one.table for name, one in tables.items()}, models, backends
            )
        )

    def _described(self, logical: str, topic: str | None, size: int | None) -> dict[str, Any]:
        subject, table = self._opened.registration(logical)
        backend = table.options.backend
        physical, path = self._opener.place(logical, backend)
        return {
            "entity": subject.__name__ if isinstance(subject, type) else None,
            "topic": topic,
            "logical": logical,
            "physical": physical,
            "path": None if path is None else str(path),
            "backend": backend,
            "size": size,
        }
