"""The contract between a store and the storage engine underneath it.

A fourth backend's author implements two classes: an :class:`Engine` (one per manager: holds what its stores
share, such as the memory budget) and a :class:`Backend` (one per store), registers the engine under the
entry point group ``statestore.backends``, and proves both with ``statestore.testing.conformance``. One that
adds something to another backend extends :class:`~statestore.backends.wrapper.WrapperBackend`. What lets
several processes read one store is an ability of its own, in ``backends/sharing.py``.

**Bytes.** Keys and values are ``bytes``. Keys are ordered by unsigned byte comparison, as ``sorted()`` orders
``bytes``. A key has 1 to ``Engine.max_key_size + 1`` bytes: the store puts one namespace byte in front of
each key, which is why an engine that refuses empty keys still serves users who have one. ``max_key_size``
counts the user's part; the store refuses longer keys before they get here. A value may be empty, and an empty
value is not an absent one.

**Ranges.** A scan is given a :class:`KeyRange`: ``start`` is included, ``stop`` is excluded, ``None`` is
open. Both keep their meaning when ``reverse`` is true, which only turns the order. ``limit`` bounds the
number of pairs; 0 gives none, ``None`` all; a negative one raises ``ValueError``. A range with
``start >= stop`` is empty, not an error.

**Atomicity.** ``write`` applies all of a batch or nothing, and ``load`` all of its runs or nothing, whatever
kills the process: after a reopen the content is that of some prefix of the writes, in order, and everything
written before the last returned ``flush`` is there. An exception means that nothing of the batch or the runs
is visible, and the same may be given again.

``delete_range`` is a unit of its own, too, and may be a part of what is asked for: the pairs with the lowest
keys of the range are gone, the others are there, and it says so.

**Isolation.** A snapshot is fixed at the moment ``snapshot()`` returns; a ``scan`` runs on a snapshot of its
own, taken when ``scan`` is *called*. Writes never wait for readers, and readers never wait for writes.

**Lifetime.** A snapshot or an iterator releases what it holds when it is closed, exhausted,
garbage-collected, or when its backend closes, whichever is first; closing twice is fine. After
``Backend.close()`` every call, and the next step of a live iterator, raises ``StoreClosedError``, never
``StopIteration``: a silently shortened scan is data loss. An iterator that was exhausted, or closed by its
own ``close()``, raises ``StopIteration``.

**Threads.** Every method of a backend and a snapshot may be called from any thread at any time, ``close``
included: it must not crash a reader, which either answers or raises ``StoreClosedError``. Writes from several
threads are serialised by the backend. One iterator is used by one thread at a time.

**Fork.** In a child made by ``os.fork()`` every call on a backend, a snapshot or an iterator of the parent,
and the next step of a live iterator, raises ``ForkedProcessError`` (``fork.forked_error()``), ``close`` and
``destroy`` included. A child has copies of the objects, but none of the threads of a C library, and it
shares the parent's descriptors. So the author of a backend does this with :mod:`statestore.runtime.fork`:
the backend calls ``fork.register(self)`` when it is open. Its ``_forked()`` runs once in each child, before
anything else: it marks the backend, its snapshots and its iterators, hands every object of the C library to
``fork.leak``, so that it is never freed there, and closes the descriptor of a lock file, but flushes, closes
and unlocks nothing. A thread of the parent may have held a lock at that moment: either calls look at the
mark before they take one, or ``fork.lock()`` and ``fork.rlock()`` make locks that are free in the child. The
parent notices nothing.

**Errors.** Only ``StateStoreError`` classes come out, besides ``ValueError``/``TypeError`` for wrong
arguments: ``StoreMissingError``, ``StoreCorruptError``, ``StoreFormatError``, ``StoreFullError`` and, for
everything else the engine reports (no permission, an I/O error), ``StoreUnavailableError``; each names the
path and a remedy. Files that are no store are an error at ``open``, not an empty store. With a file that is
damaged, cut off or gone, ``open`` or a read raises one of these, or the store has a content that it once
had. Damage that an open store meets is told to ``StoreOptions.damaged`` first. Files that are deleted or
replaced under an open store are noticed by ``flush`` and ``close`` at the latest.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

from statestore.backends.options import EngineOptions
from statestore.core import ChainedPairs
from statestore.core import KeyRange as KeyRange  # a part of this contract, as is the next
from statestore.core import SortedRun as SortedRun
from statestore.core.common import check_limit as check_limit
from statestore.errors import StoreUnavailableError

ALL_KEYS = KeyRange()

RANGE_PAIRS = 2_000
"""Pairs that ``delete_range`` deletes in one unit where it deletes them one by one."""


class Batch(NamedTuple):
    """One atomic unit of change.

    Deletes are applied before puts, and of two puts of one key the later wins; deleting an absent key is
    fine. Both lists belong to the caller: a backend does not keep or change them.
    """

    puts: Sequence[tuple[bytes, bytes]]
    deletes: Sequence[bytes] = ()


class BackendIterator(ABC, Iterator[tuple[bytes, bytes]]):
    """A live scan: an iterator of ``(key, value)`` that holds a snapshot until it ends or is closed."""

    @abstractmethod
    def __next__(self) -> tuple[bytes, bytes]: ...

    @abstractmethod
    def close(self) -> None:
        """Release the snapshot now. Idempotent."""


class ChainedScan(ChainedPairs, BackendIterator):
    """Scans of one moment as one: ``ChainedScan(scans, release)`` reads each after the other."""


class BackendReader(ABC):
    """What a backend and a snapshot of it have in common."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, ``None`` when there is none."""

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of ``keys`` in their order, all as of one instant."""

    @abstractmethod
    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        """Iterate over a range in key order (see *Ranges* and *Lifetime* above)."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Snapshot(BackendReader):
    """A fixed view of a backend's content."""


class OpenStore(BackendReader):
    """What a store that is open for writing and one that is open for reading only have in common."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Return a view fixed at this moment."""

    def scan_ranges(self, ranges: Sequence[KeyRange], reverse: bool = False) -> BackendIterator:
        """Iterate over each of ``ranges`` after the other, in their order, as of this call.

        They come in the order of the keys, in ``reverse`` from the last one on, and none overlaps another.
        This makes scans of one snapshot. An engine that can read them with one iterator does so.
        """
        snapshot, wanted = self.snapshot(), list(ranges)
        return ChainedScan((snapshot.scan(keys, reverse) for keys in wanted), snapshot.close)

    @abstractmethod
    def size(self) -> int:
        """Bytes this store takes: on disk, or of keys and values for an engine without files."""

    @abstractmethod
    def approximate_count(self) -> int:
        """Number of keys, cheap and possibly wrong; never negative."""

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows.

        Called where a signal handler closes the manager in the middle of a call on its own thread. What does
        nothing, as here, is right as well: calls then go on until ``close``.
        """


class Backend(OpenStore):
    """The content of one store."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Apply ``batch`` atomically (see *Atomicity* above)."""

    def load(self, runs: Sequence[SortedRun]) -> None:
        """Apply all of ``runs`` as one atomic unit; no two of them have a key in common.

        The same as one ``write`` of them and a ``flush``, which is what this does. An engine that can take
        sorted changes faster than by writing them does so: a restore loads some ten thousand keys or more
        at once. Reads go on meanwhile. When it returns, it and everything written before survives power
        loss. What a run's ``feed`` itself raises comes out as it is.
        """
        puts: list[tuple[bytes, bytes]] = []
        deletes: list[bytes] = []
        for run in runs:
            run.feed(lambda key, value: puts.append((key, value)), deletes.append)
        self.write(Batch(puts, deletes))
        self.flush()

    def delete_range(self, keys: KeyRange) -> bool:
        """Delete pairs of a range, those with the lowest keys first; say whether that was all of them.

        After ``False`` the caller calls again, when it suits it. An engine that can delete a whole range at
        once, however many pairs it has, does so. Others delete as many in one unit as a writer may be kept
        waiting for, some milliseconds: this deletes ``RANGE_PAIRS`` by a ``write``. What the pairs took is
        given back without a ``compact``, soon afterwards where that is work.
        """
        with closing(self.scan(keys, limit=RANGE_PAIRS)) as pairs:
            found = [key for key, _ in pairs]
        if found:
            self.write(Batch([], found))
        return len(found) < RANGE_PAIRS

    @abstractmethod
    def flush(self) -> None:
        """Return when everything written before the call survives power loss.

        For an engine without files this does nothing.
        """

    @abstractmethod
    def checkpoint(self, directory: Path) -> None:
        """Write a consistent copy of the present content into ``directory``.

        ``directory`` must not exist yet (``FileExistsError``), its parent must. ``Engine.open(directory)``
        opens the copy. Engines without files raise ``NotImplementedError``.
        """

    @abstractmethod
    def compact(self) -> None:
        """Give back the space of deleted and overwritten pairs. May take long; reads and writes go on."""

    @abstractmethod
    def destroy(self) -> None:
        """Close the backend and delete its files."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How one store is opened."""

    changelog: bool = False
    """Whether a Kafka topic is the log of this store.

    The engine then keeps no write-ahead log of its own, and what was not flushed may be lost as a whole
    suffix. Without it, every returned ``write`` survives ``kill -9``, and power loss where the engine's
    ``sync`` option says so.
    """

    damaged: Callable[[StoreUnavailableError], StoreUnavailableError] | None = None
    """Called with each ``StoreMissingError`` and ``StoreCorruptError`` of an open store, before it is raised.

    So the owner of a store learns of damage that a reader meets. What this returns is raised instead. It runs
    inside of the call, on any thread, and waits for nothing.
    """

    compression: str | None = None
    """One of the engine's ``compressions``, for what is written from now on; ``None``: as its options say."""

    shared: bool = False
    """Whether other processes read the store while it is open (``backends/sharing.py``).

    Their ``catch_up`` then sees what is written, flushed or not, and it survives ``kill -9``. An engine whose
    readers see every write anyway has nothing to do for it.
    """


class Engine(ABC):
    """Opens the stores of one kind for one manager, and holds what they share.

    ``memory_budget`` is in bytes and covers all stores opened through this engine together. ``options`` is
    an instance of ``options_type``, ``None`` for its defaults.
    """

    name: ClassVar[str]
    """The entry point's name."""
    max_key_size: ClassVar[int]
    """Longest key of a user, in bytes, the namespace byte not counted."""
    persistent: ClassVar[bool]
    """Whether the content outlives ``close``."""
    options_type: ClassVar[type[EngineOptions]]
    """The class of the engine's options."""
    compressions: ClassVar[tuple[str, ...]] = ()
    """How a single store can be compressed, ``"none"`` among it; empty: there is no choice."""

    @abstractmethod
    def __init__(self, memory_budget: int, options: Any = None) -> None: ...

    @abstractmethod
    def open(self, directory: Path, options: StoreOptions) -> Backend:
        """Open the store in ``directory``, creating an empty one where there is none.

        ``directory``'s parent exists. Opening one directory twice in one process is an error.
        """

    def check_process(self) -> None:  # noqa: B027 - most have nothing against it
        """Raise a ``StateStoreError`` where this process cannot open stores, as a forked child may not."""

    @abstractmethod
    def close(self) -> None:
        """Release what is shared, after the backends were closed. Idempotent."""


def is_nobodys(name: str) -> bool:
    """Whether a file or directory of this name is nobody's data: hidden, or made by the file system."""
    return name.startswith(".") or name == "lost+found"


def directory_size(directory: Path) -> int:
    """Return the bytes that the files below ``directory`` take on disk (sparse files: what is allocated)."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_blocks * 512
            except FileNotFoundError:  # compacted away between the listing and here
                continue
    return total


def sync(path: Path) -> None:
    """Force a file or a directory to disk, with other threads running. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
