"""What all tables of a manager share: the connection, two lanes, a supervisor and an event thread.

The supervisor never waits for the broker: it asks, and continues in the callback of the answer's future.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from statestore.changelog.host import Member
from statestore.changelog.lane import FOLLOW_LIMITS, Lane
from statestore.changelog.machine import Connection
from statestore.changelog.readiness import State
from statestore.changelog.running import THREADS, Running
from statestore.errors import ConfigError
from statestore.kafka.admin import AdminConnection
from statestore.kafka.answers import (
    Bounds,
    ContactError,
    Failure,
    IdentityAnswer,
    KafkaErrorKind,
    epoch_of,
    failure_of,
    identity_answer,
    kind_of,
)
from statestore.kafka.reader import BatchLimits
from statestore.kafka.remedies import refuses_client, table_remedy, text_of
from statestore.kafka.source import KafkaSource
from statestore.runtime import fork
from statestore.runtime.budget import MemoryShares
from statestore.runtime.futures import when_all_done
from statestore.runtime.times import Clock
from statestore.settings import Defaults

log = logging.getLogger("statestore.changelog")

LONGEST_BACKOFF = 10.0
PAST_END_TRIES = 4
"""How often the ends are asked for again before a stored position past them counts as lost."""
IDENTITY_TIMEOUT = 2.0
"""Seconds that the broker has to tell a topic's id; twice as long after each time-out."""

STUCK_TIME = 1.0
"""Seconds without a record after which a table that lags is the one whose records are not taken."""
PAUSED_INTERVAL = 1.0
"""Most seconds between two questions for the ends while a table is paused, and reads no records that tell."""


def restore_limits(memory: int) -> BatchLimits:
    """Return the limits of a restore: half of ``memory`` (the other half is read ahead), within a second."""
    return BatchLimits(records=1 << 40, memory=memory // 2, wait=0.05, idle=0.05, span=1.0, read_ahead=True)


class Asked(NamedTuple):
    """A table that the broker is asked about, as it was when it was asked."""

    member: Member
    start_id: int
    positions: Mapping[int, int]
    applied: int
    """How many records were applied."""


class Binder:
    """See the module. ``changed`` is notified whenever state or readiness of any table changes.

    With ``owns=False`` another process applies the topics: there are no lanes, and nothing is asked now and
    then, until ``own``.
    """

    restoring: Lane
    following: Lane

    def __init__(
        self,
        admin: AdminConnection,
        properties: Mapping[str, Any],
        name: str,
        defaults: Defaults,
        *,
        owns: bool = True,
        make_source: Callable[..., KafkaSource] = KafkaSource,
        running: Running = THREADS,
    ) -> None:
        self.defaults = defaults
        self.clock: Clock = running.clock
        self._running = running
        self.changed = running.lock()
        self.connection = Connection(fetcher="none: another process reads the topics")
        self.members: list[Member] = []
        self.cluster_id: str | None = None
        self.owns = False
        self._closed = False
        timeout = defaults.request_timeout
        self._make_source = partial(make_source, admin, properties, name, timeout, self._client_failed)
        self._source: KafkaSource | None = None
        self._making_source = fork.lock()
        self.address: str = properties.get("bootstrap.servers", "")  # a reader may have none
        if owns:  # before any thread is started: it may raise
            self._source = self._make_source()
        self.supervisor = running.worker("statestore-supervisor" if owns else "statestore-reader")
        self.events = running.worker("statestore-events")
        self._asking_ends = self._asking_identity = self._asking_refusal = False
        self._ticks = 0
        self._identity_timeouts = 0
        """How many questions for ids had no answer since one had."""
        self._logged: dict[str, State] = {}
        if owns:
            self.own()
        self.supervisor.later(defaults.progress_interval, self._report_progress)
        if defaults.health_interval:
            self.supervisor.later(defaults.health_interval, self._log_health)

    @property
    def source(self) -> KafkaSource:
        """The connection to the broker; a process that only reads stores makes it when it is used first."""
        if self._source is None:
            if not self.address:
                raise ConfigError(
                    "this needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under [kafka]"
                )
            with self._making_source:
                if self._source is None:
                    self._source = self._make_source()
        return self._source

    def own(self) -> None:
        """Read and apply the topics from now on: this process owns the stores."""
        shares = MemoryShares.of(self.defaults.memory_budget)
        restore = replace(restore_limits(shares.run), held=shares.held)
        follow = replace(FOLLOW_LIMITS, held=shares.held)
        self.connection.fetcher = self.source.fetcher
        lane, reader, clock = self._running.lane, self.source.reader, self.clock
        self.restoring = lane("statestore-restore", reader(restore, shares.queue), clock)
        self.following = lane("statestore-follow", reader(follow, shares.queue), clock)
        self.supervisor.thread.name = "statestore-supervisor"
        self.owns = True
        self.supervisor.later(self._period(), self._tick)

    def add(self, member: Member) -> None:
        """Ask the broker about ``member`` from now on."""
        with self.changed:
            self.members.append(member)

    def forget(self, member: Member) -> None:
        with self.changed:
            if member in self.members:
                self.members.remove(member)

    def check_may_wait(self) -> None:
        if threading.current_thread() is self.events.thread:
            raise RuntimeError("waiting inside a callback would never end: wait on another thread")

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
        lanes = (self.restoring, self.following) if self.owns else ()
        parts = (self.supervisor, *lanes, self.events)
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
        if member.contact.partition_count is None and not self._find_topic(member, start_id, attempt):
            return
        partitions = [(member.topic, number) for number in range(member.contact.partition_count or 0)]
        asked_at = self.clock()
        ends, starts = self.source.ends(partitions), self.source.starts(partitions)
        asked = [Asked(member, start_id, {}, member.contact.applied)]
        identity = self._ask_identity([member.topic])
        identity.add_done_callback(
            lambda answer: self.supervisor.soon(lambda: self._identified(asked, answer.result()))
        )
        awaited: list[Future[Any]] = [*ends.values(), *starts.values()]
        # Nothing is applied to old data before we know that the topic is the same.
        confirms = identity if member.contact.awaits_identity else None
        if confirms is not None:
            awaited.append(confirms)
        when_all_done(
            awaited,
            lambda: self.supervisor.soon(
                lambda: self._answered(member, start_id, attempt, asked_at, ends, starts, confirms)
            ),
        )

    def _find_topic(self, member: Member, start_id: int, attempt: int) -> bool:
        """With ``connect="lazy"``, or after a rebuild, the partition count is still to be learned."""
        try:
            info = self.source.topic_info(member.topic, timeout=1.0)
        except ContactError as error:
            if error.kind is KafkaErrorKind.NOT_AUTHORIZED and error.error is not None:
                member.fail(f"Kafka at {self.address}: {error.bare_cause}", table_remedy(error.error))
                return False
            if error.kind is KafkaErrorKind.UNREACHABLE:
                self._stall(error.cause)
            else:
                member.waits(start_id, error.cause)
            self._again(member, start_id, attempt)
            return False
        self._recovered()
        member.contact.found(info)
        self.cluster_id = info.cluster_id
        return True

    def _again(self, member: Member, start_id: int, attempt: int) -> None:
        wait = min(LONGEST_BACKOFF, 0.2 * 2 ** min(attempt, 10)) * random.uniform(0.8, 1.2)
        self.supervisor.later(wait, lambda: self._ask(member, start_id, attempt + 1))

    def _contact_failed(
        self, member: Member, start_id: int, attempt: int, failure: Failure, what: str = ""
    ) -> None:
        text = f"{what}{failure.str()}"
        cause = f"Kafka at {self.source.address}: topic {member.topic!r}: {text}"
        member.contact.failed(start_id, failure, cause)
        if member.runs(start_id):
            self._stall(text)
            self._again(member, start_id, attempt)

    def _answered(
        self,
        member: Member,
        start_id: int,
        attempt: int,
        asked_at: float,
        ends: Mapping[tuple[str, int], Future[Any]],
        starts: Mapping[tuple[str, int], Future[Any]],
        identity: Future[dict[str, IdentityAnswer]] | None,
    ) -> None:
        if not member.runs(start_id):
            return
        failure = next(filter(None, map(failure_of, (*ends.values(), *starts.values()))), None)
        if failure is not None:
            self._contact_failed(member, start_id, attempt, failure)
            return
        unidentified = None if identity is None else identity.result()[member.topic].failure
        if unidentified is not None:
            self._contact_failed(member, start_id, attempt, unidentified, "the topic's id is not told: ")
            return
        self._recovered()
        bounds = {
            number: Bounds(
                starts[topic, number].result().offset, future.result().offset, epoch_of(future.result())
            )
            for (topic, number), future in ends.items()
        }
        if member.contact.is_past_end(bounds):
            if attempt < PAST_END_TRIES:  # right after a restart a broker may tell an older end
                self._again(member, start_id, attempt)
            else:
                member.contact.captured(start_id, bounds, asked_at)
            return
        unchecked = member.contact.unchecked_positions(bounds)
        if not unchecked:
            member.contact.captured(start_id, bounds, asked_at)
            return
        answer = self.source.lost_positions(member.topic, unchecked, lambda: member.runs(start_id))
        answer.add_done_callback(
            lambda lost: self.supervisor.soon(
                lambda: self._checked(member, start_id, attempt, asked_at, bounds, lost)
            )
        )

    def _checked(
        self,
        member: Member,
        start_id: int,
        attempt: int,
        asked_at: float,
        bounds: Mapping[int, Bounds],
        lost: Future[dict[int, str]],
    ) -> None:
        if not member.runs(start_id):
            return
        failure = failure_of(lost)
        if failure is not None:
            what = "the stored position is not confirmed: "
            self._contact_failed(member, start_id, attempt, failure, what)
        elif lost.result():
            member.contact.cut_off(start_id, lost.result())
        else:
            member.contact.captured(start_id, bounds, asked_at)

    # The same questions again, while running

    def _period(self) -> float:
        members = list(self.members)
        limits = [one.max_staleness / 3 for one in members if one.max_staleness is not None]
        paused = [PAUSED_INTERVAL for one in members if one.state is State.PAUSED]
        return min([self.defaults.confirm_interval, *limits, *paused])

    def ask_ends(self) -> None:
        self.supervisor.soon(self._tick)

    def _tick(self) -> None:
        self._ticks += 1
        number = self._ticks
        self.source.serve()
        # One that comes before its time takes the place of the next one.
        self.supervisor.later(self._period(), lambda: self._tick() if number == self._ticks else None)
        now = self.clock()
        asking = [
            (one, one.start_id)
            for one in list(self.members)
            if one.runs(one.start_id) or one.state is State.PAUSED
        ]
        for member in list(self.members):
            member.evaluate()
        # A restart may empty the partitions meanwhile, and a question about none has no answer.
        asked = [Asked(one, start_id, one.contact.positions, one.contact.applied) for one, start_id in asking]
        known = [one for one in asked if one.positions]
        if known and not self._asking_identity:
            self._asking_identity = True
            self._ask_identity([one.member.topic for one in known]).add_done_callback(
                lambda answer: self.supervisor.soon(lambda: self._identified_again(known, answer.result()))
            )
        if known and not self._asking_ends:
            self._asking_ends = True
            ends = self.source.ends((one.member.topic, number) for one in known for number in one.positions)
            when_all_done(
                ends.values(), lambda: self.supervisor.soon(lambda: self._confirmed(known, ends, now))
            )

    def _confirmed(
        self,
        asked: Iterable[Asked],
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
        if any(kind_of(error) in (KafkaErrorKind.OTHER, KafkaErrorKind.NO_LEADER) for error in failures):
            self.source.look_again()
        for member, start_id, positions, _ in asked:
            ends = {
                number: future.result().offset
                for (topic, number), future in answers.items()
                if topic == member.topic and failure_of(future) is None
            }
            member.contact.confirmed(start_id, ends, asked_at, positions)
            member.evaluate()

    def _ask_identity(self, topics: list[str]) -> Future[dict[str, IdentityAnswer]]:
        timeout = min(IDENTITY_TIMEOUT * 2 ** min(self._identity_timeouts, 10), self.defaults.request_timeout)
        ids = self.source.topic_ids(topics, timeout)
        configs = self.source.topic_configs(topics, timeout)
        done: Future[dict[str, IdentityAnswer]] = Future()
        when_all_done(
            [*ids.values(), *configs.values()],
            lambda: done.set_result({topic: identity_answer(ids[topic], configs[topic]) for topic in topics}),
        )
        return done

    def _identified_again(self, asked: Iterable[Asked], found: Mapping[str, IdentityAnswer]) -> None:
        self._asking_identity = False
        self._identified(asked, found)

    def _identified(self, asked: Iterable[Asked], found: Mapping[str, IdentityAnswer]) -> None:
        if any(answer.state.topic_id or answer.state.unknown for answer in found.values()):
            self._recovered()
        if any(answer.failure is None for answer in found.values()):
            self._identity_timeouts = 0
        else:
            self._identity_timeouts += 1
        for member, start_id, _, applied in asked:
            member.contact.identified(start_id, found[member.topic].state, self.cluster_id, applied)

    # What a sync asks

    def ends(
        self, partitions: Iterable[tuple[str, int]], *, stable: bool
    ) -> dict[tuple[str, int], Future[Any]]:
        return self.source.ends(partitions) if stable else self.source.log_ends(partitions)

    def identify(self, members: Sequence[Member]) -> Future[None]:
        done: Future[None] = Future()
        if not self.owns:  # that is for the owner to find out
            done.set_result(None)
            return done
        asked = [Asked(one, one.start_id, one.contact.positions, one.contact.applied) for one in members]

        def answered(found: Mapping[str, IdentityAnswer]) -> None:
            self._identified(asked, found)
            done.set_result(None)

        self._ask_identity([one.topic for one in members]).add_done_callback(
            lambda answer: self.supervisor.soon(lambda: answered(answer.result()))
        )
        return done

    # Being away, and reports

    def _client_failed(self, error: Failure, text: str) -> None:
        kind = kind_of(error)
        if kind is KafkaErrorKind.UNREACHABLE:
            self._stall(text)
        elif kind is KafkaErrorKind.TOO_LARGE:
            self._stall(text)
            self.ask_ends()
            for lane in (self.restoring, self.following):
                lane.call(partial(self._answer_too_large, lane, text))
        elif refuses_client(error):
            self.supervisor.soon(self._ask_refusal)
        elif kind is KafkaErrorKind.NOT_AUTHORIZED:
            for member in list(self.members):
                member.fail(f"Kafka at {self.address}: {text}", table_remedy(error))

    def _ask_refusal(self) -> None:
        """A client was refused at some time, perhaps before a restart: find out what holds now."""
        if self._asking_refusal:
            return
        self._asking_refusal = True
        starts = [(one, one.start_id) for one in self.members]
        self.source.refusal().add_done_callback(
            lambda answer: self.supervisor.soon(lambda: self._told_refusal(starts, answer))
        )

    def _told_refusal(self, starts: Iterable[tuple[Member, int]], answer: Future[Failure | None]) -> None:
        self._asking_refusal = False
        if answer.exception() is not None or (error := answer.result()) is None:
            log.info("Kafka at %s refused a client, and does not refuse it any more", self.address)
            return
        for member, start_id in starts:
            if member.start_id == start_id:
                member.fail(f"Kafka at {self.address}: {text_of(error)}", table_remedy(error))
            else:  # it was restarted meanwhile
                self._ask_refusal()

    def _answer_too_large(self, lane: Lane, text: str) -> None:
        """A client does not take an answer, and does not tell whose records are in it: see who is stuck.

        On the lane's thread.
        """
        before = lane.offsets()

        def look() -> None:
            lane.call(lambda: lane.answer_too_large(text, before))

        self.supervisor.later(STUCK_TIME, look)

    def _stall(self, cause: str) -> None:
        with self.changed:
            if not self.connection.stalled:
                self.connection.outages += 1
                log.warning("Kafka at %s does not answer: %s", self.source.address, cause)
            self.connection.stalled, self.connection.cause = True, cause

    def _recovered(self) -> None:
        with self.changed:
            if self.connection.stalled:
                log.info("Kafka at %s answers again", self.source.address)
            self.connection.stalled = False

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
