"""The bytes of a store: namespaces in front of keys, the header of a row, the position of a partition.

Each key has one namespace byte in front: ``NAMESPACES`` has them. The value of a row in a bound store is
``timestamp ms (int64, -1 = none) ‖ payload``; a store that ``open`` made holds values as they were given. The
key ``0x00 ‖ "id"`` has the identity of the store, as JSON (``storage/identity.py``). The key of a
position is ``0x00 ‖ "pos" ‖ partition int32``, its value ``next offset int64 ‖ leader epoch int32 ‖ valid
since, in ms since the epoch, int64``, and where the position lies past the last record that was read ``‖ end
of that record int64``. All numbers are big-endian.

An index has a number. Its entries are ``0x04 ‖ number uint32 ‖ 1 ‖ values ‖ key of the row``, one for each
row, with ``bytes of the values uint16`` as value (``serde/indexes.py`` has the bytes of the values). LMDB
takes keys of 511 bytes: of a longer entry, in every engine, the first ``KEPT`` bytes of ``values ‖ key``
stay, followed by a digest of 16 bytes; its value is ``bytes of the values uint32 ‖ values ‖ key``. A row that
does not decode has ``0x04 ‖ number ‖ 0 ‖ digest of its key``, whose value is its key. The key ``0x00 ‖
"index" ‖ number`` has what is known of the index: ``state uint8 ‖ fingerprint of 16 bytes ‖ cursor``. State
0: it has all rows; 1: those whose stored key is less than the cursor; 2: it is not declared any more, or must
be made anew under another number, and its entries are being removed.

A store of windows or sessions has its rows, raw, in ``0x02 ‖ segment uint32 ‖ key ‖ 00 00 ‖ time int64``. The
time is in ms since the epoch: the start of a window; of a session its end, which ``‖ start int64`` follows.
The sign bits of all three numbers are flipped, and each ``00`` of the key is ``00 ff``, so that the bytes of
one segment are in the order of (key, time). A segment has the rows of ``segment_ms``, which ``store.json``
tells: ``segment`` is the time divided by it, rounded down. The key ``0x00 ‖ "windows"`` has ``greatest time
int64 ‖ first visible time int64``: rows before the latter have ended.

A store whose topic has several partitions has two more namespaces, under the same keys as the rows. ``0xf0``
has the last record in each partition, for keys with one elsewhere than where the topic's partitioner puts it:
``applied at int64, in ms since the epoch``, and for each ``partition int32 ‖ timestamp int64 ‖ kind uint8``.
A kind of 0 is a tombstone, 1 a record whose payload is in the row, 2 one whose ``size uint32 ‖ payload``
follows. ``0xf1`` has the tombstones of the other keys: ``timestamp int64 ‖ applied at``. The key ``0x00 ‖
"partitioning"`` has ``partitions int32 ‖ candidates uint32 ‖ flags uint32``: which partitioners explain where
the rows were (a bit for each of ``core.PARTITIONERS``). Flag 1: that was seen to since the first record; flag
2: ``0xf0`` is in use. Stores that are older than this have none of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from statestore.core import ALL_PARTITIONERS, KeyRange, SegmentKeys

DATA = b"\x01"
WINDOWS = b"\x02"
"""The namespace of rows with a time in their keys (``storage/window_reads.py``)."""
SPELLINGS = b"\x03"
"""The namespace of keys in other texts than ours, by their values (``storage/spellings.py``)."""
INDEXES = b"\x04"
"""The namespace of secondary indexes (``storage/indexes.py``)."""
LONGEST_KEY = 65536
"""Bytes of the longest key that an engine of this library takes, its namespace not counted."""
SHARED = b"\xf0"
"""Namespace of the last records, by partition, of keys with one elsewhere than their partitioner puts it."""
DELETED = b"\xf1"
"""Namespace of the tombstones of the other keys, for as long as the topic keeps them."""
NAMESPACES = {
    b"\x00": "what the store knows of itself: its identity, positions, indexes, partitions",
    DATA: "the rows",
    WINDOWS: "the rows of windows and sessions, by segments of time",
    SPELLINGS: "JSON keys in other texts than the class writes",
    INDEXES: "secondary indexes",
    SHARED: "the last record in each partition, of keys with records in several",
    DELETED: "tombstones, where the topic has several partitions",
}
"""What the keys in each namespace are of. The table in ``docs/files.md`` is this one."""
HEADER = 8
"""Bytes in front of the payload of a row in a bound store: its timestamp."""

IDENTITY = b"\x00id"
"""The key of the store's identity."""

_POSITION_PREFIX = b"\x00pos"
_POSITION_KEY = struct.Struct(">4si")
_POSITION = struct.Struct(">qiq")
_POSITION_PAST_RECORD = struct.Struct(">qiqq")

POSITIONS = KeyRange(prefix=_POSITION_PREFIX)
"""Where the positions are."""


class Position(NamedTuple):
    """Where the mirror of one partition stands."""

    offset: int
    """The next offset to apply."""
    leader_epoch: int = -1
    """Leader epoch of the last applied record, -1 unknown."""
    valid_since: int = 0
    """When the pass that last reached the end began, ms since the epoch; 0: the end was never reached."""
    record_end: int = -1
    """The offset after the last applied record, where ``offset`` is past it: transaction markers, and records
    that compaction has removed, have offsets, too. -1: it is ``offset``."""


def position_pairs(positions: Mapping[int, Position]) -> list[tuple[bytes, bytes]]:
    """Return the stored pairs of the positions of partitions."""
    return [
        (_POSITION_KEY.pack(_POSITION_PREFIX, partition), _packed(position))
        for partition, position in positions.items()
    ]


def positions_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[int, Position]:
    """Return the positions that the pairs in ``POSITIONS`` hold, by partition."""
    return {_POSITION_KEY.unpack(key)[1]: _unpacked(value) for key, value in pairs}


def _packed(position: Position) -> bytes:
    if position.record_end < 0:
        return _POSITION.pack(*position[:3])
    return _POSITION_PAST_RECORD.pack(*position)


def _unpacked(value: bytes) -> Position:
    form = _POSITION if len(value) == _POSITION.size else _POSITION_PAST_RECORD
    return Position(*form.unpack(value))


_INDEX = struct.Struct(">6sI")
_INDEX_PREFIX = b"\x00index"
_INDEX_MARK = struct.Struct(">B16s")

INDEX_MARKS = KeyRange(prefix=_INDEX_PREFIX)
"""Where it is told which indexes there are."""

COMPLETE, BUILDING, DROPPED = range(3)
"""States of an index."""


class IndexMark(NamedTuple):
    """What a store knows of one secondary index."""

    number: int
    state: int
    fingerprint: bytes
    cursor: bytes = b""
    """Of an index that is being built: the key, with its namespace, before which all rows are in it."""

    def pair(self) -> tuple[bytes, bytes]:
        """Return the stored pair."""
        value = _INDEX_MARK.pack(self.state, self.fingerprint) + self.cursor
        return _INDEX.pack(_INDEX_PREFIX, self.number), value

    @property
    def prefix(self) -> bytes:
        """What the keys of its entries begin with."""
        return INDEXES + self.number.to_bytes(4)


def index_marks_of(pairs: Iterable[tuple[bytes, bytes]]) -> list[IndexMark]:
    """Return what the pairs in ``INDEX_MARKS`` say, by number."""
    found = []
    for key, value in pairs:
        state, fingerprint = _INDEX_MARK.unpack_from(value)
        found.append(IndexMark(_INDEX.unpack(key)[1], state, fingerprint, value[_INDEX_MARK.size :]))
    return found


_COVERED_PREFIX = b"\x00covers"
_COVERED_KEY = struct.Struct(">7si")
_COVERED = struct.Struct(">q")

COVERED = KeyRange(prefix=_COVERED_PREFIX)
"""Where it is told of which positions the indexes are."""


def covered_pairs(positions: Mapping[int, Position]) -> list[tuple[bytes, bytes]]:
    """Return the stored pairs that say that the indexes are of these positions."""
    return [
        (_COVERED_KEY.pack(_COVERED_PREFIX, partition), _COVERED.pack(position.offset))
        for partition, position in positions.items()
    ]


LONGEST_INDEX_KEY = 510
"""Bytes of the longest key of an entry, its namespace not counted."""
_INDEX_HEADER = len(INDEXES) + 4 + 1
_INDEX_DIGEST = 16
KEPT = 1 + LONGEST_INDEX_KEY - _INDEX_HEADER - _INDEX_DIGEST
"""Bytes of ``values ‖ key`` that a long entry of an index keeps."""
_IS_UNDECODED, _IS_ENTRY = b"\0", b"\1"
_SHORT_VALUE, _LONG_VALUE = struct.Struct(">H"), struct.Struct(">I")


def index_entry(prefix: bytes, suffix: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the stored pair of a row in an index: its ``values ‖ key``, with ``size`` bytes of values."""
    if len(suffix) <= KEPT + _INDEX_DIGEST:
        return prefix + _IS_ENTRY + suffix, _SHORT_VALUE.pack(size)
    digest = blake2b(suffix, digest_size=_INDEX_DIGEST).digest()
    return prefix + _IS_ENTRY + suffix[:KEPT] + digest, _LONG_VALUE.pack(size) + suffix


def index_suffix(key: bytes, value: bytes) -> tuple[bytes, int]:
    """Return ``values ‖ key`` of an entry, and how many bytes the values have."""
    if len(value) == _SHORT_VALUE.size:
        return key[_INDEX_HEADER:], _SHORT_VALUE.unpack(value)[0]
    return value[_LONG_VALUE.size :], _LONG_VALUE.unpack_from(value)[0]


def undecoded_entry(prefix: bytes, key: bytes) -> tuple[bytes, bytes]:
    """Return the stored pair, in an index, of a row that does not decode."""
    return prefix + _IS_UNDECODED + blake2b(key, digest_size=_INDEX_DIGEST).digest(), key


def undecoded_entries(prefix: bytes) -> KeyRange:
    """Return where these are."""
    return KeyRange(prefix=prefix + _IS_UNDECODED)


def index_entries(prefix: bytes, start: bytes | None, stop: bytes | None) -> KeyRange:
    """Return where the entries are whose ``values ‖ key`` are from ``start`` to before ``stop``.

    Some others are there, too, where these have more bytes than a long entry keeps.
    """
    namespace = prefix + _IS_ENTRY
    if stop is not None and len(stop) > KEPT:
        return KeyRange(start and start[:KEPT], KeyRange(prefix=stop[:KEPT]).stop, None, namespace)
    return KeyRange(start and start[:KEPT], stop, None, namespace)


class WindowTimes(NamedTuple):
    """How far the event time of a store of windows has come."""

    newest: int
    """The greatest time of all accepted rows, in ms since the epoch; ``NO_TIME``: there was none."""
    first: int
    """The first time that is visible. It never goes back."""

    def pair(self) -> tuple[bytes, bytes]:
        """Return the stored pair."""
        return WINDOW_TIMES, _WINDOW_TIMES.pack(*self)


WINDOW_TIMES = b"\x00windows"
_WINDOW_TIMES = struct.Struct(">qq")
NO_TIME = -(1 << 63)


def window_times_of(value: bytes | None) -> WindowTimes:
    """Return what the value of ``WINDOW_TIMES`` says; ``None``: no row was accepted yet."""
    return WindowTimes(NO_TIME, NO_TIME) if value is None else WindowTimes(*_WINDOW_TIMES.unpack(value))


_SEGMENT = struct.Struct(">BI")
SEGMENT_PREFIX = _SEGMENT.size
"""Bytes in front of the key of a row in a segment."""
_SEGMENT_SIGN, _TIME_SIGN = 1 << 31, 1 << 63
LEAST_SEGMENT = 120_000
"""Milliseconds of the shortest segment: the years 1 to 9999 have numbers then."""


class WindowKeys(SegmentKeys):
    """The stored keys of rows with a time, and the ranges of their segments."""

    def number(self, time: int) -> int:
        """Return the number of the segment of ``time``."""
        return time // self.segment

    def segments(self, first: int, last: int | None = None) -> KeyRange:
        """Return where the segments ``first`` to before ``last`` are; ``None``: all from ``first`` on."""
        start = _SEGMENT.pack(2, first + _SEGMENT_SIGN)
        return KeyRange(start, None if last is None else _SEGMENT.pack(2, last + _SEGMENT_SIGN), WINDOWS)

    def before(self, number: int) -> KeyRange:
        """Return where the segments before ``number`` are."""
        return KeyRange(WINDOWS, _SEGMENT.pack(2, number + _SEGMENT_SIGN))

    def number_in(self, stored: bytes) -> int:
        """Return the number of the segment that a stored key is in."""
        return int.from_bytes(stored[1:SEGMENT_PREFIX]) - _SEGMENT_SIGN


def window_start(stored: bytes) -> int:
    """Return the start of a window by its stored key."""
    return int.from_bytes(stored[-8:]) - _TIME_SIGN


def session_end(stored: bytes) -> int:
    """Return the end of a session by its stored key."""
    return int.from_bytes(stored[-16:-8]) - _TIME_SIGN


PARTITIONING = b"\x00partitioning"
_PARTITIONING = struct.Struct(">iII")
_TRACKED, _SHARES = 1, 2


class StoredPartitioning(NamedTuple):
    """What a store knows of the partitions of its rows."""

    partitions: int
    """How many the topic has."""
    candidates: int = ALL_PARTITIONERS
    """Partitioners that explain where all rows were, but those of keys in ``SHARED``."""
    tracked: bool = True
    """Whether that is known of all rows; not of those in a store that is older than this."""
    shares: bool = False
    """Whether there may be keys in ``SHARED``."""

    def pair(self) -> tuple[bytes, bytes]:
        """Return the stored pair."""
        flags = _TRACKED * self.tracked | _SHARES * self.shares
        return PARTITIONING, _PARTITIONING.pack(self.partitions, self.candidates, flags)


def partitioning_of(value: bytes) -> StoredPartitioning:
    """Return what the value of ``PARTITIONING`` says."""
    partitions, candidates, flags = _PARTITIONING.unpack(value)
    return StoredPartitioning(partitions, candidates, bool(flags & _TRACKED), bool(flags & _SHARES))


class LastRecord(NamedTuple):
    """The last record of a key in one partition."""

    timestamp: int
    """In ms since the epoch, -1 for none."""
    payload: bytes | None
    """``None``: a tombstone."""


_RECORD = struct.Struct(">iqB")
_SIZE = struct.Struct(">I")
_IS_TOMBSTONE, _IS_ROW, _HAS_PAYLOAD = range(3)


def pack_shared(records: Mapping[int, LastRecord], in_row: int, applied_at: bytes) -> bytes:
    """Return the value in ``SHARED`` of a key; the row has the payload of the record in ``in_row``."""
    parts = [applied_at]
    for partition, (timestamp, payload) in sorted(records.items()):
        if payload is None:
            parts.append(_RECORD.pack(partition, timestamp, _IS_TOMBSTONE))
        elif partition == in_row:
            parts.append(_RECORD.pack(partition, timestamp, _IS_ROW))
        else:
            parts.append(_RECORD.pack(partition, timestamp, _HAS_PAYLOAD))
            parts.append(_SIZE.pack(len(payload)) + payload)
    return b"".join(parts)


def pack_single(partition: int, timestamp: int, is_tombstone: bool, applied_at: bytes) -> bytes:
    """Return the same of a key with one record."""
    return applied_at + _RECORD.pack(partition, timestamp, _IS_TOMBSTONE if is_tombstone else _IS_ROW)


def unpack_shared(value: bytes, row: bytes | None) -> dict[int, LastRecord]:
    """Return the records by partition; ``row`` is the key's row as stored.

    A record whose payload was in a row that is gone was removed for its age: the same as a tombstone.
    """
    records, at = {}, HEADER
    while at < len(value):
        partition, timestamp, kind = _RECORD.unpack_from(value, at)
        at += _RECORD.size
        payload = None
        if kind == _IS_ROW and row is not None:
            payload = row[HEADER:]
        elif kind == _HAS_PAYLOAD:
            (size,) = _SIZE.unpack_from(value, at)
            at += _SIZE.size + size
            payload = value[at - size : at]
        records[partition] = LastRecord(timestamp, payload)
    return records


def pack_timestamp(timestamp: int) -> bytes:
    """Return a header."""
    return timestamp.to_bytes(HEADER, signed=True)


def timestamp_of(value: bytes) -> int:
    """Return the timestamp in the header of a row's stored value, in ms since the epoch, -1 for none."""
    return int.from_bytes(value[:HEADER], signed=True)
