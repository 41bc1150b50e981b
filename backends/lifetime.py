"""What the engines over a C library share: calls that may meet ``close()``, and scans read in chunks.

A C library forgives no call into an object that another thread is freeing. Each backend therefore has one
:class:`Lifetime`: calls announce themselves to it, and ``close`` (or whatever else needs the object for
itself) first keeps new calls out and then waits until the last one has left.
"""

from __future__ import annotations

import logging
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from statestore.backends.contract import BackendIterator
from statestore.core import CallGuard, PairQueue, mean_size
from statestore.core.common import closed_error as closed_error  # the engines take it from here
from statestore.core.common import must_be_bytes
from statestore.errors import StateStoreError
from statestore.runtime import fork

_log = logging.getLogger("statestore.store")

_POLL = 0.0005
"""Seconds between two looks at the calls under way: they are short, and waiting for them is rare."""
_PATIENCE = 60
"""Seconds ``close`` waits for calls. A Ctrl-C at the wrong instant makes a call look as if it never ended,
and must not keep the process from ending; the bindings survive a ``close`` beside a call."""
_CHUNK_BYTES = 128 * 1024
"""A scan reads ahead about this many bytes, so that large values don't pile up ..."""
_CHUNK_PAIRS = 512
"""... and at most this many pairs, so that other threads get their turn of the interpreter."""


_SPARE = 12
"""Items that are always in the list of calls, so that it never gives back memory to take it again."""


class Lifetime(CallGuard):
    """Lets calls in and counts them: ``with lifetime: ...`` around each one.

    A call announces itself first and looks at the barrier afterwards; the closing side raises the barrier
    first and counts afterwards. So one of the two sees the other. Appending to a list and popping from it are
    atomic, and the cheapest such pair Python has.
    """

    def __init__(self) -> None:
        self.readers: weakref.WeakSet[TrackedReader] = weakref.WeakSet()
        """The snapshots and scans that may hold something of the engine. Added to inside of a call only."""
        self.ended: Callable[[], StateStoreError] | None = None
        """What makes the error that every call raises from now on."""
        self.inside: list[None] = [None] * _SPARE
        """One item for each call under way, and the spare ones."""
        self.barrier: Callable[[], None] | None = None
        """What a call has to get past first: it raises, or returns after a pause."""
        self._lock = fork.lock()  # held to change the barrier, and as long as a pause lasts

    def __enter__(self) -> None:
        self.inside.append(None)
        while (barrier := self.barrier) is not None:
            self.inside.pop()
            barrier()
            self.inside.append(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.inside.pop()

    def check(self) -> None:
        """Raise what a call would raise now."""
        if self.ended is not None:
            raise self.ended()

    def bar(self, ended: Callable[[], StateStoreError]) -> None:
        """Make every call from now on raise ``ended()``. Those inside go on."""
        with self._lock:
            self.ended = ended
            self.barrier = self.check

    def end(self) -> None:
        """Let nobody in any more, wait for those inside, and end the readers."""
        self.bar(closed_error)
        deadline = time.monotonic() + _PATIENCE
        while self._calls() and time.monotonic() < deadline:
            time.sleep(_POLL)
        if calls := self._calls():
            _log.warning("closing a store; %d calls did not end within %d s", calls, _PATIENCE)
        for reader in list(self.readers):
            reader.end()

    def forked(self) -> None:
        """The same in a forked child, where nobody is inside and nothing may be freed."""
        self.ended = fork.forked_error
        self.barrier = self.check
        for reader in list(self.readers):
            fork.leak(list(vars(reader).values()))
            reader.end()

    @contextmanager
    def paused(self, patience: float) -> Iterator[bool]:
        """Keep new calls waiting; the value says whether the others left within ``patience`` seconds."""
        with self._lock:
            self.check()
            self.barrier = self._wait_for_end_of_pause
            try:
                deadline = time.monotonic() + patience
                while self._calls() > 1 and time.monotonic() < deadline:
                    time.sleep(_POLL)
                yield self._calls() == 1
            finally:
                self.barrier = None

    def _calls(self) -> int:
        return len(self.inside) - _SPARE

    def _wait_for_end_of_pause(self) -> None:
        with self._lock:
            pass


class TrackedReader:
    """A snapshot or scan: lets go of what it holds of the engine when its backend closes."""

    def end(self) -> None:
        """Forget everything; no call is under way."""
        raise NotImplementedError


class ChunkedIterator(PairQueue, TrackedReader, BackendIterator):
    """A scan that takes its pairs from the engine in growing chunks."""

    def __init__(self, lifetime: Lifetime, limit: int | None) -> None:
        self._lifetime = lifetime
        self._left = limit
        self._count = 8  # pairs of the next chunk: the first is small, for those who want only a few
        self._complete = False  # nothing is left in the engine
        self._finished = False

    def _fill(self) -> None:
        if self._finished:
            raise StopIteration
        with self._lifetime:
            if not self._complete:
                count = self._count if self._left is None else min(self._count, self._left)
                pairs = self.read(count) if count else []
                if self._left is not None:
                    self._left -= len(pairs)
                if len(pairs) < count or self._left == 0:
                    self._complete = True
                    self.release()
                if pairs:
                    self._plan(pairs)
                    pairs.reverse()
                    self._pairs = pairs
                    return
        self._finished = True
        raise StopIteration

    def _plan(self, pairs: list[tuple[bytes, bytes]]) -> None:
        size = mean_size(pairs)
        self._count = max(1, min(4 * len(pairs), _CHUNK_PAIRS, _CHUNK_BYTES // (size + 1)))

    def close(self) -> None:
        self._finished = True
        self.end()

    def end(self) -> None:
        self._pairs = []
        self.release()

    @abstractmethod
    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return the next ``count`` pairs, fewer only at the end of the range."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what is held of the engine. Idempotent."""


def check_bytes(what: str, given: object) -> None:
    """Raise ``TypeError`` for anything but ``bytes``."""
    if not isinstance(given, bytes):
        raise must_be_bytes(what, given)
