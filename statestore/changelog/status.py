"""What a table shows: its state, who may read it, who waits for it, and who listens.

All of it changes under the lock ``changed``, and so do the futures of those who wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future

from statestore.changelog.effects import Transition
from statestore.changelog.events import Listeners, RestoreProgress, StateChange
from statestore.changelog.held_back import HeldBack
from statestore.changelog.machine import RESUMED, TableMachine
from statestore.changelog.mirror import Mirror
from statestore.changelog.readiness import Reason, State
from statestore.changelog.waiters import OffsetWaiters, ReadyWaiters
from statestore.core import Readable
from statestore.errors import (
    StateStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreFormatError,
    StoreIdentityError,
    StoreMissingError,
    StoreNotReadyError,
    StoreUnavailableError,
)
from statestore.runtime import fork
from statestore.runtime.times import Clock
from statestore.runtime.worker import Worker
from statestore.settings import TableOptions
from statestore.storage.changelog_store import ChangelogView

log = logging.getLogger("statestore.changelog")

LOST = (StoreMissingError, StoreCorruptError, StoreFormatError, StoreIdentityError)
"""Failures after which the local data is not read, not even with ``allow_stale``, and no write is retried."""


LEAST_PATIENCE = 5.0
"""Seconds for which an answer about the ends holds at least; otherwise it is two questions' time."""


class Status(Readable):
    """See the module. A hot read looks only at ``readable``: the store while reads are allowed."""

    readable: ChangelogView | None
    window: str | None = None
    """The label of the window, of a window's table."""
    _is_shut = False  # a close has begun, in the middle of a call on its own thread

    def __init__(
        self,
        mirror: Mirror,
        options: TableOptions,
        machine: TableMachine,
        changed: threading.RLock,
        events: Worker,
        fetcher: str,
        clock: Clock,
    ) -> None:
        self.mirror = mirror
        self.options = options
        self.machine = machine
        self.held_back = HeldBack()
        self.name = mirror.name
        self.topic = mirror.topic
        self.changed = changed
        self.fetcher = fetcher
        """What reads the topic, and why not the faster one."""
        self.clock = clock
        self.listeners = Listeners(events)
        self.readable = None
        self.group: Sequence[Status] = (self,)
        """Tables that are read only while all of them are ready."""
        self._forked_here = False
        self._awaited = OffsetWaiters(lambda partition: _position_of(mirror, partition))
        self._await_ready = ReadyWaiters()
        fork.register(self)

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def ready(self) -> bool:
        """Whether the table itself may be read, its group left aside."""
        return self.machine.ready

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        return self.machine.reason

    @property
    def cause(self) -> str:
        """One sentence about the last change, or about what the table waits for."""
        held = self.held_back.describe() if self.machine.running else ""
        return "; ".join(part for part in (self.machine.cause, held) if part)

    @property
    def lag(self) -> int | None:
        """Offsets still to apply; ``None`` where nobody asks for the ends.

        While the broker does not answer it is what is known to be missing, and never 0.
        """
        lag = self.mirror.progress.lag if self.machine.hears_ends else None
        return lag if lag or self._has_fresh_ends() else None

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        """``lag`` of each partition."""
        lags = self.mirror.progress.lag_by_partition
        if not self.machine.hears_ends:
            return dict.fromkeys(lags)
        fresh = self._has_fresh_ends()
        return {number: lag if lag or fresh else None for number, lag in lags.items()}

    def _has_fresh_ends(self) -> bool:
        """Whether the broker answers, so that what its last answer knew of is all there is."""
        told_at = self.mirror.progress.told_at
        if told_at is None or self.machine.stalled:
            return False
        return self.clock() - told_at <= max(self.mirror.grace, LEAST_PATIENCE)

    @property
    def max_staleness(self) -> float | None:
        return self.options.max_staleness

    @property
    def start_id(self) -> int:
        """The number of the present start."""
        return self.machine.start_id

    def runs(self, start_id: int) -> bool:
        """Whether the start ``start_id`` is the present one, and neither stopped nor failed."""
        return self.machine.runs(start_id)

    def report_progress(self) -> None:
        """Tell the listeners how far the restore is."""
        started_at = self.machine.started_at
        if self.state is State.RESTORING and started_at is not None:
            records = self.mirror.records_since_capture
            rate = records / max(1e-3, self.clock() - started_at)
            eta = self.lag / rate if self.lag is not None and rate > 0 else None
            self.listeners.progressed(RestoreProgress(self.name, self.lag, records, rate, eta))

    def describe(self) -> str:
        """Return one sentence: state, lag, reason."""
        text = f"{self.name!r} is {self.state}, lag {'unknown' if self.lag is None else self.lag}"
        detail = ": ".join(part for part in (str(self.reason), self.cause) if part)
        return f"{text} ({detail})" if detail else text

    # Reading and waiting

    def reading(self, allow_stale: bool) -> ChangelogView:
        """Return the store to read from, or raise why it cannot be read."""
        # Each is looked at once: other threads change them meanwhile.
        if (readable := self.readable) is not None:
            return readable
        self.check_open()
        failure, view = self.machine.failure, self.mirror.view
        if allow_stale and view is not None and not isinstance(failure, LOST) and not self.mirror.foreign:
            return view
        if failure is not None:
            raise _copy_of(failure)
        missing = next((one for one in self.group if not one.ready), self) if self.ready else self
        text = f"table {self.describe()}"
        if missing is not self:
            text = f"table {self.name!r} is read only together with {missing.describe()}"
        raise StoreNotReadyError(text, lag=missing.lag, reason=missing.reason)

    def check_open(self) -> None:
        """Raise for a closed table, or in a forked child."""
        self._check_not_closed()
        if self._is_shut:
            raise StoreClosedError(f"table {self.name!r} is closed")

    def _check_not_closed(self) -> None:
        """The same, before a close that has begun has ended."""
        if self._forked_here:
            raise fork.forked_error()
        if self.machine.closed:
            raise StoreClosedError(f"table {self.name!r} is closed")

    def check_may_become_ready(self) -> None:
        """Raise where the table cannot become ready by itself: closed, failed or stopped."""
        self.check_open()
        if (failure := self.machine.failure) is not None:
            raise _copy_of(failure)
        if self.state is State.STOPPED:
            raise StoreNotReadyError(f"table {self.describe()}: call restart()", reason=self.reason)

    def check_not_paused(self) -> None:
        """Raise for a paused table, which applies nothing."""
        if self.state is State.PAUSED:
            raise StoreNotReadyError(
                f"table {self.describe()}: call resume()", lag=self.lag, reason=self.reason
            )

    def applied(self, offsets: Mapping[int, int], *, in_start: int | None = None) -> Future[bool]:
        """Return a future that is done when the records at ``offsets``, by partition, are applied.

        It is never done before a restore has ended, since until then nothing is read. It fails when the table
        cannot become ready by itself. With ``in_start`` it also fails when the table is paused, and its
        result is False when another start than that has begun. Give it to ``forget_applied`` when nobody
        waits for it any more.
        """
        self.check_open()
        with self.changed:
            future = self._awaited.add(offsets, in_start)
            self._tell_applied([future])  # not others' futures: this thread may be interrupted
        return future

    def forget_applied(self, future: Future[bool]) -> None:
        with self.changed:
            self._awaited.forget(future)

    def becomes_ready(self) -> Future[None]:
        """Return a future that is done when the table itself is ready, its group left aside.

        It fails when the table cannot become ready by itself. Give it to ``forget_ready`` when nobody waits
        for it any more.
        """
        with self.changed:
            future = self._await_ready.add()
            self._tell_ready([future])
        return future

    def forget_ready(self, future: Future[None]) -> None:
        with self.changed:
            self._await_ready.forget(future)

    def _tell_passed(self) -> None:
        """Complete the futures whose offsets were applied just now; the caller holds the lock."""
        if self.machine.positions_hold:
            self._tell_applied(self._awaited.passed())

    def _tell_applied(self, futures: Iterable[Future[bool]] | None = None) -> None:
        """Complete the futures, these or all, whose offsets are applied; the caller holds the lock."""
        waiting = self._awaited.all() if futures is None else futures
        refused = {in_start: self._refusal(in_start=in_start) is not None for in_start in (False, True)}
        may_be_read = self.machine.positions_hold
        for future in waiting:
            in_start = self._awaited.awaited(future).in_start
            bound = in_start is not None
            # Of each its own: one instance that is raised in many places grows tracebacks.
            if refused[bound] and (error := self._refusal(in_start=bound)) is not None:
                self._awaited.end(future, error)
            elif in_start not in (None, self.start_id):
                self._awaited.end(future, False)
            elif may_be_read:
                self._awaited.complete(future)

    def _tell_ready(self, futures: Iterable[Future[None]]) -> None:
        """Complete ``futures`` if the table is ready, or cannot be; the caller holds the lock."""
        if self.ready or self._refusal(in_start=False) is not None:
            for future in futures:
                self._await_ready.end(future, None if self.ready else self._refusal(in_start=False))

    def _refusal(self, *, in_start: bool) -> StateStoreError | None:
        """Return why the table cannot become ready by itself; ``in_start``: nor apply anything as it is."""
        try:
            self.check_may_become_ready()
            if in_start:
                self.check_not_paused()
        except StateStoreError as error:
            return error
        return None

    # Listening

    def on_ready(self, call: Callable[[], None]) -> None:
        self.check_open()
        with self.changed:
            self.listeners.on_ready.append(call)
            if self.ready:
                self.listeners.thread.soon(call)

    def on_state_change(self, call: Callable[[StateChange], None]) -> None:
        self.check_open()
        with self.changed:
            self.listeners.on_state.append(call)
            self.listeners.tell(
                call, StateChange(self.name, self.window, self.state, self.machine.cause, self.machine.since)
            )

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        self.check_open()
        with self.changed:
            self.listeners.on_progress.append(call)

    # Changing; the caller holds the lock

    def publish(self, change: Transition) -> None:
        """Let readers, waiters and listeners know of a new state."""
        for member in self.group:
            member.refresh_readable()
        event = StateChange(self.name, self.window, change.state, change.cause, change.time)
        self.listeners.state_changed(event, ready=change.ready and not change.was_ready)
        if self._awaited:
            self._tell_applied()
        if self._await_ready:
            self._tell_ready(self._await_ready.all())

    def log_change(self, change: Transition) -> None:
        """Log what somebody must know of. Not under the lock: a log handler may ask for the health."""
        asked_for = change.state is State.STOPPED or change.cause == RESUMED
        if change.state is State.FAILED:
            log.critical("table %r failed: %s", self.name, change.cause)
        elif change.was_ready and not change.ready and not asked_for:
            log.warning("table %r is not ready any more: %s", self.name, change.cause)

    def refresh_readable(self) -> None:
        """Allow or forbid reads, after a change of this table's state or of its group's."""
        self.readable = self.mirror.view if self.machine.readable else None
        if self._is_shut:  # looked at last: shut() waits for nothing, not for the condition either
            self.readable = None

    def shut(self) -> None:
        """Have every call from now on raise that the table is closed; wait for nothing: a close follows."""
        if self._forked_here:
            raise fork.forked_error()
        self._is_shut = True
        self.readable = None

    def _forked(self) -> None:
        self._forked_here = True
        self.readable = None
        self.machine.forked()


def _position_of(mirror: Mirror, partition: int) -> int:
    found = mirror.progress.partitions.get(partition)
    return -1 if found is None else found.position


def _copy_of(failure: StoreUnavailableError) -> StoreUnavailableError:
    """Return the failure as a fresh exception: one instance raised on many threads grows tracebacks."""
    error = type(failure)(failure.path, failure.cause, failure.remedy)
    error.__cause__ = failure.__cause__
    return error


def read_together(tables: Sequence[Status]) -> None:
    """Make ``tables`` one group: each is read only while all of them are ready."""
    with tables[0].changed:
        for table in tables:
            table.group = tables
            table.machine.group = tuple(one.machine for one in tables)
        for table in tables:
            table.refresh_readable()
