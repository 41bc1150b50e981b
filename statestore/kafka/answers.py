"""What the broker's answers and errors mean to a mirror."""

from __future__ import annotations

import enum
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore.errors import KafkaError


class KafkaErrorKind(enum.Enum):
    """What an error of the broker or of librdkafka means to a mirror."""

    END_OF_PARTITION = "the end of the partition is reached"
    OUT_OF_RANGE = "the position is not in the log"
    TRUNCATED = "the log was truncated below the position"
    UNKNOWN_TOPIC = "the topic or partition does not exist"
    NOT_AUTHORIZED = "the broker refuses authorization or authentication"
    UNREACHABLE = "no broker answers"
    OTHER = "anything else, which librdkafka retries"


_KINDS = {
    Code._PARTITION_EOF: KafkaErrorKind.END_OF_PARTITION,
    Code._AUTO_OFFSET_RESET: KafkaErrorKind.OUT_OF_RANGE,
    Code.OFFSET_OUT_OF_RANGE: KafkaErrorKind.OUT_OF_RANGE,
    Code._LOG_TRUNCATION: KafkaErrorKind.TRUNCATED,
    Code.UNKNOWN_TOPIC_OR_PART: KafkaErrorKind.UNKNOWN_TOPIC,
    Code.UNKNOWN_TOPIC_ID: KafkaErrorKind.UNKNOWN_TOPIC,
    Code._UNKNOWN_TOPIC: KafkaErrorKind.UNKNOWN_TOPIC,
    Code._UNKNOWN_PARTITION: KafkaErrorKind.UNKNOWN_TOPIC,
    Code.TOPIC_AUTHORIZATION_FAILED: KafkaErrorKind.NOT_AUTHORIZED,
    Code.CLUSTER_AUTHORIZATION_FAILED: KafkaErrorKind.NOT_AUTHORIZED,
    Code.SASL_AUTHENTICATION_FAILED: KafkaErrorKind.NOT_AUTHORIZED,
    Code._AUTHENTICATION: KafkaErrorKind.NOT_AUTHORIZED,
    Code._SSL: KafkaErrorKind.NOT_AUTHORIZED,
    Code._ALL_BROKERS_DOWN: KafkaErrorKind.UNREACHABLE,
    Code._TRANSPORT: KafkaErrorKind.UNREACHABLE,
    Code._RESOLVE: KafkaErrorKind.UNREACHABLE,
    Code._TIMED_OUT: KafkaErrorKind.UNREACHABLE,
    Code.LEADER_NOT_AVAILABLE: KafkaErrorKind.UNREACHABLE,
    Code.NOT_LEADER_FOR_PARTITION: KafkaErrorKind.UNREACHABLE,
}


def kind_of(error: Code) -> KafkaErrorKind:
    """Classify an error of a future or a callback."""
    return kind_of_code(error.code())


def kind_of_code(code: int) -> KafkaErrorKind:
    """Classify an error by its code."""
    return _KINDS.get(code, KafkaErrorKind.OTHER)


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
    """A ``KafkaError`` that remembers of which kind it was."""

    def __init__(self, address: str, cause: str, kind: KafkaErrorKind) -> None:
        super().__init__(address, cause)
        self.kind = kind


def failure_of(answer: Future[Any]) -> Code | None:
    """Return the error of a finished future, ``None`` when it succeeded."""
    error = answer.exception()
    if error is None:
        # An answer that was cut off by the broker's end is a success, with an offset that is none.
        cut_off = getattr(answer.result(), "offset", 0) < 0
        return Code(Code._TRANSPORT, "the answer was cut off") if cut_off else None
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
        unknown = kind_of(failure) is KafkaErrorKind.UNKNOWN_TOPIC
    if failure_of(configuration) is None:
        entries = configuration.result()
        if "cleanup.policy" in entries:
            policy = entries["cleanup.policy"].value
        if "delete.retention.ms" in entries:
            retention = int(entries["delete.retention.ms"].value)
    return TopicState(topic_id, partitions, policy, retention, unknown)
