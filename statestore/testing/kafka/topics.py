"""What tests do to the topics of a broker, whoever started it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    TopicDescription,
)

COMPACT: Final[Mapping[str, str]] = {"cleanup.policy": "compact"}

FILLER_KEY: Final = b"\x00statestore.testing.filler"
"""The key of the tombstones that :meth:`Broker.force_compaction` writes; no test writes a value under it."""

_REQUEST_SECONDS = 30
_ROLL_SECONDS = 0.2  # between fillers: more than the topic's segment.ms, so that each one rolls a segment

# What a client is told while the leader of a new topic takes it over, or while the client itself still goes
# by the leader of the topic that had the name before.
_PASSING_ERRORS = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class Broker:
    """A broker at ``bootstrap`` (``host:port``), and the operations on its topics that tests need.

    Every operation returns when its effect is visible to new clients. They raise ``KafkaException`` where
    the broker refuses, ``TimeoutError`` where the effect does not show within the time given. One thread at
    a time may use a broker object.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic, compacted unless ``config`` (names and values of topic settings) is given."""
        topic = NewTopic(name, num_partitions=partitions, config=dict(COMPACT if config is None else config))
        _result(self._admin.create_topics([topic])[name])
        _wait_until(lambda: self.has_topic(name), _REQUEST_SECONDS, f"topic {name} does not appear")
        self.end_offsets(name)  # which its leaders answer

    def delete_topic(self, name: str) -> None:
        """Delete a topic and all its records."""
        _result(self._admin.delete_topics([name])[name])
        _wait_until(lambda: not self.has_topic(name), _REQUEST_SECONDS, f"topic {name} is still there")

    def recreate_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Delete a topic and create one of the same name, with another topic id and offsets from 0."""
        self.delete_topic(name)
        self.create_topic(name, partitions, config)

    def has_topic(self, name: str) -> bool:
        """Return whether there is a topic of this name."""
        return self._describe(name) is not None

    def topic_id(self, name: str) -> str:
        """Return the id the broker gave to the topic when it was created (base64)."""
        description = self._describe(name)
        if description is None:
            raise KeyError(f"{self.bootstrap} has no topic {name}")
        return str(description.topic_id)

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set some settings of a topic and leave the others as they are."""
        resource = ConfigResource(
            ConfigResource.Type.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in config.items()
            ],
        )
        _result(self._admin.incremental_alter_configs([resource])[resource])
        _wait_until(
            lambda: self._has_settings(name, config), _REQUEST_SECONDS, f"topic {name} does not show {config}"
        )

    def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        """Delete the records below ``before_offset``; refused where ``cleanup.policy=compact``."""
        place = TopicPartition(topic, partition, before_offset)
        _result(self._admin.delete_records([place])[place])

    def start_offsets(self, topic: str) -> dict[int, int]:
        """Return each partition's log start: the lowest offset that may be read."""
        return self._offsets(topic, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def end_offsets(self, topic: str, *, read_committed: bool = True) -> dict[int, int]:
        """Return each partition's last stable offset or, unless ``read_committed``, its high watermark."""
        level = IsolationLevel.READ_COMMITTED if read_committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(topic, OffsetSpec.latest(), level)

    def produce(
        self,
        topic: str,
        records: Iterable[tuple[bytes | None, bytes | None]],
        partition: int = 0,
        timestamp: int = 0,
    ) -> None:
        """Write ``(key, value)`` records in order and return when the broker has them all.

        ``timestamp`` is in ms since 1970; 0 takes the time of writing.
        """
        producer = Producer({"bootstrap.servers": self.bootstrap, "max.in.flight": 1})
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for key, value in records:
            while True:
                try:
                    producer.produce(
                        topic,
                        value=value,
                        key=key,
                        partition=partition,
                        on_delivery=delivered,
                        timestamp=timestamp,
                    )
                    break
                except BufferError:  # the client's queue is full
                    producer.poll(0.1)
        unsent = producer.flush(_REQUEST_SECONDS)
        if failures:
            raise KafkaException(failures[0])
        if unsent:
            raise TimeoutError(
                f"{self.bootstrap} did not take {unsent} records for {topic} in {_REQUEST_SECONDS} s"
            )

    def read(self, topic: str, partition: int = 0, *, stop: int | None = None) -> list[Message]:
        """Return the committed records of a partition below offset ``stop`` (``None``: its present end)."""
        start = self.start_offsets(topic)[partition]
        if stop is None:
            stop = self.end_offsets(topic)[partition]
        if stop <= start:
            return []
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"statestore-testing-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 2,
                "fetch.wait.max.ms": 10,
            }
        )
        found: list[Message] = []
        try:
            consumer.assign([TopicPartition(topic, partition, start)])
            deadline = time.monotonic() + _REQUEST_SECONDS
            while time.monotonic() < deadline:
                for message in consumer.consume(10_000, timeout=0.05):
                    error = message.error()
                    offset = message.offset()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    if offset is None or offset >= stop:
                        return found
                    if error is None:
                        found.append(message)
                        if offset == stop - 1:
                            return found
        finally:
            consumer.close()
        raise TimeoutError(f"{topic}[{partition}] could not be read up to {stop} in {_REQUEST_SECONDS} s")

    def force_compaction(self, topic: str, *, tombstones: bool = False, timeout: float = 30.0) -> None:
        """Make the broker compact what ``topic`` holds now; return when no superseded value is left in it.

        With ``tombstones`` none of those is left either; this takes a topic which had a short
        ``delete.retention.ms`` before its first compaction, since the broker dates a tombstone's end then.
        Partitions without records stay so.

        The broker cleans a segment only after a later write has rolled it. So this writes tombstones of
        ``FILLER_KEY``, which delete nothing, until the outcome shows; some of them remain at the end of the
        log. The topic keeps the settings that make it roll: ``segment.ms=100``,
        ``min.cleanable.dirty.ratio=0.01``.

        Raises ``TimeoutError`` after ``timeout`` seconds.
        """
        self.configure_topic(topic, {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"})
        starts = self.start_offsets(topic)
        ends = {part: end for part, end in self.end_offsets(topic).items() if end > starts[part]}
        remedy = "is it compacted" + (", with a short delete.retention.ms?" if tombstones else "?")
        failure = f"{topic} still holds superseded records: {remedy}"

        def advance() -> bool:
            for part, end in list(ends.items()):
                if self._is_compacted(topic, part, end, tombstones):
                    del ends[part]
                else:
                    self.produce(topic, [(FILLER_KEY, None)], part)
            return not ends

        _wait_until(advance, timeout, failure, pause=_ROLL_SECONDS)

    def _is_compacted(self, topic: str, partition: int, end: int, tombstones: bool) -> bool:
        keys = set()
        for message in self.read(topic, partition, stop=end):
            key = message.key()
            if key in keys or (tombstones and message.value() is None and key != FILLER_KEY):
                return False
            keys.add(key)
        return True

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 250})

    def _describe(self, topic: str) -> TopicDescription | None:
        try:
            answer = self._admin.describe_topics(TopicCollection([topic]))[topic]
            description: TopicDescription = _result(answer)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
        return description

    def _has_settings(self, topic: str, config: Mapping[str, str]) -> bool:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = _result(self._admin.describe_configs([resource])[resource])
        return all(found[name].value == value for name, value in config.items())

    def _offsets(self, topic: str, which: Any, level: IsolationLevel) -> dict[int, int]:
        # "which" is an OffsetSpec, whose own methods are typed to return None
        description = self._describe(topic)
        if description is None:
            raise KeyError(f"{self.bootstrap} has no topic {topic}")
        wanted = {TopicPartition(topic, part.id): which for part in description.partitions}
        deadline = time.monotonic() + _REQUEST_SECONDS
        while True:
            answers = self._admin.list_offsets(wanted, isolation_level=level)
            try:
                return {place.partition: _result(answer).offset for place, answer in answers.items()}
            except KafkaException as error:
                if error.args[0].code() not in _PASSING_ERRORS or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


class ExternalBroker(Broker):
    """A running broker that the tests neither started nor may stop."""


def _result(answer: Future[Any]) -> Any:
    return answer.result(_REQUEST_SECONDS)


def _wait_until(condition: Callable[[], bool], seconds: float, failure: str, pause: float = 0.02) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{failure} (waited {seconds:g} s)")
        time.sleep(pause)
