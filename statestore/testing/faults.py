"""Faults of storage: stores of which a chosen call fails, is late, or does what a broken disk does.

:class:`StoreFaults` puts a :class:`~statestore.backends.WrapperBackend` around each store that is opened
while it is in force, whatever its backend. :func:`fail_every_call` has each call of a scenario fail in turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from statestore import backends
from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    Engine,
    KeyRange,
    Snapshot,
    SortedRun,
    StoreOptions,
    WrapperBackend,
    WrapperReader,
    WrapperSnapshot,
)
from statestore.backends.wrapper import Inner
from statestore.errors import StateStoreError, StoreFullError, StoreUnavailableError

CHANGES = ("write", "load", "delete_range", "flush")
"""The calls that change a store, or make it durable."""
READS = ("get", "get_many", "scan", "snapshot")
"""The calls that read a store, or a snapshot of it."""
CALLS = ("open", *CHANGES, *READS, "checkpoint", "compact")
"""All calls that may fail."""

__all__ = ["CALLS", "CHANGES", "READS", "BrokenScenarioError", "StoreCall", "StoreFaults", "fail_every_call"]


class StoreCall(NamedTuple):
    """A call of a store, as ``StoreFaults.calls`` has it."""

    name: str
    """One of ``CALLS``."""
    directory: Path
    """Where the files of the store are, or would be."""
    what: str = ""
    """What it was given, where that says something."""

    def __str__(self) -> str:
        return f"{self.name} of {self.directory}" + (f" ({self.what})" if self.what else "")


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
        self, left: int, of: Collection[str], happens: Callable[[FaultyBackend | Path], None]
    ) -> None:
        self.left = left
        self.of = of
        self.happens = happens


class StoreFaults:
    """Makes stores fail that are opened in its ``with`` block, by any manager of this process.

    The faults are chosen at any time, also when the stores are open, and nothing fails before that. Calls are
    counted from the moment of the choice: ``fail(1)`` is about the next one. Each fault happens once, but
    for a full disk and delays, which last.

    Stores that several processes share are not among them where a process only reads.
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
        made = error or _io_error

        def happens(to: FaultyBackend | Path) -> None:
            raise made(to if isinstance(to, Path) else to.directory)

        self._add(call, of, happens)

    def tear(self, call: int = 1) -> None:
        """Have a ``write`` do the first half of its batch, and raise. No sound backend does that."""
        self._add(call, ("write",), _tear)

    def flip_bit(self, call: int = 1) -> None:
        """Have a ``write`` store another value than it was given: the last bit of its first pair differs."""
        self._add(call, ("write",), _flip)

    def fill_disk(self) -> None:
        """Have each call of ``CHANGES`` raise ``StoreFullError``, until :meth:`free_disk`."""
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

    def _add(self, call: int, of: Collection[str], happens: Callable[[FaultyBackend | Path], None]) -> None:
        if call < 1:
            raise ValueError(f"call={call}: calls are counted from now on, the next one is 1")
        with self._lock:
            self._faults.append(_Fault(call, _checked(of), happens))

    # What the stores tell

    def before(self, name: str, to: FaultyBackend | Path, what: str = "") -> None:
        """Note a call; do what happens to it, and raise where it fails."""
        directory = to if isinstance(to, Path) else to.directory
        call = StoreCall(name, directory, what)
        with self._lock:
            self.calls.append(call)
            counted = [one for one in self._faults if name in one.of]
            for one in counted:
                one.left -= 1
            due = [one for one in counted if not one.left]
            self._faults = [one for one in self._faults if one.left]
            is_full = self.is_full and name in CHANGES
            if due or is_full:
                self.failed.append(call)
        if seconds := self._delays.get(name, 0):
            time.sleep(seconds)
        if is_full:
            raise StoreFullError(directory, "no space left on device", "free space on this disk")
        for one in due:
            one.happens(to)

    def opened(self, backend: FaultyBackend) -> None:
        """Note a store that is open now."""
        self._open.append(backend)

    def closed(self, backend: FaultyBackend) -> None:
        """Note a store that is open no longer."""
        if backend in self._open:
            self._open.remove(backend)

    # While it is in force

    def _around(self, kind: type[Engine]) -> type[Engine]:
        made = self._engines.get(kind)
        if made is None:
            faults = self

            class FaultyEngine(kind):  # type: ignore[valid-type, misc]
                def open(self, directory: Path, options: StoreOptions) -> Backend:
                    faults.before("open", directory)
                    return FaultyBackend(super().open(directory, options), directory, faults)

            made = self._engines[kind] = FaultyEngine
        return made

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


def _io_error(directory: Path) -> StateStoreError:
    return StoreUnavailableError(directory, "input/output error (a fault of this test)", "replace the disk")


def _tear(to: FaultyBackend | Path) -> None:
    assert isinstance(to, FaultyBackend)
    to.tears = True


def _flip(to: FaultyBackend | Path) -> None:
    assert isinstance(to, FaultyBackend)
    to.flips = True


class _FaultyReader(WrapperReader[Inner]):
    """Reads that fail where the faults say so."""

    def note(self, name: str, what: str = "") -> None:
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        self.note("get", f"key {key!r}")
        return self.inner.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.note("get_many", f"{len(keys)} keys")
        return self.inner.get_many(keys)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        self.note("scan")
        return self.inner.scan(keys, reverse, limit)


class FaultySnapshot(_FaultyReader[Snapshot], WrapperSnapshot):
    """A snapshot whose reads fail as its store's do."""

    def __init__(self, inner: Snapshot, store: FaultyBackend) -> None:
        super().__init__(inner)
        self._store = store

    def note(self, name: str, what: str = "") -> None:
        self._store.note(name, what)


class FaultyBackend(_FaultyReader[Backend], WrapperBackend):
    """A store that fails as :class:`StoreFaults` says."""

    def __init__(self, inner: Backend, directory: Path, faults: StoreFaults) -> None:
        super().__init__(inner)
        self.directory = directory
        self.tears = self.flips = False
        """What happens to the write under way."""
        self._faults = faults
        self._writing = threading.Lock()
        self._before_flush: dict[bytes, bytes | None] = {}
        """What each key that was written since the last flush had then; ``None`` where it was absent."""
        self._is_lost = False
        """Whether what is written comes to nothing: the power is cut."""
        faults.opened(self)

    def note(self, name: str, what: str = "") -> None:
        self._faults.before(name, self, what)

    def write(self, batch: Batch) -> None:
        with self._writing:
            self.note("write", f"{len(batch.puts)} puts, {len(batch.deletes)} deletes")
            tears, flips = self.tears, self.flips
            self.tears = self.flips = False
            if self._is_lost:
                return
            if tears:
                half = (len(batch.deletes) + len(batch.puts)) // 2
                left = max(0, half - len(batch.deletes))
                batch = Batch(batch.puts[:left], batch.deletes[:half])
            elif flips and batch.puts:
                (key, value), *others = batch.puts
                batch = Batch(
                    [(key, value[:-1] + bytes([value[-1] ^ 1]) if value else b"\1"), *others], batch.deletes
                )
            self._remember([*batch.deletes, *(key for key, _ in batch.puts)])
            self.inner.write(batch)
            if tears:
                raise _io_error(self.directory)

    def load(self, runs: Sequence[SortedRun]) -> None:
        with self._writing:
            self.note("load", f"{len(runs)} runs")
            if not self._is_lost:
                self.inner.load(runs)
                self._before_flush = {}

    def delete_range(self, keys: KeyRange) -> bool:
        with self._writing:
            self.note("delete_range")
            if self._is_lost:
                return True
            for key, value in self.inner.scan(keys):
                self._before_flush.setdefault(key, value)
            return self.inner.delete_range(keys)

    def flush(self) -> None:
        with self._writing:
            self.note("flush")
            if not self._is_lost:
                self.inner.flush()
                self._before_flush = {}

    def snapshot(self) -> Snapshot:
        self.note("snapshot")
        return FaultySnapshot(self.inner.snapshot(), self)

    def checkpoint(self, directory: Path) -> None:
        self.note("checkpoint")
        self.inner.checkpoint(directory)

    def compact(self) -> None:
        self.note("compact")
        self.inner.compact()

    def destroy(self) -> None:
        self._faults.closed(self)
        self.inner.destroy()

    def close(self) -> None:
        self._faults.closed(self)
        self.inner.close()

    def _remember(self, keys: Sequence[bytes]) -> None:
        new = [key for key in dict.fromkeys(keys) if key not in self._before_flush]
        self._before_flush.update(zip(new, self.inner.get_many(new), strict=True))

    def lose(self) -> None:
        """Go back to the last flush, and keep nothing of what comes."""
        with self._writing:
            self._is_lost = True
            before, self._before_flush = self._before_flush, {}
            puts = [(key, value) for key, value in before.items() if value is not None]
            self.inner.write(Batch(puts, [key for key, value in before.items() if value is None]))
            self.inner.flush()


def fail_every_call(
    scenario: Callable[[], object],
    of: Collection[str] = CHANGES,
    error: Callable[[Path], StateStoreError] | None = None,
) -> int:
    """Run a scenario once for each call that it makes of its stores, which fails; return how many there were.

    It opens its stores itself, and is to come to a right end whichever call fails: what it raises is a
    finding. So it catches what a service would catch, and asserts what is to hold all the same. It first runs
    without a fault. ``of`` and ``error`` are those of :meth:`StoreFaults.fail`.

    Raises :class:`BrokenScenarioError`, which names the first call of which it is not so, and what the
    scenario itself raises without a fault.
    """
    with StoreFaults():
        scenario()
    number = 0
    while True:
        number += 1
        with StoreFaults() as faults:
            faults.fail(number, of, error)
            try:
                scenario()
            except (Exception, pytest.fail.Exception) as raised:
                if not faults.failed:
                    raise
                raise BrokenScenarioError(number, faults.failed[0], raised) from raised
        if not faults.failed:
            return number - 1
