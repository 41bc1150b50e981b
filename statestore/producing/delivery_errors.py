"""The errors for records that were not delivered: why, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from confluent_kafka import KafkaError as Code

from statestore.errors import DeliveryError, EntityRejectedError
from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord, SendTracker

_GRANT = "grant the client the right to write to the topic"
_CREATE = "create the topic, for example with manager.ensure_topics(…)"
_SMALLER = "make the record smaller, or raise max.message.bytes of the topic"
_CLOSED = "the manager was closed before Kafka had confirmed it"
_REPLACED = "the producer failed for good before Kafka had confirmed it, and was replaced; write it again"

_REMEDIES = {
    Code.UNKNOWN_TOPIC_OR_PART: _CREATE,
    Code._UNKNOWN_TOPIC: _CREATE,
    Code._UNKNOWN_PARTITION: _CREATE,
    Code.TOPIC_AUTHORIZATION_FAILED: _GRANT,
    Code.CLUSTER_AUTHORIZATION_FAILED: "grant the client IdempotentWrite on the cluster",
    Code.SASL_AUTHENTICATION_FAILED: "correct the credentials",
    Code._AUTHENTICATION: "correct the credentials",
    Code.MSG_SIZE_TOO_LARGE: _SMALLER,
    Code.RECORD_LIST_TOO_LARGE: _SMALLER,
    Code.INVALID_TIMESTAMP: (
        "the topic limits timestamps by message.timestamp.before.max.ms and message.timestamp.after.max.ms"
    ),
    Code.INVALID_RECORD: "a record of a compacted topic needs a key",
    Code._MSG_TIMED_OUT: "it may be in the topic all the same: write it again when the broker is back",
    Code._TIMED_OUT: "write it again when the broker is back",
    Code._TRANSPORT: "write it again when the broker is back",
    Code._ALL_BROKERS_DOWN: "write it again when the broker is back",
}
UNANSWERED = (Code._MSG_TIMED_OUT, Code._TIMED_OUT, Code._TRANSPORT, Code._ALL_BROKERS_DOWN)
"""Error codes which mean that the broker did not answer."""
_GIVEN_UP = (Code._PURGE_QUEUE, Code._PURGE_INFLIGHT, Code._DESTROY)


def not_delivered(
    tracker: SendTracker, producer: Producer, unsent: Sequence[ProducerRecord]
) -> DeliveryError:
    """Return the error for a call with failed records; ``unsent`` are those it did not get to."""
    record, failure = tracker.first_failure()
    return _error(tracker, record, _cause(failure, producer), unsent)


def timed_out(tracker: SendTracker, producer: Producer, unsent: Sequence[ProducerRecord]) -> DeliveryError:
    """Return the error for a call whose time ran out."""
    reason = f" ({producer.last_error})" if producer.last_error else ""
    cause = f"Kafka at {producer.address} did not confirm it in the time given{reason}"
    record = next(iter([*tracker.undelivered(), *unsent]), None)
    if record is None:
        delivered = tracker.deliveries()
        return DeliveryError(
            f"the time given was over after {len(delivered)} records were delivered", delivered=delivered
        )
    return _error(tracker, record, f"{cause}; {_REMEDIES[Code._MSG_TIMED_OUT]}", unsent)


def registry_timeout(subjects: Collection[Any]) -> DeliveryError:
    """Return the error for a call whose time ran out before the schema registry answered."""
    return DeliveryError(
        "the schema registry did not answer in the time given, and nothing was sent: try again",
        undelivered=list(subjects),
    )


def rejected(rejection: EntityRejectedError, tracker: SendTracker) -> EntityRejectedError:
    """Return the error for a call that ended with an entity that could not be encoded."""
    delivered = tracker.deliveries()
    left = [record.subject for record in tracker.undelivered()]
    text = f"{rejection}; of those before it {len(delivered)} are delivered"
    if left:
        text += f" and {len(left)} are not"
    return EntityRejectedError(text, undelivered=[*left, *rejection.undelivered], delivered=delivered)


def _cause(error: Code, producer: Producer) -> str:
    code = error.code()
    if code in _GIVEN_UP:
        return _CLOSED if producer.closed else _REPLACED
    text = f"Kafka at {producer.address}: {error.str()}"
    if code in UNANSWERED and producer.last_error:
        text += f" ({producer.last_error})"
    return f"{text}; {_REMEDIES[code]}" if code in _REMEDIES else text


def _error(
    tracker: SendTracker, record: ProducerRecord, cause: str, unsent: Sequence[ProducerRecord]
) -> DeliveryError:
    delivered = tracker.deliveries()
    undelivered = [left.subject for left in (*tracker.undelivered(), *unsent)]
    text = f"{record.describe(record.subject)} is not delivered to topic {record.topic!r}: {cause}"
    total = len(undelivered) + len(delivered)
    if total > 1:
        text = f"{len(undelivered)} of {total} are not delivered; the first: {text}"
    return DeliveryError(text, undelivered=undelivered, delivered=delivered)
