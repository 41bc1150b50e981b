"""How the memory budget of a manager is divided: the one place that says who may use how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

LANES = 2


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """The parts of one memory budget, in bytes; together they are all of it.

    A restore fills the runs while the record cache and the write buffers are still empty, so what nobody
    counts (fragments, messages on their way, iterators) has room then.
    """

    engine: int
    """One engine's block cache and write buffers, for all of its stores.

    Each engine of a manager is told all of it; of those that are shipped only RocksDB's takes any.
    """
    records: int
    """The record cache of hot keys, for all tables."""
    queue: int
    """The fetched records that wait in one lane's consumer; there are ``LANES`` lanes."""
    run: int
    """What a restore gathers before it is written: one run is applied while the next one is read."""

    @classmethod
    def of(cls, budget: int) -> Self:
        """Divide ``budget`` bytes."""
        return cls(engine=budget // 2, records=budget // 8, queue=budget // 16, run=budget // 4)

    @property
    def total(self) -> int:
        """What all users of memory may take together."""
        return self.engine + self.records + LANES * self.queue + self.run
