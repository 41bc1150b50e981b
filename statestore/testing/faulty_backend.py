"""Stores that ask before each call what is to happen to it, and do, spoil or refuse it (:mod:`.faults`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    Engine,
    KeyRange,
    ReadOnlyBackend,
    Snapshot,
    SortedRun,
    StoreOptions,
    WrapperBackend,
    WrapperReader,
    WrapperSnapshot,
)
from statestore.backends.wrapper import Inner
from statestore.errors import StateStoreError, StoreUnavailableError

__all__ = ["Faults", "FaultyBackend", "Spoil", "StoreCall", "faulty_engine", "io_error"]

Spoil = Literal["tear", "flip"]
"""What becomes of a batch: half of it is written, or another value."""


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


class Faults(Protocol):
    """Says what happens to calls."""

    def before(self, call: StoreCall) -> Spoil | None:
        """Raise where the call fails; else say what becomes of its batch."""

    def opened(self, backend: FaultyBackend) -> None:
        """Note a store that is open for writing now."""

    def closed(self, backend: FaultyBackend) -> None:
        """Note a store that is open no longer."""


def io_error(directory: Path) -> StateStoreError:
    return StoreUnavailableError(directory, "input/output error (a fault of this test)", "replace the disk")


def faulty_engine(kind: type[Engine], faults: Faults) -> type[Engine]:
    """Return a class like ``kind`` whose stores ask ``faults``."""

    class FaultyEngine(kind):  # type: ignore[valid-type, misc]
        def open(self, directory: Path, options: StoreOptions) -> Backend:
            faults.before(StoreCall("open", directory))
            return FaultyBackend(super().open(directory, options), directory, faults)

    if not hasattr(kind, "open_reader"):  # which is how an engine says that its stores cannot be shared
        return FaultyEngine

    class FaultySharingEngine(FaultyEngine):
        def open_reader(self, directory: Path, options: StoreOptions) -> ReadOnlyBackend:
            faults.before(StoreCall("open", directory, "to read it"))
            return FaultyReadOnly(super().open_reader(directory, options), directory, faults)  # pyright: ignore[reportAttributeAccessIssue]

    return FaultySharingEngine


class _FaultyReader(WrapperReader[Inner]):
    """Reads that ask first."""

    directory: Path
    faults: Faults

    def note(self, name: str, what: str = "") -> Spoil | None:
        return self.faults.before(StoreCall(name, self.directory, what))

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
        return FaultyScan(self.inner.scan(keys, reverse, limit), self.directory, self.faults)


class FaultyScan(BackendIterator):
    """A scan of which each step asks first. A step that fails has taken no pair: the next one gives it."""

    def __init__(self, inner: BackendIterator, directory: Path, faults: Faults) -> None:
        self._inner = inner
        self._step = StoreCall("step", directory)
        self._faults = faults

    def __next__(self) -> tuple[bytes, bytes]:
        self._faults.before(self._step)
        return next(self._inner)

    def close(self) -> None:
        self._inner.close()


class FaultySnapshot(_FaultyReader[Snapshot], WrapperSnapshot):
    """A snapshot whose reads fail as its store's do."""

    def __init__(self, inner: Snapshot, directory: Path, faults: Faults) -> None:
        super().__init__(inner)
        self.directory, self.faults = directory, faults


class FaultyReadOnly(_FaultyReader[ReadOnlyBackend], ReadOnlyBackend):
    """A store of another process, of which this one's calls ask first."""

    def __init__(self, inner: ReadOnlyBackend, directory: Path, faults: Faults) -> None:
        self.inner, self.directory, self.faults = inner, directory, faults
        self.live = inner.live  # type: ignore[misc] # of the class in an engine, and here of what is wrapped

    @property
    def is_in_use(self) -> bool:
        return self.inner.is_in_use

    def snapshot(self) -> Snapshot:
        self.note("snapshot")
        return FaultySnapshot(self.inner.snapshot(), self.directory, self.faults)

    def catch_up(self) -> bool:
        self.note("catch_up")
        return self.inner.catch_up()

    def promote(self, options: StoreOptions) -> Backend:
        self.note("open", "to take it over")
        return FaultyBackend(self.inner.promote(options), self.directory, self.faults)

    def size(self) -> int:
        return self.inner.size()

    def approximate_count(self) -> int:
        return self.inner.approximate_count()

    def shut(self) -> None:
        self.inner.shut()


class FaultyBackend(_FaultyReader[Backend], WrapperBackend):
    """A store of which each call asks first."""

    def __init__(self, inner: Backend, directory: Path, faults: Faults) -> None:
        super().__init__(inner)
        self.directory, self.faults = directory, faults
        self._writing = threading.Lock()
        self._before_flush: dict[bytes, bytes | None] = {}
        """What each key that was written since the last flush had then; ``None`` where it was absent."""
        self._is_lost = False
        """Whether what is written comes to nothing: the power is cut."""
        faults.opened(self)

    def write(self, batch: Batch) -> None:
        with self._writing:
            spoil = self.note("write", f"{len(batch.puts)} puts, {len(batch.deletes)} deletes")
            if not self._is_lost:
                self._write(batch, spoil)

    def _write(self, batch: Batch, spoil: Spoil | None) -> None:
        batch = batch if spoil is None else _spoilt(batch, spoil)
        self._remember([*batch.deletes, *(key for key, _ in batch.puts)])
        self.inner.write(batch)
        if spoil == "tear":
            raise io_error(self.directory)

    def load(self, runs: Sequence[SortedRun]) -> None:
        with self._writing:
            spoil = self.note("load", f"{len(runs)} runs")
            if self._is_lost:
                return
            if spoil is None:
                self.inner.load(runs)
            else:
                puts: list[tuple[bytes, bytes]] = []
                deletes: list[bytes] = []
                for run in runs:
                    run.feed(lambda key, value: puts.append((key, value)), deletes.append)
                self._write(Batch(puts, deletes), spoil)
                self.inner.flush()
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
        return FaultySnapshot(self.inner.snapshot(), self.directory, self.faults)

    def checkpoint(self, directory: Path) -> None:
        self.note("checkpoint")
        self.inner.checkpoint(directory)

    def compact(self) -> None:
        self.note("compact")
        self.inner.compact()

    def destroy(self) -> None:
        self.faults.closed(self)
        self.inner.destroy()

    def close(self) -> None:
        self.faults.closed(self)
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


def _spoilt(batch: Batch, spoil: Spoil) -> Batch:
    if spoil == "tear":
        half = (len(batch.deletes) + len(batch.puts)) // 2
        return Batch(batch.puts[: max(0, half - len(batch.deletes))], batch.deletes[:half])
    if not batch.puts:
        return batch
    (key, value), *others = batch.puts
    return Batch([(key, value[:-1] + bytes([value[-1] ^ 1]) if value else b"\1"), *others], batch.deletes)
