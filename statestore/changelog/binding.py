"""One bound table: the shell around its state machine, which decides, and its mirror, which writes.

Who calls what: users on any thread; the members of ``LaneMember`` on the thread of the lane the table is in;
those of ``Member`` on the supervisor's. Each gives the machine an event under the lock ``changed``, and
carries out what comes back: transitions while it holds the lock, everything else after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from statestore.changelog.contact import Contact
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
from statestore.changelog.host import Host
from statestore.changelog.lane import Lane, LaneExit
from statestore.changelog.long_keys import LongKeyError
from statestore.changelog.machine import TableMachine
from statestore.changelog.mirror import Mirror
from statestore.changelog.reader_reports import ReaderReports
from statestore.changelog.reader_table import ReaderTable
from statestore.changelog.readiness import State
from statestore.changelog.status import LOST
from statestore.changelog.undecodable import REMEDY, RegistryWait, located, place_of
from statestore.core import Folded, Partitioning, RejectedRecord
from statestore.errors import (
    EncodeError,
    ForkedProcessError,
    StateStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreMissingError,
    StorePositionError,
    StoreUnavailableError,
    UnreachableRegistryError,
)
from statestore.runtime import fork
from statestore.settings import TableOptions

log = logging.getLogger("statestore.changelog")

BUILD_TIME = 1.0
"""Seconds that a table builds secondary indexes at a time, while others in the restoring lane wait ..."""
SHORT_BUILD_TIME = 0.02
"""... and in the following one."""
STOP_TIMEOUT = 10.0
"""Seconds a stop waits for the final flush."""


class Binding(ReaderTable):
    """See the module."""

    def __init__(
        self,
        host: Host,
        mirror: Mirror,
        options: TableOptions,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        defaults = host.defaults
        machine = TableMachine(
            options,
            host.connection,
            host.clock(),
            retry_waits=defaults.retry_waits,
            auto_restart=defaults.auto_restart,
            reads_only=not host.owns,
        )
        shared = host.changed, host.events, host.connection.fetcher, host.clock
        super().__init__(mirror, options, machine, *shared)
        self.host = host
        self.contact = Contact(mirror, machine, self._handle, self.refresh_readable, self.clock)
        self.reports = ReaderReports(mirror, machine, self._handle, self.held_back, self.contact)
        self.record_filter, self.key_limit = mirror.record_filter, mirror.key_limit
        self._on_close = on_close
        self._flushed_at = 0.0
        self._exit: LaneExit | None = None
        """How the table left its lanes, the last time."""
        self._is_leaving = False
        """Whether nobody has waited for that yet."""
        self._lifecycle = fork.rlock()
        self._noting = fork.rlock()
        mirror.on_damage(self.damaged)

    # Lifecycle, on the user's thread

    def start(self) -> None:
        """Open the store and begin to restore. Fine when running already."""
        with self._lifecycle:
            self.check_open()
            self._handle(lambda: self.machine.start(self.clock()))

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop applying and make durable what was applied. Fine when stopped already."""
        with self._lifecycle:
            self.begin_stop()
            self._wait_until_left(timeout)

    def begin_stop(self) -> None:
        """Stop applying; ``stop`` or ``close`` waits until what was applied is durable."""
        with self._lifecycle:
            self._check_not_closed()
            self._handle(lambda: self.machine.stop(self.clock()))

    def clear(self) -> None:
        """Replace the store by an empty one, and read the topic from its start."""
        self.check_open()
        self.check_owns("clear")
        self.restart("clear() was called")

    def restart(self, rebuild: str = "") -> None:
        """Start anew, after a failure too: from the stored position, or for a cause with an empty store."""
        with self._lifecycle:
            self.check_open()
            self.stop()
            if not self.machine.reads_only:
                self._begin_leaving()
                self._wait_until_left(STOP_TIMEOUT)
            self.keep_damage()
            failure = self.machine.failure
            if failure is not None and not isinstance(failure, StorePositionError):
                self.close_failed()  # an engine may stay in its error until it is opened again
            self.mirror.counts.restarts += 1
            self._handle(lambda: self.machine.restart(self.clock(), rebuild))

    def pause(self) -> None:
        """Stop applying; a table that was ready goes on being read, within its limits."""
        with self._lifecycle:
            self.check_open()
            self.check_owns("pause")
            if self._handle(lambda: self.machine.pause(self.clock())):
                self.mirror.progress.told_at = None  # until a later question is answered
                self.host.ask_ends()
            self._wait_until_left(STOP_TIMEOUT)

    def resume(self) -> None:
        """Go on after ``pause``."""
        with self._lifecycle:
            self.check_open()
            self.check_owns("resume")
            self._handle(lambda: self.machine.resume(self.clock()))

    def close(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop and close the store; live iterators end with ``StoreClosedError``. Idempotent."""
        with self._lifecycle:
            if self._forked_here:
                raise fork.forked_error()
            if self.machine.closed:
                return
            self.stop(timeout)
            self._handle(lambda: self.machine.close(self.clock()))
            self.host.forget(self)
            self.mirror.close()
        self._on_close()  # takes the manager's mutex, under which a takeover waits for the lock above

    def flush(self) -> None:
        """Return when everything applied so far, and the position after it, is on disk."""
        self.check_open()
        self.check_owns("flush")
        restoring, following = self.host.restoring, self.host.following
        lane = restoring if restoring.holds(self) else following
        lane.call(self.mirror.make_durable).result()

    def compact(self) -> None:
        """Give back the space of rows that were deleted or overwritten."""
        self.check_owns("compact")
        self.reading(allow_stale=True).compact()

    # What the machine wants done

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Transition():
                self.log_change(effect)
                if effect.state is State.FAILED:
                    self.leave_files()
            case EnterLane() | LeaveOwnLane() | LeaveLanes():
                self._change_lanes(effect)
            case OpenStore():
                self._open_store(effect)
            case AskBroker():
                self.host.connect(self, effect.start_id)
            case RebuildStore():
                log.warning("table %r: rebuilding the store: %s", self.name, effect.cause)
                self._rebuild(effect.start_id)
            case MarkComplete():
                self._mark_complete(effect.start_id)
            case ReachedEnd():
                records = self.mirror.records_since_capture
                text = "topic %s: store %r is ready after %.2f s and %d records"
                log.info(text, self.topic, self.name, effect.seconds, records)

    def _change_lanes(self, effect: EnterLane | LeaveOwnLane | LeaveLanes) -> None:
        match effect:
            case EnterLane(delay=0.0):
                self._enter_lane(effect)
            case EnterLane():
                self.host.supervisor.later(effect.delay, lambda: self._enter_lane(effect))
            case LeaveOwnLane():
                self._lane(effect.lane).remove(self)
            case LeaveLanes(flush=True):
                self._begin_leaving()
            case LeaveLanes():
                for lane in (self.host.restoring, self.host.following):
                    self._leave_unless_restarted(lane, effect.start_id)

    def _lane(self, kind: LaneKind) -> Lane:
        return self.host.restoring if kind is LaneKind.RESTORE else self.host.following

    def _open_store(self, wanted: OpenStore) -> None:
        with self.changed:  # a close() meanwhile ends the start
            if not self.runs(wanted.start_id):
                return
            try:
                if wanted.anew:
                    self.mirror.start_anew()
                else:
                    self.mirror.open()
            except StoreUnavailableError as error:
                self._fail(error)
                return
            if (foreign := self.mirror.foreign) is not None:  # found out by an earlier process
                self.lost(foreign)
            else:
                self._handle(lambda: self.machine.opened(wanted.start_id))

    def _enter_lane(self, wanted: EnterLane) -> None:
        """Have a lane take the table in, unless another start came in between."""
        lane = self._lane(wanted.lane)

        def enter() -> None:
            with self.changed:
                entered = self.machine.entered(wanted.start_id)
            if entered and self.machine.was_away:  # a lane notices what happens while the table is in it
                self.contact.doubt("the broker was away while nothing was read")
            elif entered:
                self._flushed_at = self.clock()
                lane.add(self)
                self._advanced()
                with self.changed:
                    self._tell_applied()

        def entered(done: Future[None]) -> None:
            if (error := done.exception()) is not None:
                self.broken(error)

        def go() -> None:
            lane.call(enter).add_done_callback(entered)

        if self._exit is None:
            go()
        else:  # a busy lane may give the table up long after a stop has stopped waiting for that
            self._exit.when_done(go)

    def _leave_unless_restarted(self, lane: Lane, start_id: int) -> None:
        lane.call(lambda: lane.remove(self) if self.start_id == start_id else None)

    def _begin_leaving(self) -> None:
        """Begin to leave whichever lane the table is in, and to flush."""
        self._exit = self._leaves(self.mirror.make_durable)
        self._is_leaving = True

    def _leaves(self, then: Callable[[], None]) -> LaneExit:
        """Have the table leave the lane it is in or enters next; both while it changes from one to the other.

        A lane that it has nothing to do with may be busy for long. An earlier way out that has not ended, of
        another start perhaps, is waited for in both.
        """
        first, last = self.host.restoring, self.host.following
        if self._exit is None or self._exit.done:
            if not first.holds(self) and self.machine.lane is LaneKind.FOLLOW:
                first = last
            elif not last.holds(self) and self.machine.lane is LaneKind.RESTORE:
                last = first
        return LaneExit(self, first, last, then)

    def _wait_until_left(self, timeout: float) -> None:
        """Wait for what ``_begin_leaving`` began; the wait is bounded."""
        if self._exit is None or not self._is_leaving:
            return
        self._is_leaving = False
        try:
            self._exit.wait(timeout)
        except TimeoutError:
            durable = self.mirror.written_offsets()
            log.warning(
                "table %r: the final flush did not end within %g s and was left running; written up to %s",
                self.name,
                timeout,
                durable,
            )
        except StateStoreError as error:
            log.warning("table %r: the final flush failed: %s", self.name, error)

    def _rebuild(self, start_id: int) -> None:
        def rebuild() -> None:
            self._handle(lambda: self.machine.rebuilding(start_id, self.clock()))

        self._leaves(lambda: None).when_done(lambda: self.host.supervisor.soon(rebuild))

    def _mark_complete(self, start_id: int) -> None:
        try:
            self.mirror.mark_complete()
        except StateStoreError as error:
            self._write_failed(error)
        else:
            self._handle(lambda: self.machine.marked_complete(start_id))

    # Failures

    def fail(self, cause: str, remedy: str) -> None:
        """Enter ``FAILED``, until ``restart()``. Any thread."""
        self._fail(self.mirror.unavailable(cause, remedy))

    def lost(self, cause: str) -> None:
        """The topic no longer continues at the stored position: fail, or rebuild."""
        self._handle(lambda: self.machine.lost(self.mirror.position_lost(cause), self.clock()))

    def _fail(self, error: StoreUnavailableError, origin: BaseException | None = None) -> None:
        error.__cause__ = origin
        self._handle(lambda: self.machine.failed(error, self.clock()))

    # Member, on the supervisor's thread

    def waits(self, start_id: int, cause: str) -> None:
        with self.changed:
            self.machine.waits(start_id, cause)

    def evaluate(self) -> None:
        self.mirror.close_replaced()

        def evaluate() -> Effects:
            now = self.clock()
            if self.machine.running:
                if (missing := self.mirror.vanished()) is not None:
                    return self.machine.lost(missing, now)
                if (full := self.mirror.too_large()) is not None:
                    return self.machine.failed(full, now)
            return self.machine.evaluated(self.mirror.progress, now)

        self._handle(evaluate)

    # LaneMember: on the lane's thread

    @property
    def partitioning(self) -> Partitioning | None:
        return self.mirror.partitioning

    def start_offsets(self) -> dict[int, tuple[int, int]]:
        return {number: one.anchor for number, one in self.mirror.progress.partitions.items()}

    def captured_ends(self) -> dict[int, int | None]:
        return {number: one.target for number, one in self.mirror.progress.partitions.items()}

    def apply(self, folded: Folded) -> None:
        if not self.machine.applying:
            return
        if (contradiction := self.mirror.contradiction(folded)) is not None:
            self.contact.doubt(contradiction)
            return
        if (lost := self.mirror.not_tracked(folded)) is not None:
            self.lost(lost)
            return
        try:
            self.mirror.write(folded)  # may take long: other tables go on meanwhile
        except (StoreClosedError, ForkedProcessError):
            return
        except StateStoreError as error:
            self._write_failed(error)
            return
        with self.changed:
            self.held_back.clear()
            self.mirror.advance(folded)
            self.machine.applied()
            if self._awaited:
                self._tell_passed()
        if (full := self.mirror.too_large(at_once=False)) is not None:
            self._fail(full)
        elif folded.stopped is not None:
            self._stopped_before(folded.stopped)
        else:
            self._advanced()

    def at_end(self, partition: int, offset: int) -> None:
        def reached_end() -> Effects:
            if not self.machine.applying:
                return NOTHING  # records before it may have been refused
            now = self.clock()
            lost = self.mirror.reached_end(partition, offset, now)
            if self._awaited:
                self._tell_passed()
            if lost is not None:
                return self.machine.lost(self.mirror.position_lost(lost), now)
            return self.machine.advanced(self.mirror.progress, now)

        self._handle(reached_end)

    def _advanced(self) -> None:
        self._handle(lambda: self.machine.advanced(self.mirror.progress, self.clock()))

    def tick(self, now: float) -> None:
        defaults = self.host.defaults
        full = self.mirror.unflushed >= defaults.flush_bytes
        due = full or now - self._flushed_at >= defaults.flush_interval
        if not self.machine.applying:
            return
        try:
            self._tend_indexes()
            if self.state is not State.RESTORING:
                self.mirror.sweep()
            if due:
                self._flushed_at = now
                self.mirror.make_durable()
        except (StoreClosedError, ForkedProcessError):
            return
        except StateStoreError as error:
            self._write_failed(error)

    def _tend_indexes(self) -> None:
        """Build secondary indexes once all rows of a restore are there; a table is not ready before."""
        progress = self.mirror.progress
        if self.state is State.RESTORING and not progress.complete:
            return
        missing = not progress.prepared
        if missing and self.state is State.RESTORING:
            self.waits(self.start_id, "building secondary indexes")
        restores = self.machine.lane is LaneKind.RESTORE
        self.mirror.tend_indexes(BUILD_TIME if restores else SHORT_BUILD_TIME)
        if missing and progress.prepared:
            self._advanced()

    def broken(self, error: BaseException) -> None:
        self._fail(
            self.mirror.unavailable(f"unexpected error: {error!r}", "report it as a bug, then restart()"),
            error,
        )

    def _write_failed(self, error: StateStoreError) -> None:
        """Leave the lane, and come back for the same records from the stored position; or give up."""
        self.mirror.counts.write_failures += 1
        if isinstance(error, (StoreMissingError, StoreCorruptError)):
            self.damaged(error)
            return
        final = isinstance(error, (*LOST, EncodeError))  # another try would end the same way
        if isinstance(error, StoreUnavailableError):
            failure = error
        else:
            failure = self.mirror.unavailable(str(error), "remove the cause, then restart()")
            failure.__cause__ = error
        for effect in self._handle(lambda: self.machine.write_failed(failure, final=final, now=self.clock())):
            if isinstance(effect, EnterLane):
                log.warning(
                    "table %r: a write failed and is tried again in %g s: %s", self.name, effect.delay, error
                )

    def _stopped_before(self, record: RejectedRecord) -> None:
        """Fail before a record that does not decode or fit; wait where that is not known yet."""
        if not isinstance(record.error, UnreachableRegistryError):
            remedy = record.error.remedy if isinstance(record.error, LongKeyError) else REMEDY
            self._fail(self.mirror.unavailable(located(self.topic, record), remedy), record.error)
            return
        start_id, where = self.start_id, place_of(self.topic, record)
        self._handle(self.machine.held)
        assert self.record_filter is not None

        def go_on() -> None:
            self._handle(lambda: self.machine.released(start_id))

        self.record_filter.ask(
            RegistryWait(
                is_waiting=lambda: self.runs(start_id),
                report=lambda text: self.waits(start_id, f"{text} (before {where})"),
                answered=go_on,
                schedule=self.host.supervisor.later,
            )
        )
