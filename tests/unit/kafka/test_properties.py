"""What the library sets itself is refused in settings, each with its reason, and never overridden."""

from __future__ import annotations

from statestore.kafka.properties import (
    OWNED_BY_CONSUMERS,
    OWNED_BY_PRODUCERS,
    admin_properties,
    consumer_properties,
    producer_properties,
)
from statestore.settings.sections import OWNED_PROPERTIES

GIVEN = {
    "bootstrap.servers": "host:1",
    "security.protocol": "SSL",
    "reconnect.backoff.ms": 7,
    "fetch.wait.max.ms": 8,
    "linger.ms": 9,
    "isolation.level": "read_uncommitted",
    "acks": 0,
}


def test_every_owned_property_has_a_reason() -> None:
    assert {*OWNED_BY_CONSUMERS, *OWNED_BY_PRODUCERS, "group.id"} <= set(OWNED_PROPERTIES)


def test_each_client_gets_what_is_for_it_and_the_user_s_values_win_over_our_tuning() -> None:
    consumer = consumer_properties(GIVEN, "a group")
    producer = producer_properties(GIVEN, request_timeout=30.0)
    admin = admin_properties(GIVEN)
    for one in (consumer, producer, admin):
        assert (one["bootstrap.servers"], one["security.protocol"]) == ("host:1", "SSL")
        assert one["reconnect.backoff.ms"] == 7
    assert (consumer["fetch.wait.max.ms"], consumer["group.id"]) == (8, "a group")
    assert "linger.ms" not in consumer
    assert producer["linger.ms"] == 9
    assert "fetch.wait.max.ms" not in producer
    assert not {"fetch.wait.max.ms", "linger.ms"} & set(admin)
    assert OWNED_BY_CONSUMERS.items() <= consumer.items()
    assert OWNED_BY_PRODUCERS.items() <= producer.items()
