"""The state machine of one bound table: states, reasons and transitions, and nothing else.

No threads, no clock, no Kafka and no files: each method is one event, with its time as an argument, and
returns what is to be done about it. The binding calls all of them under the condition ``changed``, shows the
transitions while it holds it, and carries out the rest::

    CREATED ──start──▶ RESTORING ──end reached──▶ READY ──limit exceeded──▶ LAGGING
                           ▲                      ▲   ◀──────caught up─────────┘
                           │                      │ resume, if it was ready before
    position lost, and ────┘     PAUSED ◀──pause── RESTORING, READY, LAGGING
    on_missing="rebuild"

    STOPPED ◀──stop── RESTORING, READY, LAGGING, PAUSED             ──restart──▶ RESTORING
    FAILED  ◀──any failure── RESTORING, READY, LAGGING, PAUSED      ──restart──▶ RESTORING
    close: STOPPED for good

Each start (``start``, ``restart``, ``resume``, a rebuild) has a number, ``start_id``. What was asked for an
earlier one is answered too late: such an answer changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from statestore.changelog.readiness import Progress, Reason, State, excess
from statestore.errors import StoreMissingError, StorePositionError, StoreUnavailableError
from statestore.settings import TableOptions

RUNNING = (State.RESTORING, State.READY, State.LAGGING)
"""The states in which the broker is asked and records are applied."""


@dataclass(slots=True)
class Connection:
    """Whether the broker answers, for all tables of a manager."""

    fetcher: str = ""
    """What reads the records, and why not the faster one."""
    stalled: bool = False
    cause: str = ""


class LaneKind(enum.Enum):
    """The two lanes of a manager."""

    RESTORE = "restore"
    FOLLOW = "follow"


# What is to be done


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


class TableMachine:
    """See the module. Times are seconds since the epoch.

    ``retry_waits`` are the seconds before each further try of a failing write; with ``auto_restart=False``
    the first failure is final.
    """

    def __init__(
        self,
        options: TableOptions,
        connection: Connection,
        now: float,
        *,
        retry_waits: Sequence[float] = (),
        auto_restart: bool = True,
    ) -> None:
        self.state = State.CREATED
        self.since = now
        """When the table entered its state."""
        self.failure: StoreUnavailableError | None = None
        """Why it is ``FAILED``; ``None`` in every other state."""
        self.start_id = 0
        self.started_at: float | None = None
        """When the present start began, or the rebuild within it; a resume goes on with the earlier one."""
        self.time_to_ready: float | None = None
        """Seconds from ``started_at`` to ready, of the last time that the end was reached."""
        self.closed = False
        self.group: tuple[TableMachine, ...] = ()
        """Tables that are read only while all of them are ready."""
        self.lane = LaneKind.FOLLOW
        """The lane the table is in, or enters next."""
        self.entered_start = 0
        """The start in which a lane took the table in, the last time."""
        self._options = options
        self._connection = connection
        self._retry_waits = retry_waits
        self._auto_restart = auto_restart
        self._cause = ""
        self._waiting_for = Reason.OPENING
        self._ready_before_pause = False
        self._opened = False
        """Whether the store is open, at the positions in it."""
        self._rebuild = ""
        """Why the store must be replaced before it is used again; empty: it need not."""
        self._marked_complete = False
        """Whether the readiness of this start is on disk, and the table follows."""
        self._write_tries = 0
        """Writes that failed since one succeeded."""
        self._contact_failures = 0
        """Answers to the first contact that were errors, the broker not being away."""

    # What is so

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def ready(self) -> bool:
        """Whether the table itself may be read, its group not asked."""
        return self.state is State.READY or (self.state is State.PAUSED and self._ready_before_pause)

    @property
    def readable(self) -> bool:
        """Whether the table may be read."""
        return self.ready and not self.closed and all(member.ready for member in self.group)

    @property
    def applying(self) -> bool:
        """Whether what a lane reads still belongs to this start, and nothing has come in between."""
        return self.entered_start == self.start_id and self.running and self._waiting_for is Reason.REPLAYING

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        if self.state is State.FAILED:
            return Reason.MISSING if isinstance(self.failure, StoreMissingError) else Reason.FAILED
        if self.running and self._connection.stalled:
            return Reason.STALLED
        if self.state is State.RESTORING:
            return self._waiting_for
        return {State.LAGGING: Reason.LAGGING, State.PAUSED: Reason.PAUSED}.get(self.state, Reason.NONE)

    @property
    def cause(self) -> str:
        """One sentence about the last change, or about what the table waits for."""
        return self._connection.cause if self.reason is Reason.STALLED else self._cause

    def runs(self, start_id: int) -> bool:
        """Whether the start ``start_id`` is the present one, and neither stopped nor failed."""
        return self.running and start_id == self.start_id

    # Commands

    def start(self, now: float) -> Effects:
        """Begin to restore. Nothing where the table runs already or has failed, which takes a ``restart``."""
        if self.closed or self.running or self.state is State.FAILED:
            return NOTHING
        return self.restart(now)

    def restart(self, now: float) -> Effects:
        """Begin anew from the stored position, after a failure too."""
        if self.closed:
            return NOTHING
        self.failure = None
        self._write_tries = self._contact_failures = 0
        self.started_at = now
        self._opened = False
        return (self._begin(State.RESTORING, Reason.OPENING, "started", now), self._next_step())

    def stop(self, now: float) -> Effects:
        """Stop applying. A failed table stays failed."""
        if self.closed or not (self.running or self.state is State.PAUSED):
            return NOTHING
        return (self._enter(State.STOPPED, "stopped", now), LeaveLanes(self.start_id, flush=True))

    def pause(self, now: float) -> Effects:
        """Stop applying; a table that was ready goes on being read."""
        if self.closed or not self.running:
            return NOTHING
        self._ready_before_pause = self.state is State.READY
        return (self._enter(State.PAUSED, "paused", now), LeaveLanes(self.start_id, flush=True))

    def resume(self, now: float) -> Effects:
        """Go on after ``pause``."""
        if self.closed or self.state is not State.PAUSED:
            return NOTHING
        state = State.READY if self._ready_before_pause else State.RESTORING
        waiting_for = Reason.CONNECTING if self._opened else Reason.OPENING
        return (self._begin(state, waiting_for, "resumed", now), self._next_step())

    def close(self, now: float) -> Effects:
        """Stop for good: no event changes anything any more."""
        if self.closed:
            return NOTHING
        stopped = self.stop(now)
        self.failure = None
        closed = self._enter(State.STOPPED, "closed", now)
        self.closed = True
        return (*stopped, closed)

    # The store and the broker have answered

    def opened(self, start_id: int) -> Effects:
        """The store is open."""
        if not self.runs(start_id):
            return NOTHING
        self._opened, self._rebuild = True, ""
        self._waiting_for = Reason.CONNECTING
        return (self._next_step(),)

    def captured(self, start_id: int, progress: Progress) -> Effects:
        """The broker has told where each partition ends: from here on these ends must be reached."""
        if not self.runs(start_id):
            return NOTHING
        self._contact_failures = 0
        self._waiting_for = Reason.REPLAYING
        at_end = self.state is State.READY or progress.complete
        self.lane = LaneKind.FOLLOW if at_end else LaneKind.RESTORE
        return (EnterLane(start_id, self.lane),)

    def contact_failed(
        self, start_id: int, error: StoreUnavailableError, *, final: bool, away: bool, now: float
    ) -> Effects:
        """The first contact failed. While the broker is away it is tried for ever, else some times."""
        if not self.runs(start_id):
            return NOTHING
        if not away:
            self._contact_failures += 1
        if final or self._contact_failures > len(self._retry_waits):
            return self.failed(error, now)
        return NOTHING

    def waits(self, start_id: int, cause: str) -> None:
        """What is in the way is tried again and may pass."""
        if self.runs(start_id):
            self._cause = cause

    def lost(self, error: StorePositionError, now: float) -> Effects:
        """The topic does not continue at the stored position: fail, or rebuild."""
        if self._options.on_missing == "fail":
            return self.failed(error, now)
        if self.closed or not self.running:
            return NOTHING
        self._opened, self._rebuild = False, error.cause
        began = self._begin(State.RESTORING, Reason.OPENING, f"rebuilding: {error.cause}", now)
        return (began, self._next_step())

    def rebuilding(self, start_id: int, now: float) -> Effects:
        """Both lanes are left: now the store may be replaced."""
        if not self.runs(start_id):
            return NOTHING
        self.started_at = now
        return (OpenStore(start_id, anew=True),)

    def failed(self, error: StoreUnavailableError, now: float) -> Effects:
        """The table cannot go on: it stays failed until ``restart``."""
        if self.closed or not (self.running or self.state is State.PAUSED):
            return NOTHING
        self.failure = error
        return (self._enter(State.FAILED, str(error), now), LeaveLanes(self.start_id, flush=False))

    # On the lane's thread

    def entered(self, start_id: int) -> bool:
        """Whether the lane is to read for the table."""
        if start_id != self.start_id or self.closed:
            return False
        self.entered_start = start_id
        return self.applying

    def applied(self) -> None:
        """A batch was written."""
        if self.applying:
            self._write_tries = 0

    def advanced(self, progress: Progress, now: float) -> Effects:
        """The positions have moved, or the lane has just taken the table in: is the end reached?"""
        if not self.applying:
            return NOTHING
        effects: list[Effect] = []
        if self.state is State.LAGGING and not self._excess(progress, now):
            effects.append(self._enter(State.READY, "caught up", now))
        if self.state is State.RESTORING and progress.complete:
            assert self.started_at is not None
            self.time_to_ready = now - self.started_at
            progress.confirmed_at = now
            effects += (ReachedEnd(self.time_to_ready), self._enter(State.READY, "reached the end", now))
        if self.state is State.READY and not self._marked_complete:
            effects.append(MarkComplete(self.start_id))
        return effects

    def marked_complete(self, start_id: int) -> Effects:
        """Readiness is on disk: a table that restored follows from now on."""
        if not self.runs(start_id) or self._marked_complete:
            return NOTHING
        self._marked_complete = True
        if self.lane is LaneKind.FOLLOW:
            return NOTHING
        self.lane = LaneKind.FOLLOW
        return (LeaveOwnLane(LaneKind.RESTORE), EnterLane(start_id, LaneKind.FOLLOW))

    def write_failed(self, error: StoreUnavailableError, *, final: bool, now: float) -> Effects:
        """A write failed: leave the lane and come back for the same records later, or give up."""
        if not self.applying:
            return NOTHING
        waits = self._retry_waits if self._auto_restart else ()
        if final or self._write_tries >= len(waits):
            return self.failed(error, now)
        delay = waits[self._write_tries]
        self._write_tries += 1
        return (LeaveOwnLane(self.lane), EnterLane(self.start_id, self.lane, delay))

    def held(self) -> Effects:
        """A record cannot be judged yet: leave the lane until it can."""
        return (LeaveOwnLane(self.lane),) if self.applying else NOTHING

    def released(self, start_id: int) -> Effects:
        """The record before which the table was held can be judged."""
        return (EnterLane(start_id, self.lane),) if self.runs(start_id) else NOTHING

    # Now and then

    def evaluated(self, progress: Progress, now: float) -> Effects:
        """Compare lag and staleness with their limits."""
        if self.closed:
            return NOTHING
        excess = self._excess(progress, now)
        if self.state is State.READY and excess:
            return (self._enter(State.LAGGING, excess, now),)
        if self.state is State.LAGGING and not excess:
            return (self._enter(State.READY, "caught up", now),)
        if self.state is State.PAUSED and self._ready_before_pause and excess:
            return (self._enter(State.PAUSED, excess, now, ready_before_pause=False),)
        return NOTHING

    def _excess(self, progress: Progress, now: float) -> str:
        return excess(self._options, progress.lag, progress.staleness(now))

    # Transitions

    def _next_step(self) -> Effect:
        """Return what a start does first. A pause or a restart in between does not forget a rebuild."""
        if self._opened:
            return AskBroker(self.start_id)
        if self._rebuild:
            return RebuildStore(self.start_id, self._rebuild)
        return OpenStore(self.start_id)

    def _begin(self, state: State, waiting_for: Reason, cause: str, now: float) -> Transition:
        self.start_id += 1
        self._marked_complete = False
        self._waiting_for = waiting_for
        return self._enter(state, cause, now)

    def _enter(
        self, state: State, cause: str, now: float, *, ready_before_pause: bool | None = None
    ) -> Transition:
        was_ready = self.ready
        if ready_before_pause is not None:
            self._ready_before_pause = ready_before_pause
        self.state, self.since, self._cause = state, now, cause
        return Transition(state, cause, now, was_ready, self.ready)
