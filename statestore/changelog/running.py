"""What the work of a binder runs on: threads and the system's clock, or what a test gives instead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from statestore.changelog.lane import Lane
from statestore.kafka.reader import BatchReader
from statestore.runtime import fork
from statestore.runtime.times import Clock
from statestore.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class Running:
    """Makes what runs, by the names of the threads, and tells the time.

    A test driver runs all of it by hand, one step after the other, with a clock that it sets.
    """

    clock: Clock = time.time
    lock: Callable[[], threading.RLock] = fork.rlock
    """Makes the lock that guards the state of all tables."""
    worker: Callable[[str], Worker] = Worker
    lane: Callable[[str, BatchReader, Clock], Lane] = Lane


THREADS = Running()
