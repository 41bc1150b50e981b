"""What a manager reports of itself. ``docs/health.md`` explains every field."""

from __future__ import annotations

from dataclasses import dataclass

from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import State
from statestore.producing.producer import ProducerHealth
from statestore.tables.stream import StreamHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerHealth:
    """A manager's health at one moment; ``dataclasses.asdict`` gives what ``json.dumps`` takes."""

    directory: str
    """The data directory."""
    status: State
    """The worst state of all bound tables; ``CREATED`` when there is none."""
    ready: bool
    """Whether every bound table may be read; true when there is none."""
    fetcher: str | None
    """What reads topics: ``native``, or ``consumer`` and why the faster one cannot; ``None``: nothing yet."""
    producer: ProducerHealth
    """What was written to Kafka."""
    tables: dict[str, TableHealth]
    """The bound tables by logical name."""
    streams: dict[str, StreamHealth]
    """The bound streams by logical name."""
