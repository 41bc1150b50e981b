"""Bulk loading: sorted runs in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import lmdb

from statestore.backends.contract import SortedRun

_PAIRS = 256
"""How many pairs are given to LMDB in one call ..."""
_LARGE = 64 << 10
"""... unless one has a value of so many bytes, so that few of these wait."""


def apply(environment: lmdb.Environment, runs: Sequence[SortedRun]) -> None:
    """Write all of ``runs``, or nothing where anything raises."""
    with environment.begin(write=True) as transaction:
        for run in runs:
            loader = _Loader(transaction)
            run.feed(loader.put, loader.delete)
            loader.put_waiting()


class _Loader:
    """Puts pairs that come in ascending order, without looking for the place of those after all others."""

    def __init__(self, transaction: lmdb.Transaction[bytes]) -> None:
        self._delete = transaction.delete
        self._cursor = transaction.cursor()
        self._last = self._cursor.key() if self._cursor.last() else b""
        self._waiting: list[tuple[bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        waiting = self._waiting
        waiting.append((key, value))
        if len(waiting) >= _PAIRS or len(value) >= _LARGE:
            self.put_waiting()

    def delete(self, key: bytes) -> None:
        if key <= self._last:
            self._delete(key)

    def put_waiting(self) -> None:
        if self._waiting:
            self._cursor.putmulti(self._waiting, append=self._waiting[0][0] > self._last)
            self._waiting = []
