"""Long work for an event loop: a worker thread does it in slices, and the loop runs in between.

Work calls :func:`pause_point` every few rows. On a worker thread that ends the slice when its time is over;
the next one is begun by the loop, after it has looked at everything else. Of one loop one slice runs at a
time. So the loop waits for the interpreter no longer than for a slice, however much is read, and where the
engine waits for a disk the loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import get_ident
from typing import Any, Generic, TypeVar

from statestore.runtime import fork
from statestore.runtime.interrupts import start_thread

R = TypeVar("R")
T = TypeVar("T")

SLICE = 0.002
"""Seconds of a slice."""
MOST_THREADS = 4
"""Works of one loop that have begun and not ended; others wait for one of them to end …"""
MOST_SHORT = 2
"""… but for short ones, which wait for short ones only: so many have begun."""
OVERDUE = 0.02
"""Seconds after which a slice that has not ended keeps nobody waiting: it waits for a disk, or for Kafka."""
_IDLE = 5.0
"""Seconds after which a thread without work ends."""
_LOOK_AGAIN = 1.0
"""Seconds after which a paused thread looks whether its loop was closed."""
_TURN = 64
"""Rows between two pause points, where Python makes them."""

_pauses: dict[int, Callable[[], None]] = {}
"""What ends the slice, by thread."""


def pause_point() -> None:
    """Let others run where it is time to: threads and signals, as each call of a function does, and the loop.

    The caller holds no lock. It may end here, by an exception, when nobody wants its result any more.
    """
    if _pauses and (pause := _pauses.get(get_ident())) is not None:
        pause()


def in_slices() -> bool:
    """Whether this thread does work in slices, so that no part of it may take long."""
    return get_ident() in _pauses


def with_pauses(rows: Iterable[T]) -> Iterator[T]:
    """Give ``rows``, with a pause point every few of them."""
    left = iter(rows)
    while some := list(islice(left, _TURN)):
        pause_point()
        yield from some


class _AbandonedError(BaseException):
    """Nobody wants the result any more: the work ends as it does after an exception, and releases all."""


class _Work(Generic[R]):
    """A callable, and what becomes of it."""

    def __init__(self, call: Callable[[], R], release: Callable[[R], object] | None) -> None:
        self.call = call
        self.release = release
        self.context = contextvars.copy_context()
        self.grants: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Something for each slice that may begin; also where the work is to end."""
        self.done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.is_abandoned = False
        self.slice_ends = 0.0


class _Lane:
    """Threads that take works one after the other."""

    def __init__(self, most: int) -> None:
        self.most = most
        """How many threads there may be."""
        self.works: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        """What they take; ``None`` ends one."""
        self.unfinished: set[_Work[Any]] = set()
        self.threads = 0


class Slices:
    """Does work for one event loop. Its methods are called on that loop, but for ``close``: on any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._long, self._short = _Lane(MOST_THREADS), _Lane(MOST_SHORT)
        self._ready: deque[_Work[Any]] = deque()
        """What waits for its next slice."""
        self._current: _Work[Any] | None = None
        """What has a slice now."""
        self._overdue: asyncio.TimerHandle | None = None
        self._forked_here = False
        fork.register(self)

    async def run(
        self,
        call: Callable[[], R],
        release: Callable[[R], object] | None = None,
        *,
        waits: bool = False,
        short: bool = False,
    ) -> R:
        """Return what ``call()`` returns, or raise what it raises; a worker thread calls it, in slices.

        When this is cancelled the work ends at its next pause point, as after an exception. What it returns
        all the same is given to ``release``. Work that ``waits`` for others, and not only for a disk, has a
        thread of its own; ``short`` work does not wait until long work has ended.
        """
        if self._forked_here:
            raise fork.forked_error()
        work = _Work(call, release)
        if waits:
            start_thread("statestore-slice", lambda: self._do(work))
        else:
            lane = self._short if short else self._long
            lane.unfinished.add(work)
            lane.works.put(work)
            if lane.threads < min(lane.most, len(lane.unfinished)):
                self._start(lane)
        try:
            return await work.done
        except asyncio.CancelledError:
            ended = work.done.done() and not work.done.cancelled()  # before the result was taken
            if ended and release is not None and work.done.exception() is None:
                release(work.done.result())
            work.is_abandoned = True
            work.grants.put(None)
            raise

    def close(self) -> None:
        """End the threads, each after the work that it does; wait for nothing."""
        for lane in (self._long, self._short):
            for _ in range(lane.most):
                lane.works.put(None)

    # On the loop

    def _wants_slice(self, work: _Work[Any]) -> None:
        if self._current is work:
            self._current = None
        self._ready.append(work)
        self._grant()

    def _ended(self, work: _Work[Any], error: BaseException | None, result: Any) -> None:
        self._long.unfinished.discard(work)
        self._short.unfinished.discard(work)
        if self._current is work:
            self._current = None
        elif work in self._ready:  # it was abandoned
            self._ready.remove(work)
        if not work.done.done():
            if error is None:
                work.done.set_result(result)
            else:
                work.done.set_exception(error)
        elif error is None and work.release is not None:
            work.release(result)
        self._grant()

    def _grant(self) -> None:
        """Let the next one have a slice, if there is none now."""
        if self._ready and self._current is None:
            self._current = self._ready.popleft()
            self._current.grants.put(None)
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        if self._ready:
            self._overdue = self._loop.call_later(OVERDUE, self._overtake)

    def _overtake(self) -> None:
        self._overdue = self._current = None
        self._grant()

    def _start(self, lane: _Lane) -> None:
        lane.threads += 1
        start_thread("statestore-slice", lambda: self._serve(lane))

    def _thread_ended(self, lane: _Lane) -> None:
        lane.threads -= 1
        if not lane.works.empty() and lane.threads < lane.most:  # it came when the thread was leaving
            self._start(lane)

    # On a worker thread

    def _serve(self, lane: _Lane) -> None:
        try:
            while (work := lane.works.get(timeout=_IDLE)) is not None:
                self._do(work)
                del work  # it refers to the result
        except queue.Empty:
            pass
        self._tell(self._thread_ended, lane)

    def _do(self, work: _Work[Any]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            self._await_slice(work)
            _pauses[get_ident()] = lambda: self._pause(work)
            result = work.context.run(work.call)
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            failure = error
        finally:
            _pauses.pop(get_ident(), None)
        self._tell(self._ended, work, failure, result)
        del failure, result  # its traceback refers to this frame

    def _pause(self, work: _Work[Any]) -> None:
        if work.is_abandoned or time.monotonic() >= work.slice_ends:
            self._await_slice(work)

    def _await_slice(self, work: _Work[Any]) -> None:
        if not work.is_abandoned:
            self._tell(self._wants_slice, work)
        while not work.is_abandoned:
            with contextlib.suppress(queue.Empty):
                work.grants.get(timeout=_LOOK_AGAIN)
                break
            if self._loop.is_closed():
                work.is_abandoned = True
        if work.is_abandoned:
            raise _AbandonedError
        work.slice_ends = time.monotonic() + SLICE

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *arguments)

    def _forked(self) -> None:
        self._forked_here = True
