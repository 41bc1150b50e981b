"""What the binder and the bindings ask of each other: neither of them knows the other's class.

A binding asks a :class:`Host` for the threads and the connection that all tables of a manager share. The
binder asks the broker about the topic of each :class:`Member`, and gives the answers to its ``contact``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from statestore.changelog.contact import Contact
from statestore.changelog.lane import Lane
from statestore.changelog.machine import Connection
from statestore.changelog.owner_watch import Sight
from statestore.changelog.readiness import State
from statestore.runtime.times import Clock
from statestore.runtime.worker import Worker
from statestore.settings import Defaults


class Member(Protocol):
    """A bound table, as the binder sees it. All of it is called on the supervisor's thread, but for ``fail``,
    which the threads of the readers call, too, and ``begin_stop`` and ``close``, on the one that closes.

    Each answer carries the number of the start that it was asked for, and changes nothing in a later one.
    """

    name: str
    topic: str
    contact: Contact
    """What to ask the broker about the topic, and where the answers go."""

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
    def max_staleness(self) -> float | None: ...

    def describe(self) -> str:
        """Return one sentence: state, lag, reason."""
        ...

    def waits(self, start_id: int, cause: str) -> None:
        """The first contact failed for a reason that may pass; it is tried again."""

    def evaluate(self) -> None:
        """Compare lag, staleness and size with their limits, and the files with the ones opened."""

    def fail(self, cause: str, remedy: str) -> None:
        """Fail the table until ``restart()``."""

    def report_progress(self) -> None:
        """Tell the listeners how far the restore is."""

    def hear(self, sight: Sight) -> None:
        """Take what the owner of the store says, in a process that only reads it."""

    def take_over(self, cause: str) -> None:
        """This process owns the store from now on: go on where the owner ended."""

    def begin_stop(self) -> None:
        """Stop applying; ``close`` waits until what was applied is durable."""

    def close(self) -> None:
        """Close the table. Idempotent."""


class Host(Protocol):
    """What all tables of a manager share. The lock ``changed`` guards their state."""

    defaults: Defaults
    owns: bool
    """Whether this process applies the topics; otherwise there are no lanes."""
    changed: threading.RLock
    connection: Connection
    restoring: Lane
    following: Lane
    supervisor: Worker
    events: Worker
    address: str
    """Of the broker."""

    @property
    def clock(self) -> Clock:
        """Tells the times that are compared with those of records, and shown."""
        ...

    def connect(self, member: Member, start_id: int) -> None:
        """Find out where the partitions begin and end, and tell ``captured``. Any thread."""

    def ask_ends(self) -> None:
        """Ask where the partitions of all tables end, now and not at the next time. Any thread."""

    def forget(self, member: Member) -> None:
        """Ask the broker nothing more about a closed table."""

    def ends(
        self, partitions: Iterable[tuple[str, int]], *, stable: bool
    ) -> dict[tuple[str, int], Future[Any]]:
        """Ask where partitions end: futures with an ``offset``. ``stable``: before any open transaction."""
        ...

    def identify(self, members: Sequence[Member]) -> Future[None]:
        """Ask what the topics of ``members`` are; it is done when each of them knows, or nobody can tell."""
        ...

    def check_may_wait(self) -> None:
        """Raise ``RuntimeError`` on the event thread: it runs the callbacks that others wait for."""
