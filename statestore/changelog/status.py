"""What a table shows: its state, who may read it, who waits for it, and who listens.

All of it changes under the condition ``changed``, which every waiter waits on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from statestore.changelog.events import Listeners, RestoreProgress, StateChange
from statestore.changelog.machine import TableMachine, Transition
from statestore.changelog.mirror import Mirror
from statestore.changelog.readiness import Reason, State
from statestore.core import Readable
from statestore.errors import (
    ReadyTimeoutError,
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
from statestore.runtime.worker import Worker
from statestore.settings import TableOptions
from statestore.storage.changelog_store import ChangelogStore

log = logging.getLogger("statestore.changelog")

LOST = (StoreMissingError, StoreCorruptError, StoreFormatError, StoreIdentityError)
"""Failures after which the local data is not read, not even with ``allow_stale``, and no write is retried."""


class Status(Readable):
    """See the module. A hot read looks only at ``readable``: the store while reads are allowed."""

    readable: ChangelogStore | None

    def __init__(
        self,
        mirror: Mirror,
        options: TableOptions,
        machine: TableMachine,
        changed: threading.Condition,
        events: Worker,
        fetcher: str,
    ) -> None:
        self.mirror = mirror
        self.options = options
        self.machine = machine
        self.name = mirror.name
        self.topic = mirror.topic
        self.changed = changed
        self.fetcher = fetcher
        """What reads the topic, and why not the faster one."""
        self.listeners = Listeners(events)
        self.readable = None
        self.group: Sequence[Status] = (self,)
        """Tables that are read only while all of them are ready."""
        self._forked_here = False
        self._records_at_start = 0
        self._awaited: dict[Future[None], Mapping[int, int]] = {}
        """Futures of those who wait until certain offsets are applied, by partition."""
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
    def lag(self) -> int | None:
        return self.mirror.progress.lag

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
            records = self.mirror.counts.records - self._records_at_start
            rate = records / max(1e-3, time.time() - started_at)
            eta = self.lag / rate if self.lag is not None and rate > 0 else None
            self.listeners.progressed(RestoreProgress(self.name, self.lag, records, rate, eta))

    def describe(self) -> str:
        """Return one sentence: state, lag, reason."""
        text = f"{self.name!r} is {self.state}, lag {'unknown' if self.lag is None else self.lag}"
        detail = ": ".join(part for part in (str(self.reason), self.machine.cause) if part)
        return f"{text} ({detail})" if detail else text

    # Reading and waiting

    def reading(self, allow_stale: bool) -> ChangelogStore:
        """Return the store to read from, or raise why it cannot be read."""
        # Each is looked at once: other threads change them meanwhile.
        if (readable := self.readable) is not None:
            return readable
        self.check_open()
        failure, store = self.machine.failure, self.mirror.store
        if allow_stale and store is not None and not isinstance(failure, LOST):
            return store
        if failure is not None:
            raise _copy_of(failure)
        missing = next((one for one in self.group if not one.ready), self) if self.ready else self
        text = f"table {self.describe()}"
        if missing is not self:
            text = f"table {self.name!r} is read only together with {missing.describe()}"
        raise StoreNotReadyError(text, lag=missing.lag, reason=missing.reason)

    def check_open(self) -> None:
        """Raise for a closed table, or in a forked child."""
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

    def timeout_error(self, waited: float) -> ReadyTimeoutError:
        return ReadyTimeoutError(
            f"not ready after {waited:g} s: {self.describe()}", lag=self.lag, reason=self.reason
        )

    def applied(self, offsets: Mapping[int, int]) -> Future[None]:
        """Return a future that is done when the records at ``offsets``, by partition, are applied.

        It is never done before a restore has ended, since until then nothing is read. It fails when the table
        cannot become ready by itself. Give it to ``forget_applied`` when nobody waits for it any more.
        """
        self.check_open()
        future: Future[None] = Future()
        with self.changed:
            self._awaited[future] = offsets
            self._tell_applied()
        return future

    def forget_applied(self, future: Future[None]) -> None:
        with self.changed:
            self._awaited.pop(future, None)

    def _tell_applied(self) -> None:
        """Complete the futures whose offsets are applied; the caller holds the condition."""
        partitions = {} if self.state is State.RESTORING else self.mirror.progress.partitions
        for future, offsets in list(self._awaited.items()):
            try:
                self.check_may_become_ready()
            except StateStoreError as error:
                del self._awaited[future]
                future.set_exception(error)
                continue
            # Past it, not at it: markers and compacted records take offsets, too.
            if all(
                number in partitions and partitions[number].position > offset
                for number, offset in offsets.items()
            ):
                del self._awaited[future]
                future.set_result(None)

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
                call, StateChange(self.name, None, self.state, self.machine.cause, self.machine.since)
            )

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        self.check_open()
        with self.changed:
            self.listeners.on_progress.append(call)

    # Changing; the caller holds the condition

    def publish(self, change: Transition) -> None:
        """Let readers, waiters and listeners know of a new state."""
        for member in self.group:
            member.refresh_readable()
        event = StateChange(self.name, None, change.state, change.cause, change.time)
        self.listeners.state_changed(event, ready=change.ready and not change.was_ready)
        if self._awaited:
            self._tell_applied()
        self.changed.notify_all()

    def log_change(self, change: Transition) -> None:
        """Log what somebody must know of. Not under the condition: a log handler may ask for the health."""
        if change.state is State.FAILED:
            log.critical("table %r failed: %s", self.name, change.cause)
        elif change.was_ready and not change.ready and change.state is not State.STOPPED:
            log.warning("table %r is not ready any more: %s", self.name, change.cause)

    def refresh_readable(self) -> None:
        """Allow or forbid reads, after a change of this table's state or of its group's."""
        self.readable = self.mirror.store if self.machine.readable else None

    def _forked(self) -> None:
        self._forked_here = True
        self.readable = None


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
