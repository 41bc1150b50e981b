"""The errors for records that were not delivered: why, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from confluent_kafka import KafkaError as Code

from statestore.errors import DeliveryError, EntityRejectedError
from statestore.kafka.remedies import CREATE, HeardError, refuses_client, remedy_of
from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord, SendTracker

_GRANT = "grant the client Describe and Write on the topic"
_SMALLER = "make the record smaller, or raise max.message.bytes of the topic"
_CLOSED = "the manager was closed before Kafka had confirmed it"
_REPLACED = "the producer failed for good before Kafka had confirmed it, and was replaced"

_REMEDIES = {
    Code.UNKNOWN_TOPIC_OR_PART: CREATE,
    Code._UNKNOWN_TOPIC: CREATE,
    Code._UNKNOWN_PARTITION: CREATE,
    Code.TOPIC_AUTHORIZATION_FAILED: _GRANT,
    # An idempotent producer needs the right to write to some topic.
    Code.CLUSTER_AUTHORIZATION_FAILED: f"{_GRANT} (before Kafka 2.8 also IdempotentWrite on the cluster)",
    Code.MSG_SIZE_TOO_LARGE: _SMALLER,
    Code.RECORD_LIST_TOO_LARGE: _SMALLER,
    Code.INVALID_TIMESTAMP: (
        "correct the event time, or raise message.timestamp.before.max.ms or message.timestamp.after.max.ms "
        "of the topic"
    ),
    Code.INVALID_RECORD: (
        "a record of a compacted topic needs a key: declare one with Annotated[…, Key], or have the topic "
        "delete instead (cleanup.policy=delete)"
    ),
    Code._MSG_TIMED_OUT: "it may be in the topic all the same: write it again when the broker is back",
    Code._TIMED_OUT: "write it again when the broker is back",
    Code._TRANSPORT: "write it again when the broker is back",
    Code._ALL_BROKERS_DOWN: "write it again when the broker is back",
}
UNANSWERED = (Code._MSG_TIMED_OUT, Code._TIMED_OUT, Code._TRANSPORT, Code._ALL_BROKERS_DOWN)
"""Error codes which mean that the broker did not answer."""
_MORE_TIME = "it may be in the topic all the same: write it again with a longer timeout"
_GIVEN_UP = (Code._PURGE_QUEUE, Code._PURGE_INFLIGHT, Code._DESTROY)


def not_delivered(
    tracker: SendTracker, producer: Producer, unsent: Sequence[ProducerRecord]
) -> DeliveryError:
    """Return the error for a call with failed records; ``unsent`` are those it did not get to."""
    record, failure = tracker.first_failure()
    return _error(tracker, record, _cause(failure, producer), unsent)


def timed_out(tracker: SendTracker, producer: Producer, unsent: Sequence[ProducerRecord]) -> DeliveryError:
    """Return the error for a call whose time ran out."""
    heard = producer.heard
    reason = f" ({heard.text})" if heard.text else ""
    cause = f"Kafka at {producer.address} did not confirm it in the time given{reason}"
    record = next(iter([*tracker.undelivered(), *unsent]), None)
    if record is None:
        delivered = tracker.deliveries()
        return DeliveryError(
            f"the time given was over after {len(delivered)} records were delivered", delivered=delivered
        )
    # Nothing is known to be wrong with the broker: it was the caller's time that was short.
    remedy = remedy_for(Code(Code._MSG_TIMED_OUT), heard) if heard.text else _MORE_TIME
    return _error(tracker, record, f"{cause}; {remedy}", unsent)


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
    if code in _GIVEN_UP and producer.closed:
        return _CLOSED
    if code in _GIVEN_UP:
        if (fatal := producer.fatal) is None:
            return f"{_REPLACED}; write it again"
        return f"{_REPLACED}: {fatal.str()}; {_REMEDIES.get(fatal.code(), 'write it again')}"
    text = f"Kafka at {producer.address}: {reason_of(error, producer.heard)}"
    remedy = remedy_for(error, producer.heard)
    return f"{text}; {remedy}" if remedy else text


def reason_of(error: Code, heard: HeardError) -> str:
    """Return what an error says, and why where it is known."""
    # For a time-out librdkafka may advise to "retry call to resume", which is for who wrote the call.
    text = "no answer in the time given" if error.code() == Code._TIMED_OUT else error.str()
    return f"{text} ({heard.text})" if error.code() in UNANSWERED and heard.text else text


def remedy_for(error: Code, heard: HeardError) -> str:
    """Return what to do about an error for a record, of a client that has reported what was ``heard``."""
    refusal = error if refuses_client(error) else heard.refusal if error.code() in UNANSWERED else None
    if refusal is not None:
        return f"{remedy_of(refusal)}; then write it again there"
    return _REMEDIES.get(error.code(), "")


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
