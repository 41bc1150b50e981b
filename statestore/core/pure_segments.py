"""The twin of ``_native/segments.pxi``: rows with a time in their keys, in segments of time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from statestore.core import common
from statestore.core.pure_keyrange import KeyRange
from statestore.errors import EncodeError

_PREFIX = struct.Struct(">BI")
_TIME = struct.Struct(">HQ")
_TIMES = struct.Struct(">HQQ")
_NUMBER_SIGN, _TIME_SIGN = 1 << 31, 1 << 63


class SegmentKeys:
    """The stored keys of rows with a time, in segments of ``segment`` milliseconds.

    Times are milliseconds of the years 1 to 9999.
    """

    def __init__(self, segment: int) -> None:
        if segment < 1:
            raise ValueError(f"a segment of {segment} ms")
        self.segment = segment

    def _prefix(self, number: int, key: bytes) -> bytes:
        return _PREFIX.pack(2, number + _NUMBER_SIGN) + key.replace(b"\0", b"\0\xff")

    def window(self, key: bytes, start: int) -> bytes:
        """Return the stored key of a window. Raises ``ValueError`` for what is no ``int`` of those years."""
        if type(start) is not int or not common.FIRST_TIME <= start < common.END_OF_TIME:
            raise ValueError("no milliseconds")
        if type(key) is not bytes:
            raise TypeError("no bytes")
        return self._prefix(start // self.segment, key) + _TIME.pack(0, start + _TIME_SIGN)

    def session(self, key: bytes, start: int, end: int) -> bytes:
        """Return the stored key of a session."""
        return self._prefix(end // self.segment, key) + _TIMES.pack(0, end + _TIME_SIGN, start + _TIME_SIGN)

    def of_key(self, number: int, key: bytes, low: int, high: int) -> KeyRange:
        """Return where a segment has the rows of ``key`` with times from ``low`` to before ``high``."""
        prefix = self._prefix(number, key)
        return KeyRange(prefix + _TIME.pack(0, low + _TIME_SIGN), prefix + _TIME.pack(0, high + _TIME_SIGN))

    def ranges_of(self, key: bytes, low: int, high: int, reverse: bool) -> list[KeyRange]:
        """Return where the rows of ``key`` from ``low`` to before ``high`` are, in reading order."""
        if low >= high:
            return []
        numbers = range(low // self.segment, (high - 1) // self.segment + 1)
        return [self.of_key(number, key, low, high) for number in (reversed(numbers) if reverse else numbers)]


class SegmentChanges:
    """Changes of rows, in their order, until ``accepted`` says which of them count.

    A subclass has ``_misused()``, which makes the error of a call while it is not ``inside`` a block. A
    stored key of more than ``longest`` bytes raises ``too_long(key, stored)``; what is no ``int`` of
    milliseconds goes through ``exact_time(what, time)``.
    """

    _misused: Callable[[], Exception]

    def __init__(
        self,
        keys: SegmentKeys,
        longest: int,
        too_long: Callable[[bytes, bytes], EncodeError],
        exact_time: Callable[[str, Any], int],
        inside: bool = False,
    ) -> None:
        self._inside = inside
        self._keys = keys
        self._longest = longest
        self._too_long = too_long
        self._exact_time = exact_time
        self._changes: list[tuple[int, bytes, bytes | None]] = []

    def __len__(self) -> int:
        return len(self._changes)

    def _check(self) -> None:
        if not self._inside:
            raise self._misused()

    def _add(self, key: bytes, time: int, stored: bytes, value: bytes | None) -> None:
        if len(stored) > self._longest:
            raise self._too_long(key, stored)
        self._changes.append((time, stored, value))

    def accepted(
        self, newest: int, first: int, retention: int
    ) -> tuple[int, int, int, list[tuple[bytes, bytes]], list[bytes]]:
        """Return what counts where ``newest`` is the greatest time so far, ``first`` the first visible one.

        That is, each change after the other: ``(newest, first, late, puts, deletes)``. A row before ``first``
        counts as late, and a delete of one as nothing.
        """
        rows: dict[bytes, bytes | None] = {}
        late = 0
        for time, stored, value in self._changes:
            if time < first:
                late += value is not None
                continue
            rows[stored] = value
            if value is not None and time > newest:
                newest = time
                first = max(first, newest - retention + 1)
        puts = [(stored, value) for stored, value in rows.items() if value is not None]
        return newest, first, late, puts, [stored for stored, value in rows.items() if value is None]


class WindowChanges(SegmentChanges):
    """Changes of windows."""

    def put(self, key: bytes, start: Any, value: bytes) -> None:
        """Set the value of one window when the block ends, unless it comes too late."""
        self._check()
        given, own = _exact_bytes("a value", value), _exact_bytes("a key", key)
        at = self._exact_time("start", start)
        self._add(own, at, self._keys.window(own, at), given)

    def delete(self, key: bytes, start: Any) -> None:
        """Remove one window when the block ends; fine when it is absent."""
        self._check()
        own = _exact_bytes("a key", key)
        at = self._exact_time("start", start)
        self._add(own, at, self._keys.window(own, at), None)


class SessionChanges(SegmentChanges):
    """Changes of sessions."""

    def put(self, key: bytes, start: Any, end: Any, value: bytes) -> None:
        """Set the value of one session when the block ends, unless it comes too late."""
        self._check()
        self._change(_exact_bytes("a value", value), _exact_bytes("a key", key), start, end)

    def delete(self, key: bytes, start: Any, end: Any) -> None:
        """Remove one session when the block ends; fine when it is absent."""
        self._check()
        self._change(None, _exact_bytes("a key", key), start, end)

    def _change(self, value: bytes | None, key: bytes, start: Any, end: Any) -> None:
        begins, ends = self._exact_time("start", start), self._exact_time("end", end)
        if ends < begins:
            raise common.ends_before_start(start, end)
        self._add(key, ends, self._keys.session(key, begins, ends), value)


class SegmentRows:
    """The rows of stored pairs: ``(start, value)``, of ``sessions`` ``(start, end, value)``.

    With ``keyed`` the pairs have no segment in front, and a row has its key before its times. At the end and
    by ``close`` it calls ``release``. ``owner`` is what must live as long as the rows are read.
    """

    def __init__(
        self,
        source: Any,
        sessions: bool,
        keyed: bool,
        release: Callable[[], object] | None,
        owner: object = None,
    ) -> None:
        self._source: Any = iter(source)
        self._sessions, self._keyed = sessions, keyed
        self._release = release
        self._owner = owner

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        try:
            stored, value = next(self._source)
        except StopIteration:
            self._end()
            raise
        if len(stored) < (18 if self._sessions else 10):
            raise ValueError(f"a stored key without a time: {stored!r}")
        times: tuple[int, ...] = (_time(stored[-8:]),)
        if self._sessions:
            times = times[0], _time(stored[-16:-8])
        if not self._keyed:
            return *times, value
        key = stored[: -18 if self._sessions else -10]
        return key.replace(b"\0\xff", b"\0"), *times, value

    def close(self) -> None:
        """Release what is held now. Idempotent."""
        self._source.close()
        self._end()

    def _end(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


def _time(stored: bytes) -> int:
    return int.from_bytes(stored) - _TIME_SIGN


def _exact_bytes(what: str, given: object) -> bytes:
    if not isinstance(given, bytes):
        raise common.must_be_bytes(what, given)
    return bytes(given)
