"""What a table should have: the fold of its topic, and which earlier rows a read may still give."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

from statestore.testing.driver.log import LogRecord, TopicLog

Key = tuple[Any, ...]


@dataclass(slots=True)
class Version:
    """A row of a key, or ``None``, and when another one took its place; ``None``: not yet."""

    row: Any
    until: float | None = None


@dataclass(slots=True)
class Versions:
    """All that the row of a key has been, oldest first. A key begins without a row."""

    all: list[Version] = field(default_factory=lambda: [Version(None)])
    written: int = -1
    """The number of the version that the subject wrote last."""
    read: int = -1
    """The number of the latest version that the subject read."""

    @property
    def latest(self) -> Any:
        return self.all[-1].row

    def put(self, row: Any, now: float) -> None:
        if row != self.latest:
            self.all[-1].until = now
            self.all.append(Version(row))

    def allowed(self, since: float | None) -> list[int]:
        """Return the numbers of the versions that a read may give: the last, and those in force ``since``."""
        last = len(self.all) - 1
        if since is None:
            return [last]
        first = max(self.written, self.read, 0)
        ended = (one.until for one in self.all)
        return [at for at, until in enumerate(ended) if at >= first and (until is None or until >= since)]

    def fault_of(self, row: Any) -> str:
        """Say what is wrong with a read of ``row``, which is not allowed."""
        found = [at for at, one in enumerate(self.all) if one.row == row]
        if not found:
            return "no record of the topic has this row"
        if found[-1] < self.written:
            return "the subject does not read its own write"
        if found[-1] < self.read:
            return "the subject has read a later row before"
        return "that was the row before the last record of this key"


class TableModel:
    """The rows of a topic, followed from outside of the tables.

    ``decode`` makes a row of a record, ``key_of`` gives the values of its key. ``life`` tells how many
    seconds a row lives after its timestamp, and ``max_age`` is how many seconds a read may lag.
    """

    def __init__(
        self,
        decode: Callable[[LogRecord], Any],
        key_of: Callable[[bytes], Key],
        life: Callable[[], float | None],
        max_age: float,
    ) -> None:
        self._decode, self._key_of, self._life, self._max_age = decode, key_of, life, max_age
        self._now = 0.0
        self._versions: dict[bytes, Versions] = {}
        self._written: dict[bytes, Any] = {}
        """The rows of the topic, with those that have ended."""
        self.ever: list[Any] = []
        """All rows that there have been."""

    def follow(self, topic: TopicLog, now: float) -> None:
        """Take over what the topic says now."""
        self._now = now
        life = self._life()
        least = -1 if life is None else int((now - life) * 1000) + 1
        folded = _fold(topic)
        self._written = {key: self._decode(one) for key, one in folded.items() if one.value is not None}
        for key in folded.keys() | self._versions.keys():
            row = self._written.get(key)
            if row is not None and row not in self.ever:
                self.ever.append(row)
            has_ended = row is not None and folded[key].timestamp < least
            self.of(key).put(None if has_ended else row, now)

    def forget(self) -> None:
        """Let reads give nothing of before: the process has begun anew, or the topic has."""
        for one in self._versions.values():
            one.read = len(one.all) - 1

    @property
    def rows(self) -> list[tuple[Key, Any]]:
        """The keys that have a row, in the order of their bytes, and the rows."""
        found = sorted((key, one.latest) for key, one in self._versions.items() if one.latest is not None)
        return [(self._key_of(key), row) for key, row in found]

    def of(self, key: bytes) -> Versions:
        """Return what the row of a key was and is."""
        return self._versions.setdefault(key, Versions())

    def allowed(self, key: bytes) -> list[Any]:
        """Return what a read of the key may give, the latest last."""
        versions = self.of(key)
        return [versions.all[at].row for at in versions.allowed(self._since)]

    def read(self, key: bytes, row: Any) -> str | None:
        """Take over what a read gave; return what is wrong with it, if anything."""
        versions = self.of(key)
        allowed = [at for at in versions.allowed(self._since) if versions.all[at].row == row]
        if not allowed:
            return versions.fault_of(row)
        versions.read = max(versions.read, allowed[0])
        return None

    def written(self, key: bytes) -> Any:
        """Return the row of a key that the topic has, also where it has ended."""
        return self._written.get(key)

    def wrote(self, key: bytes) -> None:
        """Take over that the subject wrote the latest row."""
        self.of(key).written = len(self.of(key).all) - 1

    @property
    def keys(self) -> Set[bytes]:
        """All keys that there have been."""
        return self._versions.keys()

    @property
    def _since(self) -> float | None:
        return self._now - self._max_age if self._max_age else None


def _fold(topic: TopicLog) -> dict[bytes, LogRecord]:
    """Return the last record of each key; of a key in several partitions that with the latest timestamp."""
    folded: dict[bytes, LogRecord] = {}
    for partition in topic.partitions:
        for key, record in {one.key: one for one in partition.committed(0) if one.key is not None}.items():
            if key not in folded or folded[key].timestamp <= record.timestamp:
                folded[key] = record
    return folded
