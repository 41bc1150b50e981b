"""Backends around another backend: a base that passes everything on, of which a subclass changes a part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from statestore.backends.contract import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    KeyRange,
    Snapshot,
    SortedRun,
)

Inner = TypeVar("Inner", bound=BackendReader)


class WrapperReader(BackendReader, Generic[Inner]):
    """What :class:`WrapperBackend` and :class:`WrapperSnapshot` have in common: reads of ``inner``."""

    inner: Inner

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.inner.get_many(keys)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        return self.inner.scan(keys, reverse, limit)

    def close(self) -> None:
        self.inner.close()


class WrapperSnapshot(WrapperReader[Snapshot], Snapshot):
    """A snapshot that reads ``inner``."""

    def __init__(self, inner: Snapshot) -> None:
        self.inner = inner


class WrapperBackend(WrapperReader[Backend], Backend):
    """A backend that passes every call on to ``inner``.

    A subclass overrides what it adds to: reads, where it filters or counts; ``write``, ``load`` and
    ``delete_range``, where it delays or fails. Its snapshots are those of ``inner``: where it changes reads,
    it overrides ``snapshot``, too, and puts a :class:`WrapperSnapshot` around them.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def write(self, batch: Batch) -> None:
        self.inner.write(batch)

    def load(self, runs: Sequence[SortedRun]) -> None:
        self.inner.load(runs)

    def delete_range(self, keys: KeyRange) -> bool:
        return self.inner.delete_range(keys)

    def snapshot(self) -> Snapshot:
        return self.inner.snapshot()

    def flush(self) -> None:
        self.inner.flush()

    def size(self) -> int:
        return self.inner.size()

    def approximate_count(self) -> int:
        return self.inner.approximate_count()

    def checkpoint(self, directory: Path) -> None:
        self.inner.checkpoint(directory)

    def compact(self) -> None:
        self.inner.compact()

    def destroy(self) -> None:
        self.inner.destroy()

    def shut(self) -> None:
        self.inner.shut()
