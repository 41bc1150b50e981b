"""One key in several partitions: which of its records counts.

Of each partition it is the last record by offset, which is what compaction keeps; among these the one with
the greatest timestamp, tombstones included; of several with that timestamp the one in the highest partition.
So the rows follow from the records alone, whatever was read first.

A record where the topic's partitioner puts its key can be written without a look at others, since the key has
none elsewhere: that is so for all records of most topics. A *stray* is a record that no partitioner known
explains. From its first stray on a key is *shared*: the store keeps its last record in each partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from statestore.backends import Backend, BackendReader, Batch, KeyRange
from statestore.core import PARTITION_SIZE, CountedWrites, place_of
from statestore.runtime.times import Clock
from statestore.storage.layout import (
    DATA,
    DELETED,
    HEADER,
    PARTITIONING,
    POSITIONS,
    SHARED,
    LastRecord,
    StoredPartitioning,
    pack_shared,
    pack_single,
    pack_timestamp,
    partitioning_of,
    positions_of,
    timestamp_of,
    unpack_shared,
)

AT_ONCE = 1000
"""Keys that are looked up in one call of the engine, which may hold up other threads."""

Records = dict[int, LastRecord]
"""The last records of one key, by partition."""


Stored = tuple[bytes | None, bytes | None, bytes | None]
"""What a store has of a key: its shared records, its row, the mark of its tombstone."""


@dataclass(slots=True)
class Merged:
    """What to write for the keys that are shared, and for their rows."""

    rows: list[tuple[bytes, bytes]] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    """Keys of rows to delete."""
    shared: list[tuple[bytes, bytes]] = field(default_factory=list)
    newly_shared: int = 0
    """How many keys were in one partition before, and are in several now."""
    example: bytes | None = None
    """One of these keys."""
    added: int = 0
    """How many keys were not shared before, and are now."""

    def add_first(self, key: bytes, partition: int, record: LastRecord, applied_at: bytes) -> None:
        """Add the only record of a key."""
        timestamp, payload = record
        if payload is not None:
            self.rows.append((DATA + key, pack_timestamp(timestamp) + payload))
        self.shared.append((SHARED + key, pack_single(partition, timestamp, payload is None, applied_at)))

    def add(self, key: bytes, row: bytes | None, records: Records, applied_at: bytes) -> None:
        """Add the records of a key whose row is ``row`` so far."""
        partition = counting(records)
        timestamp, payload = records[partition]
        if payload is None:
            if row is not None:
                self.removed.append(DATA + key)
        elif (stored := pack_timestamp(timestamp) + payload) != row:
            self.rows.append((DATA + key, stored))
        self.shared.append((SHARED + key, pack_shared(records, partition, applied_at)))


def counting(records: Mapping[int, LastRecord]) -> int:
    """Return the partition whose record counts."""
    return max(records, key=lambda partition: (records[partition].timestamp, partition))


def home(key: bytes, partitioning: StoredPartitioning) -> int:
    """Return the partition of the row of ``key``, if it has one and is not shared."""
    candidates = partitioning.candidates
    return place_of((candidates & -candidates).bit_length() - 1, key, partitioning.partitions)


def partition_of(reader: BackendReader, key: bytes) -> int | None:
    """Return the partition of the record that wrote the row of ``key``; ``None``: the store does not know."""
    value = reader.get(PARTITIONING)
    if value is None:
        positions = positions_of(reader.scan(POSITIONS))
        return min(positions) if len(positions) == 1 else None
    known = partitioning_of(value)
    shared = reader.get(SHARED + key) if known.shares else None
    if shared is not None:
        return counting(unpack_shared(shared, b""))
    return home(key, known) if known.tracked and known.candidates else None


def merge(
    backend: Backend,
    partitioning: StoredPartitioning,
    writes: CountedWrites,
    strays: CountedWrites | None,
    now: int,
) -> Merged:
    """Take what concerns shared keys out of ``writes``, and return what to write instead.

    ``backend`` is the store before these writes; ``now`` is the time, in ms since the epoch.
    """
    new = _by_key(strays)
    for keys in _chunks(writes):
        held = backend.get_many([SHARED + name[1:] for name in keys])
        for name, value in zip(keys, held, strict=True):
            if value is not None:
                new.setdefault(name[1:], {})
    merged, applied_at, names = Merged(), pack_timestamp(now), iter(new)
    while keys := list(islice(names, AT_ONCE)):
        for key, stored in zip(keys, _stored(backend, keys), strict=True):
            records, taken = new[key], writes.take(DATA + key)
            merged.added += stored[0] is None
            if stored == _NOTHING and taken is None and len(records) == 1:  # the usual stray, in short
                [(partition, record)] = records.items()
                merged.add_first(key, partition, record, applied_at)
                continue
            place = home(key, partitioning)
            known = _known(stored, place)
            before = len(known)
            if taken is not None:
                known[place] = LastRecord(*taken)
            known.update(records)
            merged.add(key, stored[1], known, applied_at)
            if before < 2 <= len(known):
                merged.newly_shared += 1
                merged.example = key
    return merged


_NOTHING: Stored = (None, None, None)


def _known(stored: Stored, place: int) -> Records:
    """Return the records of a key that a store has; ``place`` is the partition of its row."""
    value, row, mark = stored
    if value is not None:
        return unpack_shared(value, row)
    if row is not None:
        return {place: LastRecord(timestamp_of(row), row[HEADER:])}
    return {} if mark is None else {place: LastRecord(timestamp_of(mark), None)}


def _stored(backend: Backend, keys: Sequence[bytes]) -> list[Stored]:
    """Return what the store has of each key."""
    shared = backend.get_many([SHARED + key for key in keys])
    rows = backend.get_many([DATA + key for key in keys])
    found = zip(keys, shared, rows, strict=True)
    unknown = [key for key, value, row in found if value is None and row is None]
    marked = backend.get_many([DELETED + key for key in unknown]) if unknown else []
    marks = dict(zip(unknown, marked, strict=True))
    return [(value, row, marks.get(key)) for key, value, row in zip(keys, shared, rows, strict=True)]


def _by_key(strays: CountedWrites | None) -> dict[bytes, Records]:
    found: dict[bytes, Records] = {}
    for name, timestamp, payload in [] if strays is None else strays.records():
        partition = int.from_bytes(name[-PARTITION_SIZE:])
        found.setdefault(name[:-PARTITION_SIZE], {})[partition] = LastRecord(timestamp, payload)
    return found


def _chunks(writes: CountedWrites) -> Iterable[list[bytes]]:
    """Return the keys of ``writes``, with their namespace."""
    return (writes.keys(start, start + AT_ONCE) for start in range(0, len(writes), AT_ONCE))


class OldTombstones:
    """What a store remembers of tombstones, of which that may go which the topic need not have any more.

    ``retention`` is the topic's ``delete.retention.ms``; ``oldest`` gives the first timestamp that is not too
    old for a row, as rows have it.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        oldest: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self.retention = 0
        self._backend = backend
        self.oldest = oldest
        self._clock = clock
        self._counted: int | None = None
        self._seen = 0
        self._added = 0

    @property
    def count(self) -> int:
        """About how many keys there are: as many as were seen the last time, or, until then, were added."""
        return max(self._seen, self._added) if self._counted is None else self._counted

    def add(self, most: int) -> bool:
        """Note that ``most`` keys were written; say whether ``count`` may be far from the truth.

        How many of them were there before is not known.
        """
        self._added += most
        return self._counted is not None and self._added > max(_FEW, self._counted // 4)

    def remove_expired(self, start: bytes | None, most: int) -> tuple[bytes | None, int]:
        """Look through the next ``most`` keys from ``start`` (``None``: the first); remove what may go.

        Returns where to go on (``None``: all were seen) and how many were removed. The thread that writes the
        store calls it.
        """
        if start is None:
            self._seen = 0
            if self._counted is not None:
                self._added = 0
        since = pack_timestamp(max(0, int(self._clock() * 1000) - self.retention))
        oldest = self.oldest()
        with closing(self._backend.scan(KeyRange(start or SHARED, _AFTER), limit=most)) as found:
            seen = list(found)
        ended = [key for key, value in seen if _may_go(key, value, since, oldest)]
        if ended:
            self._backend.write(Batch([], ended))
        self._seen += len(seen) - len(ended)
        if len(seen) == most:
            return seen[-1][0] + b"\0", len(ended)
        if self._counted is None:
            self._added = 0
        self._counted = self._seen
        return None, len(ended)


_FEW = 10_000
"""Keys of which it does not matter whether they are counted."""
_AFTER = bytes([DELETED[0] + 1])


def _may_go(key: bytes, value: bytes, since: bytes, oldest: bytes) -> bool:
    if key[:1] == DELETED:
        return value[HEADER:] < since
    return value[:HEADER] < since and all(
        record.payload is None or pack_timestamp(record.timestamp) < oldest
        for record in unpack_shared(value, b"").values()
    )
