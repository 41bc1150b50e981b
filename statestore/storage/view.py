"""What may be read of a store, by those who do not know what it is stored in."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from statestore.backends import Backend, BackendIterator, BackendReader, KeyRange
from statestore.core import Pairs, PointReads, RecordCache, count_pairs
from statestore.storage.layout import DATA, POSITIONS, Position, positions_of

StoredPairs = BackendIterator
"""A scan of pairs as they are stored: keys with their namespace, values with their header."""


class StoreReader(PointReads):
    """Reads of one store or snapshot: keys without namespace, values without their header. Thread-safe."""

    def __init__(self, reader: BackendReader, header: int = 0, cache: RecordCache | None = None) -> None:
        super().__init__(reader.get, reader.get_many, DATA, header, cache)
        self._reader = reader
        self._header = header

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over ``(key, value)`` in byte order, over the content at the moment of this call.

        ``start`` is included and ``stop`` excluded, also in ``reverse``; ``prefix`` intersects; ``limit=0``
        gives nothing. Raises ``ValueError`` for a negative ``limit``. The iterator's next step after the
        store was closed raises ``StoreClosedError``.
        """
        return Pairs(self.scan_stored(start, stop, prefix, reverse, limit), len(DATA), self._header)

    def scan_stored(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> StoredPairs:
        """The same, with each key's namespace and each value's header."""
        return self._reader.scan(KeyRange(start, stop, prefix, DATA), reverse, limit)

    def count(self) -> int:
        """Return the exact number of keys. This scans: use ``approximate_count`` where a guess will do."""
        return count_pairs(self.scan_stored())

    def positions(self) -> dict[int, Position]:
        """Return the position of every partition that has one; a store without a topic has none."""
        return positions_of(self._reader.scan(POSITIONS))

    def close(self) -> None:
        """Release what this holds. Idempotent."""
        self._forget()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class StoreView(StoreReader):
    """An open store as all see it who do not write it: its reads, and what is known of it as a whole."""

    def __init__(self, backend: Backend, header: int = 0, cache: RecordCache | None = None) -> None:
        super().__init__(backend, header, cache)
        self._backend = backend

    def snapshot(self) -> StoreReader:
        """Return a read-only view fixed at this moment; close it, or use it in ``with``."""
        return StoreReader(self._backend.snapshot(), self._header)

    def approximate_count(self) -> int:
        """Return about how many keys there are, cheaply."""
        return self._backend.approximate_count()

    def size(self) -> int:
        """Return the bytes this store takes on disk (in memory, for the memory backend)."""
        return self._backend.size()

    def flush(self) -> None:
        """Return when everything written before survives power loss."""
        self._backend.flush()
