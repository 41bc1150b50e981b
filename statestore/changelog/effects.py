"""What the state machine of a table wants done: its binding carries it out."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from statestore.changelog.readiness import State


class LaneKind(enum.Enum):
    """The two lanes of a manager."""

    RESTORE = "restore"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class Transition:
    """The table is in ``state`` because of ``cause`` since ``time``: listeners are told."""

    state: State
    cause: str
    time: float
    was_ready: bool
    """Whether the table itself could be read before, its group not asked."""
    ready: bool


@dataclass(frozen=True, slots=True)
class ReachedEnd:
    """The captured ends are reached, for the first time in this start: log it."""

    seconds: float
    """Since the start began."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """Open the store, or with ``anew`` an empty one in its place; then tell ``opened``."""

    start_id: int
    anew: bool = False


@dataclass(frozen=True, slots=True)
class AskBroker:
    """Ask where the partitions begin and end; then tell ``captured``."""

    start_id: int


@dataclass(frozen=True, slots=True)
class EnterLane:
    """Enter ``lane`` in ``delay`` seconds; on its thread, ask ``entered`` whether that still holds."""

    start_id: int
    lane: LaneKind
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class LeaveOwnLane:
    """Leave ``lane`` at once. Only events that happen on the lane's thread give this."""

    lane: LaneKind


@dataclass(frozen=True, slots=True)
class LeaveLanes:
    """Leave both lanes, and with ``flush`` make durable what was applied. Another start may overtake it."""

    start_id: int
    flush: bool


@dataclass(frozen=True, slots=True)
class RebuildStore:
    """Leave both lanes, wait until that is done, then ask ``rebuilding``."""

    start_id: int
    cause: str


@dataclass(frozen=True, slots=True)
class MarkComplete:
    """Make durable that the store is complete; then tell ``marked_complete``, or ``write_failed``."""

    start_id: int


Effect: TypeAlias = (
    Transition
    | ReachedEnd
    | OpenStore
    | AskBroker
    | EnterLane
    | LeaveOwnLane
    | LeaveLanes
    | RebuildStore
    | MarkComplete
)
Effects: TypeAlias = Sequence[Effect]

NOTHING: Effects = ()
