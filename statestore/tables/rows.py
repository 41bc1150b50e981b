"""The rows of a range of keys, in the order of the keys' values, whatever the format of the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, starmap
from typing import Any, TypeVar

from statestore.changelog.mirror import Counts
from statestore.core import Pairs
from statestore.core.common import check_limit
from statestore.errors import DecodeError
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, HEADER, timestamp_of
from statestore.storage.view import StoredPairs, StoreReader

T = TypeVar("T")


def planned_rows(
    store: ChangelogStore,
    codec: EntityCodec[T],
    counts: Counts,
    plan: KeyPlan,
    reverse: bool,
    limit: int | None,
    decode: Callable[[bytes, bytes], T],
) -> Iterator[T]:
    """Iterate over the entities of ``plan`` as of now. ``decode`` makes an entity of key and payload."""
    check_limit(limit)
    if plan.accepts is None:
        return _rows(_pairs(store, plan, reverse, limit), codec, decode)
    snapshot = store.snapshot()
    foreign, keys = _keys(snapshot, codec, counts, plan)
    chosen = (foreign + [keys[values][1] for values in sorted(keys, reverse=reverse)])[:limit]

    def row(key: bytes) -> T:
        return decode(key, snapshot.get(key, b""))

    return chain(map(row, chosen), _end(snapshot))


def count_rows(store: ChangelogStore, codec: EntityCodec[T], counts: Counts) -> int:
    """Return the number of rows."""
    plan = codec.key_plan()
    if plan.accepts is None:
        return store.count()
    with store.snapshot() as snapshot:
        foreign, keys = _keys(snapshot, codec, counts, plan)
    return len(foreign) + len(keys)


def find(
    store: ChangelogStore, codec: EntityCodec[T], counts: Counts, values: tuple[Any, ...]
) -> tuple[bytes, bytes] | None:
    """Return key and payload of the row of ``values``: the newest if it is stored under several keys."""
    keys = codec.key_encodings(values)
    found = [
        (key, payload) for key, payload in zip(keys, store.get_many(keys), strict=True) if payload is not None
    ]
    if len(found) < 2:
        return found[0] if found else None
    counts.duplicate_keys += 1
    # Among rows of the same age, the one that a scan returns.
    return max(found, key=lambda pair: ((store.get_with_timestamp(pair[0]) or (-1, b""))[0], pair[0]))


def _rows(pairs: StoredPairs, codec: EntityCodec[T], decode: Callable[[bytes, bytes], T]) -> Iterator[T]:
    decoder = codec.decoder
    if decoder is None or not decoder.plain:
        return starmap(decode, Pairs(pairs, len(DATA), HEADER))
    return decoder.rows(pairs, len(DATA), HEADER, decode)


def _pairs(store: ChangelogStore, plan: KeyPlan, reverse: bool, limit: int | None) -> StoredPairs:
    if len(plan.ranges) == 1:
        return store.scan_stored(*plan.ranges[0], reverse, limit)
    snapshot = store.snapshot()
    ranges = plan.ranges[::-1] if reverse else plan.ranges
    return _ChainedScans(snapshot, [snapshot.scan_stored(*one, reverse, limit) for one in ranges], limit)


class _ChainedScans(StoredPairs):
    """Several scans of one snapshot, one after the other."""

    def __init__(self, snapshot: StoreReader, scans: list[StoredPairs], limit: int | None) -> None:
        self._snapshot = snapshot
        self._scans = scans[::-1]  # the next one last
        self._left = -1 if limit is None else limit

    def __next__(self) -> tuple[bytes, bytes]:
        while self._scans and self._left:
            with suppress(StopIteration):
                pair = next(self._scans[-1])
                self._left -= self._left > 0
                return pair
            self._scans.pop()
        self.close()
        raise StopIteration

    def close(self) -> None:
        for scan in self._scans:
            scan.close()
        self._scans = []
        self._snapshot.close()


def _keys(
    snapshot: StoreReader, codec: EntityCodec[Any], counts: Counts, plan: KeyPlan
) -> tuple[list[bytes], dict[tuple[Any, ...], tuple[int, bytes]]]:
    """Return the stored keys that the class cannot decode, and the others of ``plan`` by their values.

    Each of the others comes with its timestamp. Of several keys with the same values it is the newest.
    """
    foreign: list[bytes] = []
    keys: dict[tuple[Any, ...], tuple[int, bytes]] = {}
    for stored, value in chain.from_iterable(snapshot.scan_stored(*one) for one in plan.ranges):
        key = stored[len(DATA) :]
        try:
            values = codec.decode_key(key)
        except DecodeError:
            foreign.append(key)
            continue
        if plan.accepts is not None and not plan.accepts(values):
            continue
        if key not in codec.key_encodings(values):
            counts.non_canonical_keys += 1
        found = (timestamp_of(value), key)
        counts.duplicate_keys += values in keys
        keys[values] = max(found, keys.get(values, found))
    return foreign, keys


def _end(snapshot: StoreReader) -> Iterator[Any]:
    """Yield nothing, and close ``snapshot``: the end of a chain of rows."""
    snapshot.close()
    yield from ()
