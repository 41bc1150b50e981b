"""Topics in memory: what a broker keeps of them, without a broker.

Offsets are as Kafka gives them: the marker that ends a transaction takes one, compaction leaves gaps, and the
end never moves back unless the log is cut off.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from statestore.errors import ConfigError

COMPACTED: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "delete.retention.ms": "86400000",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
}
"""Kafka's defaults, for a compacted topic."""

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record as the log has it; ``timestamp`` in ms since 1970, -1 for none."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers
    epoch: int
    """Of the leader that took it."""
    transaction: int | None
    """The number of the transaction it belongs to."""


class PartitionLog:
    """The log of one partition."""

    def __init__(self) -> None:
        self.start = 0
        """The first offset that may be read."""
        self.end = 0
        """The next offset to be written, the high watermark."""
        self.epoch = 0
        """Of the present leader."""
        self.records: list[LogRecord] = []
        self.open: dict[int, int] = {}
        """The first offset of each open transaction, by its number."""
        self.aborted: set[int] = set()
        self._epoch_ends: dict[int, int] = {}
        """Where the records of each earlier leader end."""

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: Headers = (),
        transaction: int | None = None,
    ) -> int:
        """Write a record, and return its offset."""
        offset, self.end = self.end, self.end + 1
        if transaction is not None:
            self.open.setdefault(transaction, offset)
        self.records.append(LogRecord(offset, key, value, timestamp, headers, self.epoch, transaction))
        return offset

    def finish(self, transaction: int, *, commit: bool) -> None:
        """Write the marker of a transaction; nothing, where it has no record here."""
        if self.open.pop(transaction, None) is None:
            return
        self.end += 1
        if not commit:
            self.aborted.add(transaction)

    @property
    def stable_end(self) -> int:
        """The last stable offset: the first one of an open transaction, otherwise the end."""
        return min(self.open.values(), default=self.end)

    def committed(self, position: int) -> Iterator[LogRecord]:
        """Give the records from ``position`` on that a ``read_committed`` consumer may see."""
        end = self.stable_end
        for record in self.records:
            if record.offset >= end:
                return
            if record.offset >= position and record.transaction not in self.aborted:
                yield record

    def end_of_epoch(self, epoch: int) -> int:
        """Return where the records of a leader end: those that the log still has."""
        return self._epoch_ends.get(epoch, self.end)

    def compact(self, *, tombstones: bool) -> None:
        """Keep the last record of each key below the last stable offset, and what comes after.

        Aborted records and those without a key are gone then, and with ``tombstones`` the tombstones, too.
        """
        end = self.stable_end
        last = {record.key: record.offset for record in self.committed(self.start)}

        def stays(record: LogRecord) -> bool:
            if record.offset >= end:
                return True
            if record.key is None or record.transaction in self.aborted:
                return False
            return last[record.key] == record.offset and not (tombstones and record.value is None)

        self.records = [record for record in self.records if stays(record)]

    def truncate(self, before: int) -> None:
        """Delete the records below ``before``, from the log's start on."""
        self.start = max(self.start, min(before, self.end))
        self.records = [record for record in self.records if record.offset >= self.start]

    def cut(self, to: int) -> None:
        """Lose the records from offset ``to`` on, and have another leader."""
        self._epoch_ends = {epoch: min(end, to) for epoch, end in self._epoch_ends.items()}
        self._epoch_ends[self.epoch] = min(to, self.end)
        self.epoch += 1
        self.end = min(to, self.end)
        self.start = min(self.start, self.end)  # of a leader that has less than was deleted here
        self.records = [record for record in self.records if record.offset < self.end]
        self.open = {number: first for number, first in self.open.items() if first < self.end}


@dataclass(slots=True)
class TopicLog:
    """A topic: ``topic_id`` tells it from another one of its name."""

    name: str
    topic_id: str
    config: dict[str, str]
    partitions: list[PartitionLog] = field(default_factory=list)


class Cluster:
    """The topics of a cluster. ``changed`` is called after each change."""

    cluster_id: Final = "in-memory"

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.changed: Callable[[], None] = lambda: None
        self.topics: dict[str, TopicLog] = {}
        self._ids = self._transactions = 0

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Create a topic, also in the place of another one of its name. Refuses what a broker refuses."""
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise ConfigError(f"topic {name!r}: give 1 to 249 letters, digits, '.', '_' or '-'")
        if partitions < 1:
            raise ConfigError(f"topic {name!r} cannot have {partitions} partitions: give 1 or more")
        self._ids += 1
        topic_id = base64.urlsafe_b64encode(self._ids.to_bytes(16)).decode().rstrip("=")
        logs = [PartitionLog() for _ in range(partitions)]
        self.topics[name] = TopicLog(name, topic_id, {**COMPACTED, **config}, logs)
        self.changed()

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp: int = 0,
        headers: Headers = (),
        transaction: int | None = None,
    ) -> tuple[int, int]:
        """Write a record, and return its offset and timestamp; for the timestamp 0 it is that of now."""
        log = self.topics[topic].partitions[partition]
        timestamp = timestamp or int(self.clock() * 1000)
        offset = log.append(key, value, timestamp, headers, transaction)
        self.changed()
        return offset, timestamp

    def begin(self) -> int:
        """Return the number of a new transaction."""
        self._transactions += 1
        return self._transactions

    def finish(self, transaction: int, *, commit: bool) -> None:
        """End a transaction in all partitions that it has written to."""
        for topic in self.topics.values():
            for log in topic.partitions:
                log.finish(transaction, commit=commit)
        self.changed()
