"""What a manager reports of itself. ``docs/health.md`` explains every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import State
from statestore.producing.producer import ProducerHealth
from statestore.producing.transaction import TransactionHealth
from statestore.runtime.health_report import HealthReport
from statestore.tables.stream import StreamHealth


@dataclass(frozen=True, slots=True)
class CacheHealth(HealthReport):
    """What a manager's record cache has, and how often it answered, for all stores together."""

    limit: int
    """How many bytes it may take, by the memory budget."""
    used: int
    """How many bytes it takes."""
    rows: int
    """How many keys it has; one that is known to be absent counts, too."""
    hits: int
    """Reads by key that it answered."""
    misses: int
    """Reads by key that it did not answer, of stores that use it."""

    def __str__(self) -> str:
        return self._line(*self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerHealth(HealthReport):
    """A manager's health at one moment: ``health.ready`` or ``health["ready"]``.

    ``str`` gives a line of the manager, and one of each table and stream. ``to_dict()`` gives what
    ``json.dumps`` takes.
    """

    OTHER_NAMES: ClassVar[Mapping[str, str]] = {"state": "status"}

    directory: str
    """The data directory."""
    role: str
    """What this process does with the directory now: ``owner``, or ``reader`` of another process's stores."""
    owner: str | None
    """Who owns the directory, and what is wrong where it cannot be followed; ``None``: this process."""
    status: State
    """The worst state of all bound tables; ``CREATED`` when there is none."""
    ready: bool
    """Whether every bound table may be read; true when there is none."""
    fetcher: str | None
    """What reads topics: ``native``, or ``consumer`` and why the faster one cannot; ``None``: nothing yet."""
    cache: CacheHealth
    """The record cache that all stores of the manager share."""
    producer: ProducerHealth
    """What was written to Kafka, transactions aside."""
    transactions: TransactionHealth
    """The transactions, by how they ended."""
    tables: dict[str, TableHealth]
    """The bound tables by logical name."""
    streams: dict[str, StreamHealth]
    """The bound streams by logical name."""

    @property
    def state(self) -> State:
        """The same as ``status``, by the name that the manager has it under."""
        return self.status

    def __str__(self) -> str:
        bound = [*self.tables.values(), *self.streams.values()]
        return "\n".join([self._line("directory", "status"), *(f"  {one}" for one in bound)])
