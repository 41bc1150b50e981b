"""Everything that is asked of Kafka; the only module of the core that imports ``confluent_kafka``."""

from __future__ import annotations

import contextlib
import enum
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from statestore import fork
from statestore.errors import KafkaError

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

_CONSUMER_ONLY = (*OWNED, "fetch.queue.backoff.ms", "fetch.wait.max.ms")


class Trouble(enum.Enum):
    """What an error of the broker or of librdkafka means to a mirror."""

    END = "the end of the partition"
    POSITION = "the position is not in the log"
    TRUNCATED = "the log was truncated below the position"
    UNKNOWN_TOPIC = "unknown topic or partition"
    REFUSED = "authorisation or authentication refused"
    AWAY = "the broker is away"
    OTHER = "something else, retried by librdkafka"


_TROUBLE = {
    Code._PARTITION_EOF: Trouble.END,
    Code._AUTO_OFFSET_RESET: Trouble.POSITION,
    Code.OFFSET_OUT_OF_RANGE: Trouble.POSITION,
    Code._LOG_TRUNCATION: Trouble.TRUNCATED,
    Code.UNKNOWN_TOPIC_OR_PART: Trouble.UNKNOWN_TOPIC,
    Code.UNKNOWN_TOPIC_ID: Trouble.UNKNOWN_TOPIC,
    Code._UNKNOWN_TOPIC: Trouble.UNKNOWN_TOPIC,
    Code._UNKNOWN_PARTITION: Trouble.UNKNOWN_TOPIC,
    Code.TOPIC_AUTHORIZATION_FAILED: Trouble.REFUSED,
    Code.CLUSTER_AUTHORIZATION_FAILED: Trouble.REFUSED,
    Code.SASL_AUTHENTICATION_FAILED: Trouble.REFUSED,
    Code._AUTHENTICATION: Trouble.REFUSED,
    Code._SSL: Trouble.REFUSED,
    Code._ALL_BROKERS_DOWN: Trouble.AWAY,
    Code._TRANSPORT: Trouble.AWAY,
    Code._RESOLVE: Trouble.AWAY,
    Code._TIMED_OUT: Trouble.AWAY,
    Code.LEADER_NOT_AVAILABLE: Trouble.AWAY,
    Code.NOT_LEADER_FOR_PARTITION: Trouble.AWAY,
}


def trouble(error: Code) -> Trouble:
    """Classify an error of a message, a future or a callback."""
    return _TROUBLE.get(error.code(), Trouble.OTHER)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What one metadata answer says of a topic."""

    partitions: int
    cluster_id: str | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets of one partition: the log's start and its last stable offset (``read_committed``)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicState:
    """Identity and configuration of a topic; a field is ``None`` where the broker did not answer."""

    topic_id: str | None = None
    partitions: int | None = None
    cleanup_policy: str | None = None
    delete_retention_ms: int | None = None
    unknown: bool = False

    def known_or(self, earlier: TopicState) -> TopicState:
        """Return this with what is not known taken from an ``earlier`` answer."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(earlier, **known)


class ContactError(KafkaError):
    """A ``KafkaError`` that remembers which trouble it was."""

    def __init__(self, address: str, cause: str, kind: Trouble) -> None:
        super().__init__(address, cause)
        self.kind = kind


class KafkaSource:
    """One manager's connection to one cluster. Thread-safe.

    ``on_trouble`` is called, on a thread of the library, for troubles that concern no single topic.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        name: str,
        request_timeout: float,
        on_trouble: Callable[[Trouble, str], None],
    ) -> None:
        self.address = str(properties["bootstrap.servers"])
        self.request_timeout = request_timeout
        self._properties = {**TUNED, **properties, **OWNED, "group.id": f"statestore-{name}"}
        self._on_trouble = on_trouble
        self._errors: deque[tuple[float, Code]] = deque(maxlen=8)
        """What the consumers heard since the broker last answered, and when."""
        plain = {
            key: value
            for key, value in self._properties.items()
            if key not in _CONSUMER_ONLY and key != "group.id"
        }
        self._admin = AdminClient(plain, logger=log)
        fork.register(self)

    def consumer(self, queue_bytes: int) -> Consumer:
        """Make a consumer that queues at most ``queue_bytes``; the caller polls and closes it."""
        properties = {
            "queued.max.messages.kbytes": max(1024, queue_bytes >> 10),
            **self._properties,
            "error_cb": self._heard,
        }
        return Consumer(properties, logger=log)

    def _heard(self, error: Code) -> None:
        self._errors.append((time.monotonic(), error))
        self._on_trouble(trouble(error), error.str())

    def topic_info(self, consumer: Consumer, topic: str, timeout: float) -> TopicInfo:
        """Ask for the partitions of ``topic``; blocks for at most ``timeout`` seconds.

        ``consumer`` is polled by its own thread meanwhile. Raises ``ContactError`` as soon as the broker
        refuses, does not know the topic, or no address can be reached.
        """
        began = time.monotonic()
        while True:
            left = began + timeout - time.monotonic()
            try:
                answer = consumer.list_topics(topic, timeout=max(0.05, min(left, 0.5)))
            except KafkaException as failure:
                heard = [error for _, error in list(self._errors)]
                refused = any(trouble(error) is Trouble.REFUSED for error in heard)
                # That all are down is told once: what was told earlier may have changed, and shows when the
                # client has tried to connect again.
                tried = began + _RECONNECT_SECONDS < time.monotonic()
                down = any(
                    error.code() == Code._ALL_BROKERS_DOWN and (tried or at > began - 1.0)
                    for at, error in list(self._errors)
                )
                if refused or down or left <= 0.5:
                    # What went wrong with a broker says more than that all of them are down.
                    told = [error for error in heard if error.code() != Code._ALL_BROKERS_DOWN]
                    cause = (told or heard or [failure.args[0]])[-1].str()
                    kind = Trouble.REFUSED if refused else Trouble.AWAY
                    raise ContactError(
                        self.address, f"no answer about topic {topic!r}: {cause}", kind
                    ) from failure
                continue
            self._errors.clear()
            found = answer.topics[topic]
            if found.error is None:
                return TopicInfo(len(found.partitions), answer.cluster_id)
            if trouble(found.error) in (Trouble.REFUSED, Trouble.UNKNOWN_TOPIC) or left <= 0.5:
                raise ContactError(
                    self.address, f"topic {topic!r}: {found.error.str()}", trouble(found.error)
                )
            time.sleep(0.1)  # a leader is being elected

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

    def look_again(self, topics: Iterable[str]) -> None:
        """Have the leaders of ``topics`` looked up again: after an outage the client may go by the old ones.

        Waits hardly at all: the answer serves the next question.
        """
        for topic in topics:
            with contextlib.suppress(KafkaException):
                self._admin.list_topics(topic, timeout=0.02)

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


def assignment(topic: str, positions: Mapping[int, tuple[int, int]]) -> list[TopicPartition]:
    """Return what a consumer is given to read ``topic`` from ``{partition: (offset, leader epoch)}``."""
    return [
        TopicPartition(topic, partition, offset, leader_epoch=epoch)
        for partition, (offset, epoch) in positions.items()
    ]


def failure_of(answer: Future[Any]) -> Code | None:
    """Return the error of a finished future, ``None`` when it succeeded."""
    error = answer.exception()
    if error is None:
        return None
    if isinstance(error, KafkaException):
        code: Code = error.args[0]
        return code
    return Code(Code._FAIL, str(error))


def topic_state(description: Future[Any], configuration: Future[Any]) -> TopicState:
    """Join the two finished answers about a topic; what failed is unknown."""
    unknown = False
    topic_id = partitions = policy = retention = None
    failure = failure_of(description)
    if failure is None:
        found = description.result()
        topic_id, partitions = str(found.topic_id), len(found.partitions)
    else:
        unknown = trouble(failure) is Trouble.UNKNOWN_TOPIC
    if failure_of(configuration) is None:
        entries = configuration.result()
        if "cleanup.policy" in entries:
            policy = entries["cleanup.policy"].value
        if "delete.retention.ms" in entries:
            retention = int(entries["delete.retention.ms"].value)
    return TopicState(topic_id, partitions, policy, retention, unknown)
