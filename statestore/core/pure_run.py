"""Runs of writes in Python: what ``_native/run.pxi`` must do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, final


@final
class WriteRun:
    """The last write of each key of one topic: what a restore writes at once.

    Keys get ``namespace`` in front, values are ``timestamp ms (int64 BE) ‖ payload``. A run is filled first
    and read afterwards: from the first ``feed`` on, a write raises ``RuntimeError``. One thread at a time.
    """

    def __init__(self, namespace: bytes) -> None:
        self._namespace = namespace
        self._writes: dict[bytes, tuple[int, bytes | None]] = {}
        self._names: list[bytes] = []
        self._sealed = False
        self.size = 0
        """Bytes of keys and values as stored."""
        self.upserts = 0
        """Writes with a value, also those replaced since."""
        self.tombstones = 0
        self.longest_key = 0
        """Bytes of the longest key, the namespace byte not counted."""

    @property
    def memory(self) -> int:
        """Bytes of memory that this takes, those of sorting included."""
        return self.size + 220 * len(self._writes)  # three objects, their places here and in a sorted list

    def write(self, key: bytes, value: bytes | None, timestamp: int) -> None:
        """Take one write: ``value`` ``None`` is a tombstone, ``timestamp`` in ms, -1 for none.

        Raises ``MemoryError``, and ``RuntimeError`` after the first ``feed``; both change nothing.
        """
        if self._sealed:
            raise RuntimeError("a run that was fed takes no more writes")
        if not isinstance(key, bytes):
            raise TypeError(f"a key is bytes, not {type(key).__name__}")
        timestamp = operator.index(timestamp)
        _ = timestamp.to_bytes(8, signed=True) + (b"" if value is None else value)  # OverflowError, TypeError
        name = self._namespace + key
        if name not in self._writes:
            self.size += len(name)
            self._names.append(name)
        self.size += _stored_size(value) - _stored_size(self._writes.get(name, (0, None))[1])
        self._writes[name] = timestamp, value
        self.longest_key = max(self.longest_key, len(key))
        if value is None:
            self.tombstones += 1
        else:
            self.upserts += 1

    def __len__(self) -> int:
        return len(self._writes)

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Return keys in the order they came in: from the ``start``-th to before the ``stop``-th at most."""
        return [name for name in self._names[max(start, 0) : max(stop, 0)] if name in self._writes]

    def records(self) -> list[tuple[bytes, int, bytes | None]]:
        """Return ``[(key, timestamp, payload)]`` as the keys came in; payload ``None``: a tombstone."""
        return [(name, timestamp, value) for name, (timestamp, value) in self._writes.items()]

    def take(self, key: bytes) -> tuple[int, bytes | None] | None:
        """Take the write of ``key``, with its namespace, out of the run; return ``(timestamp, payload)``.

        ``None`` where there is none; payload ``None``: a tombstone. The run takes no more writes afterwards.
        """
        found = self._writes.pop(key, None)
        if found is not None:
            self._sealed = True
            self.size -= len(key) + _stored_size(found[1])
        return found

    def marks(self, namespace: bytes, note: bytes) -> TombstoneMarks:
        """Return the run of what remembers the tombstones in this: ``namespace ‖ key → timestamp ‖ note``.

        Its keys are without the namespace of this run. It is fed like this one, and while this one is not.
        """
        size = len(self._namespace)
        return TombstoneMarks(
            [
                (namespace + name[size:], timestamp.to_bytes(8, signed=True) + note)
                for name, (timestamp, value) in self._writes.items()
                if value is None
            ]
        )

    def puts(self) -> list[tuple[bytes, bytes]]:
        """Return ``[(key, value)]`` of the keys whose last write has a value, in the order they came in."""
        return [
            (name, timestamp.to_bytes(8, signed=True) + value)
            for name, (timestamp, value) in self._writes.items()
            if value is not None
        ]

    def deletes(self) -> list[bytes]:
        """Return the keys whose last write is a tombstone, in the order they came in."""
        return [name for name, (_, value) in self._writes.items() if value is None]

    def unlike(self, pattern: Any) -> list[tuple[bytes, bytes | None]]:
        """Return ``[(key, header or None)]`` of the keys that do not fit ``pattern``; ``None``: a tombstone.

        Keys come without their namespace.
        """
        first = len(self._namespace)
        return [
            (name[first:], None if value is None else timestamp.to_bytes(8, signed=True))
            for name, (timestamp, value) in self._writes.items()
            if not pattern.fits(name[first:])
        ]

    def times(self, back: int, least: int, stop: int, ahead: int) -> tuple[int, int, int]:
        """Return the greatest time in the keys, how many values are late, and how many times are early.

        A time is an int64, ``back`` bytes before the end of a key. Those below 0 or not below ``stop`` count
        as none, and so do keys that are too short. A value is late whose time is before ``least``. A time is
        early that is more than ``ahead`` after its record's timestamp: it is no greatest time. Keys that lose
        their value count, too, or it would matter in which run they came. Without a time the greatest is -1.
        """
        if back < 8:
            raise ValueError(f"a time of 8 bytes cannot be {back} bytes before the end of a key")
        shortest, end = len(self._namespace) + back, (8 - back) or None
        greatest, late, early = -1, 0, 0
        for name, (timestamp, value) in self._writes.items():
            if len(name) >= shortest:
                time = int.from_bytes(name[-back:end], signed=True)
                if 0 <= time < stop and 0 <= timestamp < time - ahead:
                    early += 1
                elif 0 <= time < stop:
                    greatest = max(greatest, time)
                    late += time < least and value is not None
        return greatest, late, early

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        """Call ``put(key, value)`` or ``delete(key)`` for each key, in ascending order of the keys.

        Other threads get their turn at least every millisecond or so, as far as the calls let them. What a
        call raises ends it; ``feed`` may then be called again, and begins at the first key.
        """
        self._sealed = True
        for name in sorted(self._writes):
            timestamp, value = self._writes[name]
            if value is None:
                delete(name)
            else:
                put(name, timestamp.to_bytes(8, signed=True) + value)


@final
class TombstoneMarks:
    """A sorted run of what remembers the tombstones in another one."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = sorted(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:  # noqa: ARG002
        """Call ``put(key, value)`` for each tombstone, in ascending order of keys, as ``WriteRun.feed``."""
        for key, value in self._pairs:
            put(key, value)


def _stored_size(value: bytes | None) -> int:
    return 0 if value is None else 8 + len(value)
