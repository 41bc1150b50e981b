"""Which of the user's librdkafka properties are for which client: one mapping serves reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr

OWNED_BY_CONSUMERS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
OWNED_BY_PRODUCERS = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",
}
"""What the library's promises rest on; ``settings/sections.py`` gives the reason of each."""

RECONNECT_SECONDS = 5
"""How long a client waits at most before it tries to connect again."""
_TUNED = {
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": RECONNECT_SECONDS * 1000,
    "socket.keepalive.enable": True,
}
_TUNED_CONSUMER = {
    # The default sleeps 1 s whenever 100,000 records are queued, which costs a factor of eight.
    "fetch.queue.backoff.ms": 2,
    # How long the last end-of-partition event may take.
    "fetch.wait.max.ms": 100,
}
_TUNED_PRODUCER = {
    # One record at a time is not kept waiting for others; many at once fill batches anyhow.
    "linger.ms": 1,
}
_QUEUE = "queue.buffering.max.kbytes"
_QUEUE_KBYTES = 32 << 10
"""Where back-pressure begins, and not at librdkafka's 1 GiB."""
_DELIVERY_TIMEOUT = ("delivery.timeout.ms", "message.timeout.ms")
"""Two names of one property."""

# librdkafka warns of each property that is for the other kind of client.
_FOR_READING = (
    "auto.commit.",
    "check.crcs",
    "client.rack",
    "consume.callback.",
    "coordinator.query.",
    "fetch.",
    "group.",
    "heartbeat.interval.",
    "max.poll.",
    "queued.m",
    "session.timeout.",
)
_FOR_WRITING = (
    "batch.",
    "compression.",
    "delivery.timeout.",
    "enable.gapless.",
    "linger.",
    "max.in.flight",
    "message.send.",
    "message.timeout.",
    "queue.buffering.",
    "queuing.strategy",
    "request.timeout.",
    "retries",
    "retry.backoff.",
    "sticky.partitioning.",
)


def producer_properties(given: Mapping[str, Any], request_timeout: float) -> dict[str, Any]:
    """Return the properties of a producer; ``given`` are the user's, which win over our tuning.

    A record is given up after ``request_timeout`` seconds unless the user says otherwise.
    """
    tuned = {**_TUNED, **_TUNED_PRODUCER}
    if not any(name in given for name in _DELIVERY_TIMEOUT):
        tuned[_DELIVERY_TIMEOUT[0]] = max(1000, int(request_timeout * 1000))
    # A record that is larger than the queue would wait for room in it for ever.
    tuned[_QUEUE] = max(_QUEUE_KBYTES, -(-_largest_message(given) // 1024))
    return {**tuned, **_without(given, _FOR_READING), **OWNED_BY_PRODUCERS}


def admin_properties(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of an admin client."""
    return {**_TUNED, **_without(given, _FOR_READING + _FOR_WRITING)}


def consumer_properties(given: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the properties of a consumer; ``given`` are the user's, which win over our tuning."""
    tuned = {**_TUNED, **_TUNED_CONSUMER}
    return {**tuned, **_without(given, _FOR_WRITING), **OWNED_BY_CONSUMERS, "group.id": group}


def largest_record(given: Mapping[str, Any]) -> int:
    """Return how many bytes of key and value the producer takes: a queue of the user's may be shorter."""
    largest = _largest_message(given)
    return min(largest, _whole(given, _QUEUE) << 10) if _QUEUE in given else largest


def _largest_message(given: Mapping[str, Any]) -> int:
    return _whole(given, "message.max.bytes", 1_000_000)


def _whole(given: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = given.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"kafka.{name}: {bounded_repr(value)} is not a whole number") from error


def _without(given: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if not name.startswith(prefixes)}
