"""What a lane reads through: librdkafka from C, or ``confluent_kafka.Consumer`` and the apply loop.

Both read the assigned partitions, each from its position on, and return the same. The native one makes no
Python object for a record and does not wait for a full batch. Where it is not available the other serves.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition, cimpl

from statestore import core
from statestore.core import ClientError, Folded, KeyLimit, Partitioning, RecordFilter, fold
from statestore.kafka.client_log import ClientLog
from statestore.kafka.cuts import BRIEF_BATCHES, Cuts, HeldRecords, HoldLimits, high_watermark
from statestore.runtime import fork
from statestore.storage.layout import DATA

log = logging.getLogger("statestore.changelog")

_PYTHON_LEVELS = (50, 50, 50, 40, 30, 20, 20, 10)
"""Python's log levels by syslog's, which librdkafka uses."""


class Event(NamedTuple):
    """Something other than a record from a partition: its end, or an error. ``code`` is librdkafka's."""

    topic: str
    partition: int
    offset: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a lane reads before it applies it; times in seconds."""

    records: int
    memory: int
    """Bytes that the runs of writes take; the ordinary consumer has no such limit."""
    wait: float
    """Longest wait for the first record."""
    idle: float
    """Longest wait for a further record before the batch is returned."""
    span: float
    """Longest time from the first record until the batch is returned."""
    read_ahead: bool = False
    """Whether the next batch is read while this one is applied, if the reader can."""
    held: int = 16 << 20
    """Bytes of the records that are held back, with their overhead, so that no transaction is cut in two."""

    def hold(self) -> HoldLimits:
        """Return what may be held back."""
        brief = min(self.held, BRIEF_BATCHES * self.memory)
        return HoldLimits(memory=self.held, records=self.records, brief_memory=brief)


DIVIDED = 0
"""The code of an event that is no error: a batch ended where a transaction may go on."""


def _divided(cuts: Cuts) -> list[Event]:
    """Return events for the transactions that had to be cut."""
    divided, cuts.divided = cuts.divided, []
    text = "a transaction is larger than what is held back for it"
    return [Event(topic, number, offset, DIVIDED, text) for topic, number, offset in divided]


class BatchReader(Protocol):
    """Reads batches of the assigned topics. Belongs to one thread; only ``wake`` may be called on any."""

    def assign(
        self,
        topic: str,
        positions: Mapping[int, tuple[int, int]],
        ends: Mapping[int, int | None],
        record_filter: RecordFilter | None = None,
        key_limit: KeyLimit | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        """Read ``topic`` too, from ``{partition: (offset, leader epoch)}``.

        A read that reaches one of ``ends`` returns at once. From there on records are given up to a place
        where no transaction is cut (see ``kafka/cuts.py``). A record that ``record_filter`` skips moves the
        position only; from one at which it stops, nothing of the topic comes any more. ``key_limit`` judges
        records with longer keys likewise. With a ``partitioning``, records that it does not explain come as
        strays.

        Raises ``KafkaException``.
        """

    def unassign(self, topic: str) -> None:
        """Stop reading ``topic``. Nothing of it is returned any more, even where this raises."""

    def read(self) -> tuple[dict[str, Folded], list[Event]]:
        """Return the last write of each key by topic, and the events; waits a little for records.

        A record below its partition's position is counted as stale and otherwise ignored. After an exception
        what was read is lost: every topic must be assigned again.
        """
        ...

    def high_watermarks(self, topic: str) -> dict[int, int]:
        """Return the ends of the log that the last fetches told, by partition; open transactions included."""
        ...

    def poll(self) -> None:
        """Serve the connection while nothing is assigned."""

    def wake(self) -> None:
        """Have ``read`` return soon. Any thread."""

    def close(self) -> None:
        """End the connection. Idempotent."""

    def forked(self) -> None:
        """In a forked child: never free what the parent uses."""


FIRST_ANSWER = 0.5
"""Seconds that the first assignment waits for the broker: an assignment made before a client knows any broker
takes effect a second later."""


class ConsumerReader:
    """Reads through the ordinary consumer."""

    MOST_RECORDS = 10_000
    """At once: each is a Python object until it is applied."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        limits: BatchLimits,
        heard: Callable[[KafkaError], None],
        make: Callable[..., Consumer] = Consumer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = make({**properties, "error_cb": heard}, logger=ClientLog(log))
        self._connected = False
        self._batch = min(limits.records, self.MOST_RECORDS)
        self._wait = limits.wait
        self._positions: dict[tuple[str, int], int] = {}
        self._filters: dict[str, RecordFilter] = {}
        self._key_limits: dict[str, KeyLimit] = {}
        self._partitioning: dict[str, Partitioning] = {}
        self._cuts = Cuts(limits.hold(), clock)
        self._held = HeldRecords(self._consumer, self._cuts)

    def assign(
        self,
        topic: str,
        positions: Mapping[int, tuple[int, int]],
        ends: Mapping[int, int | None],
        record_filter: RecordFilter | None = None,
        key_limit: KeyLimit | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        if not self._connected:
            with contextlib.suppress(KafkaException):
                self._consumer.list_topics(topic, timeout=FIRST_ANSWER)
                self._connected = True
        self._consumer.incremental_assign(
            [
                TopicPartition(topic, number, offset, leader_epoch=epoch)
                for number, (offset, epoch) in positions.items()
            ]
        )
        self._held.assign(topic, positions, ends)
        self._positions.update({(topic, number): offset for number, (offset, _) in positions.items()})
        if record_filter is not None:
            self._filters[topic] = record_filter
        if key_limit is not None:
            self._key_limits[topic] = key_limit
        if partitioning is not None:
            self._partitioning[topic] = partitioning

    def unassign(self, topic: str) -> None:
        self._filters.pop(topic, None)
        self._key_limits.pop(topic, None)
        self._partitioning.pop(topic, None)
        self._cuts.forget(topic)
        self._held.unassign(topic)
        places = [place for place in self._positions if place[0] == topic]
        for place in places:
            del self._positions[place]
        if places:
            self._consumer.incremental_unassign([TopicPartition(*place) for place in places])

    def read(self) -> tuple[dict[str, Folded], list[Event]]:
        messages = self._held.pass_on(self._consumer.consume(self._batch, self._held.wait(self._wait)))
        by_topic, told = fold(
            messages, self._positions, DATA, self._filters, self._key_limits, self._partitioning
        )
        for topic, folded in by_topic.items():
            for number, (offset, _) in folded.positions.items():
                self._positions[topic, number] = offset
            if folded.candidates:
                self._partitioning[topic] = self._partitioning[topic]._replace(candidates=folded.candidates)
            if folded.stopped is not None:
                self.unassign(topic)
        events = []
        message: Any
        for message in told:
            topic, number, error = message.topic(), message.partition(), message.error()
            if (topic, number) in self._positions:
                events.append(Event(topic, number, message.offset(), error.code(), error.str()))
        return by_topic, events + _divided(self._cuts)

    def high_watermarks(self, topic: str) -> dict[int, int]:
        found = {}
        for name, number in self._positions:
            if name == topic:
                high = high_watermark(self._consumer, TopicPartition(topic, number))
                if high >= 0:
                    found[number] = high
        return found

    def poll(self) -> None:
        self._consumer.poll(0)

    def wake(self) -> None:
        """Do nothing: a wait of the consumer cannot be cut short."""

    def close(self) -> None:
        self._consumer.close()

    def forked(self) -> None:
        fork.leak(self._consumer)


class NativeReader:
    """Reads through ``statestore._native.Fetcher``; ``why_not_native`` says where it is not available."""

    def __init__(
        self, properties: Mapping[str, Any], limits: BatchLimits, heard: Callable[[KafkaError], None]
    ) -> None:
        self._cuts = Cuts(limits.hold())
        self._log = ClientLog(log)
        try:
            self._fetcher = core.Fetcher(
                [(name, _as_text(value)) for name, value in properties.items()],
                DATA,
                self._cuts.released,
                limits.held,
            )
        except ClientError as error:
            raise _kafka_exception(error) from None
        self._connected = False
        self._limits = limits
        self._heard = heard

    def assign(
        self,
        topic: str,
        positions: Mapping[int, tuple[int, int]],
        ends: Mapping[int, int | None],
        record_filter: RecordFilter | None = None,
        key_limit: KeyLimit | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        self._connected = self._connected or self._fetcher.look_up(topic, FIRST_ANSWER)
        known = {number: end for number, end in ends.items() if end is not None}
        try:
            self._fetcher.assign(topic, dict(positions), known, record_filter, key_limit, partitioning)
        except ClientError as error:
            raise _kafka_exception(error) from None

    def unassign(self, topic: str) -> None:
        self._cuts.forget(topic)
        try:
            self._fetcher.unassign(topic)
        except ClientError as error:
            raise _kafka_exception(error) from None

    def read(self) -> tuple[dict[str, Folded], list[Event]]:
        one = self._limits
        # Read ahead, a run is sorted while the last one is applied.
        return self._take(one.wait, one.idle, one.span, one.records, one.memory, one.read_ahead)

    def high_watermarks(self, topic: str) -> dict[int, int]:
        return self._fetcher.high_watermarks(topic)

    def poll(self) -> None:
        self._take(0.0, 0.0, 0.0, 1, 1, False)

    def _take(
        self, wait: float, idle: float, span: float, records: int, memory: int, sort: bool
    ) -> tuple[dict[str, Folded], list[Event]]:
        try:
            by_topic, events, reports = self._fetcher.read(wait, idle, span, records, memory, sort)
        except ClientError as error:
            raise _kafka_exception(error) from None
        for code, level, text in reports:
            if code == 0:
                self._log.log(_PYTHON_LEVELS[level], "%s", text)
            else:
                self._heard(KafkaError(code, text))
        return by_topic, [Event(*event) for event in events] + _divided(self._cuts)

    def wake(self) -> None:
        self._fetcher.wake()

    def close(self) -> None:
        self._fetcher.close()

    def forked(self) -> None:
        fork.leak(self._fetcher)


def why_not_native(properties: Mapping[str, Any]) -> str | None:
    """Say why the native reader cannot serve a client with these properties; ``None``: it can."""
    if core.IMPLEMENTATION == "pure":
        return "the native core is off (STATESTORE_PURE_PYTHON)"
    if not core.uses("fetcher"):
        return "turned off (STATESTORE_WITHOUT)"
    for name, value in properties.items():
        if value is not None and not isinstance(value, (str, int, float)):
            return f"{name} is a Python object"
        if name in _OF_THE_BINDING:
            return f"{name} is a property of confluent_kafka"
    try:
        core.find_kafka(cimpl.__file__)
    except LookupError as error:
        return f"librdkafka's C API is not available: {error}"
    return None


_OF_THE_BINDING = ("plugin.library.paths", "sasl.oauthbearer.metadata.authentication.type")
"""Properties that confluent_kafka itself interprets, beyond passing them on."""


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _kafka_exception(error: ClientError) -> KafkaException:
    return KafkaException(KafkaError(error.code, str(error)))
