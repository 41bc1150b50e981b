"""The parts of a manager's memory budget, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

LANES = 2


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """The parts of one memory budget, in bytes; together, but for ``held``, they are the whole budget.

    A restore fills its runs while the record cache and the write buffers are still empty. That leaves room
    for memory that is not counted: fragments, messages in flight, iterators.
    """

    engine: int
    """One engine's block cache and write buffers, for all of its stores.

    Each engine of a manager gets this size; of the shipped engines only RocksDB's uses it.
    """
    records: int
    """The record cache of hot keys, for all tables."""
    queue: int
    """The fetched records in the queue of one lane's consumer; there are ``LANES`` lanes."""
    run: int
    """The records that a restore gathers before writing: one run is written while the next is read."""

    held: int
    """The records that a lane may hold back so that no transaction is applied in part.

    No part of the whole: it fills only while a large transaction arrives, and then mostly where no restore
    needs its run.
    """

    @classmethod
    def of(cls, budget: int) -> Self:
        """Divide ``budget`` bytes."""
        return cls(
            engine=budget // 2, records=budget // 8, queue=budget // 16, run=budget // 4, held=budget // 16
        )

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.engine + self.records + LANES * self.queue + self.run
