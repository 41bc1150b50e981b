"""What the engines over a C library share: calls that may meet ``close()``, and scans read in chunks.

A C library forgives no call into an object that another thread is freeing. Each backend therefore has one
:class:`Lifetime`: calls announce themselves to it, and ``close`` (or whatever else needs the object for
itself) first keeps new calls out and then waits until the last one has left.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from statestore.backends.contract import BackendIterator
from statestore.core import CallGuard, PairQueue, mean_size
from statestore.core.common import closed_error as closed_error  # the engines take it from here
from statestore.core.common import must_be_bytes
from statestore.errors import StateStoreError, StoreCorruptError, StoreMissingError, StoreUnavailableError
from statestore.runtime import fork
from statestore.runtime.weak import Living

Error = TypeVar("Error", bound=Exception)

_log = logging.getLogger("statestore.store")

_POLL = 0.0005
"""Seconds between two looks at the calls under way: they are short, and waiting for them is rare."""
_PATIENCE = 60
"""Seconds ``close`` waits for calls. A Ctrl-C at the wrong instant makes a call look as if it never ended,
and must not keep the process from ending; the bindings survive a ``close`` beside a call."""
_FIRST = 8
"""Pairs of the first chunk, for those who want only a few and do not say so, ..."""
_FIRST_OF_LIMIT = 24
"""... and for those who say how many: two chunks have a hundred. Nothing is known of their size yet."""
_CHUNK_BYTES = 128 * 1024
"""A scan reads ahead about this many bytes, so that large values don't pile up ..."""
_CHUNK_PAIRS = 512
"""... and at most this many pairs, so that other threads get their turn of the interpreter."""


_SPARE = 12
"""Items that are always in the list of calls, so that it never gives back memory to take it again."""


class Lifetime(CallGuard):
    """Lets calls in and counts them: ``with lifetime.call: ...`` around each one.

    A call announces itself first and looks at the barrier afterwards; the closing side raises the barrier
    first and counts afterwards. So one of the two sees the other. Neither a signal handler that raises nor
    one that closes leaves the count wrong: ``statestore/runtime/interrupts.py`` says how.
    """

    def __init__(
        self, damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None = None
    ) -> None:
        self.damaged = damaged
        """Told of damage to the store's files, before it is raised."""
        self.readers: Living[TrackedReader] = Living()
        """The snapshots and scans that may hold something of the engine. Added to inside of a call only."""
        self.ended: Callable[[], StateStoreError] | None = None
        """What makes the error that every call raises from now on."""
        self.inside: list[None] = [None] * _SPARE
        """One item for each call under way, and the spare ones."""
        self.barrier: Callable[[], None] | None = None
        """What a call has to get past first: it raises, or returns after a pause."""
        self._lock = fork.rlock()  # held to change the barrier, and as long as a pause lasts

    def failure(self, error: Error) -> Error | StoreUnavailableError:
        """Return what to raise for ``error``; the owner of the store is told of damage to its files."""
        if self.damaged is not None and isinstance(error, (StoreMissingError, StoreCorruptError)):
            return self.damaged(error)
        return error

    def check(self) -> None:
        """Raise what a call would raise now."""
        if self.ended is not None:
            raise self.ended()

    def bar(self, ended: Callable[[], StateStoreError]) -> None:
        """Make every call from now on raise ``ended()``. Those inside go on."""
        with self._lock:
            self.ended = ended
            self.barrier = self.check

    def shut(self) -> None:
        """Make every call from now on raise that the store is closed, and wait for none. ``end`` follows."""
        if self.ended is fork.forked_error:
            raise fork.forked_error()
        if self.ended is None:
            self.bar(closed_error)

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
    def paused(self, patience: float, callers: int = 1) -> Iterator[bool]:
        """Keep new calls waiting; the value says whether the others left within ``patience`` seconds.

        ``callers`` is 0 where this is called outside of a call.
        """
        with self._lock:
            self.check()
            self.barrier = self._wait_for_end_of_pause
            try:
                deadline = time.monotonic() + patience
                while self._calls() > callers and time.monotonic() < deadline:
                    time.sleep(_POLL)
                yield self._calls() == callers
            finally:
                self.barrier = None if self.ended is None else self.check

    def holding(self) -> int:
        """Return how many snapshots and scans hold something of the engine."""
        return sum(reader.holds for reader in list(self.readers))

    def _calls(self) -> int:
        return self.calls() - _SPARE

    def _wait_for_end_of_pause(self) -> None:
        with self._lock:
            pass


class TrackedReader:
    """A snapshot or scan: lets go of what it holds of the engine when its backend closes."""

    @property
    def holds(self) -> bool:
        """Whether it holds something."""
        raise NotImplementedError

    def end(self) -> None:
        """Forget everything; no call is under way."""
        raise NotImplementedError


class ChunkedIterator(PairQueue, TrackedReader, BackendIterator):
    """A scan that takes its pairs from the engine in growing chunks."""

    def __init__(self, lifetime: Lifetime, limit: int | None) -> None:
        self._lifetime = lifetime
        self._left = limit
        self._count = _FIRST if limit is None else _FIRST_OF_LIMIT  # pairs of the next chunk
        self._complete = False  # nothing is left in the engine
        self._position: bytes | None = None  # the last key that was taken from the engine
        self.moved: bytes | None = None  # the same, after a read that may not count
        self._finished = False

    def _fill(self) -> None:
        if self._finished:
            raise StopIteration
        with self._lifetime.call:
            if not self._complete:
                count = self._count if self._left is None else min(self._count, self._left)
                pairs = self.read(count) if count else []
                left = None if self._left is None else self._left - len(pairs)
                complete = len(pairs) < count or left == 0
                following = self._planned(pairs) if pairs else self._count
                pairs.reverse()
                moved = self.moved
                # No call from here on: an exception of a signal handler comes before all of it, or after.
                self._position = moved
                self._left = left
                self._complete = complete
                self._count = following
                self._pairs = pairs
            if self._complete:
                self.release()
            if self._pairs:
                return
        self._finished = True
        raise StopIteration

    @staticmethod
    def _planned(pairs: list[tuple[bytes, bytes]]) -> int:
        """Return how many pairs to read after ``pairs``."""
        size = mean_size(pairs)
        return max(1, min(4 * len(pairs), _CHUNK_PAIRS, _CHUNK_BYTES // (size + 1)))

    def close(self) -> None:
        self._finished = True
        self.end()

    def end(self) -> None:
        self._pairs = []
        self.release()

    @abstractmethod
    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return the ``count`` pairs after ``_position``, fewer only at the end; ``moved`` is the last."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what is held of the engine. Idempotent."""


def check_bytes(what: str, given: object) -> None:
    """Raise ``TypeError`` for anything but ``bytes``."""
    if not isinstance(given, bytes):
        raise must_be_bytes(what, given)
