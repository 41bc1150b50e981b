"""Which of the user's librdkafka properties are for which client: one mapping serves reading and writing."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from statestore.errors import ConfigError
from statestore.runtime.text import HIDDEN, bounded_repr, is_secret, without_user_info

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
    # Otherwise a damaged record is a row like any other. It costs nothing that can be measured.
    "check.crcs": True,
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


_ADDRESSES = ("bootstrap.servers", "metadata.broker.list", "sasl.oauthbearer.method", "test.mock.")
"""With these a client would connect."""
_BOOTSTRAP = _ADDRESSES[:2]
_NEEDS_MORE = "Failed to create"
"""How librdkafka begins when the properties are right one by one, but not together."""
_UNHEARD = logging.getLogger("statestore.unheard")
_UNHEARD.disabled = True


def property_faults(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each of the user's properties that cannot be right, and why.

    The name is empty where librdkafka refuses several together. Connects to nothing, and calls none of the
    user's functions: a client with ``oauth_cb`` calls it when it is made, and waits for the token.
    """
    shapeless = [(name, text) for name, value in given.items() if (text := _shape_fault(name, value))]
    local = {
        name: value
        for name, value in given.items()
        if not name.startswith(_ADDRESSES)
        and not (name == "oauth_cb" and callable(value))
        and not isinstance(value, _NO_TEXT)
    }
    return shapeless + [(name, f"refused by librdkafka: {text}") for name, text in _refusals(local)]


_NO_TEXT = (list, tuple, set, frozenset, bytes, bytearray)
"""``confluent_kafka`` takes ``str(value)`` of each value, which is nonsense of these."""


def _shape_fault(name: str, value: object) -> str | None:
    if isinstance(value, _NO_TEXT):
        remedy = "decode it" if isinstance(value, bytes | bytearray) else "separate several values by commas"
        return f"the value is a {type(value).__name__}, and must be a text: {remedy}"
    if name not in _BOOTSTRAP:
        return None
    addresses = [one.strip() for one in str(value or "").split(",") if one.strip()]
    if not addresses:
        return "names no broker: give host:port"
    for wrong in (one for one in addresses if not _is_address(one)):
        return f"{bounded_repr(without_user_info(wrong))} is no broker's address: give host:port,host:port"
    return None


def _is_address(text: str) -> bool:
    """Whether librdkafka can make something of an address; of others it says nothing, and tries for ever."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and (match["port"] is None or 0 < int(match["port"]) < 1 << 16)


_ADDRESS = re.compile(
    r"""
    ( (plaintext|ssl|sasl_plaintext|sasl_ssl) :// )?
    (?: [0-9a-f:.]* : [0-9a-f.]* : [0-9a-f:.]* (%\w+)?      # IPv6 without a port
      | ( \[ [^\]\s]+ \] | [^:/;\s]* ) ( : (?P<port>\d+) )? )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def _refusals(local: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what librdkafka refuses of ``local``, and its words."""
    together = _refusal(local) if local else None
    if together is None:
        return []
    alone = {name: text for name, value in local.items() if (text := _refusal({name: value})) is not None}
    # One whose value is right may need others beside it, as SASL_SSL needs a mechanism.
    faults = [(name, text) for name, text in alone.items() if not text.startswith(_NEEDS_MORE)]
    wrong = {name for name, _ in faults}
    left = _refusal({name: value for name, value in local.items() if name not in wrong})
    if left is not None:
        faults += [(name, text) for name, text in alone.items() if text == left] or [("", left)]
    return faults


def _refusal(properties: Mapping[str, Any]) -> str | None:
    try:
        AdminClient(dict(properties), logger=_UNHEARD)
    except KafkaException as error:
        text = str(error.args[0].str())
    except (TypeError, ValueError) as error:
        text = str(error)
    except SystemError as error:  # a text that is not UTF-8 leaves its error behind a call that "succeeded"
        text = str(error.__cause__ or error)
    else:
        return None
    for name, value in properties.items():
        if is_secret(name) and str(value):
            text = text.replace(str(value), HIDDEN)
    return text


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
