"""Every question to Kafka about topics and offsets, and the making of readers for the records."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, OffsetSpec

from statestore.kafka.admin import AdminConnection, refusal_of
from statestore.kafka.answers import (
    ContactError,
    KafkaErrorKind,
    TopicInfo,
    failure_of,
    kind_of,
    topic_id_of,
)
from statestore.kafka.client_log import ClientLog
from statestore.kafka.position_check import lost_positions
from statestore.kafka.properties import RECONNECT_SECONDS, consumer_properties
from statestore.kafka.read_ahead import ReadAhead
from statestore.kafka.reader import BatchLimits, BatchReader, ConsumerReader, NativeReader, why_not_native
from statestore.kafka.remedies import NO_PROTOCOL, refuses_client, text_of
from statestore.runtime.steps import in_thread

log = logging.getLogger("statestore.changelog")

_AT_ONCE = 0.2
"""Seconds in which a reachable broker answers."""

_REFUSAL = 5.0
"""Seconds in which a broker refuses a client: one that takes longer has not refused it."""

RECORD_OVERHEAD = 400
"""Bytes that librdkafka takes for a queued record beside key and value: 330 to 350, measured."""
LARGEST_QUEUE = 2 << 30
"""The largest queue: librdkafka refuses 2 GiB of keys and values."""
LARGEST_BATCH = 1_000_000
"""librdkafka's default of ``message.max.bytes``."""


class KafkaSource:
    """One manager's connection to one cluster. Thread-safe.

    ``on_error`` is called, on a thread of the library, for errors that concern no single topic, and with what
    they say.
    """

    def __init__(
        self,
        admin: AdminConnection,
        properties: Mapping[str, Any],
        name: str,
        request_timeout: float,
        on_error: Callable[[Code, str], None],
    ) -> None:
        self.address = admin.address
        self.request_timeout = request_timeout
        self._given = properties
        self._properties = consumer_properties(properties, f"statestore-{name}")
        self._on_error = on_error
        self._errors: dict[int, tuple[float, Code]] = {}
        """Errors the readers reported since the broker last answered, and when: by code, newest last."""
        self.client_log = ClientLog(log)
        """Of the clients that live for one question or one read."""
        admin.client()  # raises for what librdkafka refuses
        self._connection = admin
        self.serve = admin.serve
        why = why_not_native(self._properties)
        self.fetcher = "native" if why is None else f"consumer: {why}"
        """What reads the records, and why not the faster one."""
        log.info("Kafka at %s: records are read by: %s", self.address, self.fetcher)

    @property
    def _admin(self) -> AdminClient:
        return self._connection.client()

    def reader(self, limits: BatchLimits, queue_bytes: int) -> BatchReader:
        """Make a reader that queues about ``queue_bytes``; the caller polls and closes it."""
        properties = self.consumer_properties(queue_bytes)
        if self.fetcher != "native":
            return ConsumerReader(properties, limits, self._heard)
        reader = NativeReader(properties, limits, self._heard)
        return ReadAhead(reader, "statestore-fetch") if limits.read_ahead else reader

    def consumer(self, properties: Mapping[str, Any]) -> Consumer:
        """Make a consumer that lives for one read; the caller closes it."""
        return Consumer(dict(properties), logger=self.client_log)

    def consumer_properties(self, queue_bytes: int) -> dict[str, Any]:
        """Return the properties of a consumer that queues about ``queue_bytes``."""
        return {**queue_limits(queue_bytes, self._properties), **self._properties}

    def _heard(self, error: Code) -> None:
        self._errors.pop(error.code(), None)
        self._errors[error.code()] = (time.monotonic(), error)
        self._on_error(error, self._told(error))

    def _told(self, error: Code) -> str:
        """Return what ``error`` says; that all brokers are down says less than what was wrong with one."""
        if error.code() != Code._ALL_BROKERS_DOWN:
            return text_of(error)
        since = time.monotonic() - 2 * RECONNECT_SECONDS
        others = [one for at, one in list(self._errors.values()) if at > since and one.code() != error.code()]
        return text_of(others[-1]) if others else NO_PROTOCOL

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
                heard = list(self._errors.values())
                refusals = [error for at, error in heard if at > began and refuses_client(error)]
                if refusals and refusal_of(self._given, _REFUSAL) is None:
                    refusals = []  # they were mended meanwhile
                    self._errors.clear()
                # That all are down is told once: what was told earlier may have changed, and shows when the
                # client has tried to connect again.
                tried = began + RECONNECT_SECONDS < time.monotonic()
                down = any(
                    error.code() == Code._ALL_BROKERS_DOWN and (tried or at > began - 1.0)
                    for at, error in heard
                )
                if refusals or down or left <= 0.5:
                    cause = (refusals or [error for _, error in heard] or [failure.args[0]])[-1]
                    raise ContactError(
                        self.address,
                        f"no answer about topic {topic!r}: {self._told(cause)}",
                        KafkaErrorKind.NOT_AUTHORIZED if refusals else KafkaErrorKind.UNREACHABLE,
                        cause,
                    ) from failure
                continue
            self._errors.clear()
            # The first description may have come too late. Metadata has no id, and leaves a topic out that we
            # may not see.
            described = self._described(topic)
            if described is not None:
                return described
            found = answer.topics.get(topic)
            error = Code(Code.UNKNOWN_TOPIC_OR_PART)
            if found is not None:
                if found.error is None:
                    return TopicInfo(len(found.partitions), answer.cluster_id)
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
        found = description.result()
        return TopicInfo(len(found.partitions), cluster.result().cluster_id, topic_id_of(found))

    def _metadata(self, timeout: float) -> ClusterMetadata:
        """Ask for all topics, in at most ``timeout`` seconds.

        For librdkafka an admin client is a producer, and its metadata request for one topic creates it on
        a broker with ``auto.create.topics.enable``.
        """
        return self._admin.list_topics(timeout=timeout)

    def _refused(self, topic: str, error: Code) -> ContactError:
        return ContactError(self.address, f"topic {topic!r}: {error.str()}", kind_of(error), error)

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Ask for the last stable offset of each partition: futures with an ``offset``."""
        return self._list_offsets(partitions, OffsetSpec.latest())

    def log_ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Ask for the end of each partition, the records of open transactions included."""
        return self._list_offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Ask for the first offset in the log of each partition: futures with an ``offset``."""
        return self._list_offsets(partitions, OffsetSpec.earliest())

    def _list_offsets(
        self,
        partitions: Iterable[tuple[str, int]],
        spec: Any,
        isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[tuple[str, int], Future[Any]]:
        request = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        answers = self._admin.list_offsets(
            request,
            isolation_level=isolation_level,
            request_timeout=self.request_timeout,
        )
        return {(asked.topic, asked.partition): future for asked, future in answers.items()}

    def lost_positions(
        self, topic: str, positions: Mapping[int, tuple[int, int]], is_wanted: Callable[[], bool]
    ) -> Future[dict[int, str]]:
        """Ask whether the log still has the records below ``{partition: (offset, leader epoch)}``.

        The answer says of each partition that does not how the log was cut off. It fails soon where it is not
        wanted any more.
        """
        timeout, log_ = self.request_timeout, self.client_log
        ask = partial(lost_positions, self._properties, topic, positions, timeout, is_wanted, log_)
        return in_thread("statestore-positions", ask)

    def refusal(self) -> Future[Code | None]:
        """Ask whether the broker refuses a client now; the answer is its error, or ``None``."""
        return in_thread("statestore-refusal", partial(refusal_of, self._given, _REFUSAL))

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
