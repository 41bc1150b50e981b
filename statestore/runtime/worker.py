"""A thread that runs callables one after the other, now or later."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

from statestore.errors import ForkedProcessError
from statestore.runtime import fork

log = logging.getLogger("statestore.changelog")


class Worker:
    """Runs callables in order of their time, those of one time in the order given. Thread-safe.

    An exception of a callable is logged and harms nothing else.
    """

    def __init__(self, name: str) -> None:
        # Given by one call of C: a signal handler that raises comes before or after it.
        self._given: queue.SimpleQueue[tuple[float, int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()
        fork.register(self)

    def soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` after the callables that are due already. Ignored once stopping."""
        self.later(0.0, call)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Run ``call`` in ``delay`` seconds. Ignored once stopping."""
        if not self._stopping:
            self._given.put((time.monotonic() + delay, next(self._order), call))

    def stop(self, timeout: float) -> bool:
        """Run the due callables, drop later ones, end the thread; tell whether it ended in time."""
        self._stopping = True
        self._given.put(None)  # it looks at that
        if self.thread is not threading.current_thread():
            self.thread.join(timeout)
        return not self.thread.is_alive()

    def _next(self) -> Callable[[], None] | None:
        wait: float | None = 0.0
        while True:
            try:
                given = self._given.get(timeout=wait)
            except queue.Empty:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                if self._stopping:
                    return None
            else:
                wait = 0.0  # there may be more
                if given is not None:
                    heapq.heappush(self._due, given)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except ForkedProcessError:
                return
            except Exception:
                log.exception("an unexpected error on %s", self.thread.name)

    def _forked(self) -> None:
        self._stopping = True
