"""What is measured: backends as tables and stores use them. The references are in :mod:`.references`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from statestore.backends import Engine, StoreOptions, find_engine
from statestore.core import RecordCache
from statestore.runtime.budget import MemoryShares
from statestore.storage.store import KeyValueStore

MEMORY_BUDGET = 256 << 20
"""Bytes that a backend may use for its caches: the default of ``[defaults] memory_budget``."""

Pair = tuple[bytes, bytes]

StoreName = Literal["records", "restored", "windows", "entities"]
"""The store that a workload works on. Those of each have a process of their own, with that store alone."""
STORES: tuple[StoreName, ...] = ("records", "restored", "windows", "entities")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a candidate can do; workloads that need more are left out for it, and reported so."""

    ordered: bool = True
    """Scans in the order of the keys."""
    snapshots: bool = True
    """A view that later writes do not change."""
    files: bool = True
    """Whether the content outlives ``close``."""
    atomic: bool = True
    """Batches that are written as a whole."""
    threads: bool = True
    """Calls from several threads at once."""


class Candidate(ABC):
    """An open store that is measured. ``get`` and ``put`` are attributes: the calls themselves, unwrapped."""

    get: Callable[[bytes], Any]
    """Return the value of a key; ``None`` where there is none."""
    put: Callable[[bytes, bytes], object]

    @abstractmethod
    def delete(self, key: bytes) -> object: ...

    @abstractmethod
    def write(self, pairs: Sequence[Pair]) -> object:
        """Write ``pairs`` as one batch, as whole as the candidate can."""

    @abstractmethod
    def scan(self, start: bytes | None, limit: int | None) -> int:
        """Read pairs from ``start`` on, at most ``limit``, each as ``bytes``; return how many."""

    def between(self, start: bytes, stop: bytes) -> Iterable[Pair]:
        """Give the pairs of a reference from ``start`` to before ``stop``, in the order of the keys."""
        raise NotImplementedError

    def snapshot(self) -> Any:
        """Return a view that is held until its ``close()``."""
        raise NotImplementedError

    def flush(self) -> None:  # noqa: B027 - many have nothing to do
        """Return when everything is on disk."""

    def compact(self) -> None:  # noqa: B027 - many have nothing to do
        """Give back the space of what was deleted and overwritten."""

    @abstractmethod
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """How a candidate is opened."""

    directory: Path
    """Empty, or what the same candidate left there."""
    durable: bool
    """Whether each write returns only when it survives power loss; otherwise a later ``flush`` does."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A candidate by name."""

    name: str
    kind: Literal["backend", "reference"]
    beside: str | None
    """Of a reference, the backend that stands on the same library."""
    says: str
    """How it is used, in one line."""
    abilities: Abilities
    open: Callable[[Opening], Candidate]
    stores: tuple[StoreName, ...] = STORES
    """Which stores it is measured with."""


class Opened:
    """A backend with its engine and a memory budget.

    Without ``durable`` it is opened as the mirror of a topic is, whose log is the topic.
    """

    def __init__(self, engine: type[Engine], opening: Opening) -> None:
        self._engine = engine(MemoryShares.of(MEMORY_BUDGET).engine)
        try:
            self._engine.check_process()
            self.backend = self._engine.open(
                opening.directory / "store", StoreOptions(changelog=not opening.durable)
            )
        except BaseException:
            self._engine.close()
            raise

    def close(self) -> None:
        """Close the engine, after the store on the backend was closed."""
        self._engine.close()


class OwnStore(Candidate):
    """A backend under the store that ``StoreManager.open`` gives, with a record cache."""

    def __init__(self, engine: type[Engine], opening: Opening) -> None:
        self._opened = opened = Opened(engine, opening)
        cache = RecordCache(MemoryShares.of(MEMORY_BUDGET).records) if engine.persistent else None
        self._store = store = KeyValueStore("bench", opened.backend, engine.max_key_size, cache=cache)
        self.get = store.get
        self.put = store.put

    def delete(self, key: bytes) -> None:
        self._store.delete(key)

    def write(self, pairs: Sequence[Pair]) -> None:
        with self._store.batch() as batch:
            put = batch.put
            for key, value in pairs:
                put(key, value)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        return sum(1 for _ in self._store.scan(start, limit=limit))

    def snapshot(self) -> Any:
        return self._store.snapshot()

    def flush(self) -> None:
        self._store.flush()

    def compact(self) -> None:
        self._store.compact()

    def close(self) -> None:
        self._store.close()
        self._opened.close()


def backend(name: str) -> Kind:
    """Return a registered backend. Raises ``ConfigError`` naming the registered ones."""
    engine = find_engine(name)

    def open_(opening: Opening) -> Candidate:
        return OwnStore(engine, opening)

    return Kind(
        name,
        "backend",
        None,
        f"statestore with backend={name!r}",
        Abilities(files=engine.persistent),
        open_,
    )
