"""One table's state machine around its mirror.

Who calls what: users on any thread; the members of ``LaneMember`` on the thread of the lane the table is in;
the rest on the supervisor's. Each start counts up ``run``, so that answers which belong to an earlier one are
told apart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from statestore.changelog.host import Host
from statestore.changelog.lane import Lane
from statestore.changelog.mirror import Mirror
from statestore.changelog.readiness import Reason, State, excess
from statestore.changelog.status import LOST, RUNNING, Status
from statestore.changelog.undecodable import REMEDY, Hold, located, place_of
from statestore.core import Folded, RejectedRecord
from statestore.errors import (
    EncodeError,
    ForkedProcessError,
    StateStoreError,
    StoreClosedError,
    StorePositionError,
    StoreUnavailableError,
    UnreachableRegistryError,
)
from statestore.kafka.answers import Bounds, TopicState, Trouble
from statestore.runtime import fork
from statestore.settings import TableOptions

log = logging.getLogger("statestore.changelog")

STOP_TIMEOUT = 10.0
"""Seconds a stop waits for the final flush."""


class Binding(Status):
    """See the module."""

    def __init__(
        self,
        binder: Host[Binding],
        mirror: Mirror,
        options: TableOptions,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(mirror, options, binder.changed, binder.events, binder.connection)
        self.binder = binder
        self.run = 0
        self._entered = 0
        """The run in which a lane took the table in, the last time."""
        self.record_filter = mirror.record_filter
        self._on_close = on_close
        self._tries = 0
        self.contact_failures = 0
        """Answers to the first contact that were refusals, the broker not being away."""
        self._settled = False
        """Whether readiness of this run is on disk, and the table follows."""
        self._flushed_at = 0.0
        self._leaving: Future[Future[None]] | None = None
        """The table is leaving its lane, first the one, then the other."""
        self._lifecycle = fork.rlock()

    # Lifecycle, on the user's thread

    def start(self) -> None:
        """Open the store and begin to restore. Fine when running already."""
        with self._lifecycle:
            self.check_open()
            if self.state in RUNNING:
                return
            with self.changed:
                self.failure = None
                self._tries = 0
                self._started_at = time.time()
                self._begin(Reason.OPENING, "started")
                try:
                    self.mirror.open()
                except StoreUnavailableError as error:
                    self.fail(error)
                    return
                self._waiting_for = Reason.CONNECTING
            self.binder.connect(self, self.run)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop applying and make durable what was applied. Fine when stopped already."""
        with self._lifecycle:
            self.begin_stop()
            self._wait_until_left(timeout)

    def begin_stop(self) -> None:
        """Stop applying; ``stop`` or ``close`` waits until what was applied is durable."""
        with self._lifecycle:
            self.check_open()
            if self.state in (*RUNNING, State.PAUSED):
                with self.changed:
                    self._enter(State.STOPPED, "stopped")
                self._leave_lanes()

    def restart(self) -> None:
        """Start anew from the stored position, after a failure too."""
        with self._lifecycle:
            self.stop()
            self._leave_lanes()
            self._wait_until_left(STOP_TIMEOUT)
            if self.failure is not None and not isinstance(self.failure, StorePositionError):
                self._close_failed()  # an engine may stay in its error until it is opened again
            self.mirror.counts.restarts += 1
            self.start()

    def pause(self) -> None:
        """Stop applying; a table that was ready goes on being read."""
        with self._lifecycle:
            self.check_open()
            if self.state in RUNNING:
                with self.changed:
                    self._ready_before_pause = self.state is State.READY
                    self._enter(State.PAUSED, "paused")
                self._leave_lanes()
                self._wait_until_left(STOP_TIMEOUT)

    def resume(self) -> None:
        """Go on after ``pause``."""
        with self._lifecycle:
            self.check_open()
            if self.state is State.PAUSED:
                with self.changed:
                    self._begin(
                        Reason.CONNECTING,
                        "resumed",
                        State.READY if self._ready_before_pause else State.RESTORING,
                    )
                self.binder.connect(self, self.run)

    def close(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop and close the store; live iterators end with ``StoreClosedError``. Idempotent."""
        with self._lifecycle:
            if self._forked_here:
                raise fork.forked_error()
            if self._closed:
                return
            self.stop(timeout)
            with self.changed:
                self._closed = True
                self._enter(State.STOPPED, "closed")
            self.binder.forget(self)
            self.mirror.close()
            self._on_close()

    def flush(self) -> None:
        """Return when everything applied so far, and the position behind it, is on disk."""
        self.check_open()
        self.binder.lane_of(self).call(self.mirror.make_durable).result()

    def _close_failed(self) -> None:
        try:
            self.mirror.close()
        except StateStoreError as error:
            log.warning("table %r: closing its failed store: %s", self.name, error)

    def _leave_lanes(self) -> None:
        """Begin to leave whichever lane the table is in, and to flush."""
        restoring, following = self.binder.restoring, self.binder.following

        def leave_last() -> None:
            following.remove(self)
            self.mirror.make_durable()

        def leave_first() -> Future[None]:
            restoring.remove(self)
            return following.call(leave_last)

        self._leaving = restoring.call(leave_first)

    def _wait_until_left(self, timeout: float) -> None:
        """Wait for what ``_leave_lanes`` began; the wait is bounded."""
        leaving, self._leaving = self._leaving, None
        if leaving is None:
            return
        deadline = time.monotonic() + timeout
        try:
            leaving.result(timeout).result(max(0.1, deadline - time.monotonic()))
        except TimeoutError:
            durable = self.mirror.written_offsets()
            log.warning(
                "table %r: its final flush was abandoned after %g s; written up to %s",
                self.name,
                timeout,
                durable,
            )
        except StateStoreError as error:
            log.warning("table %r: its final flush failed: %s", self.name, error)

    # The broker's answers, on the supervisor's thread

    def waits(self, cause: str) -> None:
        """What is in the way now is tried again and may pass."""
        with self.changed:
            if self.state in RUNNING:
                self._cause = cause
                self.changed.notify_all()

    def captured(self, run: int, bounds: Mapping[int, Bounds], now: float) -> None:
        """The first contact told where each partition's log starts and ends: begin to read."""
        with self.changed:
            if self.run != run or self.state not in RUNNING:
                return
            self.contact_failures = 0
            lost = self.mirror.capture(bounds, now)
            if lost is None:
                self._waiting_for = Reason.REPLAYING
                self._records_at_start = self.mirror.counts.records
            at_end = self.state is State.READY or self.mirror.progress.complete
        if lost is not None:
            self.lost(lost)
        else:
            self._put_into(self.binder.following if at_end else self.binder.restoring, run)

    def identified(self, found: TopicState, cluster_id: str | None) -> None:
        """The broker told what the topic is: is it still the one that this store mirrors?"""
        if found.unknown:
            self.fail(
                self.mirror.unavailable(
                    f"topic {self.topic!r} does not exist any more", "create it, then restart()"
                )
            )
        elif found.cleanup_policy is not None and "compact" not in found.cleanup_policy:
            self.fail(
                self.mirror.unavailable(
                    f"topic {self.topic!r} is not compacted (cleanup.policy={found.cleanup_policy})",
                    "give it cleanup.policy=compact (else its values vanish by age), then restart()",
                )
            )
        else:
            try:
                lost = self.mirror.identify(found, cluster_id)
            except StoreUnavailableError as error:
                self.fail(error)
                return
            if lost is not None:
                self.lost(lost)

    def confirmed(self, ends: Mapping[int, int], asked_at: float) -> None:
        """The broker told the present ends."""
        with self.changed:
            lost = self.mirror.confirm(ends, asked_at)
        if lost is not None:
            self.lost(lost)

    def evaluate(self) -> None:
        """Compare lag and staleness with their limits, and the files with the ones opened."""
        with self.changed:
            if self.state in RUNNING and (fault := self.mirror.vanished() or self.mirror.overfull()):
                self.fail(fault)
                return
            excess = self._excess()
            if self.state is State.READY and excess:
                self._enter(State.LAGGING, excess)
            elif self.state is State.LAGGING and not excess:
                self._enter(State.READY, "caught up")
            elif self.state is State.PAUSED and self._ready_before_pause and excess:
                self._ready_before_pause = False
                self._enter(State.PAUSED, excess)

    def lost(self, cause: str) -> None:
        """The topic no longer continues at the stored position: fail, or rebuild."""
        if self.options.on_missing == "fail":
            self.fail(self.mirror.position_lost(cause))
            return
        with self.changed:
            if self.state not in RUNNING:
                return
            self._begin(Reason.OPENING, f"rebuilding: {cause}")
        log.warning("table %r: rebuilding the store: %s", self.name, cause)
        run = self.run
        self.binder.supervisor.soon(lambda: self._rebuild(run))

    def _rebuild(self, run: int) -> None:
        restoring, following = self.binder.restoring, self.binder.following
        restoring.call(lambda: restoring.remove(self)).result()
        following.call(lambda: following.remove(self)).result()
        with self.changed:  # a close() meanwhile ends the run
            if self.run != run or self.state is not State.RESTORING:
                return
            try:
                self.mirror.start_anew()
            except StoreUnavailableError as error:
                self.fail(error)
                return
            self._started_at = time.time()
            self._waiting_for = Reason.CONNECTING
        self.binder.connect(self, run)

    # LaneMember: on the lane's thread

    @property
    def _applying(self) -> bool:
        """Whether what the lane reads still belongs to this run, and nothing has come in between."""
        return self._entered == self.run and self.state in RUNNING and self._waiting_for is Reason.REPLAYING

    def start_offsets(self) -> dict[int, tuple[int, int]]:
        partitions = self.mirror.progress.partitions
        return {number: (one.position, one.leader_epoch) for number, one in partitions.items()}

    def captured_ends(self) -> dict[int, int | None]:
        return {number: one.target for number, one in self.mirror.progress.partitions.items()}

    def apply(self, folded: Folded) -> None:
        if not self._applying:
            return
        try:
            self.mirror.write(folded)  # may take long: other tables go on meanwhile
        except (StoreClosedError, ForkedProcessError):
            return
        except StateStoreError as error:
            self._write_failed(error)
            return
        with self.changed:
            self.mirror.advance(folded)
            if self._awaited:
                self._tell_applied()
        self._tries = 0
        if (full := self.mirror.overfull(at_once=False)) is not None:
            self.fail(full)
            return
        if folded.stopped is not None:
            self._stopped_before(folded.stopped)
            return
        self._check_complete()

    def at_end(self, partition: int, offset: int) -> None:
        with self.changed:
            if not self._applying:
                return  # records before it may have been refused
            lost = self.mirror.reached_end(partition, offset, time.time())
            if self._awaited:
                self._tell_applied()
        if lost is not None:
            self.lost(lost)
        else:
            self._check_complete()

    def troubled(self, kind: Trouble, partition: int, offset: int, text: str) -> None:
        if not self._applying:
            return
        where = f"{self.topic} [{partition}]"
        if kind in (Trouble.POSITION, Trouble.TRUNCATED):
            position = self.mirror.progress.partitions[partition].position
            self.lost(f"{where}: position {position} is not in the log any more: {text}")
        elif kind is Trouble.UNKNOWN_TOPIC:
            self.fail(self.mirror.unavailable(f"{where}: {text}", "create the topic, then restart()"))
        elif kind is Trouble.REFUSED:
            self.fail(self.mirror.unavailable(f"{where}: {text}", "grant reading it, then restart()"))
        else:
            log.info("%s @ %d: %s", where, offset, text)

    def tick(self, now: float) -> None:
        defaults = self.binder.defaults
        full = self.mirror.unflushed >= defaults.flush_bytes
        due = full or now - self._flushed_at >= defaults.flush_interval
        if not self._applying:
            return
        try:
            if self.state is not State.RESTORING:
                self.mirror.sweep()
            if due:
                self._flushed_at = now
                self.mirror.make_durable()
        except (StoreClosedError, ForkedProcessError):
            return
        except StateStoreError as error:
            self._write_failed(error)

    def broken(self, error: BaseException) -> None:
        self.fail(self.mirror.unavailable(f"unexpected error: {error!r}", "report it, and restart()"), error)

    def _write_failed(self, error: StateStoreError) -> None:
        """Leave the lane, and come back for the same records from the stored position."""
        self.mirror.counts.write_failures += 1
        defaults = self.binder.defaults
        waits = defaults.retry_waits if defaults.auto_restart else ()
        for_good = isinstance(error, (*LOST, EncodeError))  # another try would end the same way
        if for_good or self._tries >= len(waits):
            if not isinstance(error, StoreUnavailableError):
                error = self.mirror.unavailable(str(error), "remove the cause, then restart()")
            self.fail(error, error.__cause__)
            return
        wait = waits[self._tries]
        self._tries += 1
        log.warning("table %r: a write failed, again in %g s: %s", self.name, wait, error)
        lane, run = self.binder.lane_of(self), self.run
        lane.remove(self)
        self.binder.supervisor.later(wait, lambda: self._put_into(lane, run))

    def _stopped_before(self, record: RejectedRecord) -> None:
        """Fail before a record that does not decode; wait where that is not known yet."""
        if not isinstance(record.error, UnreachableRegistryError):
            self.fail(self.mirror.unavailable(located(self.topic, record), REMEDY), record.error)
            return
        lane, run, record_filter = self.binder.lane_of(self), self.run, self.record_filter
        lane.remove(self)
        assert record_filter is not None
        where = place_of(self.topic, record)
        record_filter.ask(
            Hold(
                wanted=lambda: self.run == run and self.state in RUNNING,
                says=lambda text: self.waits(f"{text} (in front of {where})"),
                told=lambda: self._put_into(lane, run),
                later=self.binder.supervisor.later,
            )
        )

    def _put_into(self, lane: Lane, run: int) -> None:
        """Have ``lane`` take the table in, unless another start came in between."""

        def enter() -> None:
            if self.run != run:
                return
            self._entered = run
            if self._applying:
                self._flushed_at = time.time()
                lane.add(self)
                self._check_complete()

        def entered(done: Future[Any]) -> None:
            if (error := done.exception()) is not None:
                self.broken(error)

        lane.call(enter).add_done_callback(entered)

    def _check_complete(self) -> None:
        with self.changed:
            if self.state is State.LAGGING and not self._excess():
                self._enter(State.READY, "caught up")
            if self.state is State.RESTORING and self._applying and self.mirror.progress.complete:
                self._become_ready()
            if self._settled or self.state is not State.READY:
                return
        try:
            self.mirror.settle()
        except StateStoreError as error:
            self._write_failed(error)
            return
        self._settled = True
        restoring = self.binder.restoring
        if restoring.holds(self):
            restoring.remove(self)
            self._put_into(self.binder.following, self.run)

    # Inside; the caller holds the condition

    def _become_ready(self) -> None:
        self.mirror.progress.confirmed_at = time.time()
        self.time_to_ready = time.time() - self._started_at
        self._enter(State.READY, "reached the end")
        log.info(
            "topic %s: store %r is ready after %.2f s and %d records",
            self.topic,
            self.name,
            self.time_to_ready,
            self.mirror.counts.records - self._records_at_start,
        )

    def _excess(self) -> str:
        progress = self.mirror.progress
        return excess(self.options, progress.lag, progress.staleness(time.time()))

    def _begin(self, waiting_for: Reason, cause: str, state: State = State.RESTORING) -> None:
        self.run += 1
        self._settled = False
        self._waiting_for = waiting_for
        self._enter(state, cause)

    def fail(self, error: StoreUnavailableError, origin: BaseException | None = None) -> None:
        """Enter ``FAILED``, until ``restart()``. Any thread; takes the condition itself."""
        with self.changed:
            if self.state not in (*RUNNING, State.PAUSED):
                return
            error.__cause__ = origin
            self.failure = error
            self._enter(State.FAILED, str(error))
            run = self.run
        log.critical("table %r failed: %s", self.name, error)
        for lane in (self.binder.restoring, self.binder.following):
            lane.call(lambda lane=lane: lane.remove(self) if self.run == run else None)  # type: ignore[misc]
