"""What is visible of a table: its state and why, who may read it, who is told.

All of it changes under the condition ``changed``, which every waiter waits on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from statestore.changelog.events import Listeners, RestoreProgress, StateChange
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
from statestore.storage.store import ChangelogStore

log = logging.getLogger("statestore.changelog")

LOST = (StoreMissingError, StoreCorruptError, StoreFormatError, StoreIdentityError)
"""Failures after which the local data is not read, not even as stale, and writing is not tried again."""
RUNNING = (State.RESTORING, State.READY, State.LAGGING)


class Connection:
    """Whether the broker answers, for all tables of a manager."""

    def __init__(self) -> None:
        self.fetcher = ""
        self.stalled = False
        self.cause = ""


class Status(Readable):
    """See the module. ``readable`` is all that a hot read looks at: the store while reads are allowed."""

    readable: ChangelogStore | None

    def __init__(
        self,
        mirror: Mirror,
        options: TableOptions,
        changed: threading.Condition,
        events: Worker,
        connection: Connection,
    ) -> None:
        self.mirror = mirror
        self.options = options
        self.name = mirror.name
        self.topic = mirror.topic
        self.changed = changed
        self.listeners = Listeners(events)
        self.state = State.CREATED
        self.since = time.time()
        self.failure: StoreUnavailableError | None = None
        self.time_to_ready: float | None = None
        self.readable = None
        self.group: tuple[Status, ...] = ()
        """Tables that are read only while all of them are ready."""
        self._connection = connection
        self._cause = ""
        self._waiting_for = Reason.OPENING
        self._ready_before_pause = False
        self._closed = False
        self._forked_here = False
        self._started_at = 0.0
        self._records_at_start = 0
        self._awaited: dict[Future[None], Mapping[int, int]] = {}
        """Who waits until which offsets are applied, by partition."""
        fork.register(self)

    @property
    def ready(self) -> bool:
        """Whether the mirror itself may be read, its group not asked."""
        return self.state is State.READY or (self.state is State.PAUSED and self._ready_before_pause)

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        if self.state is State.FAILED:
            return Reason.MISSING if isinstance(self.failure, StoreMissingError) else Reason.FAILED
        if self.state in RUNNING and self._connection.stalled:
            return Reason.STALLED
        by_state = {
            State.RESTORING: self._waiting_for,
            State.LAGGING: Reason.LAGGING,
            State.PAUSED: Reason.PAUSED,
        }
        return by_state.get(self.state, Reason.NONE)

    @property
    def cause(self) -> str:
        """One sentence about the last change, or about what the table waits for."""
        return self._connection.cause if self.reason is Reason.STALLED else self._cause

    @property
    def fetcher(self) -> str:
        """What reads the topic, and why not the faster one."""
        return self._connection.fetcher

    @property
    def lag(self) -> int | None:
        return self.mirror.progress.lag

    def report_progress(self) -> None:
        """Tell the listeners how far the restore is."""
        if self.state is State.RESTORING:
            records = self.mirror.counts.records - self._records_at_start
            rate = records / max(1e-3, time.time() - self._started_at)
            eta = self.lag / rate if self.lag is not None and rate > 0 else None
            self.listeners.progressed(RestoreProgress(self.name, self.lag, records, rate, eta))

    def describe(self) -> str:
        """Return one sentence: state, lag, reason."""
        text = f"{self.name!r} is {self.state}, lag {'unknown' if self.lag is None else self.lag}"
        detail = ": ".join(part for part in (str(self.reason), self.cause) if part)
        return f"{text} ({detail})" if detail else text

    # Reading and waiting

    def reading(self, allow_stale: bool) -> ChangelogStore:
        """Return the store to read from, or raise what stands in the way."""
        if self.readable is not None:
            return self.readable
        self.check_open()
        lost = isinstance(self.failure, LOST)
        if allow_stale and self.mirror.store is not None and not lost:
            return self.mirror.store
        if self.failure is not None:
            raise self._failed()
        behind = next((one for one in self.group if not one.ready), self) if self.ready else self
        text = f"table {self.describe()}"
        if behind is not self:
            text = f"table {self.name!r} is read only together with {behind.describe()}"
        raise StoreNotReadyError(text, lag=behind.lag, reason=behind.reason)

    def check_open(self) -> None:
        """Raise for a closed table, or in a forked child."""
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError(f"table {self.name!r} is closed")

    def raise_if_over(self) -> None:
        """Raise where waiting for readiness is in vain."""
        self.check_open()
        if self.failure is not None:
            raise self._failed()
        if self.state is State.STOPPED:
            raise StoreNotReadyError(f"table {self.describe()}: restart() it", reason=self.reason)

    def timeout_error(self, waited: float) -> ReadyTimeoutError:
        return ReadyTimeoutError(
            f"not ready after {waited:g} s: {self.describe()}", lag=self.lag, reason=self.reason
        )

    def _failed(self) -> StoreUnavailableError:
        """Return the failure as a fresh exception: one instance raised on many threads grows tracebacks."""
        assert self.failure is not None
        error = type(self.failure)(self.failure.path, self.failure.cause, self.failure.remedy)
        error.__cause__ = self.failure.__cause__
        return error

    def applied(self, offsets: Mapping[int, int]) -> Future[None]:
        """Return what is done when the records at ``offsets``, by partition, are applied.

        That is never before the end of a restore, since until then nothing is read. It fails where waiting
        is in vain. Give it to ``forget_applied`` when it is not waited for any more.
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
        """End the waits that are over; the caller holds the condition."""
        partitions = {} if self.state is State.RESTORING else self.mirror.progress.partitions
        for future, offsets in list(self._awaited.items()):
            try:
                self.raise_if_over()
            except StateStoreError as error:
                del self._awaited[future]
                future.set_exception(error)
                continue
            # Behind it, not at it: markers and compacted records take offsets, too.
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
            self.listeners.tell(call, StateChange(self.name, None, self.state, self._cause, self.since))

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        self.check_open()
        with self.changed:
            self.listeners.on_progress.append(call)

    # Changing; the caller holds the condition

    def _enter(self, state: State, cause: str) -> None:
        was_ready, self.state = self.ready, state
        self._cause, self.since = cause, time.time()
        for member in self.group or (self,):
            member.refresh_readable()
        if was_ready and state in (State.LAGGING, State.RESTORING, State.FAILED):
            log.warning("table %r is not ready any more: %s", self.name, cause)
        event = StateChange(self.name, None, state, cause, self.since)
        self.listeners.state_changed(event, ready=self.ready and not was_ready)
        if self._awaited:
            self._tell_applied()
        self.changed.notify_all()

    def refresh_readable(self) -> None:
        """Allow or forbid reads, after a change of this table's state or of its group's."""
        together = all(member.ready for member in self.group)
        self.readable = self.mirror.store if self.ready and together and not self._closed else None

    def _forked(self) -> None:
        self._forked_here = True
        self.readable = None
