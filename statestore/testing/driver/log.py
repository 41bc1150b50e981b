"""Topics in memory: what a broker keeps of them, without a broker.

Offsets are as Kafka gives them: the marker that ends a transaction takes one, compaction leaves gaps, and the
end never moves back unless the log is cut off.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr

COMPACTED: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "delete.retention.ms": "86400000",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
}
"""Kafka's defaults, for a compacted topic."""

BATCH_HEADER: Final = 61
"""Bytes of a batch before its first record."""
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


def batch_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the bytes of a batch of one record, not compressed, as a broker counts them."""
    parts = [key, value, *(part for name, one in headers for part in (name.encode(), one))]
    body = 3 + _number_size(len(headers))  # 3: attributes, and the differences of timestamp and offset
    body += sum(_number_size(len(part or b"")) + len(part or b"") for part in parts)
    return BATCH_HEADER + _number_size(body) + body


def _number_size(number: int) -> int:
    """Return the bytes of a number: each has 7 bits, and the sign takes one."""
    return max(1, -(-(2 * number).bit_length() // 7))


@dataclass(frozen=True, slots=True)
class RecordRefusal:
    """Why a broker takes no such record."""

    code: int
    """Kafka's."""
    remedy: str


@dataclass(slots=True)
class TopicLog:
    """A topic: ``topic_id`` tells it from another one of its name."""

    name: str
    topic_id: str
    config: dict[str, str]
    partitions: list[PartitionLog] = field(default_factory=list)

    def refusal(self, key: bytes | None, value: bytes | None, headers: Headers) -> RecordRefusal | None:
        """Return why a broker refuses a record, or ``None`` where it takes it."""
        if key is None and "compact" in self.config["cleanup.policy"]:
            return RecordRefusal(
                KafkaError.INVALID_RECORD,
                "the topic is compacted, and the record has no key (INVALID_RECORD): give a key, or create "
                "the topic with config={'cleanup.policy': 'delete'}",
            )
        limit = int(self.config["max.message.bytes"])
        size = batch_size(key, value, headers)
        if size > limit:
            return RecordRefusal(
                KafkaError.MSG_SIZE_TOO_LARGE,
                f"it has {size} bytes, but the limit is max.message.bytes={limit} (MSG_SIZE_TOO_LARGE): make "
                "it smaller, or create the topic with a greater limit",
            )
        return None


class Cluster:
    """The topics of a cluster. ``changed`` is called after each change."""

    cluster_id: Final = "in-memory"

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.changed: Callable[[], None] = lambda: None
        self.topics: dict[str, TopicLog] = {}
        self._ids = self._transactions = 0

    def create(self, name: Any, partitions: Any, config: Mapping[str, str]) -> None:
        """Create a topic, also in the place of another one of its name. Refuses what a broker refuses."""
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (".", ".."):
            raise ConfigError(f"topic {bounded_repr(name)}: give 1 to 249 letters, digits, '.', '_' or '-'")
        if not isinstance(partitions, int) or partitions < 1:
            raise ConfigError(f"topic {name!r} with partitions={bounded_repr(partitions)}: give 1 or more")
        policy = config.get("cleanup.policy", "compact")
        if not {"compact", "delete"}.issuperset(policy.replace(" ", "").split(",")):
            raise ConfigError(
                f"topic {name!r} with cleanup.policy={policy!r}: give compact, delete or compact,delete"
            )
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
        """Write a record, and return its offset and timestamp: that of now for 0, and by LogAppendTime."""
        found = self.topics[topic]
        log = found.partitions[partition]
        if found.config["message.timestamp.type"] == "LogAppendTime" or not timestamp:
            timestamp = int(self.clock() * 1000)
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
