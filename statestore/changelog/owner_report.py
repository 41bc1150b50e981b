"""What the owner of a data directory tells of its tables to the processes that read them.

The report is the message in ``storage/shared_state.py``. A field that a version does not know is passed over,
and one that it misses has its default; a change that this does not allow needs another ``FORMAT`` there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import msgspec

from statestore import errors
from statestore.changelog.counts import Counts
from statestore.changelog.readiness import Reason, State
from statestore.changelog.status import Status
from statestore.changelog.undecodable import SkippedRecord
from statestore.errors import StoreUnavailableError
from statestore.kafka.answers import TopicState
from statestore.settings import TableOptions
from statestore.storage.lock import Owner


@dataclass(frozen=True, slots=True)
class FailureReport:
    """A failure of a table, with which its readers fail, too."""

    kind: str
    """The name of its class in ``statestore.errors``."""
    path: str
    cause: str
    remedy: str

    @classmethod
    def of(cls, failure: StoreUnavailableError) -> FailureReport:
        return cls(type(failure).__name__, str(failure.path), failure.cause, failure.remedy)

    def failure(self) -> StoreUnavailableError:
        """Return the failure; one of a class that this version does not have as its base."""
        kind: Any = getattr(errors, self.kind, None)
        is_known = isinstance(kind, type) and issubclass(kind, StoreUnavailableError)
        made: StoreUnavailableError = (kind if is_known else StoreUnavailableError)(
            self.path, self.cause, self.remedy
        )
        return made


@dataclass(slots=True)
class TableReport:
    """One table of the owner."""

    topic: str
    options: TableOptions
    state: State
    reason: Reason
    cause: str
    since: float
    ready: bool
    start_id: int
    started_at: float | None = None
    time_to_ready: float | None = None
    failure: FailureReport | None = None
    generation: int | None = None
    """Of the store's files."""
    positions: dict[int, int] = field(default_factory=dict)
    """The next offset to apply in each partition."""
    written: dict[int, int] = field(default_factory=dict)
    """The same, as it is in the store: markers and removed records are passed without a write."""
    ends: dict[int, int | None] = field(default_factory=dict)
    """The newest end known of each partition."""
    ready_from: dict[int, int] = field(default_factory=dict)
    """What ``written`` was when the table became ready: a view with less is of an earlier moment."""
    told_at: float | None = None
    """When the ends were asked for."""
    confirmed_at: float | None = None
    """The last moment whose end the mirror has reached."""
    hears_ends: bool = False
    foreign: str | None = None
    """Why rows of another topic may be in the store, which nobody may read then."""
    counts: Counts = field(default_factory=Counts)
    identity: TopicState = field(default_factory=TopicState)
    partition_count: int | None = None
    retention_ms: int | None = None
    last_skipped: SkippedRecord | None = None
    indexes: dict[str, str] = field(default_factory=dict)


class OwnerState(enum.StrEnum):
    """What the owner is doing, in its own words."""

    OPEN = "open"
    CLOSED = "closed"
    """It has closed the directory."""


@dataclass(slots=True)
class OwnerReport:
    """The owner and all of its tables, by their logical names."""

    owner_id: str
    """Random: each owner has its own, and so has each manager of one process."""
    pid: int
    host: str
    namespace: str
    since: float
    """When it took the directory."""
    state: OwnerState = OwnerState.OPEN
    stalled: str | None = None
    """Why the broker does not answer; ``None``: it does."""
    tables: dict[str, TableReport] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        return Owner(self.pid, self.host, self.namespace)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(OwnerReport)


def encode(report: OwnerReport) -> bytes:
    """Return the report as bytes."""
    return _encoder.encode(report)


def decode(message: bytes) -> OwnerReport | None:
    """Return the report in ``message``; ``None`` for one of a version that says other things."""
    try:
        return _decoder.decode(message)
    except msgspec.MsgspecError:
        return None


def table_report(table: Status) -> TableReport:
    """Describe ``table``, but for what is written; the caller holds the lock, and copies the counts."""
    mirror, machine = table.mirror, table.machine
    progress, failure = mirror.progress, machine.failure
    return TableReport(
        topic=table.topic,
        options=table.options,
        state=machine.state,
        reason=machine.reason,
        cause=table.cause,
        since=machine.since,
        ready=machine.ready,
        start_id=machine.start_id,
        started_at=machine.started_at,
        time_to_ready=machine.time_to_ready,
        failure=None if failure is None else FailureReport.of(failure),
        generation=mirror.generation,
        positions={number: one.position for number, one in progress.partitions.items()},
        ends={number: one.end for number, one in progress.partitions.items()},
        told_at=progress.told_at,
        confirmed_at=progress.confirmed_at,
        hears_ends=machine.hears_ends,
        foreign=mirror.foreign,
        counts=mirror.counts,
        identity=mirror.identity,
        partition_count=mirror.partition_count,
        retention_ms=mirror.retention.topic_ms,
        last_skipped=mirror.skips.report(),
        indexes={} if mirror.store is None else mirror.store.index_states,
    )
