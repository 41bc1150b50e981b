"""Backends with one defect each, and the suite on each of them: ``test_teeth.py`` runs this and counts.

Not collected by itself. ``Sound`` is the one without a defect: a memory store that saves itself to a file at
every write. Each defect is one that an author of a backend really makes.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pytest
from sound import Pair, PythonIterator, SavingEngine, Sound

from statestore.backends import (
    Backend,
    BackendIterator,
    Batch,
    Engine,
    KeyRange,
    Snapshot,
    SortedRun,
)
from statestore.errors import (
    ForkedProcessError,
    StoreClosedError,
    StoreCorruptError,
)
from statestore.testing import BackendConformance


class StopIncluded(Sound):
    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(start, stop and stop + b"\x00", reverse, limit)


class ReverseExcludesStart(Sound):
    """Turns the bounds round together with the order."""

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(start and start + b"\x00" if reverse else start, stop, reverse, limit)


class ReverseIgnoresBounds(Sound):
    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(None if reverse else start, None if reverse else stop, reverse, limit)


class EmptyStartIsAll(Sound):
    """Takes a range that ends before it starts for one without a start."""

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(None if start and stop and stop < start else start, stop, reverse, limit)


class OneTooMany(Sound):
    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(start, stop, reverse, limit and limit + 1)


class LimitZeroIsAll(Sound):
    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return super().scan_of(start, stop, reverse, limit or None)


class SignedOrder(Sound):
    """Compares bytes as signed numbers."""

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        pairs = sorted(
            super().scan_of(start, stop, reverse, limit),
            key=lambda pair: [byte - 256 * (byte > 127) for byte in pair[0]],
            reverse=reverse,
        )
        return PythonIterator(iter(pairs), super().scan_of(start, stop, reverse, limit))


class LazyScan(Sound):
    """Takes the scan's snapshot at its first step, as a generator function does."""

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        def pairs() -> Iterator[Pair]:
            yield from self.inner.scan(KeyRange(start, stop), reverse, limit)

        return PythonIterator(pairs(), super().scan_of(start, stop, reverse, limit))


class LiveSnapshot(Sound):
    """Hands out a reader of the present instead of a snapshot."""

    def snapshot(self) -> Any:
        class Present(Snapshot):
            get = self.inner.get
            get_many = self.inner.get_many
            scan = self.inner.scan

            def close(self) -> None:
                pass

        return Present()


class PiecemealBatch(Sound):
    def write(self, batch: Batch) -> None:
        for key in batch.deletes:
            super().write(Batch([], [key]))
        for pair in batch.puts:
            super().write(Batch([pair]))


class PutsBeforeDeletes(Sound):
    def write(self, batch: Batch) -> None:
        super().write(Batch([pair for pair in batch.puts if pair[0] not in batch.deletes], batch.deletes))


class FirstPutWins(Sound):
    def write(self, batch: Batch) -> None:
        super().write(batch._replace(puts=batch.puts[::-1]))


class SortsTheCallersList(Sound):
    def write(self, batch: Batch) -> None:
        super().write(batch)
        if isinstance(batch.puts, list):
            batch.puts.sort()


class EmptyIsAbsent(Sound):
    def get(self, key: bytes) -> bytes | None:
        return super().get(key) or None


class GetManySorts(Sound):
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return super().get_many(sorted(keys))


class SilentEnd(Sound):
    """A scan that the store's close cuts short looks complete."""

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        class Silent(PythonIterator):
            def __next__(self) -> Pair:
                try:
                    return next(self.pairs)
                except StoreClosedError:
                    raise StopIteration from None

        scan = super().scan_of(start, stop, reverse, limit)
        return Silent(scan, scan)


class SilentAfterClose(Sound):
    def get(self, key: bytes) -> bytes | None:
        try:
            return super().get(key)
        except StoreClosedError:
            return None


class CloseWaitsForScans(Sound):
    """Stays open while a scan is, as a native handle with references does."""

    def __init__(self, inner: Backend, directory: Path) -> None:
        super().__init__(inner, directory)
        self.scans: list[BackendIterator] = []

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        scan = super().scan_of(start, stop, reverse, limit)
        self.scans.append(scan)
        return scan

    def close(self) -> None:
        if not any(next(scan, None) for scan in self.scans):
            super().close()


class LosesTheLastWrite(Sound):
    """Saves what it has before the batch instead of after it."""

    def write(self, batch: Batch) -> None:
        self.save(self.file)
        self.inner.write(batch)


class BatchInTwoSteps(Sound):
    """The deletes are one transaction and the puts another one."""

    def write(self, batch: Batch) -> None:
        self.inner.flush()
        with self._lock:
            self.inner.write(batch)
            pairs = dict(self.inner.scan())
            kept = [pair for pair in pairs.items() if pair not in batch.puts]
            self.file.with_suffix(".half").write_bytes(pickle.dumps(kept))
            self.file.with_suffix(".half").replace(self.file)
            time.sleep(0.002)  # about as long as a sync of the disk takes
            self.save(self.file)


class SavesAtFlush(Sound):
    """What a killed process has written since the last flush is lost."""

    def write(self, batch: Batch) -> None:
        self.inner.write(batch)

    def flush(self) -> None:
        self.inner.flush()
        self.save(self.file)

    def close(self) -> None:
        with suppress(StoreClosedError):
            self.flush()
        self.inner.close()


class SavesInPlace(Sound):
    """A kill in the middle leaves half of the file."""

    def save(self, file: Path) -> None:
        with file.open("wb") as opened:
            for pair in self.inner.scan():
                opened.write(pickle.dumps(pair))
                opened.flush()

    def read(self) -> None:
        self.directory.mkdir(exist_ok=True)
        if self.file.exists():
            with self.file.open("rb") as opened, suppress(EOFError):
                while True:
                    self.inner.write(Batch([pickle.load(opened)]))


class BareErrors(Sound):
    """What the library underneath raises comes out."""

    def read(self) -> None:
        self.directory.mkdir(exist_ok=True)
        if self.file.exists():
            self.inner.write(Batch(pickle.loads(self.file.read_bytes())))


class StartsAnew(Sound):
    """Takes a file that it cannot read for none."""

    def read(self) -> None:
        with suppress(StoreCorruptError):
            super().read()


class EmptyCheckpoint(Sound):
    def checkpoint(self, directory: Path) -> None:
        self.inner.flush()
        directory.mkdir()


class SharedCheckpoint(Sound):
    """Links the live file into the checkpoint, and then goes on writing to it."""

    def checkpoint(self, directory: Path) -> None:
        super().checkpoint(directory)
        (directory / "pairs").unlink()
        (directory / "pairs").symlink_to(self.file)


class CheckpointOverwrites(Sound):
    def checkpoint(self, directory: Path) -> None:
        self.inner.flush()
        directory.mkdir(exist_ok=True)
        self.save(directory / "pairs")


class CompactionDropsEmptyValues(Sound):
    def compact(self) -> None:
        self.write(Batch([], [key for key, value in self.inner.scan() if not value]))


def changes_of(runs: Sequence[SortedRun]) -> Batch:
    puts: list[Pair] = []
    deletes: list[bytes] = []
    for run in runs:
        run.feed(lambda key, value: puts.append((key, value)), deletes.append)
    return Batch(puts, deletes)


class LoadKeepsDeleted(Sound):
    def load(self, runs: Sequence[SortedRun]) -> None:
        self.write(Batch(changes_of(runs).puts))


class PiecemealLoad(Sound):
    def load(self, runs: Sequence[SortedRun]) -> None:
        for run in runs:
            run.feed(
                lambda key, value: self.write(Batch([(key, value)])), lambda key: self.write(Batch([], [key]))
            )


class RunByRunLoad(Sound):
    """Each run is a unit of its own."""

    def load(self, runs: Sequence[SortedRun]) -> None:
        for run in runs:
            self.write(changes_of([run]))


class LoadForgetsOtherRuns(Sound):
    def load(self, runs: Sequence[SortedRun]) -> None:
        self.write(changes_of(runs[:1]))


class LoadEndsAtAnEmptyRun(Sound):
    def load(self, runs: Sequence[SortedRun]) -> None:
        self.write(changes_of(list(takewhile(len, runs))))


class LoadAppendsOnly(Sound):
    """Takes the runs for one sorted sequence, and leaves out what does not come in its order."""

    def load(self, runs: Sequence[SortedRun]) -> None:
        puts, deletes = changes_of(runs)
        highest = b""
        kept = []
        for key, value in puts:
            if key > highest:
                highest = key
                kept.append((key, value))
        self.write(Batch(kept, deletes))


class LoadIgnoresClose(Sound):
    def load(self, runs: Sequence[SortedRun]) -> None:
        with suppress(StoreClosedError):
            self.write(changes_of(runs))


class RangeIncludesStop(Sound):
    def delete_range(self, keys: KeyRange) -> bool:
        return super().delete_range(KeyRange(keys.start, keys.stop and keys.stop + b"\x00"))


class RangeTurnsRound(Sound):
    """Takes an empty range for the one between its bounds."""

    def delete_range(self, keys: KeyRange) -> bool:
        start, stop = keys.start, keys.stop
        if start is not None and stop is not None and stop < start:
            keys = KeyRange(stop, start)
        return super().delete_range(keys)


class RangeIsForgotten(Sound):
    """Deletes in memory only."""

    def delete_range(self, keys: KeyRange) -> bool:
        return self.inner.delete_range(keys)


class RangeHalfDone(Sound):
    """Says that it is done after the first step."""

    def delete_range(self, keys: KeyRange) -> bool:
        super().delete_range(keys)
        return True


class RangeFromTheEnd(Sound):
    def delete_range(self, keys: KeyRange) -> bool:
        found = [key for key, _ in self.scan(keys, reverse=True, limit=2_000)]
        self.write(Batch([], found))
        return len(found) < 2_000


class DestroyKeepsFiles(Sound):
    def destroy(self) -> None:
        self.close()


class ForkUnaware(Sound):
    def get(self, key: bytes) -> bytes | None:
        try:
            return super().get(key)
        except ForkedProcessError:
            return None


class Proof(BackendConformance):
    """The suite on one of the classes above; the machine only has to fail, not to explain itself."""

    machine_settings = hypothesis.settings(
        BackendConformance.machine_settings, phases=[hypothesis.Phase.generate], report_multiple_bugs=False
    )
    kills = 16
    backend_type: ClassVar[type[Sound]]

    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        return partial(SavingEngine, memory_budget=0, backend=self.backend_type)


_backend_types: list[type[Sound]] = [Sound, *Sound.__subclasses__()]
for _backend_type in _backend_types:
    _name = f"Test{_backend_type.__name__}"
    globals()[_name] = type(_name, (Proof,), {"backend_type": _backend_type})
