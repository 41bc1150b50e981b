"""Reads of tables of bytes, and of their snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from statestore.core import BytesReads, Pairs, count_pairs
from statestore.core.common import must_be_bytes
from statestore.query.rows import Scan
from statestore.storage.changelog_store import Rows
from statestore.storage.layout import DATA, HEADER, timestamp_of
from statestore.tables.reads import ALL, Bounds, RowReads, several
from statestore.tables.timestamps import Record, Timestamped, instant, timestamped
from statestore.tables.views import TableItems, TableKeys, TableValues


class BytesRowReads(BytesReads, RowReads[tuple[bytes, bytes]]):
    """Reads of rows that are ``(key, value)``: the bytes of a message's key and value."""

    def get_many(self, keys: Iterable[bytes], *, allow_stale: bool = False) -> list[bytes | None]:
        """Return the values of ``keys`` in their order, ``None`` for absent ones, as of one instant."""
        store = self._binding.readable or self._binding.reading(allow_stale)
        return store.get_many(several(keys))

    def get_with_timestamp(self, key: bytes, *, allow_stale: bool = False) -> Timestamped[bytes] | None:
        """Return the value of ``key`` and its record's timestamp; ``None``: there is none."""
        found = (self._binding.readable or self._binding.reading(allow_stale)).get_with_timestamp(key)
        return None if found is None else timestamped(found[1], found[0])

    def get_record(self, key: bytes, *, allow_stale: bool = False) -> Record[bytes] | None:
        """Return what is known of the record that wrote the row of ``key``; ``None``: there is no row."""
        store = self._binding.readable or self._binding.reading(allow_stale)
        with store.snapshot() as snapshot:
            found = snapshot.get_with_timestamp(key)
            if found is None:
                return None
            return Record(key, found[1], instant(found[0]), snapshot.partition_of(key))

    def for_each(self, fn: Callable[[bytes, bytes], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(key, value)`` for every row of one snapshot, in key order."""
        for key, value in self.scan(allow_stale=allow_stale):
            fn(key, value)

    def keys(self, *, allow_stale: bool = False) -> TableKeys[bytes]:
        """Return a view of the keys, in their order; each iteration over it shows one instant."""
        return TableKeys(self._viewed_keys(allow_stale))

    def values(self, *, allow_stale: bool = False) -> TableValues[bytes]:
        """Return a view of the values, in the order of their keys; each iteration shows one instant."""
        return TableValues(self._viewed_values(allow_stale))

    def items(self, *, allow_stale: bool = False) -> TableItems[bytes, bytes]:
        """Return a view of the pairs of key and value, in key order; each iteration shows one instant."""
        return TableItems(self._viewed_items(allow_stale))

    if TYPE_CHECKING:

        def __getitem__(self, key: bytes) -> bytes: ...

    def _value_of(self, key: Any, allow_stale: bool) -> bytes | None:
        return self.get(key, allow_stale=allow_stale)

    def _count(self, store: Rows, bounds: Bounds) -> int:
        self._check_bounds(bounds)
        return count_pairs(store.scan_stored(*bounds))

    def _rows(
        self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None
    ) -> Scan[tuple[bytes, bytes]]:
        self._check_bounds(bounds)
        stored = store.scan_stored(*bounds, reverse, limit)
        return Scan(Pairs(stored, len(DATA), HEADER), stored.close)

    def _timed_rows(
        self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None
    ) -> Scan[Timestamped[tuple[bytes, bytes]]]:
        self._check_bounds(bounds)
        stored = store.scan_stored(*bounds, reverse, limit)
        pairs = Pairs(stored, len(DATA), 0)
        rows = (timestamped((key, value[HEADER:]), timestamp_of(value)) for key, value in pairs)
        return Scan(rows, stored.close)

    def _key_rows(self, store: Rows, reverse: bool) -> Scan[bytes]:
        scan = self._rows(store, ALL, reverse, None)
        return Scan(map(itemgetter(0), scan.rows), scan.close)

    def _values(self, rows: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
        return map(itemgetter(1), rows)

    def _items(self, rows: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        return rows

    def _check_bounds(self, bounds: Bounds) -> None:
        for bound in bounds:
            if not isinstance(bound, bytes | None):
                raise must_be_bytes(f"a key of table {self._binding.name!r}", bound)
