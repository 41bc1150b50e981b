"""A topic's records, read once: from where its log begins to where it ends at the call.

Each read has a consumer of its own, with partitions assigned by hand: it joins no group and commits nothing.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import wait
from typing import Any, NamedTuple

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, TopicPartition

from statestore.kafka.answers import (
    UNREADABLE,
    Bounds,
    ContactError,
    KafkaErrorKind,
    failure_of,
    kind_of,
    kind_of_code,
)
from statestore.kafka.reader import FIRST_ANSWER
from statestore.kafka.remedies import HeardError
from statestore.kafka.source import KafkaSource
from statestore.runtime import fork
from statestore.runtime.interrupts import shielded
from statestore.runtime.retry import retry

log = logging.getLogger("statestore.changelog")

QUEUE = 16 << 20
"""Bytes that one read's consumer may queue."""
AT_ONCE = 500
POLL = 0.1
"""Seconds between two looks of a waiting read whether it should go on."""
RETRY_WAIT = 0.1


class KafkaRecord(NamedTuple):
    """One record. ``timestamp`` is in ms since 1970, -1 for none."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def read_records(source: KafkaSource, topic: str, check_open: Callable[[], None]) -> Generator[KafkaRecord]:
    """Iterate over the committed records of ``topic`` up to its present end, each partition in its order.

    ``check_open`` is called between two records, and while none arrives; it ends the read by raising. The
    consumer is closed however the iterator ends.

    Raises ``ContactError`` where the broker does not know the topic or refuses, where no record arrives for
    ``request_timeout`` seconds before the end, and where records are deleted before they are read.
    """
    check_open()
    bounds = shielded(lambda: _bounds(source, topic, check_open))
    todo = {number: bound for number, bound in bounds.items() if bound.start < bound.end}
    if not todo:
        return
    # Shielded: the client takes an exception of a signal handler for a fault of the properties. A client that
    # nobody gets, since the wait for it was interrupted, ends with its last reference: it is in no cycle.
    read = shielded(lambda: _BoundedRead(source, topic, todo))
    try:
        while read.todo:
            check_open()
            for record in read.next():
                yield record
                check_open()
    finally:
        read.close()


class _BoundedRead:
    """One read under way. ``todo`` has the partitions that are not at their end."""

    def __init__(self, source: KafkaSource, topic: str, todo: Mapping[int, Bounds]) -> None:
        self.todo = dict(todo)
        self._source = source
        self._topic = topic
        self._next = {number: bound.start for number, bound in todo.items()}
        self._idle = 0.0
        """Seconds waited since the last record or event."""
        self._heard = HeardError()
        """What librdkafka tries again by itself."""
        self._forked_here = False
        properties = {**source.consumer_properties(QUEUE), "error_cb": self._heard.hear}
        self._consumer = source.consumer(properties)
        fork.register(self)
        with contextlib.suppress(KafkaException):
            self._consumer.list_topics(topic, timeout=FIRST_ANSWER)
        self._consumer.assign([TopicPartition(topic, number, at) for number, at in self._next.items()])

    def next(self) -> Iterator[KafkaRecord]:
        """Iterate over the records that have arrived; waits a little for one."""
        began = time.monotonic()
        messages: list[Any] = self._consumer.consume(AT_ONCE, 0)
        if not messages:
            one = self._consumer.poll(POLL)
            messages = [] if one is None else [one]
        if messages:
            self._idle = 0.0
        else:
            self._idle += time.monotonic() - began
            self._check_patience()
        message: Any
        for message in messages:
            number = message.partition()
            if message.error() is not None:
                self._take_event(number, message.offset(), message.error())
            elif number in self.todo:
                offset = message.offset()
                if self._next[number] <= offset < self.todo[number].end:
                    self._next[number] = offset + 1
                    kind, timestamp = message.timestamp()
                    yield KafkaRecord(
                        number, offset, timestamp if kind else -1, message.key(), message.value()
                    )
                self._reached(number, offset + 1)

    def close(self) -> None:
        if not self._forked_here:
            self._consumer.close()

    def _take_event(self, number: int, offset: int, error: Code) -> None:
        kind = kind_of_code(error.code())
        if kind is KafkaErrorKind.END_OF_PARTITION:
            # After the last record there may be offsets without one: transaction markers, compacted records.
            self._reached(number, offset)
        elif kind in (KafkaErrorKind.OUT_OF_RANGE, KafkaErrorKind.TRUNCATED) and number in self.todo:
            at = self._next[number]
            raise self._failed(
                f"offset {at} of partition {number} was deleted before it was read: {error.str()}", kind
            )
        elif kind in (KafkaErrorKind.UNKNOWN_TOPIC, KafkaErrorKind.NOT_AUTHORIZED):
            raise self._failed(error.str(), kind, error)
        elif kind in UNREADABLE:  # librdkafka goes on with the next batch, or tries the same one for ever
            raise self._failed(f"partition {number} @ {offset}: {error.str()}; {UNREADABLE[kind]}", kind)
        else:
            self._heard.hear(error)

    def _reached(self, number: int, offset: int) -> None:
        if number in self.todo and offset >= self.todo[number].end:
            del self.todo[number]
            self._consumer.incremental_unassign([TopicPartition(self._topic, number)])

    def _check_patience(self) -> None:
        if (refusal := self._heard.refusal) is not None:
            raise self._failed(refusal.str(), KafkaErrorKind.NOT_AUTHORIZED, refusal)
        if self._idle < self._source.request_timeout:
            return
        left = ", ".join(
            f"partition {number} stands at {self._next[number]} of {bound.end}"
            for number, bound in self.todo.items()
        )
        cause = f"; {self._heard.text}" if self._heard.text else ""
        raise self._failed(
            f"no record arrived for {self._idle:.0f} s: {left}{cause}", KafkaErrorKind.UNREACHABLE
        )

    def _failed(self, cause: str, kind: KafkaErrorKind, error: Code | None = None) -> ContactError:
        return ContactError(self._source.address, f"topic {self._topic!r}: {cause}", kind, error)

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._consumer)


def _bounds(source: KafkaSource, topic: str, check_open: Callable[[], None]) -> dict[int, Bounds]:
    """Ask where each partition begins and ends; tries again what may pass, as while a leader is elected."""
    partitions = source.topic_info(topic, source.request_timeout).partitions
    places = [(topic, number) for number in range(partitions)]

    def ask(_left: float) -> dict[int, Bounds]:
        check_open()
        ends, starts = source.ends(places), source.starts(places)
        futures = [*ends.values(), *starts.values()]
        late = wait(futures, timeout=source.request_timeout).not_done
        failure = Code(Code._TIMED_OUT) if late else next(filter(None, map(failure_of, futures)), None)
        if failure is None:
            return {
                number: Bounds(starts[topic, number].result().offset, ends[topic, number].result().offset)
                for number in range(partitions)
            }
        raise ContactError(
            source.address,
            f"the end offsets of topic {topic!r} are unknown: {failure.str()}",
            kind_of(failure),
            failure,
        )

    def may_pass(error: Exception) -> bool:
        final = (KafkaErrorKind.NOT_AUTHORIZED, KafkaErrorKind.UNKNOWN_TOPIC)
        return isinstance(error, ContactError) and error.kind not in final

    return retry(ask, source.request_timeout, RETRY_WAIT, may_pass)
