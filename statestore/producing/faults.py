"""Why records were not delivered, and what to do about it, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from confluent_kafka import KafkaError as Code

from statestore.errors import DeliveryError, RefusedError
from statestore.producing.producer import Producer
from statestore.producing.shipment import Outgoing, Shipment

_GRANT = "grant the client writing to the topic"
_CREATE = "create it, as with manager.ensure_topics(…)"
_SMALLER = "make it smaller, or raise max.message.bytes of the topic"
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
        "the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms say which it takes"
    ),
    Code.INVALID_RECORD: "a compacted topic takes no record without a key",
    Code._MSG_TIMED_OUT: "it may be in the topic all the same: write it again when the broker is back",
    Code._TIMED_OUT: "write it again when the broker is back",
    Code._TRANSPORT: "write it again when the broker is back",
    Code._ALL_BROKERS_DOWN: "write it again when the broker is back",
}
UNANSWERED = (Code._MSG_TIMED_OUT, Code._TIMED_OUT, Code._TRANSPORT, Code._ALL_BROKERS_DOWN)
"""Codes that say that the broker did not answer."""
_GIVEN_UP = (Code._PURGE_QUEUE, Code._PURGE_INFLIGHT, Code._DESTROY)


def not_delivered(shipment: Shipment, producer: Producer, unsent: Sequence[Outgoing]) -> DeliveryError:
    """Return the error for a shipment with failures; ``unsent`` are records it never took in."""
    record, failure = shipment.first_failure()
    return _error(shipment, record, _cause(failure, producer), unsent)


def out_of_time(shipment: Shipment, producer: Producer, unsent: Sequence[Outgoing]) -> DeliveryError:
    """Return the error for a shipment of which the caller's time ran out."""
    trouble = f" ({producer.trouble})" if producer.trouble else ""
    cause = f"Kafka at {producer.address} did not confirm it in the time given{trouble}"
    record = next(iter([*shipment.left(), *unsent]), None)
    if record is None:
        delivered = shipment.deliveries()
        return DeliveryError(
            f"the time given was over after {len(delivered)} were delivered", delivered=delivered
        )
    return _error(shipment, record, f"{cause}; {_REMEDIES[Code._MSG_TIMED_OUT]}", unsent)


def not_answered(subjects: Collection[Any]) -> DeliveryError:
    """Return the error where time ran out before the registry had said how to encode the ``subjects``."""
    return DeliveryError(
        "the schema registry did not answer in the time given, nothing was sent: try again",
        undelivered=list(subjects),
    )


def refused(refusal: RefusedError, shipment: Shipment) -> RefusedError:
    """Return the error for a shipment that ended with what could not be encoded."""
    delivered = shipment.deliveries()
    left = [record.subject for record in shipment.left()]
    text = f"{refusal}; of those before it {len(delivered)} are delivered"
    if left:
        text += f" and {len(left)} are not"
    return RefusedError(text, undelivered=[*left, *refusal.undelivered], delivered=delivered)


def _cause(error: Code, producer: Producer) -> str:
    code = error.code()
    if code in _GIVEN_UP:
        return _CLOSED if producer.closed else _REPLACED
    text = f"Kafka at {producer.address}: {error.str()}"
    if code in UNANSWERED and producer.trouble:
        text += f" ({producer.trouble})"
    return f"{text}; {_REMEDIES[code]}" if code in _REMEDIES else text


def _error(shipment: Shipment, record: Outgoing, cause: str, unsent: Sequence[Outgoing]) -> DeliveryError:
    delivered = shipment.deliveries()
    undelivered = [left.subject for left in (*shipment.left(), *unsent)]
    text = f"{record.shown(record.subject)} is not delivered to topic {record.topic!r}: {cause}"
    total = len(undelivered) + len(delivered)
    if total > 1:
        text = f"{len(undelivered)} of {total} are not delivered; the first: {text}"
    return DeliveryError(text, undelivered=undelivered, delivered=delivered)
