"""What the broker's answers and errors mean to a mirror."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore.errors import KafkaError
from statestore.kafka.remedies import remedy_of

Failure = Code
"""An error as the client gives it: the broker's answer, or what librdkafka met."""


class KafkaErrorKind(enum.Enum):
    """What an error of the broker or of librdkafka means to a mirror."""

    END_OF_PARTITION = "the end of the partition is reached"
    OUT_OF_RANGE = "the position is not in the log"
    TRUNCATED = "the log was truncated below the position"
    UNKNOWN_TOPIC = "the topic or partition does not exist"
    NOT_AUTHORIZED = "the broker refuses authorization or authentication"
    UNREACHABLE = "no broker answers"
    NO_LEADER = "the client knows no leader of the partition: its broker is away, or the topic is gone"
    UNSUPPORTED = "the broker does not have this request"
    TOO_LARGE = "a batch cannot be decompressed, or is larger than the client takes"
    DAMAGED = "a batch does not fit its checksum"
    UNKNOWN_CODEC = "a batch is compressed as this librdkafka does not know"
    DIVIDED = "no error: a batch ended where a transaction may go on"
    OTHER = "anything else, which librdkafka retries"


_KINDS = {
    Code._PARTITION_EOF: KafkaErrorKind.END_OF_PARTITION,
    Code._BAD_COMPRESSION: KafkaErrorKind.TOO_LARGE,
    Code.MSG_SIZE_TOO_LARGE: KafkaErrorKind.TOO_LARGE,
    Code._BAD_MSG: KafkaErrorKind.DAMAGED,
    Code._NOT_IMPLEMENTED: KafkaErrorKind.UNKNOWN_CODEC,
    Code.NO_ERROR: KafkaErrorKind.DIVIDED,
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
    Code.UNSUPPORTED_SASL_MECHANISM: KafkaErrorKind.NOT_AUTHORIZED,
    Code.ILLEGAL_SASL_STATE: KafkaErrorKind.NOT_AUTHORIZED,
    Code._AUTHENTICATION: KafkaErrorKind.NOT_AUTHORIZED,
    Code._SSL: KafkaErrorKind.NOT_AUTHORIZED,
    Code._UNSUPPORTED_FEATURE: KafkaErrorKind.UNSUPPORTED,
    Code.UNSUPPORTED_VERSION: KafkaErrorKind.UNSUPPORTED,
    Code._ALL_BROKERS_DOWN: KafkaErrorKind.UNREACHABLE,
    Code._TRANSPORT: KafkaErrorKind.UNREACHABLE,
    Code._RESOLVE: KafkaErrorKind.UNREACHABLE,
    Code._TIMED_OUT: KafkaErrorKind.UNREACHABLE,
    Code._NOENT: KafkaErrorKind.NO_LEADER,
    Code.LEADER_NOT_AVAILABLE: KafkaErrorKind.UNREACHABLE,
    Code.NOT_LEADER_FOR_PARTITION: KafkaErrorKind.UNREACHABLE,
}


UNREADABLE = {
    KafkaErrorKind.TOO_LARGE: (
        "where the batch is sound, it takes more than receive.message.max.bytes (100000000, unless it is "
        "set) once it is decompressed: set it under [kafka] to three times what the batch takes, and open "
        "the manager anew"
    ),
    KafkaErrorKind.DAMAGED: (
        "the partition's log is damaged there, or what the network delivers: repair it, or restore the "
        "partition from a replica; then restart() the table, or read the stream again"
    ),
    KafkaErrorKind.UNKNOWN_CODEC: (
        "start the process with a newer confluent-kafka, which knows how the batch is compressed"
    ),
}
"""What to do where a batch cannot be read, by what is wrong with it."""


def kind_of(error: Code) -> KafkaErrorKind:
    """Classify an error of a future or a callback."""
    if "receive.message.max.bytes" in error.str():  # it has the code of a broken connection
        return KafkaErrorKind.TOO_LARGE
    return kind_of_code(error.code())


def kind_of_code(code: int) -> KafkaErrorKind:
    """Classify an error by its code."""
    return _KINDS.get(code, KafkaErrorKind.OTHER)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What one metadata answer says of a topic."""

    partitions: int
    cluster_id: str | None
    topic_id: str | None = None
    """``None``: it was not told."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets of one partition: the log's start and its last stable offset (``read_committed``)."""

    start: int
    end: int
    leader_epoch: int = -1
    """Of the leader that told the end, -1 unknown."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """Identity and configuration of a topic; a field is ``None`` where the broker has not told it."""

    topic_id: str | None = None
    partitions: int | None = None
    cleanup_policy: str | None = None
    delete_retention_ms: int | None = None
    retention_ms: int | None = None
    """``retention.ms``; -1: no limit."""
    retention_bytes: int | None = None
    """``retention.bytes``; -1: no limit."""
    config_error: str | None = None
    """Why the broker will not tell the configuration, which another question would meet again."""
    unknown: bool = False
    """Whether the broker says that there is no such topic."""

    @property
    def deletes(self) -> bool:
        """Whether the topic deletes records that are old, or beyond a size."""
        return self.cleanup_policy is not None and "delete" in self.cleanup_policy

    def known_or(self, earlier: TopicState) -> TopicState:
        """Return this with what is not known taken from an ``earlier`` answer."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(earlier, **known)


NO_TOPIC_ID = "A" * 22
"""How the id that is all zeros is written: a broker that gives topics no ids."""


_CANNOT_TELL = (KafkaErrorKind.NOT_AUTHORIZED, KafkaErrorKind.UNSUPPORTED)
"""Errors that another question would meet again. Any other one, a time-out above all, is no answer."""


@dataclass(frozen=True, slots=True)
class IdentityAnswer:
    """What came of a question for the identity and configuration of a topic."""

    state: TopicState
    failure: Code | None = None
    """Why the broker has not told the id, though it may be able to: ask again. ``None``: it told the id or
    that there is no such topic, or it says that it cannot tell."""


class ContactError(KafkaError):
    """A ``KafkaError`` that remembers of which kind it was, and the client's ``error`` if there was one."""

    def __init__(self, address: str, cause: str, kind: KafkaErrorKind, error: Code | None = None) -> None:
        remedy = "" if error is None else remedy_of(error)
        super().__init__(address, f"{cause}; {remedy}" if remedy else cause)
        self.kind = kind
        self.error = error
        self.bare_cause = cause
        """The cause without the remedy."""


def failure_of(answer: Future[Any]) -> Code | None:
    """Return the error of a finished future, ``None`` when it succeeded."""
    error = answer.exception()
    if error is None:
        # Where the broker has not answered in time, or ended meanwhile, librdkafka has a success with an
        # offset that is none.
        unanswered = getattr(answer.result(), "offset", 0) < 0
        return Code(Code._TRANSPORT, "the broker did not answer") if unanswered else None
    if isinstance(error, KafkaException):
        code: Code = error.args[0]
        return code
    return Code(Code._FAIL, str(error))


def topic_id_of(description: Any) -> str | None:
    """Return the id in the description of a topic; ``None``: the broker gives topics none."""
    topic_id = str(description.topic_id)
    return None if topic_id == NO_TOPIC_ID else topic_id


def epoch_of(bound: Any) -> int:
    """Return the leader epoch in the answer to a question for an offset, -1 unknown."""
    epoch: int | None = bound.leader_epoch
    return -1 if epoch is None else epoch


def identity_answer(description: Future[Any], configuration: Future[Any]) -> IdentityAnswer:
    """Join the two finished answers about a topic; what failed is unknown."""
    unknown = False
    topic_id = partitions = None
    failure = failure_of(description)
    if failure is None:
        found = description.result()
        topic_id, partitions = topic_id_of(found), len(found.partitions)
    else:
        unknown = kind_of(failure) is KafkaErrorKind.UNKNOWN_TOPIC
        if unknown or kind_of(failure) in _CANNOT_TELL:
            failure = None
    state = TopicState(topic_id, partitions, unknown=unknown)
    refused = failure_of(configuration)
    if refused is None:
        state = replace(state, **_configured(configuration.result()))
    elif kind_of(refused) in _CANNOT_TELL:
        state = replace(state, config_error=refused.str())
    return IdentityAnswer(state, failure)


def _configured(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a :class:`TopicState` that a topic's configuration tells."""
    values = {name: entry.value for name, entry in entries.items()}
    numbers = {
        field: int(values[name])
        for field, name in (
            ("delete_retention_ms", "delete.retention.ms"),
            ("retention_ms", "retention.ms"),
            ("retention_bytes", "retention.bytes"),
        )
        if values.get(name) is not None
    }
    return {"cleanup_policy": values.get("cleanup.policy"), **numbers}
