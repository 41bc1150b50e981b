"""Every question to Kafka about topics and offsets, and the making of readers for the records."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import ClusterMetadata, ConfigResource, OffsetSpec

from statestore.kafka.admin import AdminConnection
from statestore.kafka.answers import ContactError, KafkaErrorKind, TopicInfo, failure_of, kind_of
from statestore.kafka.properties import RECONNECT_SECONDS, consumer_properties
from statestore.kafka.read_ahead import ReadAhead
from statestore.kafka.reader import BatchLimits, BatchReader, ConsumerReader, NativeReader, why_not_native

log = logging.getLogger("statestore.changelog")

_AT_ONCE = 0.2
"""Seconds in which a reachable broker answers."""

RECORD_OVERHEAD = 400
"""Bytes that librdkafka takes for a queued record beside key and value: 330 to 350, measured."""
LARGEST_QUEUE = 2 << 30
"""The largest queue: librdkafka refuses 2 GiB of keys and values."""
LARGEST_BATCH = 1_000_000
"""librdkafka's default of ``message.max.bytes``."""


class KafkaSource:
    """One manager's connection to one cluster. Thread-safe.

    ``on_error`` is called, on a thread of the library, for errors that concern no single topic.
    """

    def __init__(
        self,
        admin: AdminConnection,
        properties: Mapping[str, Any],
        name: str,
        request_timeout: float,
        on_error: Callable[[KafkaErrorKind, str], None],
    ) -> None:
        self.address = admin.address
        self.request_timeout = request_timeout
        self._properties = consumer_properties(properties, f"statestore-{name}")
        self._on_error = on_error
        self._errors: dict[int, tuple[float, Code]] = {}
        """Errors the readers reported since the broker last answered, and when: by code, newest last."""
        self._admin = admin.client()
        why = why_not_native(self._properties)
        self.fetcher = "native" if why is None else f"consumer: {why}"
        """What reads the records, and why not the faster one."""
        log.info("Kafka at %s: records are read by: %s", self.address, self.fetcher)

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

        Raises ``ContactError`` as soon as the broker refuses or does not know the topic, or the readers find
        that no address can be reached.
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
                tried = began + RECONNECT_SECONDS < time.monotonic()
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
        """Return the description of the topic if the broker gives one at once, else ``None``.

        A description is answered sooner than metadata, for which a client's first connection is used only
        after 50 ms. But a cluster without a controller answers metadata only. Raises ``ContactError`` where
        access to the topic is refused: metadata leaves such a topic out, as if it did not exist.
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

        For librdkafka an admin client is a producer, and its metadata request for one topic creates it on
        a broker with ``auto.create.topics.enable``.
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
        """Refresh the client's metadata: after an outage it may still send requests to former leaders.

        This hardly waits: the next request uses the answer.
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


def queue_limits(queue_bytes: int, given: Mapping[str, Any]) -> dict[str, int]:
    """Return librdkafka properties with which a consumer's queue takes about ``queue_bytes``.

    Half of it is for keys and values, half for the overhead of each record; one fetch may be added. A fetch
    must have room for ``message.max.bytes`` of the user's properties, ``given``.
    """
    queue_bytes = min(queue_bytes, LARGEST_QUEUE)
    return {
        "queued.max.messages.kbytes": queue_bytes // 2 >> 10,
        # Despite its name this is where fetching pauses, for all partitions together.
        "queued.min.messages": queue_bytes // 2 // RECORD_OVERHEAD,
        "fetch.max.bytes": max(queue_bytes // 8, int(given.get("message.max.bytes", LARGEST_BATCH))),
    }
