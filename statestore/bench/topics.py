"""The topics that candidates read: filled once for all of them, and deleted at the end.

By default they are on librdkafka's mock broker in this process, so that the memory and the processor time of
a candidate's process are its own.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from random import Random
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from statestore.bench.candidates import Pair
from statestore.bench.content import LARGEST_VALUE, Content
from statestore.bench.entities import ENTITIES, declared, encoded, entities_of
from statestore.errors import KafkaError

log = logging.getLogger("statestore.bench")

PARTITIONS = 4
"""Those that the mock broker gives each topic."""
RESTORED = "records"
"""What is in the topic that is restored."""

_MOCK_PARTITION = 5 << 20
"""Bytes of a partition from which on the mock broker deletes its oldest records."""
_OVERHEAD = 16
"""Bytes that a record takes besides its key and value, and its part of what a batch takes."""
_USED = 0.95
_LARGEST = LARGEST_VALUE + (1 << 20)
"""Bytes of a message at most; by default a broker takes one of a megabyte."""
_CONFIG = {"cleanup.policy": "compact", "max.message.bytes": str(_LARGEST)}
_PATIENCE = 600.0
_SOON = 10.0


def mock_holds(content: Content) -> int:
    """Return how many records the mock broker keeps of a topic."""
    return int(PARTITIONS * _MOCK_PARTITION * _USED / (content.mean + _OVERHEAD))


def too_many(records: int, content: Content) -> str | None:
    """Return why the mock broker cannot keep ``records``, and what to do; ``None`` where it can."""
    most = mock_holds(content)
    if records <= most:
        return None
    return (
        f"{records:,} records of {content.mean:.0f} bytes are more than the broker in this process keeps "
        f"({most:,}): give fewer --keys, or the address of a broker (--kafka)"
    )


def records_of(what: str, keys: int) -> int:
    """Return how many records a topic has in a run with ``keys``."""
    return entities_of(keys) if what in ENTITIES else keys


def produce_all(
    producer: Producer,
    kafka: str,
    topic: str,
    pairs: Iterable[Pair],
    partitions: int | None = None,
    headers: list[tuple[str, str | bytes | None]] | None = None,
) -> None:
    """Write ``pairs`` to a topic of the broker at ``kafka``, and return when it has them.

    With ``partitions`` they go to each in turn, else where the partitioner of the client has them. Raises
    ``KafkaError`` where the broker refuses them, or takes too long.
    """
    refused: list[str] = []

    def confirmed(error: Any, _: object) -> None:
        if error is not None:
            refused.append(error.str())

    produce, poll = producer.produce, producer.poll
    given = headers or []
    for number, (key, value) in enumerate(pairs):
        partition = -1 if partitions is None else number % partitions
        while True:
            try:
                produce(topic, value, key, partition, on_delivery=confirmed, headers=given)
                break
            except BufferError:  # the queue of the client is full
                poll(0.1)
        if number % 1_000 == 0:
            poll(0)
        if refused:
            break
    if (left := producer.flush(_PATIENCE)) or refused:
        raise KafkaError(kafka, refused[0] if refused else f"{left} records of {topic} are not taken")


class BenchTopics:
    """Makes the topics of one run. Not thread-safe.

    ``kafka`` is the address of a broker; ``None``: a mock broker, which lives as long as this. Raises
    ``KafkaError`` where the broker is away or refuses.
    """

    def __init__(self, kafka: str | None) -> None:
        self._run = uuid.uuid4().hex[:8]
        self._is_mock = kafka is None
        self._made: list[str] = []
        self._names: dict[tuple[str, int], str] = {}
        where = {"test.mock.num.brokers": 1} if kafka is None else {}
        self._producer = Producer(
            {
                "bootstrap.servers": kafka or "mock",
                **where,
                "linger.ms": 20,
                "log_level": 0,
                "message.max.bytes": _LARGEST,
                "queue.buffering.max.kbytes": 64 << 10,
            }
        )
        try:
            found = self._producer.list_topics(timeout=_SOON)
        except KafkaException as error:
            why = f"{error.args[0].str()}; give the address of a broker that runs (--kafka host:port)"
            raise KafkaError(kafka or "mock", why) from error
        broker = next(iter(found.brokers.values()))
        self.kafka = kafka or f"{broker.host}:{broker.port}"
        self._admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def of(self, what: str, content: Content, records: int) -> str:
        """Return the name of the topic of ``records`` that ``what`` says. The first call makes and fills it.

        ``what`` is ``RESTORED``, whose records are ``content`` in random order, or one of ``ENTITIES``.
        """
        if (what, records) not in self._names:
            name = f"statestore-bench-{self._run}-{what}-{records}"
            if what in ENTITIES:
                pairs: Iterable[Pair] = encoded(declared(ENTITIES[what]), records)
            else:
                numbers = list(range(records))
                Random(records).shuffle(numbers)
                pairs = ((content.key(number), content.value()) for number in numbers)
            self._create(name)
            produce_all(self._producer, self.kafka, name, pairs, PARTITIONS)
            self._check(name, records)
            self._names[what, records] = name
        return self._names[what, records]

    def _create(self, name: str) -> None:
        """Make the topic; the mock broker makes it with its first record."""
        if self._is_mock:
            return
        self._made.append(name)
        wanted = NewTopic(name, PARTITIONS, -1, config=_CONFIG)
        self._done(self._admin.create_topics([wanted], request_timeout=_PATIENCE)[name])

    def _done(self, answer: Future[Any]) -> None:
        try:
            answer.result(_PATIENCE)
        except KafkaException as error:
            raise KafkaError(self.kafka, error.args[0].str()) from error

    def _check(self, name: str, records: int) -> None:
        """Raise ``KafkaError`` where the topic has not all records."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": self._run, "log_level": 0})
        try:
            parts = (TopicPartition(name, number) for number in range(PARTITIONS))
            marks = [consumer.get_watermark_offsets(part, timeout=_PATIENCE) for part in parts]
        except KafkaException as error:
            raise KafkaError(self.kafka, error.args[0].str()) from error
        finally:
            consumer.close()
        found = sum(high - low for low, high in marks)
        if found != records:
            raise KafkaError(self.kafka, f"topic {name} keeps {found:,} of {records:,} records")

    def close(self) -> None:
        """Delete the topics; what is left behind is logged."""
        for name in self._made:
            try:
                self._done(self._admin.delete_topics([name], request_timeout=_SOON)[name])
            except KafkaError as error:
                log.warning("topic %s is left behind (%s): delete it", name, error)
        self._made.clear()
        self._producer.purge()
