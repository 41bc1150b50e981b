"""Which clients a manager makes: those of ``confluent_kafka``, or a test's, of a cluster of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Producer

from statestore.kafka.admin import AdminConnection
from statestore.kafka.source import KafkaSource


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes all that a manager reaches a cluster through, with the arguments of the classes named here."""

    admin: Callable[..., AdminConnection] = AdminConnection
    source: Callable[..., KafkaSource] = KafkaSource
    producer: Callable[..., Producer] = Producer


CONFLUENT = Clients()
