"""Keys of one window's table: the bytes of a key in the class's format, followed by the times of the window.

``WindowKeyForm`` (``entity/model.py``) says which times. The bytes are those of the record's key, as Kafka
Streams and ksqlDB write them, so a tombstone names its row. No window starts before 1970.

A key of text may go on after another one with a NUL, as ``A\\0b`` after ``A``: its rows lie among those of
the shorter key, since times begin with zeros as well. Filters take them away, or put them in order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Final

from statestore.core import KeyPattern, PlainPairs
from statestore.entity import EntityModel, WindowKeyForm
from statestore.errors import DecodeError, EncodeError
from statestore.fields.types import Scalar
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import time_at
from statestore.serde.formats import KeyCodec, KeyPlan, PairFilter, digest_of
from statestore.serde.json import JsonKeys
from statestore.serde.kafka_keys import IntegerKeys, UuidTextKeys
from statestore.serde.ordered_keys import OrderedKeys
from statestore.serde.window_times import END_OF_TIME, Time, bound_of, exact_time

Values = tuple[Any, ...]
Stored = tuple[bytes, bytes]
Range = tuple[bytes | None, bytes | None, bytes | None]

_TIME = struct.Struct(">q")
_SEQUENCE = bytes(4)
_NOTHING = "no seek: nothing can be there"
_OF_KEY = "one seek by key and time, in the order of time"
_OF_KEYS = "one seek, in the order of key and time"
_SORTED = "full scan, filtered and sorted into the order of key and time"


class WindowedKeys:
    """The ``KeyCodec`` of one window's table, around that of the class. Any number of threads may share one.

    The values of a key are those of the class's key fields and the times: ``datetime`` with a zone, or
    ``int`` milliseconds since 1970. They are read as the class declares them.
    """

    def __init__(self, inner: KeyCodec, model: EntityModel, form: WindowKeyForm) -> None:
        self.inner = inner
        """The codec of the class's key."""
        self.form = form
        """How the keys end."""
        self._names = [one.name for one in model.key_fields]
        self.count = len(self._names) - len(form.parts)
        """How many fields the key has without the times."""
        fields = model.key_fields[self.count :]
        self._time_names = [one.name for one in fields]
        self._read = [_time_of if _is_datetime(one.type) else _itself for one in fields]
        self._end = b"" if not form.has_sequence else _SEQUENCE
        self.size = form.size
        """How many bytes follow those of the class's key."""
        self._unpack = struct.Struct(f">{len(fields)}q").unpack_from
        self._sorts = isinstance(inner, OrderedKeys | IntegerKeys | UuidTextKeys)
        last = model.key_fields[self.count - 1].type
        self._ends_in_text = (
            isinstance(inner, OrderedKeys) and isinstance(last, Scalar) and last.type in (str, bytes)
        )

    def encode(self, values: Values) -> bytes:
        """Return the bytes of a key. Raises ``EncodeError``."""
        return self.inner.encode(values[: self.count]) + self._times(values)

    def decode(self, data: bytes) -> Values:
        """Return the values of a key. Raises ``DecodeError``."""
        cut = len(data) - self.size
        if cut < 0:
            raise DecodeError(f"shorter than the {self.size} bytes that end it: {bounded_repr(data)}")
        times = self._unpack(data, cut)
        for time in times:
            if not 0 <= time < END_OF_TIME:
                raise DecodeError(
                    f"{', '.join(self._time_names)}: {time} is no time of a window, in milliseconds since "
                    f"1970: {bounded_repr(data)} does not end as the key of a {self.form.described}"
                )
        read = [read(time) for read, time in zip(self._read, times, strict=True)]
        return (*self.inner.decode(data[:cut]), *read)

    def normalise(self, values: Values) -> Values:
        """Return the values as they are after ``encode`` and ``decode``. Raises ``EncodeError``."""
        times = zip(self._read, self._milliseconds(values), strict=True)
        return (*self.inner.normalise(values[: self.count]), *(read(time) for read, time in times))

    def encodings(self, values: Values) -> Sequence[bytes]:
        """Return all bytes under which a store may have the row of ``values``, the first of several rows."""
        times = self._times(values)
        return [one + times for one in self.inner.encodings(values[: self.count])]

    def times_in(self, key: bytes) -> tuple[int, ...]:
        """Return the times that end the bytes of a key, in milliseconds."""
        return self._unpack(key, len(key) - self.size)

    def _milliseconds(self, values: Values) -> list[int]:
        if len(values) != len(self._names):
            raise EncodeError(
                f"the key is ({', '.join(self._names)}), got {len(values)} values: {bounded_repr(values)}"
            )
        found = []
        for name, value in zip(self._time_names, values[self.count :], strict=True):
            time = exact_time(name, value)
            if time < 0:
                raise EncodeError(f"{name} {bounded_repr(value)}: no window of a topic starts before 1970")
            found.append(time)
        return found

    def _times(self, values: Values) -> bytes:
        return b"".join(map(_TIME.pack, self._milliseconds(values))) + self._end

    # Ranges

    def plan(self, start: Values | None, stop: Values | None, prefix: Values | None) -> KeyPlan:
        """Return how to find rows from ``start`` (included) to ``stop`` (excluded) with the ``prefix``.

        Each bound has the values of the leading key fields. Raises ``EncodeError``.
        """
        for bound in (start, stop, prefix):
            if bound is not None and len(bound) > len(self._names):
                self._milliseconds(bound)  # which refuses it
        if stop == ():
            return KeyPlan([], None, _NOTHING)
        first, end, begin = (_Bound(self, one) if one else None for one in (start, stop, prefix))
        if begin is None or not begin.is_whole:
            if not self._sorts:
                return self._filtered(first, end, begin)
            return self._ordered(first, end, begin) if self._ends_in_text else self._seeks(first, end, begin)
        if all(one is None or one.key == begin.key for one in (first, end)):
            return self._of_key(begin, first, end)
        return self._filtered(first, end, begin)

    def plan_of_starts(self, start: Time | None, stop: Time | None) -> KeyPlan:
        """Return how to find the rows whose windows start at ``start`` or later and before ``stop``."""
        low = b"" if start is None else self.times_of([start])[0]
        high = _PAST if stop is None else self.times_of([stop])[0]
        plan = self.plan(None, None, None)
        if plan.accepts is not None:
            return KeyPlan(plan.ranges, lambda values: low <= self.packed(values)[-8:] < high, plan.note)
        starts = _OfStarts(low, high, -8 - len(self._end))
        filters: list[PairFilter] = [partial(_both, starts, one) for one in plan.filters] or [starts] * len(
            plan.ranges
        )
        return KeyPlan(plan.ranges, None, f"scan of all keys, {_OF_KEYS}", filters)

    def _of_key(self, begin: _Bound, first: _Bound | None, end: _Bound | None) -> KeyPlan:
        """Return the plan of one key."""
        low = begin.times if first is None else max(begin.times, first.times)
        high = begin.past if end is None else min(begin.past, end.times)
        keys = self.inner.encodings(begin.key)
        ranges: list[Range] = [(one + low, one + high, None) for one in keys if low < high]
        if self._sorts:
            filters = [_OfLength(len(one) + self.size) for one in keys[: len(ranges)]]
            return KeyPlan(ranges, None, _OF_KEY, filters if self._ends_in_text else ())
        normal = self.inner.normalise(begin.key)
        return KeyPlan(
            ranges,
            lambda values: values[: self.count] == normal and low <= self.packed(values) < high,
            f"{len(ranges)} seeks by key and time, sorted into the order of time",
        )

    def _seeks(self, first: _Bound | None, end: _Bound | None, begin: _Bound | None) -> KeyPlan:
        """Return the plan of several keys, of which none begins with another."""
        start, stop, prefix = (None if one is None else one.key for one in (first, end, begin))
        plan = self.inner.plan(start, stop, prefix)
        ranges = list(plan.ranges)
        if end is not None and end.times:
            key = self.inner.encode(end.key)
            if _has(self.inner.plan(start, None, prefix).ranges, key):
                ranges.append((key, key + end.times, None))
        if first is not None and first.times:
            key = self.inner.encode(first.key)
            ranges = [
                (key + first.times if low == key else low, high, within) for low, high, within in ranges
            ]
        ranges = [one for one in ranges if not (one[0] and one[1] and one[0] >= one[1])]
        note = _OF_KEYS if len(ranges) < 2 else f"{len(ranges)} seeks, in the order of key and time"
        return KeyPlan(ranges, None, note if ranges else _NOTHING)

    def _ordered(self, first: _Bound | None, end: _Bound | None, begin: _Bound | None) -> KeyPlan:
        """Return the plan of several keys of text, whose rows are put in order where NULs need it."""
        low, high, within = (None if one is None else self._prefix(one.key) for one in (first, end, begin))
        stop = high
        if end is not None and high is not None:
            stop = high + end.times
            if end.is_whole and (nul := self._nul(high, end.key)) is not None:
                stop = high[:nul] + b"\1"
        arranged = _Arranged(
            self,
            None if first is None or low is None else (low, first.times),
            None if end is None or high is None else (high, end.times),
        )
        return KeyPlan([(low, stop, within)], None, _OF_KEYS, [arranged])

    def _filtered(self, first: _Bound | None, end: _Bound | None, begin: _Bound | None) -> KeyPlan:
        """Return the plan of keys whose bytes do not sort as their values do: a scan of all keys."""
        tests = [one for one in (
            None if first is None else first.not_before(),
            None if end is None else end.before(),
            None if begin is None else begin.begins(),
        ) if one is not None]  # fmt: skip
        return KeyPlan([(None, None, None)], lambda values: all(test(values) for test in tests), _SORTED)

    def _prefix(self, key: Values) -> bytes:
        assert isinstance(self.inner, OrderedKeys)
        return self.inner.native.encode_prefix(key)

    def stem(self, key: bytes) -> int | None:
        """Return how many bytes of a key are before the first NUL in its last text; ``None``: it has none."""
        if b"\0" not in key:
            return None
        if self.count == 1:
            return key.index(b"\0")
        try:
            return self._nul(key, self.inner.decode(key))
        except DecodeError:
            return None

    def _nul(self, encoded: bytes, key: Values) -> int | None:
        last = key[-1].encode() if isinstance(key[-1], str) else bytes(key[-1])
        place = last.find(b"\0")
        return None if place < 0 else len(encoded) - len(last) + place

    def times_of(self, values: Sequence[Any]) -> tuple[bytes, bytes]:
        """Return the first bytes of times that are not before ``values``, and the first past them."""
        packed, exact = b"", True
        last = -1
        for name, value in zip(self._time_names, values, strict=False):
            bound = bound_of(name, value)
            last = min(max(bound, 0), END_OF_TIME)
            packed += _TIME.pack(last)
            exact = last == bound and not (isinstance(value, datetime) and value.microsecond % 1000)
            if not exact:  # what follows does not matter
                break
        if not packed:
            return b"", _PAST
        return packed, packed[:-8] + _TIME.pack(last + 1) if exact else packed

    def packed(self, values: Values) -> bytes:
        """Return the bytes of the times in the values of a decoded key."""
        times = zip(self._time_names, values[self.count :], strict=True)
        return b"".join([_TIME.pack(exact_time(name, value)) for name, value in times])


class WindowedSpellings:
    """What is known of the texts of keys (``storage/spellings.py``) of a window's table, by its format."""

    def __init__(self, keys: WindowedKeys, texts: JsonKeys) -> None:
        self._keys = keys
        self._texts = texts
        self.pattern = KeyPattern([b"\xff"])  # no key fits, so each is looked at
        self.fingerprint = digest_of(b"window" + texts.fingerprint)

    def digest(self, values: Values) -> bytes:
        """Return what stands for the values of a key, whatever its text. Raises ``EncodeError``."""
        return digest_of(self._texts.digest(values[: self._keys.count]) + self._keys.packed(values))

    def respelled(self, key: bytes) -> bytes | None:
        """Return the digest of the values of ``key``; ``None`` if it is one of their encodings, or no key."""
        try:
            values = self._keys.decode(key)
            return None if key in self._keys.encodings(values) else self.digest(values)
        except (DecodeError, EncodeError):
            return None


_PAST: Final = _TIME.pack(END_OF_TIME)
"""What is past the times of all keys."""

Test = Callable[[Values], bool]


class _Bound:
    """A bound of a range: values of leading key fields, and times."""

    def __init__(self, codec: WindowedKeys, values: Values) -> None:
        self._codec = codec
        self.key = values[: codec.count]
        self.is_whole = len(self.key) == codec.count
        """Whether it has all fields of the class's key."""
        self.times, self.past = codec.times_of(values[codec.count :])
        """The first bytes of times that are not before those of the bound, and the first past them."""

    def not_before(self) -> Test:
        """Return what tells whether a key is this one or after it."""
        inner, count = self._codec.inner, self._codec.count
        accepts = _accepts(inner, inner.plan(self.key, None, None))
        if not self.times:
            return lambda values: accepts(values[:count])
        normal = inner.normalise(self.key)
        return lambda values: (
            accepts(values[:count]) and (values[:count] != normal or self._codec.packed(values) >= self.times)
        )

    def before(self) -> Test:
        """Return what tells whether a key is before this one."""
        inner, count = self._codec.inner, self._codec.count
        accepts = _accepts(inner, inner.plan(None, self.key, None))
        if not self.times:
            return lambda values: accepts(values[:count])
        normal = inner.normalise(self.key)
        return lambda values: (
            accepts(values[:count]) or (values[:count] == normal and self._codec.packed(values) < self.times)
        )

    def begins(self) -> Test:
        """Return what tells whether a key begins with this one."""
        inner, count = self._codec.inner, self._codec.count
        if not self.is_whole:
            accepts = _accepts(inner, inner.plan(None, None, self.key))
            return lambda values: accepts(values[:count])
        normal = inner.normalise(self.key)
        return lambda values: (
            values[:count] == normal and self.times <= self._codec.packed(values) < self.past
        )


@dataclass(frozen=True, slots=True)
class _OfLength:
    """Leaves keys of one length: rows of other keys lie between those of one."""

    length: int

    def __call__(self, pairs: Iterable[Stored], reverse: bool, offset: int) -> Iterator[Stored]:  # noqa: ARG002
        length = offset + self.length
        return (pair for pair in pairs if len(pair[0]) == length)


@dataclass(frozen=True, slots=True)
class _OfStarts:
    """Leaves windows that start from ``low`` to before ``high``; the start is at ``place`` of a key."""

    low: bytes
    high: bytes
    place: int

    def __call__(self, pairs: Iterable[Stored], reverse: bool, offset: int) -> Iterator[Stored]:  # noqa: ARG002
        low, high, place = self.low, self.high, self.place
        end = place + 8 or None
        return (pair for pair in pairs if low <= pair[0][place:end] < high)


def _both(
    first: PairFilter, second: PairFilter, pairs: Iterable[Stored], reverse: bool, offset: int
) -> Iterator[Stored]:
    return second(first(pairs, reverse, offset), reverse, offset)


@dataclass(frozen=True, slots=True)
class _Arranged:
    """Puts rows into the order of (key, times), and leaves those from ``low`` to before ``high``."""

    codec: WindowedKeys
    low: tuple[bytes, bytes] | None
    high: tuple[bytes, bytes] | None

    def __call__(self, pairs: Iterable[Stored], reverse: bool, offset: int) -> Iterator[Stored]:
        """Rows of keys that are the same up to the first NUL are together: they alone may be out of order."""
        if self.low is None and self.high is None and not reverse and self.codec.count == 1:
            return PlainPairs(pairs, offset, self.codec.size, partial(self._from, offset))
        return self._arranged(pairs, reverse, offset)

    def _from(self, offset: int, first: Stored, rest: Iterator[Stored]) -> Iterator[Stored]:
        return self._arranged(chain([first], rest), False, offset)

    def _arranged(self, pairs: Iterable[Stored], reverse: bool, offset: int) -> Iterator[Stored]:
        stem_of, low, high, size = self.codec.stem, self.low, self.high, self.codec.size
        held: list[tuple[bytes, Stored]] = []
        held_stem: bytes | None = None
        for pair in pairs:
            stored = pair[0]
            key, times = stored[offset:-size], stored[-size:]
            if (low is not None and (key, times) < low) or (high is not None and (key, times) >= high):
                continue
            nul = stem_of(key)
            stem = key if nul is None else key[:nul]
            if held and stem != held_stem:
                held.sort(reverse=reverse)
                yield from (one for _, one in held)
                held.clear()
            if nul is None and not reverse:
                yield pair
            else:
                held.append((key, pair))
                held_stem = stem
        held.sort(reverse=reverse)
        yield from (one for _, one in held)


def _has(ranges: Sequence[Range], key: bytes) -> bool:
    return any(
        (start is None or key >= start) and (stop is None or key < stop) and key.startswith(prefix or b"")
        for start, stop, prefix in ranges
    )


def _accepts(inner: KeyCodec, plan: KeyPlan) -> Test:
    """Return what tells whether the values of a key are in ``plan``."""
    return plan.accepts or (lambda values: _has(plan.ranges, inner.encode(values)))


def _is_datetime(type_: object) -> bool:
    return isinstance(type_, Scalar) and type_.type is datetime


def _time_of(milliseconds: int) -> datetime:
    return time_at(milliseconds * 1000)


def _itself(milliseconds: int) -> int:
    return milliseconds
