"""A Kafka broker for tests: one that is started here, or one that is there."""

from __future__ import annotations

from statestore.testing.kafka.broker import (
    EXTERNAL_VARIABLE,
    FILLER_KEY,
    Broker,
    BrokerUnavailableError,
    ExternalBroker,
    KafkaBroker,
    external_broker,
)
from statestore.testing.kafka.proxy import Direction, Proxy

__all__ = [
    "Broker",
    "Direction",
    "Proxy",
    "BrokerUnavailableError",
    "EXTERNAL_VARIABLE",
    "ExternalBroker",
    "FILLER_KEY",
    "KafkaBroker",
    "external_broker",
]
