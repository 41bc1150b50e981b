"""Readiness of all tables of a manager."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from statestore.changelog.readiness import State
from statestore.errors import ReadyTimeoutError
from statestore.tables.table import BoundTable

_WORST_FIRST = (
    State.FAILED,
    State.STOPPED,
    State.CREATED,
    State.RESTORING,
    State.REBALANCING,
    State.LAGGING,
    State.PAUSED,
    State.READY,
)


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
        states = {table.state for table in self._all_tables()}
        return next((state for state in _WORST_FIRST if state in states), State.CREATED)

    def wait_until_ready(self, *tables: BoundTable[Any], timeout: float | None = 15) -> None:
        """Return when all tables, or the given ones, are ready.

        Raises ``ReadyTimeoutError`` after ``timeout`` seconds (``None``: never), naming each table that is
        not ready and its lag. For a failed table it raises the table's failure at once. The first wait for
        all tables warns of sections of the settings that match no table or topic.
        """
        self._check_open()
        if not tables:
            self._warn_of_unmatched_sections()
        waited = [table._binding for table in tables or self._all_tables()]  # noqa: SLF001 - made here
        if not waited:
            return

        def done() -> bool:
            for binding in waited:
                if not binding.ready:
                    binding.check_may_become_ready()
            return all(binding.ready for binding in waited)

        if not waited[0].host.wait(done, timeout):
            missing = [binding for binding in waited if not binding.ready]
            lags = [binding.lag for binding in missing]
            known = [lag for lag in lags if lag is not None]
            raise ReadyTimeoutError(
                f"not ready after {timeout:g} s: " + "; ".join(binding.describe() for binding in missing),
                lag=sum(known) if len(known) == len(lags) else None,
                reason=missing[0].reason if missing else None,
            )
