"""A thread that runs callables one after the other, now or later."""

from __future__ import annotations

import heapq
import itertools
import logging
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
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()
        fork.register(self)

    def soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` after the callables that are due already. Ignored once stopping."""
        self.later(0.0, call)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Run ``call`` in ``delay`` seconds. Ignored once stopping."""
        with self._changed:
            if not self._stopping:
                heapq.heappush(self._due, (time.monotonic() + delay, next(self._order), call))
                self._changed.notify()

    def stop(self, timeout: float) -> bool:
        """Run the due callables, drop later ones, end the thread; tell whether it ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.thread is not threading.current_thread():
            self.thread.join(timeout)
        return not self.thread.is_alive()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                if self._stopping:
                    return None
                self._changed.wait(wait)

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
