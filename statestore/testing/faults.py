"""Faults of storage: stores of which a chosen call fails, is late, or does what a broken disk does.

:class:`StoreFaults` puts a :class:`~.faulty_backend.FaultyBackend` around each store that is opened while it
is in force, whatever its backend. :func:`fail_every_call` has each call of a scenario fail in turn.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from statestore import backends
from statestore.backends import Engine
from statestore.errors import ConfigError, StateStoreError, StoreFullError
from statestore.testing.faulty_backend import FaultyBackend, Spoil, StoreCall, faulty_engine, io_error

CHANGES = ("write", "load", "delete_range", "flush")
"""The calls that change a store, or make it durable."""
READS = ("get", "get_many", "scan", "step", "snapshot", "catch_up")
"""The calls that read a store, or a snapshot of it.

A ``step`` takes the next pair of a scan. ``catch_up`` is a reader's look at what the owner of a shared store
has written.
"""
CALLS = ("open", *CHANGES, *READS, "checkpoint", "compact")
"""All calls that may fail. To take a shared store over is to ``open`` it."""

_ON_DISK = (*CHANGES, "checkpoint", "compact")
"""What a full disk refuses."""

__all__ = ["CALLS", "CHANGES", "READS", "BrokenScenarioError", "StoreCall", "StoreFaults", "fail_every_call"]


class BrokenScenarioError(AssertionError):
    """A scenario fails where one call of a store fails; the cause is what the scenario raised."""

    def __init__(self, number: int, call: StoreCall, cause: BaseException) -> None:
        self.number = number
        """Of the call that failed, the first being 1."""
        self.call = call
        super().__init__(f"the scenario breaks where call {number} fails, {call}: {cause!r}")


class _Fault:
    """Something that happens to one call: to the ``left``-th from now on among ``of``."""

    def __init__(
        self, left: int, of: Collection[str], happens: Spoil | Callable[[Path], StateStoreError]
    ) -> None:
        self.left = left
        self.of = of
        self.happens = happens


class StoreFaults:
    """Makes stores fail that are opened in its ``with`` block, by any manager of this process.

    The faults are chosen at any time, also when the stores are open, and nothing fails before that. Calls are
    counted from the moment of the choice: ``fail(1)`` is about the next one. Each of these faults happens
    once. A full disk, delays and what :meth:`fail_where` chooses last until they are ended.

    Of stores that several processes share this process' own calls fail, as the owner's or as a reader's.
    """

    def __init__(self) -> None:
        self.calls: list[StoreCall] = []
        """Each call of ``CALLS`` so far, also those that failed."""
        self.failed: list[StoreCall] = []
        """Those that a fault was about."""
        self.is_full = False
        """Whether the disk is full: each write raises ``StoreFullError``."""
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._fails: Callable[[StoreCall], object] = _never
        self._error: Callable[[Path], StateStoreError] = io_error
        self._delays: dict[str, float] = {}
        self._open: list[FaultyBackend] = []
        self._engines: dict[type[Engine], type[Engine]] = {}

    # What fails

    def fail(
        self,
        call: int = 1,
        of: Collection[str] = CHANGES,
        error: Callable[[Path], StateStoreError] | None = None,
    ) -> None:
        """Have a call raise, the ``call``-th from now on of those named by ``of``; nothing of it is done.

        ``error`` makes the error from the directory of the store: by default a ``StoreUnavailableError``, as
        a disk with an I/O error causes.
        """
        self._add(call, of, error or io_error)

    def fail_where(
        self,
        condition: Callable[[StoreCall], object] | None,
        error: Callable[[Path], StateStoreError] | None = None,
    ) -> None:
        """Have each call raise of which ``condition`` is true, from now on; ``None`` ends it.

        It is asked once for each call, by the thread that makes it, and must not call a store.
        """
        with self._lock:
            self._fails, self._error = condition or _never, error or io_error

    def tear(self, call: int = 1) -> None:
        """Have a ``write`` or ``load`` do the first half of it, and raise. No sound backend does that."""
        self._add(call, ("write", "load"), "tear")

    def flip_bit(self, call: int = 1) -> None:
        """Have a ``write`` or ``load`` store another value than it was given.

        The last bit of its first pair differs. The engine is given that value, and finds nothing wrong: what
        notices is what reads the value.
        """
        self._add(call, ("write", "load"), "flip")

    def fill_disk(self) -> None:
        """Have each call that needs space raise ``StoreFullError``, until :meth:`free_disk`.

        These are the calls of ``CHANGES``, ``checkpoint`` and ``compact``.
        """
        self.is_full = True

    def free_disk(self) -> None:
        """End what :meth:`fill_disk` began."""
        self.is_full = False

    def delay(self, seconds: float, of: Collection[str] = CALLS) -> None:
        """Have calls take so much longer, from now on; 0 ends it."""
        self._delays.update(dict.fromkeys(_checked(of), seconds))

    def cut_power(self) -> None:
        """Lose what was not flushed: each open store has again what it had after its last ``flush``.

        What is written to these stores from now on is lost as well. Open them anew, as a process does that
        starts after it: ``driver.restart(kill=True)``, or close the manager and make another one.
        """
        for one in [*self._open]:
            one.lose()

    def _add(
        self, call: int, of: Collection[str], happens: Spoil | Callable[[Path], StateStoreError]
    ) -> None:
        if call < 1:
            raise ValueError(f"call={call}: calls are counted from now on, the next one is 1")
        with self._lock:
            self._faults.append(_Fault(call, _checked(of), happens))

    # What the stores tell

    def before(self, call: StoreCall) -> Spoil | None:
        """Note a call. Raise where it fails, or say how its batch is spoilt."""
        fails = self._fails(call)
        with self._lock:
            self.calls.append(call)
            counted = [one for one in self._faults if call.name in one.of]
            for one in counted:
                one.left -= 1
            due = [one.happens for one in counted if not one.left]
            self._faults = [one for one in self._faults if one.left]
            if fails:
                due.append(self._error)
            if self.is_full and call.name in _ON_DISK:
                due.append(_full)
            if due:
                self.failed.append(call)
        if seconds := self._delays.get(call.name, 0):
            time.sleep(seconds)
        spoil: Spoil | None = None
        for happens in due:
            if callable(happens):
                raise happens(call.directory)
            spoil = happens  # pyright: ignore[reportAssignmentType]
        return spoil

    def opened(self, backend: FaultyBackend) -> None:
        """Note a store that is open now."""
        self._open.append(backend)

    def closed(self, backend: FaultyBackend) -> None:
        """Note a store that is open no longer."""
        if backend in self._open:
            self._open.remove(backend)

    # While it is in force

    def _around(self, kind: type[Engine]) -> type[Engine]:
        if kind not in self._engines:
            self._engines[kind] = faulty_engine(kind, self)
        return self._engines[kind]

    def __enter__(self) -> Self:
        if self._around in backends.AROUND_ENGINES:
            raise RuntimeError("these StoreFaults are in force already: enter them once")
        backends.AROUND_ENGINES.append(self._around)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        backends.AROUND_ENGINES.remove(self._around)


def _checked(of: Collection[str]) -> Collection[str]:
    if isinstance(of, str) or not set(of) <= set(CALLS):
        raise ValueError(
            f"of={of!r}: give some of the calls of a store, such as of=['write']: {', '.join(CALLS)}"
        )
    return frozenset(of)


def _full(directory: Path) -> StateStoreError:
    return StoreFullError(directory, "no space left on device", "free space on this disk")


def _never(call: StoreCall) -> bool:  # noqa: ARG001 - as a condition
    return False


def fail_every_call(
    scenario: Callable[[], object],
    of: Collection[str] = CHANGES,
    error: Callable[[Path], StateStoreError] | None = None,
) -> int:
    """Run a scenario once for each call that it makes of its stores, which fails; return how many there were.

    It opens its stores itself, and is to come to a right end whichever call fails: what it raises is a
    finding. So it catches what a service would catch, and asserts what is to hold all the same. It first runs
    without a fault. ``of`` and ``error`` are those of :meth:`StoreFaults.fail`. Calls of all threads count;
    a coroutine function runs by ``asyncio.run``.

    Raises :class:`BrokenScenarioError`, which names the first call of which it is not so, what the scenario
    itself raises without a fault, and ``ConfigError`` where it makes no call that could fail.
    """
    with StoreFaults() as watched:
        _run(scenario)
    if not any(call.name in of for call in watched.calls):
        raise ConfigError(
            f"fail_every_call: the scenario makes none of the calls {', '.join(of)} to a store that it "
            "opens, so nothing failed: open the stores in the scenario, and write to them, or name other "
            "calls (of=…)"
        )
    number = 0
    while True:
        number += 1
        with StoreFaults() as faults:
            faults.fail(number, of, error)
            try:
                _run(scenario)
            except (Exception, pytest.fail.Exception) as raised:
                if not faults.failed:
                    raise
                raise BrokenScenarioError(number, faults.failed[0], raised) from raised
        if not faults.failed:
            return number - 1


def _run(scenario: Callable[[], object]) -> None:
    made = scenario()
    if inspect.iscoroutine(made):
        asyncio.run(made)
