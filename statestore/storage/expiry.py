"""Rows that end by their age: hidden from every read at once, and removed a few at a time.

A row's age is that of its record's timestamp; one without a timestamp never ends. What is hidden follows from
the row and the clock alone, so that it stays hidden after a restart, and after a crash that lost a removal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    KeyRange,
    Snapshot,
    WrapperBackend,
    WrapperReader,
    WrapperSnapshot,
)
from statestore.backends.wrapper import Inner
from statestore.core.common import check_limit
from statestore.storage.layout import DATA, DELETED, HEADER, PARTITIONING, SPELLINGS, pack_timestamp

ROWS = 2000
"""Rows that one step of a sweep looks through: some milliseconds."""
PAUSES = 9
"""How many times longer than a step the pause after it is."""
_SWEPT = bytes([SPELLINGS[0] + 1])
"""Where a sweep ends: rows, and the entries of their keys in other texts, which have the same header."""
MOST_PERIOD = 3600.0
"""Most seconds between two sweeps; otherwise a tenth of the time that rows have."""

Oldest = Callable[[], bytes]
"""Gives the first timestamp that is not too old, as the rows have it.

Timestamps are compared as bytes: they are not negative but for "none", which is then the greatest.
"""


class Sweepable(Protocol):
    """A store with something that ends."""

    def remove_expired(self, start: bytes | None, most: int) -> tuple[bytes | None, int]:
        """Look through the next ``most`` pairs from ``start`` (``None``: the first); remove what has ended.

        Returns where to go on (``None``: all were seen) and how many were removed.
        """
        ...


class Sweep:
    """Removes what has ended from a store, a few rows at a time. One thread: that which writes the store."""

    def __init__(self, backend: Sweepable, ttl: float) -> None:
        self._backend = backend
        self._period = min(max(ttl / 10, 1.0), MOST_PERIOD)
        self._next: bytes | None = None
        self._due = 0.0

    def hurry(self) -> None:
        """Have the next sweep begin now, unless one is under way."""
        if self._next is None:
            self._due = 0.0

    def step(self) -> int:
        """Look through some rows, if it is time to; return how many were removed."""
        began = time.monotonic()
        if began < self._due:
            return 0
        self._next, removed = self._backend.remove_expired(self._next, ROWS)
        ended = time.monotonic()
        self._due = ended + (self._period if self._next is None else PAUSES * (ended - began))
        return removed


class _ExpiringReader(WrapperReader[Inner]):
    """Reads of a store or snapshot that leave out what is too old."""

    def oldest(self) -> bytes:
        """Return the first timestamp that is not too old."""
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        value = self.inner.get(key)
        return None if value is not None and _has_ended(key, value, self.oldest()) else value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        oldest = self.oldest()
        return [
            None if value is not None and _has_ended(key, value, oldest) else value
            for key, value in zip(keys, self.inner.get_many(keys), strict=True)
        ]

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        oldest = self.oldest()
        few = 0 if limit == 0 else None  # how many are too old is known only after reading them
        return _Unexpired(self.inner.scan(keys, reverse, few), oldest, limit)


class _ExpiringSnapshot(_ExpiringReader[Snapshot], WrapperSnapshot):
    """A view fixed at one moment, the clock included."""

    def __init__(self, inner: Snapshot, oldest: bytes) -> None:
        super().__init__(inner)
        self._moment = oldest

    def oldest(self) -> bytes:
        return self._moment


class ExpiringBackend(_ExpiringReader[Backend], WrapperBackend):
    """A store that leaves out what is too old. See :func:`expiring`."""

    def __init__(self, inner: Backend, ttl: float, clock: Callable[[], float]) -> None:
        super().__init__(inner)
        self.ttl: float | None = ttl
        """Seconds that rows have; ``None``: they do not end. It may change, from one read to the next."""
        self.beside: Callable[[list[tuple[bytes, bytes]]], list[bytes]] = lambda _: []
        """Gives the keys of what goes together with rows, as stored, that are removed."""
        self._clock = clock

    def oldest(self) -> bytes:
        """Return the first timestamp that is not too old."""
        ttl = self.ttl
        since = 0 if ttl is None else int((self._clock() - ttl) * 1000) + 1
        return pack_timestamp(since) if since > 0 else b""

    def remove_expired(self, start: bytes | None, most: int) -> tuple[bytes | None, int]:
        """Look through the next ``most`` rows from ``start`` (``None``: the first); remove what has ended.

        Returns where to go on (``None``: all were seen) and how many rows were removed. The thread that
        writes the store calls it, and nobody else may write meanwhile.
        """
        oldest = self.oldest()
        return removed(self.inner, start, most, lambda pair: _has_ended(*pair, oldest), self.beside)

    def snapshot(self) -> Snapshot:
        oldest = self.oldest()
        return _ExpiringSnapshot(self.inner.snapshot(), oldest)


def removed(
    backend: Backend,
    start: bytes | None,
    most: int,
    has_ended: Callable[[tuple[bytes, bytes]], bool],
    beside: Callable[[list[tuple[bytes, bytes]]], list[bytes]],
) -> tuple[bytes | None, int]:
    """Remove what has ended among the next ``most`` rows from ``start``, and what goes together with it.

    Returns where to go on, and how many rows were removed.
    """
    with closing(backend.scan(KeyRange(start or DATA, _SWEPT), limit=most)) as rows:
        seen = list(rows)
    old = [pair for pair in seen if has_ended(pair)]
    ended = [key for key, _ in old]
    rows_ended = [pair for pair in old if pair[0][:1] == DATA]
    ended += beside(rows_ended)
    if rows_ended and backend.get(PARTITIONING) is not None:
        # An earlier tombstone would be taken for the partition's last record, with its later timestamp.
        ended += [DELETED + key[1:] for key in ended if key[:1] == DATA]
    if ended:
        backend.write(Batch([], ended))
    return (seen[-1][0] + b"\0" if len(seen) == most else None), len(rows_ended)


class _Unexpired(BackendIterator):
    """A scan without the rows that are too old, ended after ``limit``."""

    def __init__(self, inner: BackendIterator, oldest: bytes, limit: int | None) -> None:
        self._inner = inner
        self._oldest = oldest
        self._left = limit

    def __next__(self) -> tuple[bytes, bytes]:
        if self._left == 0:
            raise StopIteration
        for pair in self._inner:
            if not _has_ended(*pair, self._oldest):
                if self._left is not None:
                    self._left -= 1
                    if self._left == 0:
                        self._inner.close()
                return pair
        raise StopIteration

    def close(self) -> None:
        self._inner.close()


def _has_ended(key: bytes, value: bytes, oldest: bytes) -> bool:
    return value[:HEADER] < oldest and key[:1] in (DATA, SPELLINGS)
