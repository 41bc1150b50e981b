"""What all tables of a manager share: the connection, two lanes, a supervisor and an event thread.

The supervisor never waits for the broker: it asks, and continues in the callback of the answer's future.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from statestore.changelog.host import Member
from statestore.changelog.lane import Lane
from statestore.changelog.machine import Connection
from statestore.changelog.readiness import State
from statestore.kafka.admin import AdminConnection
from statestore.kafka.answers import (
    Bounds,
    ContactError,
    KafkaErrorKind,
    TopicState,
    failure_of,
    kind_of,
    topic_state,
)
from statestore.kafka.reader import BatchLimits
from statestore.kafka.source import KafkaSource
from statestore.runtime.budget import MemoryShares
from statestore.runtime.futures import when_all_done
from statestore.runtime.worker import Worker
from statestore.settings import Defaults

log = logging.getLogger("statestore.changelog")

LONGEST_BACKOFF = 10.0
PAST_END_TRIES = 4
"""How often the ends are asked for again before a stored position past them counts as lost."""
IDENTITY_TIMEOUT = 2.0
"""Seconds that the broker has to tell a topic's id; without an answer the id is unknown."""

FOLLOW_LIMITS = BatchLimits(records=4_000, memory=512 << 10, wait=0.1, idle=0.001, span=0.05)
"""Small batches, so that other threads get their turn and a record is visible soon."""


def restore_limits(memory: int) -> BatchLimits:
    """Return the limits of a restore: half of ``memory`` (the other half is read ahead), within a second."""
    return BatchLimits(records=1 << 40, memory=memory // 2, wait=0.05, idle=0.05, span=1.0, read_ahead=True)


class Binder:
    """See the module. ``changed`` is notified whenever state or readiness of any table changes."""

    def __init__(
        self, admin: AdminConnection, properties: Mapping[str, Any], name: str, defaults: Defaults
    ) -> None:
        self.defaults = defaults
        self.changed = threading.Condition(threading.RLock())
        self.connection = Connection()
        self.members: list[Member] = []
        self.cluster_id: str | None = None
        self._closed = False
        self.source = KafkaSource(admin, properties, name, defaults.request_timeout, self._client_failed)
        self.connection.fetcher = self.source.fetcher
        shares = MemoryShares.of(defaults.memory_budget)
        queue = shares.queue
        self.restoring = Lane("statestore-restore", self.source.reader(restore_limits(shares.run), queue))
        self.following = Lane("statestore-follow", self.source.reader(FOLLOW_LIMITS, queue))
        self.supervisor = Worker("statestore-supervisor")
        self.events = Worker("statestore-events")
        self._asking_ends = False
        self._tells_identity: bool | None = None
        """Whether the broker can tell a topic's id; one that could not at first is not asked again."""
        self._logged: dict[str, State] = {}
        self.supervisor.later(self._period(), self._tick)
        self.supervisor.later(defaults.progress_interval, self._report_progress)
        if defaults.health_interval:
            self.supervisor.later(defaults.health_interval, self._log_health)

    def add(self, member: Member) -> None:
        """Ask the broker about ``member`` from now on."""
        with self.changed:
            self.members.append(member)

    def forget(self, member: Member) -> None:
        with self.changed:
            if member in self.members:
                self.members.remove(member)

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait on the condition until ``done()``; tell whether it became true.

        Raises ``RuntimeError`` on the event thread: it runs the callbacks that others wait for.
        """
        if threading.current_thread() is self.events.thread:
            raise RuntimeError("waiting inside a callback would never end: wait on another thread")
        with self.changed:
            return self.changed.wait_for(done, timeout)

    def close(self, timeout: float = 4.0) -> None:
        """Close every table, end every thread and the connection. Idempotent."""
        if self._closed:
            return
        self._closed = True
        # All leave their lanes together: each of them alone would wait for a read of the lane's.
        calls: tuple[Callable[[Member], None], ...] = (lambda one: one.begin_stop(), lambda one: one.close())
        for call in calls:
            for member in list(self.members):
                try:
                    call(member)
                except Exception:  # the others are closed all the same
                    log.exception("table %r could not be closed", member.name)
        deadline = time.monotonic() + timeout
        parts = (self.supervisor, self.restoring, self.following, self.events)
        left = [part.thread.name for part in parts if not part.stop(max(0.1, deadline - time.monotonic()))]
        for name in left:
            log.warning("thread %s did not stop within %g s and was left running", name, timeout)

    # The first contact

    def connect(self, member: Member, start_id: int) -> None:
        """Find out where ``member``'s partitions begin and end, and tell ``captured``. Any thread."""
        self.supervisor.soon(lambda: self._ask(member, start_id, 0))

    def _ask(self, member: Member, start_id: int, attempt: int) -> None:
        if not member.runs(start_id):
            return
        if member.partition_count is None and not self._find_topic(member, start_id, attempt):
            return
        partitions = [(member.topic, number) for number in range(member.partition_count or 0)]
        asked_at = time.time()
        ends, starts = self.source.ends(partitions), self.source.starts(partitions)
        identity = self._ask_identity([member.topic])
        identity.add_done_callback(
            lambda answer: self.supervisor.soon(
                lambda: self._identified([(member, start_id)], answer.result())
            )
        )
        awaited: list[Future[Any]] = [*ends.values(), *starts.values()]
        if member.awaits_identity:
            # Nothing is applied to old data before we know that the topic is the same.
            awaited.append(identity)
        when_all_done(
            awaited,
            lambda: self.supervisor.soon(
                lambda: self._captured(member, start_id, attempt, asked_at, ends, starts)
            ),
        )

    def _find_topic(self, member: Member, start_id: int, attempt: int) -> bool:
        """With ``connect="lazy"``, or after a rebuild, the partition count is still to be learned."""
        try:
            info = self.source.topic_info(member.topic, timeout=1.0)
        except ContactError as error:
            if error.kind is KafkaErrorKind.NOT_AUTHORIZED:
                member.fail(str(error), "correct the credentials or rights, then restart()")
                return False
            if error.kind is KafkaErrorKind.UNREACHABLE:
                self._stall(error.cause)
            else:
                member.waits(start_id, error.cause)
            self._again(member, start_id, attempt)
            return False
        self._recovered()
        member.found(info.partitions)
        self.cluster_id = info.cluster_id
        return True

    def _again(self, member: Member, start_id: int, attempt: int) -> None:
        wait = min(LONGEST_BACKOFF, 0.2 * 2 ** min(attempt, 10)) * random.uniform(0.8, 1.2)
        self.supervisor.later(wait, lambda: self._ask(member, start_id, attempt + 1))

    def _captured(
        self,
        member: Member,
        start_id: int,
        attempt: int,
        asked_at: float,
        ends: Mapping[tuple[str, int], Future[Any]],
        starts: Mapping[tuple[str, int], Future[Any]],
    ) -> None:
        if not member.runs(start_id):
            return
        failure = next(filter(None, map(failure_of, (*ends.values(), *starts.values()))), None)
        if failure is not None:
            cause = f"Kafka at {self.source.address}: topic {member.topic!r}: {failure.str()}"
            member.contact_failed(start_id, kind_of(failure), cause)
            if member.runs(start_id):
                self._stall(failure.str())
                self._again(member, start_id, attempt)
            return
        self._recovered()
        bounds = {
            number: Bounds(starts[topic, number].result().offset, future.result().offset)
            for (topic, number), future in ends.items()
        }
        if attempt < PAST_END_TRIES and member.is_past_end(bounds):
            self._again(member, start_id, attempt)  # right after a restart a broker may tell an older end
        else:
            member.captured(start_id, bounds, asked_at)

    # The same questions again, while running

    def _period(self) -> float:
        limits = [one.max_staleness for one in list(self.members)]
        return min([self.defaults.confirm_interval, *(limit / 3 for limit in limits if limit is not None)])

    def _tick(self) -> None:
        self.supervisor.later(self._period(), self._tick)
        now = time.time()
        running = [(one, one.start_id) for one in list(self.members) if one.runs(one.start_id)]
        for member in list(self.members):
            member.evaluate()
        captured = [(one, start_id, one.captured_partitions) for one, start_id in running]
        known = [(one, start_id) for one, start_id, numbers in captured if numbers]
        if not known or self._asking_ends:
            return
        # A restart may empty the partitions meanwhile, and a question about none has no answer.
        ends = self.source.ends((one.topic, number) for one, _, numbers in captured for number in numbers)
        self._asking_ends = True
        when_all_done(ends.values(), lambda: self.supervisor.soon(lambda: self._confirmed(known, ends, now)))
        if self._tells_identity is not False:
            self._ask_identity([one.topic for one, _ in known]).add_done_callback(
                lambda answer: self.supervisor.soon(lambda: self._identified(known, answer.result()))
            )

    def _confirmed(
        self,
        asked: Iterable[tuple[Member, int]],
        answers: Mapping[tuple[str, int], Future[Any]],
        asked_at: float,
    ) -> None:
        self._asking_ends = False
        failures = [error for error in map(failure_of, answers.values()) if error is not None]
        away = next((error for error in failures if kind_of(error) is KafkaErrorKind.UNREACHABLE), None)
        if away is not None:
            self._stall(away.str())
        elif len(failures) < len(answers):
            self._recovered()
        if any(kind_of(error) is KafkaErrorKind.OTHER for error in failures):
            self.source.look_again()
        for member, start_id in asked:
            ends = {
                number: future.result().offset
                for (topic, number), future in answers.items()
                if topic == member.topic and failure_of(future) is None
            }
            member.confirmed(start_id, ends, asked_at)
            member.evaluate()

    def _ask_identity(self, topics: list[str]) -> Future[dict[str, TopicState]]:
        ids = self.source.topic_ids(topics, IDENTITY_TIMEOUT)
        configs = self.source.topic_configs(topics, IDENTITY_TIMEOUT)
        done: Future[dict[str, TopicState]] = Future()
        when_all_done(
            [*ids.values(), *configs.values()],
            lambda: done.set_result({topic: topic_state(ids[topic], configs[topic]) for topic in topics}),
        )
        return done

    def _identified(self, asked: Iterable[tuple[Member, int]], found: Mapping[str, TopicState]) -> None:
        if any(state.topic_id or state.unknown for state in found.values()):
            self._tells_identity = True
            self._recovered()
        elif self._tells_identity is None and not self.connection.stalled:
            self._tells_identity = False
        for member, start_id in asked:
            member.identified(start_id, found[member.topic], self.cluster_id)

    # Being away, and reports

    def _client_failed(self, kind: KafkaErrorKind, text: str) -> None:
        if kind is KafkaErrorKind.UNREACHABLE:
            self._stall(text)
        elif kind is KafkaErrorKind.NOT_AUTHORIZED:
            for member in list(self.members):
                cause = f"Kafka at {self.source.address}: {text}"
                member.fail(cause, "correct the credentials or rights, then restart()")

    def _stall(self, cause: str) -> None:
        with self.changed:
            if not self.connection.stalled:
                log.warning("Kafka at %s does not answer: %s", self.source.address, cause)
            self.connection.stalled, self.connection.cause = True, cause
            self.changed.notify_all()

    def _recovered(self) -> None:
        with self.changed:
            if self.connection.stalled:
                log.info("Kafka at %s answers again", self.source.address)
            self.connection.stalled = False
            self.changed.notify_all()

    def _report_progress(self) -> None:
        self.supervisor.later(self.defaults.progress_interval, self._report_progress)
        for member in list(self.members):
            member.report_progress()

    def _log_health(self) -> None:
        self.supervisor.later(self.defaults.health_interval, self._log_health)
        for member in list(self.members):
            if self._logged.get(member.name, State.READY) is not member.state:
                self._logged[member.name] = member.state
                if member.state is not State.READY:
                    log.warning("table %s", member.describe())
