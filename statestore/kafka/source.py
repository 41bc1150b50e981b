"""Everything that is asked of Kafka but its records, which ``reader.py`` takes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, OffsetSpec

from statestore.kafka.answers import ContactError, KafkaErrorKind, TopicInfo, failure_of, kind_of
from statestore.kafka.properties import reading_properties
from statestore.kafka.read_ahead import ReadAhead
from statestore.kafka.reader import BatchLimits, BatchReader, ConsumerReader, NativeReader, unfit
from statestore.runtime import fork

log = logging.getLogger("statestore.changelog")

OWNED = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
"""What the library's correctness rests on; ``settings.OWNED_PROPERTIES`` gives the reasons."""

_RECONNECT_SECONDS = 5
_AT_ONCE = 0.2
"""Seconds in which a broker that is there answers."""

TUNED = {
    # The default sleeps 1 s whenever 100,000 records are queued, which costs a factor of eight.
    "fetch.queue.backoff.ms": 2,
    # How long the last end-of-partition event may take.
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": _RECONNECT_SECONDS * 1000,
    "socket.keepalive.enable": True,
}
"""Defaults of ours that a user's property overrides."""

RECORD_OVERHEAD = 400
"""Bytes that librdkafka takes for a record in its queue beside key and value: 330 to 350, measured."""
LARGEST_QUEUE = 2 << 30
"""Bytes of which librdkafka takes every limit made below; it refuses 2 GiB of keys and values."""
LARGEST_BATCH = 1_000_000
"""librdkafka's default of ``message.max.bytes``."""

_CONSUMER_ONLY = (*OWNED, "fetch.queue.backoff.ms", "fetch.wait.max.ms")


class KafkaSource:
    """One manager's connection to one cluster. Thread-safe.

    ``on_error`` is called, on a thread of the library, for errors that concern no single topic.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        name: str,
        request_timeout: float,
        on_error: Callable[[KafkaErrorKind, str], None],
    ) -> None:
        self.address = str(properties["bootstrap.servers"])
        self.request_timeout = request_timeout
        self._properties = {
            **TUNED,
            **reading_properties(properties),
            **OWNED,
            "group.id": f"statestore-{name}",
        }
        self._on_error = on_error
        self._errors: dict[int, tuple[float, Code]] = {}
        """What the readers heard since the broker last answered, and when: by code, the newest last."""
        plain = {
            key: value
            for key, value in self._properties.items()
            if key not in _CONSUMER_ONLY and key != "group.id"
        }
        self._admin = AdminClient(plain, logger=log)
        why = unfit(self._properties)
        self.fetcher = "native" if why is None else f"consumer: {why}"
        """What reads the records, and why not the faster one."""
        log.info("Kafka at %s: records are read by: %s", self.address, self.fetcher)
        fork.register(self)

    def reader(self, limits: BatchLimits, queue_bytes: int) -> BatchReader:
        """Make a reader that queues about ``queue_bytes``; the caller polls and closes it."""
        properties = self.consumer_properties(queue_bytes)
        if self.fetcher != "native":
            return ConsumerReader(properties, limits, self._heard)
        reader = NativeReader(properties, limits, self._heard)
        return ReadAhead(reader, "statestore-fetch") if limits.read_ahead else reader

    def consumer_properties(self, queue_bytes: int) -> dict[str, Any]:
        """Return the properties of a consumer that queues about ``queue_bytes``."""
        return {**queue_limits(queue_bytes, self._properties), **self._properties}

    def _heard(self, error: Code) -> None:
        self._errors.pop(error.code(), None)
        self._errors[error.code()] = (time.monotonic(), error)
        self._on_error(kind_of(error), error.str())

    def topic_info(self, topic: str, timeout: float) -> TopicInfo:
        """Ask for the partitions of ``topic``; blocks for at most ``timeout`` seconds.

        Raises ``ContactError`` as soon as the broker refuses, does not know the topic, or no address can be
        reached, which the readers hear on their own threads.
        """
        described = self._described(topic)
        if described is not None:
            return described
        began = time.monotonic()
        while True:
            left = began + timeout - time.monotonic()
            try:
                answer = self._metadata(max(0.05, min(left, 0.5)))
            except KafkaException as failure:
                heard = [error for _, error in list(self._errors.values())]
                refused = any(kind_of(error) is KafkaErrorKind.NOT_AUTHORIZED for error in heard)
                # That all are down is told once: what was told earlier may have changed, and shows when the
                # client has tried to connect again.
                tried = began + _RECONNECT_SECONDS < time.monotonic()
                down = any(
                    error.code() == Code._ALL_BROKERS_DOWN and (tried or at > began - 1.0)
                    for at, error in list(self._errors.values())
                )
                if refused or down or left <= 0.5:
                    # What went wrong with a broker says more than that all of them are down.
                    told = [error for error in heard if error.code() != Code._ALL_BROKERS_DOWN]
                    cause = (told or heard or [failure.args[0]])[-1].str()
                    kind = KafkaErrorKind.NOT_AUTHORIZED if refused else KafkaErrorKind.UNREACHABLE
                    raise ContactError(
                        self.address, f"no answer about topic {topic!r}: {cause}", kind
                    ) from failure
                continue
            self._errors.clear()
            found = answer.topics.get(topic)
            if found is None:
                # What we may not see is left out, too. A description tells; the first may have come too late.
                described = self._described(topic)
                if described is not None:
                    return described
                error = Code(Code.UNKNOWN_TOPIC_OR_PART)
            elif found.error is None:
                return TopicInfo(len(found.partitions), answer.cluster_id)
            else:
                error = found.error
            if kind_of(error) in (KafkaErrorKind.NOT_AUTHORIZED, KafkaErrorKind.UNKNOWN_TOPIC) or left <= 0.5:
                raise self._refused(topic, error)
            time.sleep(0.1)  # a leader is being elected

    def _described(self, topic: str) -> TopicInfo | None:
        """Return what the admin client is told at once, ``None`` where that is nothing, or an error.

        The question for metadata is answered later: the first connection of a client takes 50 ms to be used
        for it. But a cluster that names no controller answers no other one. Raises ``ContactError`` where the
        topic is refused: metadata leaves it out, as if it did not exist.
        """
        description = self.topic_ids([topic], _AT_ONCE)[topic]
        cluster = self._admin.describe_cluster(request_timeout=_AT_ONCE)
        late = wait([description, cluster], timeout=_AT_ONCE).not_done
        failure = None if description in late else failure_of(description)
        if failure is not None and kind_of(failure) is KafkaErrorKind.NOT_AUTHORIZED:
            raise self._refused(topic, failure)
        if late or failure is not None or failure_of(cluster) is not None:
            return None
        self._errors.clear()
        return TopicInfo(len(description.result().partitions), cluster.result().cluster_id)

    def _metadata(self, timeout: float) -> ClusterMetadata:
        """Ask for all topics, in at most ``timeout`` seconds.

        For librdkafka an admin client is a producer, and a producer's question about one topic creates it
        where it does not exist and the broker makes topics by itself.
        """
        return self._admin.list_topics(timeout=timeout)

    def _refused(self, topic: str, error: Code) -> ContactError:
        return ContactError(self.address, f"topic {topic!r}: {error.str()}", kind_of(error))

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Ask for the last stable offset of each partition: futures with an ``offset``."""
        return self._list_offsets(partitions, OffsetSpec.latest())

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Ask for the first offset in the log of each partition: futures with an ``offset``."""
        return self._list_offsets(partitions, OffsetSpec.earliest())

    def _list_offsets(
        self, partitions: Iterable[tuple[str, int]], spec: Any
    ) -> dict[tuple[str, int], Future[Any]]:
        request = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        answers = self._admin.list_offsets(
            request,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self.request_timeout,
        )
        return {(asked.topic, asked.partition): future for asked, future in answers.items()}

    def look_again(self) -> None:
        """Have the leaders looked up again: after an outage the client may go by the old ones.

        Waits hardly at all: the answer serves the next question.
        """
        with contextlib.suppress(KafkaException):
            self._metadata(0.02)

    def topic_ids(self, topics: Iterable[str], timeout: float) -> dict[str, Future[Any]]:
        """Ask for the descriptions (id, partitions) of ``topics``."""
        answers: dict[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(list(topics)), request_timeout=timeout
        )
        return answers

    def topic_configs(self, topics: Iterable[str], timeout: float) -> dict[str, Future[Any]]:
        """Ask for the configuration of ``topics``."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
        answers = self._admin.describe_configs(resources, request_timeout=timeout)
        return {resource.name: future for resource, future in answers.items()}

    def _forked(self) -> None:
        fork.leak(self._admin)


def queue_limits(queue_bytes: int, given: Mapping[str, Any]) -> dict[str, int]:
    """Return librdkafka properties with which a consumer's queue takes about ``queue_bytes``.

    Half of it is for keys and values, and half for what each record takes beside them; one fetch may come on
    top. ``given`` are the user's properties, whose ``message.max.bytes`` a fetch must have room for.
    """
    queue_bytes = min(queue_bytes, LARGEST_QUEUE)
    return {
        "queued.max.messages.kbytes": queue_bytes // 2 >> 10,
        # Despite its name this is where fetching pauses, for all partitions together.
        "queued.min.messages": queue_bytes // 2 // RECORD_OVERHEAD,
        "fetch.max.bytes": max(queue_bytes // 8, int(given.get("message.max.bytes", LARGEST_BATCH))),
    }
