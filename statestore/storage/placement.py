"""Which partitioner puts the records of a topic where they lie, as the rows of its store tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from statestore.backends import Backend, KeyRange
from statestore.core import place_of
from statestore.storage.layout import DATA, SHARED, StoredPartitioning, unpack_shared
from statestore.storage.partitions import home

PLAIN_PARTITIONERS = 3
"""How many of ``core.PARTITIONERS`` take the whole key; a writer uses one of these."""

_FEWEST = 16
"""Rows without which nothing is said: by chance, several partitioners explain a few."""
_MOST, _MOST_BYTES = 200, 1 << 20
"""Rows, and bytes of them, that are looked at. Hashes do not follow the order of keys."""
_MOSTLY = 0.9
"""The share of the records that the topic's partitioner explains; some may be another writer's."""
_LOOK_AGAIN = 10.0
"""Seconds for which what was found is taken to hold."""


class Placement:
    """Finds the partitioner of one topic. Any thread may ask.

    ``known`` is what the store knows of its partitions; ``None``: there is one.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._found: int | None = None
        self._looked_at: float | None = None

    def partitioner(self, known: StoredPartitioning | None) -> int | None:
        """Return the number of the one partitioner that explains where the records lie.

        ``None``: it is not known. There are too few rows, or one partition, or no single partitioner explains
        them. Raises what the backend raises.
        """
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_AGAIN:
            self._found = None if known is None or not known.tracked else self._look(known)
            self._looked_at = now
        return self._found

    def contradicts(self, known: StoredPartitioning | None, partitioner: int) -> int | None:
        """Return the topic's partitioner, if it is known not to be the one with this number."""
        if known is None or (known.candidates >> partitioner & 1 and not known.shares):
            return None
        found = self.partitioner(known)
        return None if found == partitioner else found

    def _look(self, known: StoredPartitioning) -> int | None:
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        with closing(self._backend.scan(KeyRange(prefix=DATA), limit=_MOST)) as found:
            for key, row in found:
                rows.append((key[len(DATA) :], row))
                size += len(row)
                if size >= _MOST_BYTES and len(rows) >= _FEWEST:
                    break
        if len(rows) < _FEWEST:
            return None
        shared = self._backend.get_many([SHARED + key for key, _ in rows])
        records = 0
        explained = [0] * PLAIN_PARTITIONERS
        for (key, row), value in zip(rows, shared, strict=True):
            for place in [home(key, known)] if value is None else unpack_shared(value, row):
                records += 1
                for number in range(PLAIN_PARTITIONERS):
                    explained[number] += place_of(number, key, known.partitions) == place
        mostly = [number for number, count in enumerate(explained) if count >= _MOSTLY * records]
        return mostly[0] if len(mostly) == 1 else None
