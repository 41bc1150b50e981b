"""What takes the place of a binder's threads: workers and lanes that are run by hand, step by step.

They run whenever nobody holds the lock of the tables: at the end of each call that has given them something
to do. So a call returns when all that follows from it has happened, and the same calls give the same results.
A step may call what gives another worker or lane something to do; that runs within the step, as another
thread would while this one is at that call. Nothing runs within itself.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, cast

from statestore.changelog.lane import Lane
from statestore.changelog.running import Running
from statestore.kafka.reader import BatchReader
from statestore.runtime.times import Clock
from statestore.runtime.worker import Worker

log = logging.getLogger("statestore.changelog")

MOST_STOPS = 25
"""How often ``advance`` stops for what is due; on a longer way, timers are late, as on a busy machine."""


class Actor(Protocol):
    """What a thread would run."""

    running: bool
    """Whether it is in the middle of a step."""

    def step(self) -> bool:
        """Do what is to be done now, or a part of it; tell whether there was anything."""
        ...


class Stage:
    """Runs the workers and lanes of one manager, and has the clock that they go by."""

    def __init__(self, now: float) -> None:
        self.now = now
        """Seconds since 1970; only :meth:`advance` moves it."""
        self.lock = StageLock(self)
        self._actors: list[Actor] = []
        self._turn = threading.RLock()

    def running(self) -> Running:
        """Return what a manager runs on that this stage runs."""
        self._actors = []
        self.lock = StageLock(self)
        return Running(
            clock=lambda: self.now,
            lock=lambda: cast("threading.RLock", self.lock),
            worker=self._worker,
            lane=self._lane,
        )

    def _worker(self, name: str) -> Worker:
        worker = SteppedWorker(name, self)
        self._actors.append(worker)
        return worker

    def _lane(self, name: str, reader: BatchReader, clock: Clock) -> Lane:
        lane = SteppedLane(name, cast("SteppedReader", reader), clock, self)
        self._actors.append(lane)
        return lane

    def clear(self) -> None:
        """Forget what was run: the manager is closed."""
        self._actors = []

    def run(self) -> None:
        """Run all that has something to do, until nothing has; not while the lock of the tables is held."""
        if self.lock.is_held_here or not self._turn.acquire(blocking=False):
            return  # whoever holds either runs it
        try:
            while any(_stepped(actor) for actor in self._actors):
                pass
        finally:
            self._turn.release()

    def settle(self) -> None:
        """Run all that has something to do, and have the lanes look at what is due."""
        self.run()
        lanes = [one for one in self._actors if isinstance(one, SteppedLane)]
        waited = 0
        for lane in lanes:
            lane.look()
        self.run()
        while any(lane.holds_records for lane in lanes) and waited < 200:
            # A reader waits a moment before it gives records after which a transaction may go on.
            self.now += 0.05
            waited += 1
            for lane in lanes:
                lane.look()
            self.run()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, with all that is due meanwhile."""
        end, step = self.now + seconds, seconds / MOST_STOPS
        self.settle()
        while (due := self._next_due()) is not None and due < end:
            self.now = min(end, max(due, self.now + step))
            self.settle()
        self.now = end
        self.settle()

    def _next_due(self) -> float | None:
        due = [one.next_due for one in self._actors if isinstance(one, SteppedWorker)]
        return min((at for at in due if at is not None), default=None)


def _stepped(actor: Actor) -> bool:
    if actor.running:
        return False
    actor.running = True
    try:
        return actor.step()
    finally:
        actor.running = False


class StageLock:
    """The lock of the tables' state. When it becomes free, what has something to do is run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._depth = 0

    @property
    def is_held_here(self) -> bool:
        """Whether this thread holds it."""
        return self._owner == threading.get_ident()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = threading.get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        is_free = not self._depth
        if is_free:
            self._owner = None
        self._lock.release()
        if is_free:
            self._stage.run()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class SteppedWorker(Worker):
    """A worker whose callables the stage runs, at times of its clock."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.running = False
        self.name = name
        self.thread = threading.Thread(name=name)  # never started: it is asked for its name, and who it is
        self._stage = stage
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopping = False

    def later(self, delay: float, call: Callable[[], None]) -> None:
        if not self._stopping:
            heapq.heappush(self._calls, (self._stage.now + delay, next(self._order), call))
            if delay <= 0:
                self._stage.run()

    def stop(self, timeout: float) -> bool:
        self._stopping = True
        if not self.running:
            while self.step():
                pass
        self._calls.clear()
        return True

    @property
    def next_due(self) -> float | None:
        """When the next callable is due; ``None``: there is none."""
        return self._calls[0][0] if self._calls else None

    def step(self) -> bool:
        if not self._calls or self._calls[0][0] > self._stage.now:
            return False
        call = heapq.heappop(self._calls)[2]
        before, self.thread = self.thread, threading.current_thread()  # a callback must not wait
        try:
            call()
        except Exception:
            log.exception("an unexpected error on %s", self.name)
        finally:
            self.thread = before
        return True


class SteppedReader(BatchReader, Protocol):
    """A reader that says whether it has anything to give."""

    @property
    def has_news(self) -> bool: ...

    @property
    def holds_records(self) -> bool:
        """Whether it holds back records, until it has waited a moment."""
        ...


class SteppedLane(Lane):
    """A lane whose turns the stage runs."""

    def __init__(self, name: str, reader: SteppedReader, clock: Clock, stage: Stage) -> None:
        self.running = False
        self._stage = stage
        self._given = reader
        super().__init__(name, reader, clock)

    def _begin(self) -> None:
        """Start no thread."""

    def call(self, command: Callable[[], Any]) -> Future[Any]:
        future = super().call(command)
        self._stage.run()
        return future

    def stop(self, timeout: float) -> bool:
        self._commands.put(None)
        self._end()
        return True

    @property
    def holds_records(self) -> bool:
        """Whether records are held back that need only a moment."""
        return self._given.holds_records

    def step(self) -> bool:
        if not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command()
            return True
        if not self._members or not self._given.has_news:
            return False
        self._turn()
        return True

    def look(self) -> None:
        """See to what is due, also where nothing is to be read."""
        if self._members and not self.running:
            self.running = True
            try:
                self._turn()
            finally:
                self.running = False
