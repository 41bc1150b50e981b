"""The records that one call sends, and their delivery reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError as Code
from confluent_kafka import Message

from statestore.delivery import Delivery
from statestore.kafka.partitioners import ANY_PARTITION, partition_of
from statestore.runtime.interrupts import Outcome
from statestore.settings import Partitioner

OnReport = Callable[[Code | None, Message], None]


class ProducerRecord(NamedTuple):
    """A record to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    """``None`` deletes the key."""
    timestamp: int
    """In ms since 1970 UTC; 0 means the time of sending."""
    subject: Any
    """The entity, or the values of the key to delete, that the user gave."""
    describe: Callable[[Any], str]
    """Returns the subject as messages show it."""
    partitioner: Partitioner | None = None
    """What chooses the partition; ``None``: the producer does."""
    partition: int = ANY_PARTITION

    def placed(self, partitions: int) -> ProducerRecord:
        """Return the record with its partition, for a topic of ``partitions``."""
        if self.partitioner is None:
            return self
        return self._replace(partition=partition_of(self.partitioner, self.key, partitions))


class SendTracker:
    """Counts the records of one call in and out. Delivery reports come on the producer's thread."""

    def __init__(self) -> None:
        self._left: dict[int, ProducerRecord] = {}
        self.failures: dict[int, Code] = {}
        """The error of each failed record, by its index."""
        self.without_offset: set[tuple[str, int]] = set()
        """Topics and partitions of delivered records whose offsets the broker could not tell."""
        self.positions: dict[str, Mapping[int, int]] = {}
        """Where the mirrors of the topics were before the first record to each was sent."""
        self._deliveries: list[Delivery | None] = []
        self._pending = 0
        self._mutex = threading.RLock()
        self._finished: Future[None] | None = None

    def track(self, record: ProducerRecord) -> OnReport:
        """Count the next record; return the callback for its delivery report."""
        with self._mutex:
            index = len(self._deliveries)
            self._deliveries.append(None)
            self._left[index] = record
            self._pending += 1
        return partial(self._reported, index)

    def not_sent(self, error: Code) -> None:
        """Note that the last tracked record failed before it was sent."""
        with self._mutex:
            self.failures[len(self._deliveries) - 1] = error
            self._pending -= 1

    def all_reported(self) -> Future[None]:
        """Return a future that is done when every record has its report; none is tracked after this."""
        with self._mutex:
            self._finished = Outcome()
            if not self._pending:
                self._finished.set_result(None)
            return self._finished

    def deliveries(self) -> list[Delivery]:
        """Return where the delivered records are, in the order in which they were sent."""
        with self._mutex:
            return [delivery for delivery in self._deliveries if delivery is not None]

    def fill_offsets(self, last: Mapping[tuple[str, int], int]) -> None:
        """Set the offsets that are not known to the last offset of their partition."""
        with self._mutex:
            self._deliveries = [
                one._replace(offset=last[one.topic, one.partition]) if one and one.offset < 0 else one
                for one in self._deliveries
            ]

    def undelivered(self) -> list[ProducerRecord]:
        """Return the records without a successful report, in the order in which they were sent."""
        with self._mutex:
            return list(self._left.values())

    def first_failure(self) -> tuple[ProducerRecord, Code]:
        """Return the first record that failed, and why."""
        with self._mutex:
            index = min(self.failures)
            return self._left[index], self.failures[index]

    def _reported(self, index: int, error: Code | None, message: Message) -> None:
        with self._mutex:
            if error is None:
                topic = self._left.pop(index).topic
                partition, offset = message.partition() or 0, message.offset()
                if offset is None:  # the broker took a retry for a duplicate that it remembers no more of
                    offset = -1
                    self.without_offset.add((topic, partition))
                self._deliveries[index] = Delivery(topic, partition, offset, message.timestamp()[1])
            else:
                self.failures[index] = error
            self._pending -= 1
            finished = None if self._pending else self._finished
        if finished is not None:
            finished.set_result(None)
