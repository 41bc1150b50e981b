"""The rows of a range of keys, in the order of the keys' values, whatever the format of the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain, islice, starmap
from typing import Any, Generic, NamedTuple, TypeVar

from statestore.changelog.counts import Counts
from statestore.core import Pairs, PlainPairs, count_pairs
from statestore.core.common import check_limit
from statestore.errors import DecodeError
from statestore.runtime.slices import with_pauses
from statestore.runtime.sorting import sort
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan, PairFilter
from statestore.storage.changelog_store import Rows
from statestore.storage.layout import DATA, HEADER, timestamp_of
from statestore.storage.view import StoredPairs, StoreReader

T = TypeVar("T")


class Scan(NamedTuple, Generic[T]):
    """Rows that are being read."""

    rows: Iterator[T]
    close: Callable[[], None]
    """Releases what they are read from. Idempotent."""


def planned_rows(
    store: Rows,
    codec: EntityCodec[T],
    counts: Counts,
    plan: KeyPlan,
    reverse: bool,
    limit: int | None,
    decode: Callable[[StoreReader, bytes, bytes], T],
) -> Scan[T]:
    """Return the entities of ``plan`` as of now.

    ``decode`` makes an entity of key and payload, and gets what they were read from.
    """
    check_limit(limit)
    if plan.accepts is None:
        stored = planned_pairs(store, codec, plan, reverse, limit, decode)
        return Scan(decoded_rows(stored.pairs, codec, stored.decode), stored.close)
    snapshot = store.snapshot()
    decoded = partial(decode, snapshot)

    def row(key: bytes) -> T:
        return decoded(key, snapshot.get(key, b""))

    rows = chain(map(row, chosen_keys(snapshot, codec, counts, plan, reverse, limit)), _end(snapshot))
    return Scan(rows, snapshot.close)


def key_rows(
    store: Rows,
    codec: EntityCodec[Any],
    counts: Counts,
    reverse: bool,
    decode: Callable[[bytes], Any],
) -> Scan[Any]:
    """Return the keys of all rows as of now, in order; no value is decoded."""
    plan = codec.key_plan()
    if plan.accepts is None:
        pairs = stored_pairs(store, plan, reverse, None)
        return Scan((decode(key) for key, _ in Pairs(pairs, len(DATA), HEADER)), pairs.close)
    with store.snapshot() as snapshot:
        return Scan(map(decode, chosen_keys(snapshot, codec, counts, plan, reverse, None)), _nothing)


class PairScan(NamedTuple, Generic[T]):
    """Stored pairs that are being read."""

    pairs: StoredPairs
    decode: Callable[[bytes, bytes], T]
    """Makes an entity of a key and payload of them."""
    close: Callable[[], None]
    """Releases what they are read from. Idempotent."""


def planned_pairs(
    store: Rows,
    codec: EntityCodec[T],
    plan: KeyPlan,
    reverse: bool,
    limit: int | None,
    decode: Callable[[StoreReader, bytes, bytes], T],
) -> PairScan[T]:
    """Return the stored pairs of a ``plan`` whose ranges are in order, as of now."""
    if not codec.fills_event_time:
        pairs = stored_pairs(store, plan, reverse, limit)
        return PairScan(pairs, partial(decode, store), pairs.close)
    snapshot = store.snapshot()  # of the same instant as the timestamps that may have to be asked for
    pairs = stored_pairs(snapshot, plan, reverse, limit)

    def close() -> None:
        pairs.close()
        snapshot.close()

    return PairScan(pairs, partial(decode, snapshot), close)


def point_rows(
    store: Rows,
    codec: EntityCodec[T],
    counts: Counts,
    keys: Sequence[tuple[Any, ...]],
    decode: Callable[[StoreReader, bytes, bytes], T],
) -> Scan[T]:
    """Return the entities of ``keys`` that there are, in their order, as of now."""
    if len(keys) == 1 and not codec.fills_event_time:  # one read needs no snapshot
        found = find(store, codec, counts, keys[0])
        return Scan(iter(()) if found is None else starmap(partial(decode, store), (found,)), _nothing)
    snapshot = store.snapshot()

    def rows() -> Iterator[T]:
        for values in with_pauses(keys):
            if (found := find(snapshot, codec, counts, values)) is not None:
                yield decode(snapshot, *found)
        snapshot.close()

    return Scan(rows(), snapshot.close)


def chosen_keys(
    snapshot: StoreReader,
    codec: EntityCodec[Any],
    counts: Counts,
    plan: KeyPlan,
    reverse: bool,
    limit: int | None,
) -> list[bytes]:
    """Return the stored keys of a ``plan`` that sorts and filters, in order; those of no entity first."""
    foreign, keys = _keys(snapshot, codec, counts, plan)
    return (foreign + [keys[values][1] for values in sort(keys, _itself, reverse=reverse)])[:limit]


def count_rows(store: Rows, codec: EntityCodec[Any], counts: Counts, plan: KeyPlan | None = None) -> int:
    """Return the number of rows of ``plan``, of all without one."""
    plan = plan or codec.key_plan()
    if plan.accepts is None:
        return count_pairs(stored_pairs(store, plan, reverse=False, limit=None))
    with store.snapshot() as snapshot:
        foreign, keys = _keys(snapshot, codec, counts, plan)
    return len(foreign) + len(keys)


def stored_keys(store: StoreReader, codec: EntityCodec[Any], values: tuple[Any, ...]) -> Sequence[bytes]:
    """Return all keys under which ``store`` may have the row of ``values``. Raises ``EncodeError``.

    Of a window that has several values, in the changelog of a join, it is the key of the last one.
    """
    if codec.numbers_rows:
        codec.key_encodings(values)  # which checks them
        with closing(stored_pairs(store, codec.key_plan(prefix=values), reverse=True, limit=1)) as pairs:
            return [key[len(DATA) :] for key, _ in pairs]
    keys = codec.key_encodings(values)
    if store.has_spellings and codec.spellings is not None:
        return [*keys, *store.spelled(codec.spellings.digest(values))]
    return keys


def find(
    store: StoreReader, codec: EntityCodec[T], counts: Counts, values: tuple[Any, ...]
) -> tuple[bytes, bytes] | None:
    """Return key and payload of the row of ``values``: the newest if it is stored under several keys."""
    keys = stored_keys(store, codec, values)
    found = [
        (key, payload) for key, payload in zip(keys, store.get_many(keys), strict=True) if payload is not None
    ]
    if len(found) < 2:
        return found[0] if found else None
    counts.duplicate_keys += 1
    # Among rows of the same age, the one that a scan returns.
    return max(found, key=lambda pair: ((store.get_with_timestamp(pair[0]) or (-1, b""))[0], pair[0]))


def decoded_rows(
    pairs: StoredPairs, codec: EntityCodec[T], decode: Callable[[bytes, bytes], T]
) -> Iterator[T]:
    """Return the entities of stored pairs, in their order."""
    decoder = codec.decoder
    if decoder is None or not decoder.plain:
        return starmap(decode, Pairs(pairs, len(DATA), HEADER))
    return decoder.rows(pairs, len(DATA), HEADER, decode)


def stored_pairs(store: StoreReader, plan: KeyPlan, reverse: bool, limit: int | None) -> StoredPairs:
    """Return the stored pairs of a ``plan`` whose ranges are in order."""
    if len(plan.ranges) == 1:
        if plan.filters:
            return _Filtered(store, plan.ranges[0], plan.filters[0], reverse, limit)
        return store.scan_stored(*plan.ranges[0], reverse, limit)
    snapshot = store.snapshot() if isinstance(store, Rows) else store
    scans: list[StoredPairs]
    if plan.filters:
        filtered = zip(plan.ranges, plan.filters, strict=True)
        scans = [_Filtered(snapshot, *one, reverse, limit) for one in filtered]
    else:
        scans = [snapshot.scan_stored(*one, reverse, limit) for one in plan.ranges]
    return _ChainedScans(snapshot, scans[::-1] if reverse else scans, limit)


class _Filtered(StoredPairs):
    """Those pairs of a scan that a filter leaves."""

    def __init__(
        self,
        store: StoreReader,
        keys: tuple[bytes | None, bytes | None, bytes | None],
        pair_filter: PairFilter,
        reverse: bool,
        limit: int | None,
    ) -> None:
        check_limit(limit)
        self._scan = store.scan_stored(*keys, reverse, 0 if limit == 0 else None)
        rows = pair_filter(self._scan, reverse, len(DATA))
        self._rows = rows if limit is None else islice(rows, limit)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._rows if isinstance(self._rows, PlainPairs) else self

    def __next__(self) -> tuple[bytes, bytes]:
        for pair in self._rows:
            return pair
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._scan.close()


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
    # A text that other programs write may be of any bytes.
    ranges = [(None, None, None)] if snapshot.has_spellings else plan.ranges
    pairs = chain.from_iterable(snapshot.scan_stored(*one) for one in ranges)
    for stored, value in with_pauses(pairs):
        key = stored[len(DATA) :]
        try:
            values = codec.decode_key(key)
        except DecodeError:
            foreign.append(key)
            continue
        if plan.accepts is not None and not plan.accepts(values):
            continue
        if codec.numbers_rows:
            values = (*values, key)  # there may be several
        elif codec.spellings is None and key not in codec.key_encodings(values):
            counts.non_canonical_keys += 1
        found = (timestamp_of(value), key)
        counts.duplicate_keys += values in keys
        keys[values] = max(found, keys.get(values, found))
    return foreign, keys


def _nothing() -> None:
    pass


def _itself(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values


def _end(snapshot: StoreReader) -> Iterator[Any]:
    """Yield nothing, and close ``snapshot``: the end of a chain of rows."""
    snapshot.close()
    yield from ()
