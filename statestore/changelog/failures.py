"""The failures that a table tries again after: of writes to its store, and of reads of its partitions.

A pure value, like the machine that asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from statestore.changelog.readiness import Progress
from statestore.errors import StoreUnavailableError


class _Unread(NamedTuple):
    position: int
    tries: int
    text: str


class Failures:
    """See the module. ``waits`` are the seconds before each further try."""

    def __init__(self, waits: Sequence[float]) -> None:
        self._waits = waits
        self._write_tries = 0
        """Writes that failed since one succeeded."""
        self._write_text = ""
        self._unread: dict[int, _Unread] = {}
        """Partitions that cannot be read from a position on."""

    @property
    def text(self) -> str:
        """What fails, and when it is tried again; empty: nothing."""
        texts = [self._write_text, *(one.text for one in self._unread.values())]
        return next(filter(None, texts), "")

    def is_unread(self, partition: int, position: int) -> bool:
        """Whether reading ``partition`` from ``position`` on has failed before."""
        return partition in self._unread and self._unread[partition].position == position

    def of_write(self, error: StoreUnavailableError) -> float | None:
        """Count a failed write; return the seconds until the next try, ``None``: there is none any more."""
        if self._write_tries >= len(self._waits):
            return None
        delay = self._waits[self._write_tries]
        self._write_tries += 1
        self._write_text = f"a write failed and is tried again in {delay:g} s: {error.cause}"
        return delay

    def of_read(
        self, partition: int, position: int, error: StoreUnavailableError, *, away: bool
    ) -> float | None:
        """Count a failed read, likewise; while the broker is ``away`` it is tried for ever."""
        tries = self._unread[partition].tries if self.is_unread(partition, position) else 0
        if not away and tries >= len(self._waits):
            return None
        delay = self._waits[min(tries, len(self._waits) - 1)] if self._waits else 1.0
        text = f"a read failed and is tried again in {delay:g} s: {error.cause}; {error.remedy}"
        self._unread[partition] = _Unread(position, tries + (not away), text)
        return delay

    def written(self) -> None:
        """A write succeeded."""
        self._write_tries, self._write_text = 0, ""

    def advanced(self, progress: Progress) -> None:
        """Positions have moved."""
        for number, one in list(self._unread.items()):
            if number not in progress.partitions or progress.partitions[number].position > one.position:
                del self._unread[number]

    def clear(self) -> None:
        """Begin anew: forget all."""
        self.written()
        self._unread.clear()
