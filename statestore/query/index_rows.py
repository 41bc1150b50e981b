"""The rows that a secondary index finds, of one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, Final

from statestore.core import count_pairs
from statestore.query.by_index import IndexScan, OpenIndex, SuffixRange
from statestore.query.rows import Scan, decoded_rows, find
from statestore.query.source import Source
from statestore.runtime.slices import with_pauses
from statestore.runtime.sorting import sort
from statestore.storage.indexes import ReadyIndex
from statestore.storage.layout import DATA
from statestore.storage.view import StoredPairs, StoreReader

LEAST_READ: Final = 1_000
"""So many rows are always read by the index, and beyond them …"""
WORTH_A_SCAN: Final = 8
"""… one of so many rows of the table; to scan it is faster than to read more."""


def most_by_index(rows: int) -> int:
    """Return how many rows of a table of about ``rows`` are read by an index, to be sorted by their keys."""
    return LEAST_READ + rows // WORTH_A_SCAN


def open_index(
    scan: IndexScan, source: Source[Any], reverse: bool, limit: int | None, *, keeps: bool
) -> OpenIndex | str:
    """Return the rows of ``scan`` as of now, at most ``limit``, or why the table must be read without it.

    That is so where the index has changed since it was chosen. Unless the query ``keeps`` to it, it is so,
    too, where it finds a large part of all rows, which are to be sorted by their keys.
    """
    name = f"the index ({scan.index.codec.name})"
    snapshot = source.store.snapshot()
    index = next((one for one in snapshot.indexes if one.prefix == scan.index.prefix), None)
    if index is None:
        snapshot.close()
        return f"{name} is not there at the moment"
    ranges = scan.ranges[::-1] if reverse and scan.in_order else scan.ranges
    backwards = reverse and scan.in_order
    keys: Iterator[bytes] = chain.from_iterable(snapshot.index_keys(index, *one, backwards) for one in ranges)
    if not scan.in_order:
        keys = with_pauses(keys)
        found = list(islice(keys, LEAST_READ))
        if keeps:
            found += keys
        elif len(found) == LEAST_READ:
            most = most_by_index(source.approximate_count())
            found += islice(keys, most - LEAST_READ + 1)
            if len(found) > most:
                snapshot.close()
                return f"{name} finds a large part of them, {LEAST_READ} and one in {WORTH_A_SCAN} at least"
        keys = iter(_in_key_order(found, source, reverse))
    rows = snapshot.rows_of(_counting(keys, snapshot, source), limit)
    return OpenIndex(snapshot, _Pairs(snapshot, islice(rows, limit)))


def rows_of_index(
    index: ReadyIndex, ranges: Iterable[SuffixRange], source: Source[Any]
) -> Iterator[tuple[bytes, bytes]]:
    """Return the stored pairs of the rows in ``ranges`` of an index, in the order of their keys.

    The store of ``source`` is a snapshot.
    """
    store = source.store
    found = list(chain.from_iterable(store.index_keys(index, *one) for one in ranges))
    keys = iter(_in_key_order(found, source, reverse=False))
    return store.rows_of(_counting(keys, store, source))


def index_entities(opened: OpenIndex, source: Source[Any]) -> Scan[Any]:
    """Return the entities of the rows."""
    decode = partial(source.decode, opened.snapshot)
    return Scan(decoded_rows(opened.pairs, source.codec, decode), opened.pairs.close)


def _in_key_order(keys: list[bytes], source: Source[Any], reverse: bool) -> list[bytes]:
    codec = source.codec
    if codec.key_plan().sorts_as_bytes:
        return sort(keys, lambda name: name, reverse=reverse)
    return sort(keys, lambda name: codec.decode_key(name[len(DATA) :]), reverse=reverse)


def _counting(keys: Iterator[bytes], snapshot: StoreReader, source: Source[Any]) -> Iterator[bytes]:
    """Return those of ``keys`` whose rows count."""
    if source.codec.spellings is None or not snapshot.has_spellings:
        return keys
    return filter(partial(_counts, snapshot, source), keys)


def _counts(snapshot: StoreReader, source: Source[Any], name: bytes) -> bool:
    """Whether a row is the newest of those whose keys have the same values, in several texts."""
    key = name[len(DATA) :]
    found = find(snapshot, source.codec, source.counts, source.codec.decode_key(key))
    return found is not None and found[0] == key


class _Pairs(StoredPairs):
    """Pairs of a snapshot, which is released after the last one."""

    def __init__(self, snapshot: StoreReader, pairs: Iterator[tuple[bytes, bytes]]) -> None:
        self._snapshot = snapshot
        self._pairs = pairs

    def __next__(self) -> tuple[bytes, bytes]:
        for pair in self._pairs:
            return pair
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._pairs = iter(())
        self._snapshot.close()


def count_index(opened: OpenIndex, most: int | None) -> int:
    """Return how many rows there are, at most ``most``; nothing is decoded."""
    with closing(opened.pairs):
        return count_pairs(islice(opened.pairs, most))
