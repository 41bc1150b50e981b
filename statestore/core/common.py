"""What ``statestore._native`` and its twin ``statestore.core.pure`` share: result types, texts of errors."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from statestore.errors import DecodeError, EncodeError, StoreClosedError
from statestore.runtime import times
from statestore.runtime.plain import NotPlainError, plain
from statestore.runtime.slices import pause_point as pause_point
from statestore.runtime.text import bounded_repr

KINDS = ("int", "str", "bytes", "uuid", "datetime", "date")
"""The types a key component can have, by the names the key codec takes."""
TYPES: dict[str, type[Any]] = dict(zip(KINDS, (int, str, bytes, UUID, datetime, date), strict=True))


class ClientError(Exception):
    """What librdkafka refuses, by its own code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Message(Protocol):
    """What the apply loop calls on a record: the methods of ``confluent_kafka.Message``."""

    def topic(self) -> Any: ...
    def partition(self) -> Any: ...
    def offset(self) -> Any: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def timestamp(self) -> tuple[int, int]: ...
    def error(self) -> Any: ...
    def leader_epoch(self) -> Any: ...


class SortedRun(Protocol):
    """Changes to one store, one for each key: a put or a delete. One thread at a time."""

    def __len__(self) -> int:
        """How many keys change."""
        ...

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        """Call ``put(key, value)`` or ``delete(key)`` for each key, in ascending order of the keys.

        Other threads get their turn at least every millisecond or so, as far as the calls let them. What a
        call raises ends it; ``feed`` may then be called again, and begins at the first key.
        """
        ...


class PairRun:
    """A sorted run of pairs to put and keys to delete, no key of which is in it twice."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        changes: list[tuple[bytes, bytes | None]] = [*pairs, *((key, None) for key in deletes)]
        self._changes = sorted(changes, key=lambda change: change[0])

    def __len__(self) -> int:
        return len(self._changes)

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        for key, value in self._changes:
            if value is None:
                delete(key)
            else:
                put(key, value)


class Writes(SortedRun, Protocol):
    """A sorted run that can be listed, too."""

    @property
    def size(self) -> int:
        """Bytes of the keys and of the values that are put."""
        ...

    def puts(self) -> list[tuple[bytes, bytes]]:
        """Return ``[(key, value)]`` of the keys that get a value. Takes time and memory for each of them."""
        ...

    def deletes(self) -> list[bytes]:
        """Return the keys that lose theirs, none of which is in ``puts()``."""
        ...

    def times(self, back: int, least: int, stop: int, ahead: int) -> tuple[int, int, int]:
        """Return the greatest time in the keys, how many values are late, and how many times are early.

        A time is an int64, ``back`` bytes before the end of a key. Those below 0 or not below ``stop`` count
        as none, and so do keys that are too short. A value is late whose time is before ``least``. A time is
        early that is more than ``ahead`` after its record's timestamp: it is no greatest time. Keys that lose
        their value count, too, or it would matter in which run they came. Without a time the greatest is -1.
        """
        ...

    def unlike(self, pattern: Any) -> list[tuple[bytes, bytes | None]]:
        """Return the keys that do not fit a ``KeyPattern``, without their namespace.

        Each comes with the header of its value, ``None`` if it loses its value.
        """
        ...


class CountedWrites(Writes, Protocol):
    """Writes that were counted as they came, those replaced since included: what both ``WriteRun`` are."""

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Return keys in the order they came in: from the ``start``-th to before the ``stop``-th at most."""
        ...

    def records(self) -> list[tuple[bytes, int, bytes | None]]:
        """Return ``[(key, timestamp, payload)]``; payload ``None``: a tombstone."""
        ...

    def take(self, key: bytes) -> tuple[int, bytes | None] | None:
        """Take the write of ``key`` out; return ``(timestamp, payload)``, ``None`` where there is none."""
        ...

    def marks(self, namespace: bytes, note: bytes) -> SortedRun:
        """Return the run of what remembers the tombstones: ``namespace ‖ key → timestamp ‖ note``."""
        ...

    @property
    def upserts(self) -> int: ...
    @property
    def tombstones(self) -> int: ...
    @property
    def longest_key(self) -> int: ...


PARTITIONERS = (
    "murmur2",
    "crc32",
    "fnv1a",
    "murmur2 of a windowed key",
    "murmur2 of a window store's key",
    "murmur2 of a session's key",
)
"""The partitioners that are known, by number.

The first three are Java's and most other clients', librdkafka's ``consistent`` (the default of what stands on
it), and Sarama's. The others are Kafka Streams', which leaves out the window at the end of a key: a start (8
bytes), a start and a sequence number (12), an end and a start (16).
"""
PARTITION_SIZE = 4
"""Bytes of the partition behind the key of a stray."""
ALL_PARTITIONERS = (1 << len(PARTITIONERS)) - 1


class Partitioning(NamedTuple):
    """What is known of how the records of a topic were spread over its partitions."""

    partitions: int
    """How many the topic has."""
    candidates: int = ALL_PARTITIONERS
    """A bit for each of ``PARTITIONERS`` that explains all records but the strays; never 0."""


BEFORE_ALL, NEVER = -(2**63), 2**63 - 1
"""Milliseconds before and after every time."""


FIRST_TIME = times.FIRST_MICROSECOND // 1000
END_OF_TIME = times.LAST_MICROSECOND // 1000 + 1
"""The first millisecond, and the one after the last, of the years 1 to 9999."""

EARLIEST = times.FIRST_MICROSECOND // 1000 + 366 * 86_400_000
LATEST = times.LAST_MICROSECOND // 1000 - 366 * 86_400_000
"""The milliseconds of event times: of the years 2 to 9998, so that windows begin and end in years, too."""


class FoldShape(NamedTuple):
    """What the fold of records into windows does. Times are milliseconds."""

    keys: tuple[str, ...]
    """The attributes that make the key: the value of one, or a tuple of several."""
    time: str | None
    """The attribute with the event's time; ``None``: the record's timestamp is that time."""
    inputs: tuple[str | Callable[[Any], Any], ...]
    """What is taken of each record: the name of an attribute, or a function."""
    parts: tuple[tuple[str, int, int, Callable[[Any, Any], Any] | None], ...]
    """Of each: what is done, of which input (-1: the record itself), at which place of the state, and how."""
    start: tuple[Any, ...]
    """The state before the first record; each window has a copy."""
    acyclic: bool
    """Whether a state can refer to nothing that refers to it: then Python's collector may leave it out."""
    windows: tuple[tuple[int, int, int], ...]
    """Size, origin and grace of each."""
    max_future: int
    """How far an event time may be after its record's timestamp."""
    per_partition: bool
    """Whether the watermark is a partition's: then each has the same windows for ever."""
    record: type
    """The class of records that have a value, a timestamp and a partition of their own."""
    without_time: Callable[[Any], Exception]
    """Makes the error for a value without a time."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that the filter of its topic does not let count."""

    partition: int
    offset: int
    key: bytes | None
    timestamp: int
    """In ms since 1970, -1 for none."""
    error: Exception
    """Why."""
    stops: bool
    """Whether the topic is not read on from here; otherwise the record is skipped."""


class RecordFilter(Protocol):
    """Judges each record of a topic with key and value, in the order of a partition's offsets.

    Must not raise: what it raises is an error of the whole read.
    """

    def __call__(
        self, partition: int, offset: int, key: bytes, value: bytes, timestamp: int
    ) -> RejectedRecord | None:
        """Return ``None`` for a record that counts; ``timestamp`` is in ms, -1 for none."""
        ...


class KeyLimit(Protocol):
    """The longest key that a topic's store takes, and the judge of records whose key is longer.

    A tombstone of a longer key is applied without a trace: the store does not have the key. Must not raise.
    """

    longest: int
    """In bytes."""

    def __call__(
        self, partition: int, offset: int, key: bytes, value: bytes, timestamp: int
    ) -> RejectedRecord:
        """Return how the record is rejected; ``timestamp`` is in ms, -1 for none."""
        ...


@dataclass(frozen=True, slots=True)
class Folded:
    """What a list of messages leaves of one topic: the last write of each key, and how far it brings us."""

    writes: CountedWrites
    """By ``namespace ‖ key``: ``timestamp in ms as int64 big-endian, -1 for none ‖ payload``, or a delete."""
    positions: dict[int, tuple[int, int]]
    """Per partition that moved: ``(next offset to apply, leader epoch of its last record, -1 for none)``."""
    records: int
    """Records applied, which is ``upserts + tombstones + null_keys``."""
    upserts: int
    """Records with key and value; an empty value is one."""
    tombstones: int
    """Records with a key and no value."""
    null_keys: int
    """Records without a key: they belong to no row and only move the position."""
    stale: int
    """Records below the position: applied earlier, ignored now."""
    bytes: int
    """Bytes of the keys and values of the records applied."""
    longest_key: int
    """Bytes of the longest key applied, the namespace byte not counted."""
    last_timestamp: int
    """Greatest timestamp of the records applied, in ms since 1970; -1 if none has one."""
    skipped: int = 0
    """Records that the topic's filter rejected and that were skipped. No other number counts them."""
    last_skipped: RejectedRecord | None = None
    stopped: RejectedRecord | None = None
    """The record before which reading the topic stopped, for good: nothing of it comes any more."""
    long_keys: int = 0
    """Records that the topic's key limit rejected; those skipped are among ``skipped``, too."""
    strays: CountedWrites | None = None
    """The last writes of keys in partitions where no candidate puts them, by ``key ‖ partition int32``."""
    candidates: int = 0
    """What is left of ``Partitioning.candidates``; 0: the topic has one partition."""


def folded(
    writes: CountedWrites,
    positions: dict[int, tuple[int, int]],
    null_keys: int,
    stale: int,
    size: int,
    last_timestamp: int,
    skipped: int,
    last_skipped: RejectedRecord | None,
    stopped: RejectedRecord | None,
    long_keys: int,
    long_tombstones: int,
    strays: CountedWrites,
    candidates: int,
) -> Folded:
    """Return the ``Folded`` of ``writes`` with what was counted beside them; ``size`` is its ``bytes``.

    ``long_tombstones`` are those that are not among ``writes``, since their key is too long for the store.
    """
    upserts = writes.upserts + strays.upserts
    tombstones = writes.tombstones + strays.tombstones + long_tombstones
    return Folded(
        writes=writes,
        positions=positions,
        records=upserts + tombstones + null_keys,
        upserts=upserts,
        tombstones=tombstones,
        null_keys=null_keys,
        stale=stale,
        bytes=size,
        longest_key=max(writes.longest_key, strays.longest_key - PARTITION_SIZE),
        last_timestamp=last_timestamp,
        skipped=skipped,
        last_skipped=last_skipped,
        stopped=stopped,
        long_keys=long_keys,
        strays=strays,
        candidates=candidates,
    )


def has_only_slots(cls: type, count: int) -> bool:
    """Whether an object of ``cls`` has ``count`` slots and nothing else that could refer to an object.

    A weak reference to it is none of these.
    """
    slots = count + (cls.__weakrefoffset__ > 0)
    return cls.__dictoffset__ == 0 and cls.__basicsize__ == object.__basicsize__ + slots * struct.calcsize(
        "P"
    )


def wrong_kinds(kinds: Sequence[str]) -> ValueError:
    return ValueError(
        f"a key has one component or more, each of {', '.join(KINDS)}; got {bounded_repr(kinds)}"
    )


def not_a_tuple(values: object) -> TypeError:
    return TypeError(f"key values must be a tuple, not {type(values).__name__}: {bounded_repr(values)}")


def not_bytes(data: object) -> TypeError:
    return TypeError(f"a key must be bytes, not {type(data).__name__}: {bounded_repr(data)}")


def wrong_count(kinds: Sequence[str], values: tuple[object, ...]) -> EncodeError:
    return EncodeError(f"the key is ({', '.join(kinds)}), got {len(values)} values: {bounded_repr(values)}")


def wrong_type(kinds: Sequence[str], index: int, value: object) -> EncodeError:
    return EncodeError(
        f"key component {index + 1} of {len(kinds)} must be {kinds[index]}, "
        f"not {type(value).__name__}: {bounded_repr(value)}"
    )


def unfit(kinds: Sequence[str], index: int, value: object, reason: str) -> EncodeError:
    return EncodeError(
        f"key component {index + 1} of {len(kinds)} ({kinds[index]}) {reason}: {bounded_repr(value)}"
    )


def plain_component(kinds: Sequence[str], index: int, value: object) -> Any:
    """Return an instance of a subclass as an instance of its kind. Raises ``EncodeError``."""
    try:
        return plain(value, TYPES[kinds[index]])
    except NotPlainError as error:
        raise unfit(kinds, index, value, str(error)) from None


def malformed(kinds: Sequence[str], index: int, data: bytes, reason: str) -> DecodeError:
    return DecodeError(
        f"component {index + 1} of {len(kinds)} ({kinds[index]}) of the stored key {reason}: "
        f"{bounded_repr(data)}"
    )


def left_over(kinds: Sequence[str], data: bytes, count: int) -> DecodeError:
    return DecodeError(
        f"the stored key has {count} bytes too many for ({', '.join(kinds)}): {bounded_repr(data)}"
    )


def window_start_unfit(start_ms: int) -> EncodeError:
    return EncodeError(f"window start does not fit 64 bits of milliseconds: {bounded_repr(start_ms)}")


def window_key_short(data: bytes) -> DecodeError:
    return DecodeError(
        f"a window key ends with 8 bytes of start, this one has {len(data)}: {bounded_repr(data)}"
    )


def ends_before_start(start: object, end: object) -> EncodeError:
    return EncodeError(f"a session that ends at {end} before its start {start}: exchange the two")


def must_be_bytes(what: str, given: object) -> TypeError:
    text = f"{what} must be bytes, not {type(given).__name__}: {bounded_repr(given)}"
    return TypeError(f'{text}; encode it, as "k".encode() does' if isinstance(given, str) else text)


def joined(namespace: bytes, key: object) -> bytes:
    """Return ``namespace`` and ``key``, any buffer. Raises ``TypeError`` for anything else."""
    try:
        return namespace + key  # type: ignore[operator]
    except TypeError:
        raise must_be_bytes("a key", key) from None


def event_milliseconds(time: object) -> int:
    """Return the milliseconds since 1970 of the time of an event, rounded down.

    Raises ``ValueError`` for a time without a zone and one of no year, ``TypeError`` for what is no time.
    """
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise ValueError(
                f"the event time {time.isoformat()} has no zone: give one, such as datetime(2026, 1, 1, "
                "tzinfo=UTC)"
            )
        return times.milliseconds(time)
    if not isinstance(time, int) or isinstance(time, bool):
        raise TypeError(
            f"the event time is {type(time).__name__} {bounded_repr(time)}: it must be a datetime with a "
            "zone, or an int of milliseconds since 1970"
        )
    if not -(2**63) <= time < 2**63:
        raise event_time_unfit(time)
    return int(time)


def event_time_unfit(time: int) -> ValueError:
    return ValueError(
        f"the event time {times.milliseconds_text(time)} is outside of the years 2 to 9998: times are "
        "milliseconds since 1970"
    )


def busy_fold() -> RuntimeError:
    return RuntimeError(
        "the aggregate takes a record already: one thread at a time may use it, and no reducer of its own"
    )


def check_limit(limit: int | None) -> None:
    """Raise ``ValueError`` for a negative ``limit``."""
    if limit is not None and limit < 0:
        raise negative_limit(limit)


def negative_limit(limit: int) -> ValueError:
    return ValueError(f"limit must be None or >= 0, not {bounded_repr(limit)}")


def closed_error() -> StoreClosedError:
    return StoreClosedError("the store, or the snapshot this was read from, is closed")


SURROGATE = "has a lone surrogate, which UTF-8 cannot encode"
INT_RANGE = "does not fit 64 bits"
NAIVE = "has no time zone; give it one (tzinfo=datetime.UTC)"
DATETIME_RANGE = "is outside of the years 1 to 9999 in UTC"
DATE_RANGE = "is outside of the years 1 to 9999"
NOT_UTF8 = "is not UTF-8"
UNTERMINATED = "has no terminator 00 00"
BAD_ESCAPE = "has a byte 00 followed by neither 00 nor ff"


def too_short(width: int, left: int) -> str:
    return f"needs {width} bytes, {left} are left"
