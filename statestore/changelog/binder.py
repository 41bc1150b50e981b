"""What all tables of a manager share: the connection, two lanes, a supervisor and an event thread.

The supervisor never waits for the broker: it asks, and goes on when the answer's future calls back.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from statestore.changelog.binding import Binding
from statestore.changelog.lane import Lane, LaneMember
from statestore.changelog.readiness import State
from statestore.changelog.status import RUNNING, Connection
from statestore.kafka.answers import (
    Bounds,
    ContactError,
    TopicState,
    Trouble,
    failure_of,
    topic_state,
    trouble,
)
from statestore.kafka.reader import Portion
from statestore.kafka.source import KafkaSource
from statestore.runtime.budget import MemoryShares
from statestore.runtime.worker import Worker
from statestore.settings import Defaults

log = logging.getLogger("statestore.changelog")

LONGEST_BACKOFF = 10.0
BEYOND_TRIES = 4
"""How often the ends are asked for again before a stored position behind them counts as lost."""
IDENTITY_TIMEOUT = 2.0
"""Seconds for the broker to tell a topic's id; without an answer it is unknown, and nothing waits longer."""

FOLLOWED_AT_ONCE = Portion(records=4_000, memory=512 << 10, wait=0.1, settle=0.001, span=0.05)
"""Small, so that other threads get their turn and a record is soon to be seen."""


def restored_at_once(memory: int) -> Portion:
    """As much as half of ``memory`` holds (the other half is read ahead), but within a second."""
    return Portion(records=1 << 40, memory=memory // 2, wait=0.05, settle=0.05, span=1.0, ahead=True)


class Binder:
    """See the module. ``changed`` is notified whenever state or readiness of any table changes."""

    def __init__(self, properties: Mapping[str, Any], name: str, defaults: Defaults) -> None:
        self.defaults = defaults
        self.changed = threading.Condition(threading.RLock())
        self.connection = Connection()
        self.bindings: list[Binding] = []
        self.cluster_id: str | None = None
        self._closed = False
        self.source = KafkaSource(properties, name, defaults.request_timeout, self._troubled)
        self.connection.fetcher = self.source.fetcher
        shares = MemoryShares.of(defaults.memory_budget)
        queue = shares.queue
        self.restoring = Lane("statestore-restore", self.source.reader(restored_at_once(shares.run), queue))
        self.following = Lane("statestore-follow", self.source.reader(FOLLOWED_AT_ONCE, queue))
        self.supervisor = Worker("statestore-supervisor")
        self.events = Worker("statestore-events")
        self._asking_ends = False
        self._tells_identity: bool | None = None
        """Whether the broker has told a topic's id; one that could not at first is not asked again."""
        self._logged: dict[str, State] = {}
        self.supervisor.later(self._period(), self._tick)
        self.supervisor.later(defaults.progress_interval, self._report_progress)
        if defaults.health_interval:
            self.supervisor.later(defaults.health_interval, self._log_health)

    def add(self, binding: Binding) -> None:
        with self.changed:
            self.bindings.append(binding)

    def forget(self, binding: Binding) -> None:
        with self.changed:
            if binding in self.bindings:
                self.bindings.remove(binding)

    def lane_of(self, binding: LaneMember) -> Lane:
        return self.restoring if self.restoring.holds(binding) else self.following

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait on the condition until ``done()``; tell whether it became true.

        Raises ``RuntimeError`` on the event thread, which must be free for what is waited for.
        """
        if threading.current_thread() is self.events.thread:
            raise RuntimeError("waiting inside a callback would wait for itself: wait on another thread")
        with self.changed:
            return self.changed.wait_for(done, timeout)

    def close(self, timeout: float = 4.0) -> None:
        """Close every table, end every thread and the connection. Idempotent."""
        if self._closed:
            return
        self._closed = True
        # All leave their lanes together: each of them alone would wait for a read of the lane's.
        for close in (Binding.begin_stop, Binding.close):
            for binding in list(self.bindings):
                try:
                    close(binding)
                except Exception:  # the others are closed all the same
                    log.exception("table %r could not be closed", binding.name)
        deadline = time.monotonic() + timeout
        parts = (self.supervisor, self.restoring, self.following, self.events)
        left = [part.thread.name for part in parts if not part.stop(max(0.1, deadline - time.monotonic()))]
        if left:
            log.warning("abandoned after %g s: %s", timeout, ", ".join(left))

    # The first contact

    def connect(self, binding: Binding, run: int, attempt: int = 0) -> None:
        """Find out where ``binding``'s partitions begin and end, and have it start to read. Any thread."""
        self.supervisor.soon(lambda: self._ask(binding, run, attempt))

    def _ask(self, binding: Binding, run: int, attempt: int) -> None:
        if binding.run != run or binding.state not in RUNNING:
            return
        if binding.mirror.partition_count is None and not self._find_topic(binding, run, attempt):
            return
        partitions = [(binding.topic, number) for number in range(binding.mirror.partition_count or 0)]
        asked_at = time.time()
        ends, starts = self.source.ends(partitions), self.source.starts(partitions)
        identity = self._ask_identity([binding.topic])
        identity.add_done_callback(
            lambda answer: self.supervisor.soon(lambda: self._identified([(binding, run)], answer.result()))
        )
        awaited: list[Future[Any]] = [*ends.values(), *starts.values()]
        if binding.mirror.topic_id is not None:
            # Nothing is applied to old data before we know that the topic is the same.
            awaited.append(identity)
        _when_done(
            awaited,
            lambda: self.supervisor.soon(
                lambda: self._captured(binding, run, attempt, asked_at, ends, starts)
            ),
        )

    def _find_topic(self, binding: Binding, run: int, attempt: int) -> bool:
        """With ``connect="lazy"``, or after a rebuild, the partition count is still to be learned."""
        try:
            info = self.source.topic_info(binding.topic, timeout=1.0)
        except ContactError as error:
            if error.kind is Trouble.REFUSED:
                remedy = "correct the credentials or rights, then restart()"
                binding.fail(binding.mirror.unavailable(str(error), remedy))
                return False
            if error.kind is Trouble.AWAY:
                self._stall(error.cause)
            else:
                binding.waits(error.cause)
            self._again(binding, run, attempt)
            return False
        self._recovered()
        binding.mirror.partition_count = info.partitions
        self.cluster_id = info.cluster_id
        return True

    def _again(self, binding: Binding, run: int, attempt: int) -> None:
        wait = min(LONGEST_BACKOFF, 0.2 * 2 ** min(attempt, 10)) * random.uniform(0.8, 1.2)
        self.supervisor.later(wait, lambda: self._ask(binding, run, attempt + 1))

    def _captured(
        self,
        binding: Binding,
        run: int,
        attempt: int,
        asked_at: float,
        ends: Mapping[tuple[str, int], Future[Any]],
        starts: Mapping[tuple[str, int], Future[Any]],
    ) -> None:
        if binding.run != run or binding.state not in RUNNING:
            return
        failure = next(filter(None, map(failure_of, (*ends.values(), *starts.values()))), None)
        if failure is not None:
            kind = trouble(failure)
            if kind is not Trouble.AWAY:
                binding.contact_failures += 1
            if kind is Trouble.REFUSED or binding.contact_failures > len(self.defaults.retry_waits):
                binding.fail(
                    binding.mirror.unavailable(
                        f"Kafka at {self.source.address}: topic {binding.topic!r}: {failure.str()}",
                        "remove the cause, then restart()",
                    )
                )
            else:
                self._stall(failure.str())
                self._again(binding, run, attempt)
            return
        self._recovered()
        bounds = {
            number: Bounds(starts[topic, number].result().offset, future.result().offset)
            for (topic, number), future in ends.items()
        }
        if attempt < BEYOND_TRIES and binding.mirror.is_beyond(bounds):
            self._again(binding, run, attempt)  # right after a restart a broker may tell an older end
        else:
            binding.captured(run, bounds, asked_at)

    # The same questions again, while running

    def _period(self) -> float:
        limits = [one.options.max_staleness for one in self.bindings]
        return min([self.defaults.confirm_interval, *(limit / 3 for limit in limits if limit is not None)])

    def _tick(self) -> None:
        self.supervisor.later(self._period(), self._tick)
        now = time.time()
        running = [(one, one.run) for one in list(self.bindings) if one.state in RUNNING]
        for binding in list(self.bindings):
            binding.evaluate()
        known = [(one, run) for one, run in running if one.mirror.progress.partitions]
        if not known or self._asking_ends:
            return
        ends = self.source.ends(
            (one.topic, number) for one, _ in known for number in list(one.mirror.progress.partitions)
        )
        self._asking_ends = True
        _when_done(ends.values(), lambda: self.supervisor.soon(lambda: self._confirmed(known, ends, now)))
        if self._tells_identity is not False:
            self._ask_identity([one.topic for one, _ in known]).add_done_callback(
                lambda answer: self.supervisor.soon(lambda: self._identified(known, answer.result()))
            )

    def _confirmed(
        self,
        asked: Iterable[tuple[Binding, int]],
        answers: Mapping[tuple[str, int], Future[Any]],
        asked_at: float,
    ) -> None:
        self._asking_ends = False
        failures = [error for error in map(failure_of, answers.values()) if error is not None]
        away = next((error for error in failures if trouble(error) is Trouble.AWAY), None)
        if away is not None:
            self._stall(away.str())
        elif len(failures) < len(answers):
            self._recovered()
        if any(trouble(error) is Trouble.OTHER for error in failures):
            self.source.look_again()
        for binding, run in asked:
            ends = {
                number: future.result().offset
                for (topic, number), future in answers.items()
                if topic == binding.topic and failure_of(future) is None
            }
            if binding.run == run:
                binding.confirmed(ends, asked_at)
                binding.evaluate()

    def _ask_identity(self, topics: list[str]) -> Future[dict[str, TopicState]]:
        ids = self.source.topic_ids(topics, IDENTITY_TIMEOUT)
        configs = self.source.topic_configs(topics, IDENTITY_TIMEOUT)
        done: Future[dict[str, TopicState]] = Future()
        _when_done(
            [*ids.values(), *configs.values()],
            lambda: done.set_result({topic: topic_state(ids[topic], configs[topic]) for topic in topics}),
        )
        return done

    def _identified(self, asked: Iterable[tuple[Binding, int]], found: Mapping[str, TopicState]) -> None:
        if any(state.topic_id or state.unknown for state in found.values()):
            self._tells_identity = True
            self._recovered()
        elif self._tells_identity is None and not self.connection.stalled:
            self._tells_identity = False
        for binding, run in asked:
            if binding.run == run and binding.state in RUNNING:
                binding.identified(found[binding.topic], self.cluster_id)

    # Being away, and reports

    def _troubled(self, kind: Trouble, text: str) -> None:
        if kind is Trouble.AWAY:
            self._stall(text)
        elif kind is Trouble.REFUSED:
            for binding in list(self.bindings):
                cause = f"Kafka at {self.source.address}: {text}"
                remedy = "correct the credentials or rights, then restart()"
                binding.fail(binding.mirror.unavailable(cause, remedy))

    def _stall(self, cause: str) -> None:
        with self.changed:
            if not self.connection.stalled:
                log.warning("Kafka at %s is away: %s", self.source.address, cause)
            self.connection.stalled, self.connection.cause = True, cause
            self.changed.notify_all()

    def _recovered(self) -> None:
        with self.changed:
            if self.connection.stalled:
                log.info("Kafka at %s is back", self.source.address)
            self.connection.stalled = False
            self.changed.notify_all()

    def _report_progress(self) -> None:
        self.supervisor.later(self.defaults.progress_interval, self._report_progress)
        for binding in list(self.bindings):
            binding.report_progress()

    def _log_health(self) -> None:
        self.supervisor.later(self.defaults.health_interval, self._log_health)
        for binding in list(self.bindings):
            if self._logged.get(binding.name, State.READY) is not binding.state:
                self._logged[binding.name] = binding.state
                if binding.state is not State.READY:
                    log.warning("table %s", binding.describe())


def _when_done(futures: Iterable[Future[Any]], then: Callable[[], None]) -> None:
    """Call ``then`` when every future is done; on whichever thread ends the last one."""
    waiting = list(futures)
    left = len(waiting)
    mutex = threading.Lock()

    def one_done(_: Future[Any]) -> None:
        nonlocal left
        with mutex:
            left -= 1
            last = left == 0
        if last:
            then()

    for future in waiting:
        future.add_done_callback(one_done)
