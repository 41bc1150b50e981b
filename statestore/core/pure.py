"""The native core in Python: what ``statestore._native`` must do, byte for byte and error for error.

``docs/key-format.md`` is the specification of the keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import Any, TypeVar, final
from uuid import UUID

from statestore.core import common
from statestore.core.common import Folded, KeyLimit, Message, Partitioning, RecordFilter, RejectedRecord
from statestore.core.pure_keyrange import KeyRange as KeyRange
from statestore.core.pure_partitioners import conforming
from statestore.core.pure_partitioners import place_of as place_of
from statestore.core.pure_reads import BytesReads as BytesReads
from statestore.core.pure_reads import PointReads as PointReads
from statestore.core.pure_reads import Readable as Readable
from statestore.core.pure_reads import RecordCache as RecordCache
from statestore.core.pure_run import WriteRun as WriteRun
from statestore.core.pure_windows import OpenWindows as OpenWindows
from statestore.core.pure_windows import WindowFold as WindowFold
from statestore.runtime import times

_UINT64 = Struct(">Q")
_INT64 = Struct(">q")
_UINT32 = Struct(">I")
_SIGN64 = 1 << 63
_SIGN32 = 1 << 31
_SUBTYPES_APART = {"int": bool, "date": datetime}
"""Types of their own although Python makes them subclasses."""
_WIDTHS = {"int": 8, "uuid": 16, "datetime": 8, "date": 4}

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def acyclic(made: T) -> T:
    return made


@final
class KeyCodec:
    """Turns tuples of one list of types into bytes whose order is the order of the tuples, and back.

    ``kinds`` names the type of each component: ``int str bytes uuid datetime date``; anything else, and an
    empty list, is a ``ValueError``. Immutable, so any number of threads may share one.
    """

    __slots__ = ("kinds",)

    kinds: tuple[str, ...]

    def __init__(self, kinds: Sequence[str]) -> None:
        if not kinds or any(kind not in common.KINDS for kind in kinds):
            raise common.wrong_kinds(kinds)
        self.kinds = tuple(kinds)

    def __repr__(self) -> str:
        return f"KeyCodec({self.kinds!r})"

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the key of ``values``. Raises ``EncodeError`` naming the component that does not fit."""
        if not isinstance(values, tuple):
            raise common.not_a_tuple(values)
        if len(values) != len(self.kinds):
            raise common.wrong_count(self.kinds, values)
        return self._encode(values)

    def encode_prefix(self, values: tuple[Any, ...]) -> bytes:
        """Return the bytes that exactly the keys which begin with the components ``values`` begin with.

        With a value for every component this is ``encode(values)``: the one key, not a prefix of others.
        """
        if not isinstance(values, tuple):
            raise common.not_a_tuple(values)
        if len(values) > len(self.kinds):
            raise common.wrong_count(self.kinds, values)
        return self._encode(values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the tuple whose key ``data`` is; datetimes come in UTC.

        Raises ``DecodeError`` for bytes that ``encode`` never makes.
        """
        if not isinstance(data, bytes):
            raise common.not_bytes(data)
        at = 0
        values = []
        for index in range(len(self.kinds)):
            value, at = self._read(data, at, index)
            values.append(value)
        if at != len(data):
            raise common.left_over(self.kinds, data, len(data) - at)
        return tuple(values)

    def _encode(self, values: tuple[Any, ...]) -> bytes:
        return b"".join(self._component(index, value) for index, value in enumerate(values))

    def _component(self, index: int, value: Any) -> bytes:
        kind = self.kinds[index]
        base = common.TYPES[kind]
        if not isinstance(value, base) or isinstance(value, _SUBTYPES_APART.get(kind, ())):
            raise common.wrong_type(self.kinds, index, value)
        if type(value) is not base:
            value = common.plain_component(self.kinds, index, value)
        match kind:
            case "int":
                if not -_SIGN64 <= value < _SIGN64:
                    raise common.unfit(self.kinds, index, value, common.INT_RANGE)
                return _UINT64.pack(value + _SIGN64)
            case "str":
                return self._variable(index, self._utf8(index, value))
            case "bytes":
                return self._variable(index, value)
            case "uuid":
                data: bytes = value.bytes
                return data
            case "datetime":
                return _UINT64.pack(self._microseconds(index, value) + _SIGN64)
            case _:
                return _UINT32.pack(times.days(value) + _SIGN32)

    def _utf8(self, index: int, value: str) -> bytes:
        try:
            return str.encode(value)
        except UnicodeEncodeError:
            raise common.unfit(self.kinds, index, value, common.SURROGATE) from None

    def _microseconds(self, index: int, value: datetime) -> int:
        if value.utcoffset() is None:
            raise common.unfit(self.kinds, index, value, common.NAIVE)
        microseconds = times.microseconds(value)
        if not times.FIRST_MICROSECOND <= microseconds <= times.LAST_MICROSECOND:
            raise common.unfit(self.kinds, index, value, common.DATETIME_RANGE)
        return microseconds

    def _variable(self, index: int, data: bytes) -> bytes:
        if index == len(self.kinds) - 1:
            return bytes(data)
        return data.replace(b"\0", b"\0\xff") + b"\0\0"

    def _read(self, data: bytes, at: int, index: int) -> tuple[Any, int]:
        kind = self.kinds[index]
        if kind in ("str", "bytes"):
            raw, at = self._read_variable(data, at, index)
            if kind == "bytes":
                return raw, at
            try:
                return raw.decode(), at
            except UnicodeDecodeError:
                raise common.malformed(self.kinds, index, data, common.NOT_UTF8) from None
        end = at + _WIDTHS[kind]
        if end > len(data):
            reason = common.too_short(end - at, len(data) - at)
            raise common.malformed(self.kinds, index, data, reason)
        return self._read_fixed(data, at, index), end

    def _read_fixed(self, data: bytes, at: int, index: int) -> Any:
        kind = self.kinds[index]
        if kind == "uuid":
            return UUID(bytes=data[at : at + 16])
        if kind == "date":
            days = _UINT32.unpack_from(data, at)[0] - _SIGN32
            if not times.FIRST_DAY <= days <= times.LAST_DAY:
                raise common.malformed(self.kinds, index, data, common.DATE_RANGE)
            return times.date_at(days)
        number = _UINT64.unpack_from(data, at)[0] - _SIGN64
        if kind == "int":
            return number
        if not times.FIRST_MICROSECOND <= number <= times.LAST_MICROSECOND:
            raise common.malformed(self.kinds, index, data, common.DATETIME_RANGE)
        return times.time_at(number)

    def _read_variable(self, data: bytes, at: int, index: int) -> tuple[bytes, int]:
        if index == len(self.kinds) - 1:
            return data[at:], len(data)
        begin = at
        while True:
            zero = data.find(b"\0", at)
            mark = data[zero + 1 : zero + 2]
            if zero < 0 or not mark:
                raise common.malformed(self.kinds, index, data, common.UNTERMINATED)
            at = zero + 2
            if mark == b"\0":
                return data[begin:zero].replace(b"\0\xff", b"\0"), at
            if mark != b"\xff":
                raise common.malformed(self.kinds, index, data, common.BAD_ESCAPE)


_PARTS = {
    "int": rb"(?:0|-?[1-9][0-9]*)",
    "text": rb'"[\x20\x21\x23-\x5b\x5d-\xef]*"',
    "uuid": rb'"[0-9a-f-]{36}"',
    "time": rb'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?!000000)[0-9]{6})?Z"',
}


@final
class KeyPattern:
    """The form of canonical JSON keys: its parts are bytes as they are, or the name of a kind of value.

    The kinds are ``int``, ``text`` (a string without escapes), ``uuid`` and ``time``. A key that fits is
    canonical if it decodes; one that does not fit may be.
    """

    def __init__(self, parts: Iterable[bytes | str]) -> None:
        form = [re.escape(part) if isinstance(part, bytes) else _PARTS[part] for part in parts]
        self._matched = re.compile(b"".join(form), re.DOTALL).fullmatch

    def fits(self, key: bytes) -> bool:
        """Whether ``key`` has the form."""
        return self._matched(key) is not None


def window_key(key: bytes, start_ms: int) -> bytes:
    """Return ``key ‖ start_ms`` as Kafka's windowed topics have it: int64 big-endian, sign not flipped.

    ``start_ms`` is the window's start in milliseconds since 1970; beyond 64 bits it is an ``EncodeError``.
    """
    if not -_SIGN64 <= start_ms < _SIGN64:
        raise common.window_start_unfit(start_ms)
    return key + _INT64.pack(start_ms)


def split_window_key(data: bytes) -> tuple[bytes, int]:
    """Return ``(key, start_ms)`` of what ``window_key`` made. Raises ``DecodeError`` below 8 bytes."""
    if len(data) < 8:
        raise common.window_key_short(data)
    return data[:-8], _INT64.unpack_from(data, len(data) - 8)[0]


class _PartitionFold:
    """How far the fold got in one partition."""

    __slots__ = ("last", "next", "partition", "topic_fold")

    def __init__(self, topic_fold: _TopicFold, partition: int, position: int) -> None:
        self.topic_fold = topic_fold
        self.partition = partition
        self.next = position
        self.last: Message | None = None

    def finish(self) -> None:
        """Tell the topic's fold how far its partition got."""
        if self.last is not None:
            epoch = self.last.leader_epoch()
            self.topic_fold.positions[self.partition] = (self.next, -1 if epoch is None else epoch)


class _TopicFold:
    """The last write per key of one topic, and what was counted on the way."""

    def __init__(
        self,
        namespace: bytes,
        record_filter: RecordFilter | None,
        key_limit: KeyLimit | None,
        partitioning: Partitioning | None,
    ) -> None:
        self.record_filter = record_filter
        self.key_limit = key_limit
        self.partitions, self.candidates = partitioning or (0, 0)
        self.strays = WriteRun(b"")
        self.positions: dict[int, tuple[int, int]] = {}
        self.writes = WriteRun(namespace)
        self.null_keys = self.stale = self.bytes = self.skipped = self.long_keys = self.long_tombstones = 0
        self.last_timestamp = -1
        self.last_skipped: RejectedRecord | None = None
        self.stopped: RejectedRecord | None = None

    def passes(self, message: Message) -> bool:
        """Ask the key limit or the filter, if there is one; take note of a record that it rejects."""
        key, value = message.key(), message.value()
        if key is None or value is None:
            return True
        is_long = self.is_long(key)
        judge = self.key_limit if is_long else self.record_filter
        if judge is None:
            return True
        kind, timestamp = message.timestamp()
        rejected = judge(message.partition(), message.offset(), key, value, -1 if kind == 0 else timestamp)
        if rejected is None:
            return True
        self.long_keys += is_long
        if rejected.stops:
            self.stopped = rejected
        else:
            self.last_skipped = rejected
            self.skipped += 1
        return False

    def is_long(self, key: bytes) -> bool:
        """Whether ``key`` is longer than the store takes."""
        return self.key_limit is not None and len(key) > self.key_limit.longest

    def apply(self, message: Message) -> None:
        key: bytes | None = message.key()
        value: bytes | None = message.value()
        kind, timestamp = message.timestamp()
        if kind == 0:
            timestamp = -1
        self.last_timestamp = max(self.last_timestamp, timestamp)
        if value is not None:
            self.bytes += len(value)
        if key is None:
            self.null_keys += 1
            return
        self.bytes += len(key)
        if self.is_long(key):
            self.long_tombstones += 1  # nothing to delete
            return
        partition = message.partition()
        if self.candidates:
            left = conforming(self.candidates, key, partition, self.partitions)
            if not left:
                self.strays.write(key + partition.to_bytes(4), value, timestamp)
                return
            self.candidates = left
        self.writes.write(key, value, timestamp)

    def folded(self) -> Folded:
        return common.folded(
            self.writes,
            self.positions,
            self.null_keys,
            self.stale,
            self.bytes,
            self.last_timestamp,
            self.skipped,
            self.last_skipped,
            self.stopped,
            self.long_keys,
            self.long_tombstones,
            self.strays,
            self.candidates,
        )


def fold(
    messages: Iterable[M],
    positions: Mapping[tuple[str, int], int],
    namespace: bytes,
    filters: Mapping[str, RecordFilter] | None = None,
    key_limits: Mapping[str, KeyLimit] | None = None,
    partitioning: Mapping[str, Partitioning] | None = None,
) -> tuple[dict[str, Folded], list[M]]:
    """Fold consumed ``messages`` into the last write of each key, per topic; ``namespace`` is put before it.

    ``positions`` holds the next offset to apply of each ``(topic, partition)`` that is ours. A record below
    it, or below one seen earlier in ``messages``, was applied before: it is counted as stale and otherwise
    ignored. A record of any other partition is not ours and leaves no trace. ``filters`` has a
    ``RecordFilter`` by topic: a record that it skips moves the position only; from one at which it stops, the
    topic's records are left out. ``key_limits`` has a ``KeyLimit`` by topic, which judges records with longer
    keys in the same way. ``partitioning`` has a ``Partitioning`` by topic: its strays are kept apart. Without
    one, where several partitions of a topic write one key, the later in the list wins.

    Returns ``Folded`` by topic, for the topics with a record of ours, and the messages that are errors or
    events (``error()`` is not ``None``) in their order. Keeps nothing: any thread may call it.
    """
    topics: dict[str, _TopicFold] = {}
    parts: dict[tuple[str, int], _PartitionFold | None] = {}
    events: list[M] = []
    for message in messages:
        if message.error() is not None:
            events.append(message)
            continue
        place = (message.topic(), message.partition())
        if place not in parts:
            parts[place] = _part_of(
                place, positions, topics, namespace, filters or {}, key_limits or {}, partitioning or {}
            )
        part = parts[place]
        if part is None or part.topic_fold.stopped is not None:
            continue
        offset = message.offset()
        if offset < part.next:
            part.topic_fold.stale += 1
            continue
        if part.topic_fold.passes(message):
            part.topic_fold.apply(message)
        elif part.topic_fold.stopped is not None:
            continue
        part.next = offset + 1
        part.last = message
    for reached in parts.values():
        if reached is not None:
            reached.finish()
    return {topic: one.folded() for topic, one in topics.items()}, events


def _part_of(
    place: tuple[str, int],
    positions: Mapping[tuple[str, int], int],
    topics: dict[str, _TopicFold],
    namespace: bytes,
    filters: Mapping[str, RecordFilter],
    key_limits: Mapping[str, KeyLimit],
    partitioning: Mapping[str, Partitioning],
) -> _PartitionFold | None:
    position = positions.get(place)
    if position is None:
        return None
    topic, partition = place
    if topic not in topics:
        topics[topic] = _TopicFold(
            namespace, filters.get(topic), key_limits.get(topic), partitioning.get(topic)
        )
    topic_fold = topics[topic]
    return _PartitionFold(topic_fold, partition, position)
