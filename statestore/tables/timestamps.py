"""Rows together with the timestamps of their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from statestore.changelog.counts import Counts
from statestore.core.common import check_limit
from statestore.query.rows import Scan, chosen_keys, stored_pairs
from statestore.runtime.times import time_at
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.changelog_store import Rows
from statestore.storage.layout import DATA, HEADER, timestamp_of
from statestore.storage.view import StoreReader

T = TypeVar("T")


class Timestamped(NamedTuple, Generic[T]):
    """A row and the timestamp of the record that wrote it."""

    row: T
    timestamp: datetime | None
    """In UTC, to the millisecond; ``None``: the record has none."""


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """What is known of the record that wrote a row."""

    key: Any
    """The value of the key field, a tuple of the values of several, or the bytes of the key."""
    value: T
    """The row: the entity, or the bytes of the value."""
    timestamp: datetime | None
    """In UTC, to the millisecond; ``None``: the record has none."""
    partition: int | None
    """Where the record is in the topic; ``None`` where the store does not know: it is older than that."""
    offset: int | None = None
    """``None`` in this version: a store keeps the position of each partition, not the offset of each row."""


def timestamped(row: T, milliseconds: int) -> Timestamped[T]:
    """Return ``row`` with the timestamp of its header, -1 for none."""
    return Timestamped(row, instant(milliseconds))


def instant(milliseconds: int) -> datetime | None:
    """Return a record's timestamp as a time; ``None`` if it has none, or one after the year 9999."""
    try:
        return None if milliseconds < 0 else time_at(milliseconds * 1000)
    except OverflowError:
        return None


def timestamped_rows(
    store: Rows,
    codec: EntityCodec[T],
    counts: Counts,
    plan: KeyPlan,
    reverse: bool,
    limit: int | None,
    decode: Callable[[StoreReader, bytes, bytes, int], T],
) -> Scan[Timestamped[T]]:
    """Return the entities of ``plan`` as of now, each with its timestamp."""
    check_limit(limit)
    snapshot = store.snapshot()
    rows: Iterator[tuple[bytes, tuple[int, bytes]]]
    if plan.accepts is None:
        pairs = stored_pairs(snapshot, plan, reverse, limit)
        rows = ((key[len(DATA) :], (timestamp_of(value), value[HEADER:])) for key, value in pairs)
    else:
        keys = chosen_keys(snapshot, codec, counts, plan, reverse, limit)
        rows = ((key, snapshot.get_with_timestamp(key) or (-1, b"")) for key in keys)

    def give() -> Iterator[Timestamped[T]]:
        with snapshot:
            for key, (timestamp, payload) in rows:
                yield timestamped(decode(snapshot, key, payload, timestamp), timestamp)

    return Scan(give(), snapshot.close)
