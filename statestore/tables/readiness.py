"""Readiness of all tables of a manager."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from statestore.changelog.binding import Binding
from statestore.changelog.readiness import State, worst
from statestore.changelog.sync import synced
from statestore.changelog.until_ready import readied
from statestore.errors import StartupError, StateStoreError
from statestore.runtime.steps import Steps, run_async, run_blocking
from statestore.tables.table import BoundTable


class ManagerReadiness:
    """The readiness of all bound tables together. Thread-safe."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    @abstractmethod
    def _all_tables(self) -> list[BoundTable[Any]]:
        """Return the bound tables."""

    @abstractmethod
    def _warn_of_unmatched_sections(self) -> None:
        """Warn once of sections of the settings that match no table or topic, since all tables are bound."""

    @property
    def is_ready(self) -> bool:
        """Whether every bound table is ready; True when there is none."""
        return all(table.is_ready for table in self._all_tables())

    @property
    def state(self) -> State:
        """The worst state of all bound tables; ``CREATED`` when there is none."""
        return worst(table.state for table in self._all_tables())

    def wait_until_ready(self, *tables: BoundTable[Any], timeout: float | None = 15) -> None:
        """Return when all tables, or the given ones, are ready.

        Raises ``ReadyTimeoutError`` after ``timeout`` seconds (``None``: never), naming each table that is
        not ready and its lag. For a failed table it raises the table's failure at once. The first wait for
        all tables warns of sections of the settings that match no table or topic.
        """
        steps = self._readied(tables, timeout)
        for binding in self._bindings(tables)[:1]:
            binding.host.check_may_wait()
        run_blocking(steps, timeout)

    def _readied(self, tables: Sequence[BoundTable[Any]], timeout: float | None) -> Steps[None]:
        bindings = self._bindings(tables)
        if not tables:
            self._warn_of_unmatched_sections()
        return readied(bindings, timeout)

    def _started(self, timeout: float | None) -> Steps[None]:
        """Wait for the tables that are bound as one group at the start."""
        try:
            yield from self._readied((), timeout)
        except StateStoreError as error:
            missing = [one for one in self._bindings(()) if not one.ready]
            report = "\n".join(f"  - {binding.describe()}" for binding in missing)
            raise StartupError(f"not every table is ready:\n{report}") from error

    def sync(self, *tables: BoundTable[Any], timeout: float | None = 15.0) -> None:
        """Return when all tables, or the given ones, have applied what is in their topics at this call.

        ``ReadyTimeoutError`` after ``timeout`` seconds names each table that has not, and how many records it
        lacks. See :meth:`Table.sync <statestore.Table.sync>`.
        """
        bindings = self._bindings(tables)
        for binding in bindings[:1]:
            binding.host.check_may_wait()
        run_blocking(synced(bindings, timeout), timeout)

    async def sync_async(self, *tables: BoundTable[Any], timeout: float | None = 15.0) -> None:
        """Await what :meth:`sync` blocks for."""
        await run_async(synced(self._bindings(tables), timeout), timeout)

    def _bindings(self, tables: Sequence[BoundTable[Any]]) -> list[Binding]:
        """Return those of ``tables``, or of all."""
        self._check_open()
        return [one for table in tables or self._all_tables() for one in table._bindings]  # noqa: SLF001 - made here
