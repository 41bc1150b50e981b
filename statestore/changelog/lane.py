"""A lane: one reader and the one thread that applies what it reads.

A manager has two, *restore* for tables that have not reached the end and *follow* for those that have, so
that a long restore never starves the tables that are ready. Everything that changes a table's position runs
on the thread of the lane it is in: other threads post commands, and no lock is needed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from statestore.changelog.reader_reports import ReaderReports
from statestore.core import Folded, KeyLimit, Partitioning, RecordFilter
from statestore.errors import StoreClosedError
from statestore.kafka.answers import KafkaErrorKind, kind_of_code
from statestore.kafka.reader import BatchLimits, BatchReader, Event
from statestore.runtime import fork
from statestore.runtime.futures import complete
from statestore.runtime.times import Clock

log = logging.getLogger("statestore.changelog")

LOOK_INTERVAL = 0.5
"""Seconds between two looks whether open transactions hold records back."""
IDLE_WAIT = 0.1
"""Seconds between two looks of an idle lane at its connection's events."""

FOLLOW_LIMITS = BatchLimits(records=4_000, memory=512 << 10, wait=0.1, idle=0.001, span=0.05)
"""Small batches, so that other threads get their turn and a record is visible soon.

Only a transaction makes a larger one."""


class LaneMember(Protocol):
    """What a lane asks of the tables in it; all of it is called on the lane's thread."""

    topic: str
    reports: ReaderReports
    """Takes what the reader tells beside records."""

    @property
    def record_filter(self) -> RecordFilter | None:
        """Judges each record before it counts."""
        ...

    @property
    def key_limit(self) -> KeyLimit | None:
        """Judges each record whose key is longer than the store takes."""
        ...

    @property
    def partitioning(self) -> Partitioning | None:
        """What is known of where the records of the topic lie; ``None``: they have no strays."""
        ...

    def start_offsets(self) -> Mapping[int, tuple[int, int]]:
        """Return ``{partition: (offset, leader epoch)}`` to read from."""
        ...

    def captured_ends(self) -> Mapping[int, int | None]:
        """Return the offsets at which the partitions are complete."""
        ...

    def apply(self, folded: Folded) -> None:
        """Write a batch. Must not raise."""

    def at_end(self, partition: int, offset: int) -> None:
        """The reader stands at the end of ``partition``."""

    def tick(self, now: float) -> None:
        """Called often: make durable what is due."""

    def broken(self, error: BaseException) -> None:
        """The lane met an unexpected error; the table is not in the lane any more."""


class Lane:
    """See the module. The lane owns ``reader`` from now on, and closes it."""

    def __init__(self, name: str, reader: BatchReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._members: dict[str, LaneMember] = {}
        self._ending = threading.RLock()
        self._ended = False
        self._looked_at = 0.0
        self.thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._begin()
        fork.register(self)

    def call(self, command: Callable[[], Any]) -> Future[Any]:
        """Run ``command`` on the lane's thread; its result or exception is the future's."""
        future: Future[Any] = Future()
        with self._ending:
            if self._ended:
                future.set_exception(StoreClosedError("the manager is closed"))
            else:
                self._commands.put(lambda: complete(future, command))
                self._reader.wake()
        return future

    def add(self, member: LaneMember) -> None:
        """Start reading ``member``'s topic. On the lane's thread."""
        self._reader.assign(
            member.topic,
            member.start_offsets(),
            member.captured_ends(),
            member.record_filter,
            member.key_limit,
            member.partitioning,
        )
        self._members[member.topic] = member

    def holds(self, member: LaneMember) -> bool:
        """Whether ``member`` is in this lane."""
        return self._members.get(member.topic) is member

    def remove(self, member: LaneMember) -> None:
        """Stop reading ``member``'s topic; fine when it is not in this lane. On the lane's thread."""
        if not self.holds(member):
            return
        del self._members[member.topic]
        try:
            self._reader.unassign(member.topic)
        except Exception:  # what still arrives of the topic is not given to us
            log.exception("topic %s could not be unassigned", member.topic)

    def offsets(self) -> dict[str, Mapping[int, tuple[int, int]]]:
        """Return where each topic is read from. On the lane's thread."""
        return {topic: member.start_offsets() for topic, member in self._members.items()}

    def answer_too_large(self, text: str, before: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        """The client does not take an answer: with records of one that lags and stands where it did before.

        On the lane's thread.
        """
        now = self.offsets()
        stuck = [
            member.reports
            for topic, member in self._members.items()
            if now[topic] == before.get(topic) and member.reports.lagging is not None
        ]
        for reports in stuck:
            reports.answer_too_large(text, alone=len(stuck) == 1)

    def stop(self, timeout: float) -> bool:
        """End the thread and close the reader; tell whether that was done in time."""
        self._commands.put(None)
        self._reader.wake()
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def _begin(self) -> None:
        self.thread.start()

    def _loop(self) -> None:
        while self._run_commands():
            self._turn()
        self._end()

    def _turn(self) -> None:
        """Read a batch and apply it, and see to what is due."""
        try:
            if self._members:
                self._dispatch(*self._reader.read())
            else:
                self._reader.poll()
            now = self._clock()
            for member in list(self._members.values()):
                member.tick(now)
            if not 0 <= now - self._looked_at < LOOK_INTERVAL:
                self._looked_at = now
                for member in list(self._members.values()):
                    member.reports.high_watermarks(self._reader.high_watermarks(member.topic))
        except Exception as error:
            # What was read is lost to this loop: going on would leave a hole in every mirror.
            log.exception("thread %s met an unexpected error", self.thread.name)
            for member in list(self._members.values()):
                self.remove(member)
                member.broken(error)

    def _end(self) -> None:
        """Answer who waits, and close the reader."""
        with self._ending:
            self._ended = True
        while not self._commands.empty():  # whoever waits for one of them is answered
            command = self._commands.get()
            if command is not None:
                command()
        self._reader.close()

    def _run_commands(self) -> bool:
        """Run what was posted, waiting a little when there is nothing to read; False: stop."""
        try:
            command = (
                self._commands.get(timeout=IDLE_WAIT) if not self._members else self._commands.get_nowait()
            )
            while command is not None:
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            return True
        return False

    def _dispatch(self, by_topic: dict[str, Folded], events: list[Event]) -> None:
        for topic, folded in by_topic.items():
            self._members[topic].apply(folded)
        for event in events:
            member = self._members.get(event.topic)
            if member is None:  # applying had it leave the lane
                continue
            kind = kind_of_code(event.code)
            if kind is KafkaErrorKind.END_OF_PARTITION:
                member.at_end(event.partition, event.offset)
            elif kind is KafkaErrorKind.DIVIDED:
                member.reports.divided(event.partition, event.offset)
            else:
                member.reports.failed(kind, event.partition, event.offset, event.text)

    def _forked(self) -> None:
        self._reader.forked()


class LaneExit:
    """One table's way out of both lanes: out of the first, out of the last, and then one more call there.

    It begins at once. A lane that is busy takes its time. Both may be the same lane.
    """

    def __init__(self, member: LaneMember, first: Lane, last: Lane, then: Callable[[], None]) -> None:
        def leave_last() -> None:
            last.remove(member)
            then()

        def leave_first() -> Future[None]:
            first.remove(member)
            return last.call(leave_last)

        self._left_first: Future[Future[None]] = first.call(leave_first)

    def wait(self, timeout: float) -> None:
        """Return when all is done. Raises ``TimeoutError``, and what the last call has raised."""
        deadline = time.monotonic() + timeout
        self._left_first.result(timeout).result(max(0.1, deadline - time.monotonic()))

    @property
    def done(self) -> bool:
        """Whether all is done, well or not."""
        left = self._left_first
        return left.done() and (left.exception() is not None or left.result().done())

    def when_done(self, call: Callable[[], None]) -> None:
        """Call ``call`` when all is done, well or not; at once if it is."""

        def left_first(done: Future[Future[None]]) -> None:
            if done.exception() is not None:
                call()
            else:
                done.result().add_done_callback(lambda _: call())

        self._left_first.add_done_callback(left_first)
