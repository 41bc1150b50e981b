"""The store of a mirror: rows with their timestamps, and the positions in the topic that they are as of."""

from __future__ import annotations

from collections.abc import Mapping

from statestore.backends import Backend, Batch
from statestore.core import PairRun, RecordCache, Writes, uses
from statestore.storage.expiry import ExpiringBackend, Sweep
from statestore.storage.layout import DATA, HEADER, Position, position_pairs, timestamp_of
from statestore.storage.view import StoreView

SMALL_COUNT = 10_000
"""Changes of up to so many keys ..."""
SMALL_SIZE = 4 << 20
"""... and so many bytes are written as a batch, where more are loaded in bulk."""


class ChangelogStore(StoreView):
    """The mirror of a topic: data and positions, changed together. One binder writes; everyone may read."""

    def __init__(
        self, name: str, backend: Backend, max_key_size: int, cache: RecordCache | None = None
    ) -> None:
        super().__init__(backend, HEADER, cache)
        self.name = name
        self.max_key_size = max_key_size
        self._loads = uses("bulk")
        self._sweep = Sweep(backend, backend.ttl) if isinstance(backend, ExpiringBackend) else None

    def apply(
        self,
        writes: Writes,
        positions: Mapping[int, Position],
    ) -> bool:
        """Write changes and the positions after them as one atomic unit. Keys carry their namespace.

        Returns whether they, and everything before, survive power loss already; if not, a flush must follow.
        """
        entries = position_pairs(positions)
        if self._loads and (len(writes) > SMALL_COUNT or writes.size > SMALL_SIZE):
            with self._change(None, None):
                self._backend.load([PairRun(entries), writes])
            return True
        puts, deletes = writes.puts(), writes.deletes()
        with self._change(puts, deletes):
            self._backend.write(Batch([*puts, *entries], deletes))
        return False

    def get_with_timestamp(self, key: bytes) -> tuple[int, bytes] | None:
        """Return ``(timestamp ms, payload)`` of ``key``."""
        value = self._reader.get(DATA + key)
        return None if value is None else (timestamp_of(value), value[HEADER:])

    def sweep(self) -> int:
        """Remove some of the rows that have ended by their age, if it is time to; return how many."""
        return 0 if self._sweep is None else self._sweep.step()
