"""What may be read of a store, by those who do not know what it is stored in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Self

from statestore.backends import Backend, BackendIterator, BackendReader, KeyRange
from statestore.core import Pairs, PointReads, RecordCache, count_pairs
from statestore.core.common import check_limit, joined
from statestore.storage.indexes import ReadyIndex, index_keys, rows_of
from statestore.storage.layout import DATA, HEADER, POSITIONS, Position, positions_of, timestamp_of
from statestore.storage.partitions import partition_of
from statestore.storage.spellings import spelled

StoredPairs = BackendIterator
"""A scan of pairs as they are stored: keys with their namespace, values with their header."""


class StoreReader(PointReads):
    """Reads of one store or snapshot: keys without namespace, values without their header. Thread-safe."""

    def __init__(self, reader: BackendReader, header: int = 0, cache: RecordCache | None = None) -> None:
        super().__init__(reader.get, reader.get_many, DATA, header, cache)
        self.has_spellings = False
        """Whether there may be keys in other texts than ours (``spellings.py``)."""
        self.indexes: tuple[ReadyIndex, ...] = ()
        """The secondary indexes that may be read, those of a store in a ``snapshot`` only."""
        self._reader = reader
        self._header = header
        self.owner: object = None
        """What must live as long as this is read."""

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
        return Pairs(self.scan_stored(start, stop, prefix, reverse, limit), len(DATA), self._header, self)

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

    def get_with_timestamp(self, key: bytes) -> tuple[int, bytes] | None:
        """Return ``(timestamp ms, payload)`` of ``key`` in a store with timestamps; -1 for none."""
        value = self._reader.get(joined(DATA, key))
        return None if value is None else (timestamp_of(value), value[HEADER:])

    def partition_of(self, key: bytes) -> int | None:
        """Return the partition of the record that wrote a mirror's row; ``None``: the store does not know."""
        return partition_of(self._reader, key)

    def spelled(self, digest: bytes) -> list[bytes]:
        """Return the keys in other texts than ours whose values have ``digest``."""
        return spelled(self._reader, digest)

    def scan_index(
        self,
        index: ReadyIndex,
        start: bytes | None = None,
        stop: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over stored pairs in the order of one of ``indexes`` of this snapshot.

        ``start`` (included) and ``stop`` (excluded) are of the index's suffixes, ``values ‖ key``
        (``serde/indexes.py``). Otherwise as ``scan_stored``.
        """
        check_limit(limit)
        return islice(self.rows_of(self.index_keys(index, start, stop, reverse), limit), limit)

    def index_keys(
        self, index: ReadyIndex, start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[bytes]:
        """Iterate over the keys that ``scan_index`` finds, with their namespace; also of rows that ended."""
        return index_keys(self._reader, index, start, stop, reverse)

    def rows_of(self, keys: Iterable[bytes], few: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the stored pairs of ``keys``, with their namespace, as far as there are rows.

        ``few`` is how many are wanted, so that not many more are read.
        """
        return rows_of(self._reader, keys, few)

    def positions(self) -> dict[int, Position]:
        """Return the position of every partition that has one; a store without a topic has none."""
        return positions_of(self._reader.scan(POSITIONS))

    def _describe(self, snapshot: StoreReader, indexes: tuple[ReadyIndex, ...]) -> None:
        """Tell a snapshot what is known of its store; ``indexes`` are those before it was taken."""
        snapshot.has_spellings = self.has_spellings
        snapshot.indexes = indexes if self.indexes is indexes else ()  # they changed at about that moment

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
        indexes = self.indexes
        reader = StoreReader(self._backend.snapshot(), self._header)
        self._describe(reader, indexes)
        reader.owner = self
        return reader

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        self._backend.shut()
        self._forget()

    def approximate_count(self) -> int:
        """Return about how many keys there are, cheaply."""
        return self._backend.approximate_count()

    def size(self) -> int:
        """Return the bytes this store takes on disk (in memory, for the memory backend)."""
        return self._backend.size()

    def flush(self) -> None:
        """Return when everything written before survives power loss."""
        self._backend.flush()

    def compact(self) -> None:
        """Give back the space of deleted and overwritten pairs."""
        self._backend.compact()
