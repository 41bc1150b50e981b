"""What becomes of the records that one call sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError as Code
from confluent_kafka import Message

from statestore.delivery import Delivery

OnReport = Callable[[Code | None, Message], None]


class Outgoing(NamedTuple):
    """A record on its way."""

    topic: str
    key: bytes | None
    value: bytes | None
    """``None`` deletes the key."""
    timestamp: int
    """In ms since 1970 UTC; 0 takes the time of sending."""
    subject: Any
    """What the user gave: an entity, or the values of a key to delete."""
    shown: Callable[[Any], str]
    """Names the subject in messages."""


class Shipment:
    """Counts the records of one call in and out. Delivery reports come on the producer's thread."""

    def __init__(self) -> None:
        self._left: dict[int, Outgoing] = {}
        self.failures: dict[int, Code] = {}
        """What went wrong, by index."""
        self.unplaced: set[tuple[str, int]] = set()
        """Topics and partitions of delivered records whose offsets the broker could not tell."""
        self._deliveries: list[Delivery | None] = []
        self._pending = 0
        self._mutex = threading.Lock()
        self._finished: Future[None] | None = None

    def expect(self, record: Outgoing) -> OnReport:
        """Take in the next record; what is returned wants its delivery report."""
        with self._mutex:
            index = len(self._deliveries)
            self._deliveries.append(None)
            self._left[index] = record
            self._pending += 1
        return partial(self._reported, index)

    def not_sent(self, error: Code) -> None:
        """The last record expected was refused before it was sent."""
        with self._mutex:
            self.failures[len(self._deliveries) - 1] = error
            self._pending -= 1

    def finished(self) -> Future[None]:
        """Return what is done when every record has its report; none is expected after this."""
        with self._mutex:
            self._finished = Future()
            if not self._pending:
                self._finished.set_result(None)
            return self._finished

    def deliveries(self) -> list[Delivery]:
        """Return where the delivered records are, in the order in which they were sent."""
        with self._mutex:
            return [delivery for delivery in self._deliveries if delivery is not None]

    def place(self, last: Mapping[tuple[str, int], int]) -> None:
        """Take the last offset of each partition for the offsets that nobody can tell."""
        with self._mutex:
            self._deliveries = [
                one._replace(offset=last[one.topic, one.partition]) if one and one.offset < 0 else one
                for one in self._deliveries
            ]

    def left(self) -> list[Outgoing]:
        """Return what is not known to be delivered, in the order in which it was sent."""
        with self._mutex:
            return list(self._left.values())

    def first_failure(self) -> tuple[Outgoing, Code]:
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
                    self.unplaced.add((topic, partition))
                self._deliveries[index] = Delivery(topic, partition, offset, message.timestamp()[1])
            else:
                self.failures[index] = error
            self._pending -= 1
            finished = None if self._pending else self._finished
        if finished is not None:
            finished.set_result(None)
