"""What a workload is, and what it works on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from statestore.bench.candidates import Abilities, Candidate, Kind, Opening, StoreName
from statestore.bench.content import Content

Operation = tuple[Callable[..., object], tuple[Any, ...]]
"""A call and its arguments, made before the clock runs."""

LOAD_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Site:
    """What a process measures, and where."""

    kind: Kind
    directory: Path
    """Of the stores; made when the first of them is opened."""
    durable: bool
    content: Content
    records: int
    """How many each store has at first."""
    kafka: str | None = None
    """The broker of ``topics``, for candidates that read one."""
    topics: dict[str, str] = field(default_factory=dict)
    """The names of the topics, by what is in them: the value of ``Workload.topic``."""

    def opening(self, name: str) -> Opening:
        """Return how to open what is in a directory of this name, which is made."""
        home = self.directory / name
        home.mkdir(parents=True, exist_ok=True)
        return Opening(home, self.durable)

    def open(self, name: str) -> Candidate:
        """Open the candidate there."""
        return self.kind.open(self.opening(name))


class Ground(ABC):
    """A store that is measured, and what the threads of a workload share."""

    def __init__(self) -> None:
        self.given = 0
        """Bytes of the keys and values that were made to be written, up to now."""
        self._tally = threading.Lock()

    def writes(self, size: int) -> None:
        """Note that an operation was made that writes ``size`` bytes of keys and values."""
        with self._tally:
            self.given += size

    @abstractmethod
    def flush(self) -> None:
        """Return when everything is on disk."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open. Raises ``RuntimeError`` where it did not do what was measured."""


def needs(**abilities: bool) -> Abilities:
    """Return the abilities that are named, and no others."""
    none = dict.fromkeys(("ordered", "snapshots", "files", "atomic", "threads"), False)
    return Abilities(**{**none, **abilities})


@dataclass(frozen=True, slots=True)
class Workload:
    """Does something to a store. ``operations`` gives operations without end, or until nothing is left to do.

    It is given the ground of the workload's store.
    """

    name: str
    says: str
    operations: Callable[[Any, Random], Iterator[Operation]]
    needs: Abilities = field(default_factory=needs)
    chunk: int = 1_024
    """Most operations that are made ahead of the clock."""
    keys: int = 1
    """Keys of one operation; of several, throughput counts the keys. 0: all keys of the store."""
    unit: str = "keys"
    """What ``keys`` are called."""
    hold: Callable[[Any, ExitStack], None] | None = None
    """Opens what is held while the workload runs."""
    mend: Callable[[Any], None] | None = None
    """Puts back what the workload took away; not measured."""
    threads: bool = True
    """Whether several threads can do it at once."""
    once: bool = False
    """Whether it is done once, from beginning to end, however long that takes."""
    cold: bool = False
    """Whether it is measured from the first operation on, as all that is done ``once``."""
    store: StoreName = "records"
    topic: str | None = None
    """What is in the topic that it reads."""
    module: str | None = None
    """A library that it needs."""
