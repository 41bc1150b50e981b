"""What the binder and the bindings ask of each other: neither of them knows the other's class.

A binding asks a :class:`Host` for the threads and the connection that all tables of a manager share. The
binder asks each :class:`Member` what it should ask the broker, and gives it the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from statestore.changelog.lane import Lane
from statestore.changelog.machine import Connection
from statestore.changelog.readiness import State
from statestore.kafka.answers import Bounds, KafkaErrorKind, TopicState
from statestore.runtime.worker import Worker
from statestore.settings import Defaults


class Member(Protocol):
    """A bound table, as the binder sees it. All of it is called on the supervisor's thread, but for ``fail``,
    which the threads of the readers call, too, and ``begin_stop`` and ``close``, on the one that closes.

    Each answer carries the number of the start that it was asked for, and changes nothing in a later one.
    """

    name: str
    topic: str

    @property
    def state(self) -> State: ...

    @property
    def start_id(self) -> int:
        """The number of the present start."""
        ...

    def runs(self, start_id: int) -> bool:
        """Whether the start ``start_id`` is the present one, and neither stopped nor failed."""
        ...

    @property
    def partition_count(self) -> int | None:
        """How many partitions the topic has; ``None``: the broker must be asked, and ``found`` called."""
        ...

    @property
    def awaits_identity(self) -> bool:
        """Whether nothing may be applied before the broker has told the topic's id."""
        ...

    @property
    def captured_partitions(self) -> Collection[int]:
        """The partitions whose ends were captured; there are none before the first contact."""
        ...

    @property
    def max_staleness(self) -> float | None: ...

    def describe(self) -> str:
        """Return one sentence: state, lag, reason."""
        ...

    def found(self, partition_count: int) -> None:
        """The topic has so many partitions."""

    def waits(self, start_id: int, cause: str) -> None:
        """The first contact failed for a reason that may pass; it is tried again."""

    def contact_failed(self, start_id: int, kind: KafkaErrorKind, cause: str) -> None:
        """The first contact failed; it is tried again while the start ``runs``."""

    def is_past_end(self, bounds: Mapping[int, Bounds]) -> bool:
        """Whether a stored position is past the log's end."""
        ...

    def captured(self, start_id: int, bounds: Mapping[int, Bounds], asked_at: float) -> None:
        """The partitions begin and end there: begin to read."""

    def identified(self, start_id: int, found: TopicState, cluster_id: str | None) -> None:
        """The topic is this one."""

    def confirmed(self, start_id: int, ends: Mapping[int, int], asked_at: float) -> None:
        """The partitions end there now."""

    def evaluate(self) -> None:
        """Compare lag, staleness and size with their limits, and the files with the ones opened."""

    def fail(self, cause: str, remedy: str) -> None:
        """Fail the table until ``restart()``."""

    def report_progress(self) -> None:
        """Tell the listeners how far the restore is."""

    def begin_stop(self) -> None:
        """Stop applying; ``close`` waits until what was applied is durable."""

    def close(self) -> None:
        """Close the table. Idempotent."""


class Host(Protocol):
    """What all tables of a manager share. ``changed`` guards their state and is notified when it changes."""

    defaults: Defaults
    changed: threading.Condition
    connection: Connection
    restoring: Lane
    following: Lane
    supervisor: Worker
    events: Worker

    def connect(self, member: Member, start_id: int) -> None:
        """Find out where the partitions begin and end, and tell ``captured``. Any thread."""

    def forget(self, member: Member) -> None:
        """Ask the broker nothing more about a closed table."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait on ``changed`` until ``done()``; tell whether it became true."""
        ...
