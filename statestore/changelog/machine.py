"""The state machine of one bound table: states, reasons and transitions, and nothing else.

No threads, no clock, no Kafka and no files: each method is one event, with its time as an argument, and
returns what is to be done about it. The binding calls all of them under the lock ``changed``, shows the
transitions while it holds it, and carries out the rest::

    CREATED ──start──▶ RESTORING ──end reached──▶ READY ──limit exceeded──▶ LAGGING
                           ▲                      ▲   ◀──────caught up─────────┘
                           │
    position lost, and ────┤     PAUSED ◀──pause── RESTORING, READY, LAGGING
    on_missing="rebuild"   └─────resume──┘

    STOPPED ◀──stop── RESTORING, READY, LAGGING, PAUSED             ──restart──▶ RESTORING
    FAILED  ◀──any failure── RESTORING, READY, LAGGING, PAUSED      ──restart──▶ RESTORING
    close: STOPPED for good

A table that this process only reads (``reads_only``) is in the states that its owner tells (``told``), until
``takes_over`` makes it an owner's table.

Each start (``start``, ``restart``, ``resume``, a rebuild, a doubt) has a number, ``start_id``. What was asked
for an earlier one is answered too late: such an answer changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from statestore.changelog.effects import (
    NOTHING,
    AskBroker,
    Effect,
    Effects,
    EnterLane,
    LaneKind,
    LeaveLanes,
    LeaveOwnLane,
    MarkComplete,
    OpenStore,
    ReachedEnd,
    RebuildStore,
    Transition,
)
from statestore.changelog.failures import Failures
from statestore.changelog.owners_word import OwnersWord
from statestore.changelog.readiness import Progress, Reason, State, excess
from statestore.errors import StoreMissingError, StoreUnavailableError
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
    outages: int = 0
    """How often the broker began not to answer."""


RESUMED = "resumed"
"""The cause of the change that ``resume`` makes."""
FEW_RECORDS = 4_000
"""So many records a resumed table reads in the following lane, instead of waiting for the restoring one."""


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
        reads_only: bool = False,
    ) -> None:
        self.reads_only = reads_only
        """Whether another process applies the topic: nothing here asks the broker or enters a lane."""
        self.state = State.CREATED
        self.since = now
        """When the table entered its state."""
        self.failure: StoreUnavailableError | None = None
        """Why it is ``FAILED``; ``None`` in every other state."""
        self.start_id = 0
        self.started_at: float | None = None
        """When the present start began, or the rebuild within it."""
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
        self._cause = ""
        self._waiting_for = Reason.OPENING
        self._ready_before_pause = False
        self._followed_before = False
        """Whether the table had reached the end before a resume, or a doubt, began the present start."""
        self._opened = False
        """Whether the store is open, at the positions in it."""
        self._rebuild = ""
        """Why the store must be replaced before it is used again; empty: it need not."""
        self._marked_complete = False
        """Whether the readiness of this start is on disk, and the table follows."""
        self.failures = Failures(retry_waits if auto_restart else ())
        """Of writes and reads, which are tried again."""
        self._outages = 0
        """How many there had been when the broker last answered the first contact."""
        self._contact_failures = 0
        """Answers to the first contact that were errors, the broker not being away."""
        self._is_bereft = False
        """Whether reads go on although the table is not ready any more, since its owner has ended."""

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
        return self.serves and not self.closed and all(member.serves for member in self.group)

    @property
    def serves(self) -> bool:
        """Whether the table itself may be read, ready or not."""
        return self.ready or self._is_bereft

    @property
    def applying(self) -> bool:
        """Whether what a lane reads still belongs to this start, and nothing has come in between."""
        return self.entered_start == self.start_id and self.running and self._waiting_for is Reason.REPLAYING

    @property
    def stalled(self) -> bool:
        """Whether the broker does not answer."""
        return self._connection.stalled

    @property
    def hears_ends(self) -> bool:
        """Whether the broker has told where the partitions end, and is asked again now and then."""
        captured = self.running and self._waiting_for is Reason.REPLAYING
        return captured or (self.state is State.PAUSED and not self.closed)

    @property
    def was_away(self) -> bool:
        """Whether the broker was away since it answered the first contact: its log may be another one."""
        return self._outages != self._connection.outages

    @property
    def positions_hold(self) -> bool:
        """Whether the positions are those of rows that can be read, of the topic that is there."""
        if self.state is State.RESTORING:
            return False
        return not self.running or self._waiting_for is Reason.REPLAYING

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
        if self.reason is Reason.STALLED:
            return self._connection.cause
        failing = self.failures.text if self.running else ""
        return "; ".join(text for text in (self._cause, failing) if text)

    def runs(self, start_id: int) -> bool:
        """Whether the start ``start_id`` is the present one, and neither stopped nor failed."""
        return self.running and start_id == self.start_id

    def is_paused(self, start_id: int) -> bool:
        """Whether the start ``start_id`` is the present one, and paused."""
        return self.state is State.PAUSED and not self.closed and start_id == self.start_id

    # Commands

    def start(self, now: float) -> Effects:
        """Begin to restore. Nothing where the table runs already or has failed, which takes a ``restart``."""
        if self.closed or self.running or self.state is State.FAILED:
            return NOTHING
        return self.restart(now)

    def restart(self, now: float, rebuild: str = "") -> Effects:
        """Begin anew, after a failure too: from the stored position, or for a cause with an empty store."""
        if self.closed:
            return NOTHING
        self.failure = None
        self._contact_failures = 0
        self.failures.clear()
        self.started_at = now
        self._opened, self._followed_before, self._rebuild = False, False, rebuild or self._rebuild
        if self.reads_only:
            return (self._begin(State.RESTORING, Reason.OPENING, "started", now),)
        return (self._begin(State.RESTORING, Reason.OPENING, "started", now), self._next_step())

    def stop(self, now: float) -> Effects:
        """Stop applying. A failed table stays failed."""
        if self.closed or not (self.running or self.state is State.PAUSED):
            return NOTHING
        return self._left(self._enter(State.STOPPED, "stopped", now), flush=True)

    def pause(self, now: float) -> Effects:
        """Stop applying; a table that was ready goes on being read."""
        if self.closed or not self.running:
            return NOTHING
        self._ready_before_pause = self.state is State.READY
        self._followed_before = self.state is not State.RESTORING
        return (self._enter(State.PAUSED, "paused", now), LeaveLanes(self.start_id, flush=True))

    def resume(self, now: float) -> Effects:
        """Go on after ``pause``: the table is ready when it has reached the ends that the topic has now."""
        if self.closed or self.state is not State.PAUSED:
            return NOTHING
        self.started_at = now
        waiting_for = Reason.CONNECTING if self._opened else Reason.OPENING
        return (self._begin(State.RESTORING, waiting_for, RESUMED, now), self._next_step())

    def close(self, now: float) -> Effects:
        """Stop for good: no event changes anything any more."""
        if self.closed:
            return NOTHING
        stopped = self.stop(now)
        self.failure = None
        closed = self._enter(State.STOPPED, "closed", now)
        self.closed, self._is_bereft = True, False
        return (*stopped, closed)

    def forked(self) -> None:
        """This is the machine of a forked child, where nothing is applied and no event changes anything."""
        self.failure = None
        self.state, self._cause = State.STOPPED, "it was opened in the process that forked this one"
        self.closed = True

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
        self._outages = self._connection.outages
        self._waiting_for = Reason.REPLAYING
        nearly = self._followed_before and (progress.lag or 0) <= FEW_RECORDS
        self.lane = LaneKind.FOLLOW if progress.ready or nearly else LaneKind.RESTORE
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

    def lost(self, error: StoreUnavailableError, now: float) -> Effects:
        """The topic does not continue at the stored position, or the store is damaged: fail, or rebuild."""
        if self.reads_only:
            return NOTHING  # its owner meets that, too
        if self._options.on_missing == "fail" or self.state is State.PAUSED:
            return self.failed(error, now)
        if self.closed or not self.running or (self._rebuild and not self._opened):
            return NOTHING  # the last: a rebuild is under way
        self._followed_before = False
        self._opened, self._rebuild = False, error.cause
        began = self._begin(State.RESTORING, Reason.OPENING, f"rebuilding: {error.cause}", now)
        return (began, self._next_step())

    def doubted(self) -> Effects:
        """Something does not fit the topic that the store was made from: ask all of the first contact again.

        Nothing is applied before it is answered. The rows that there are stay readable.
        """
        if self.closed or self.reads_only or not self.running or self._waiting_for is not Reason.REPLAYING:
            return NOTHING  # it is being asked already
        self.start_id += 1
        self._marked_complete = False
        self._followed_before = self.state is not State.RESTORING
        self._contact_failures = 0
        self._waiting_for = Reason.CONNECTING
        return (LeaveLanes(self.start_id, flush=False), AskBroker(self.start_id))

    def rebuilding(self, start_id: int, now: float) -> Effects:
        """Both lanes are left: now the store may be replaced."""
        if not self.runs(start_id):
            return NOTHING
        self.started_at = now
        self.failures.clear()
        return (OpenStore(start_id, anew=True),)

    def failed(self, error: StoreUnavailableError, now: float) -> Effects:
        """The table cannot go on: it stays failed until ``restart``."""
        if self.closed or not (self.running or self.state is State.PAUSED):
            return NOTHING
        self.failure = error
        return self._left(self._enter(State.FAILED, str(error), now), flush=False)

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
            self.failures.written()

    def advanced(self, progress: Progress, now: float) -> Effects:
        """The positions have moved, or the lane has just taken the table in: is the end reached?"""
        if not self.applying:
            return NOTHING
        self.failures.advanced(progress)
        effects: list[Effect] = []
        if self.state is State.LAGGING and not self._excess(progress, now):
            effects.append(self._enter(State.READY, "caught up", now))
        if self.state is State.RESTORING and progress.ready:
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
        return self._later(None if final else self.failures.of_write(error), error, now)

    def read_failed(
        self, partition: int, position: int, error: StoreUnavailableError, *, away: bool, now: float
    ) -> Effects:
        """A partition cannot be read from ``position`` on: come back later, or give up.

        While the broker is away it is tried for ever.
        """
        if not self.applying:
            return NOTHING
        return self._later(self.failures.of_read(partition, position, error, away=away), error, now)

    def _later(self, delay: float | None, error: StoreUnavailableError, now: float) -> Effects:
        if delay is None:
            return self.failed(error, now)
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

    # A table of another process

    def told(self, word: OwnersWord, now: float) -> Effects:
        """The owner's word of the table, as far as this process's view of the store confirms it."""
        if self.closed or not self.reads_only or self.state in (State.CREATED, State.STOPPED):
            return NOTHING
        was_ready, before = self.ready, self.state
        if word.is_new_start:
            self.start_id += 1
        self.failure, self.started_at, self.time_to_ready = word.failure, word.started_at, word.time_to_ready
        self._waiting_for = word.reason if word.state is State.RESTORING else Reason.REPLAYING
        self._ready_before_pause, self._is_bereft = word.ready, word.bereft
        if word.state is before and self.ready is was_ready:
            self._cause = word.cause
            return NOTHING
        self.state, self.since, self._cause = word.state, now, word.cause
        return (Transition(word.state, word.cause, now, was_ready, self.ready),)

    def takes_over(self, cause: str, now: float, *, opened: bool) -> Effects:
        """This process owns the store from now on. What could be read goes on being read meanwhile.

        ``opened``: the store is open for writing already, at the positions in it.
        """
        self.reads_only = False
        if self.closed or self.state in (State.CREATED, State.STOPPED):
            return NOTHING
        served = self.serves and opened
        self._is_bereft = self._ready_before_pause = False
        if not served:
            effects = self.restart(now)
            self._opened = opened
            return (effects[0], self._next_step())
        self.failure, self.started_at, self._opened = None, now, True
        began = self._begin(State.READY, Reason.CONNECTING, cause, now)
        self._followed_before = True
        return (began, self._next_step())

    # Transitions

    def _left(self, change: Transition, *, flush: bool) -> Effects:
        """Return what follows of a change after which nothing is applied."""
        self._is_bereft = False
        return (change,) if self.reads_only else (change, LeaveLanes(self.start_id, flush=flush))

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
