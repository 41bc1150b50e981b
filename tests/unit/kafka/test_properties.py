"""What the library sets itself is refused in settings, each with its reason, and never overridden."""

from __future__ import annotations

import pytest

from statestore.kafka.properties import (
    OWNED_BY_CONSUMERS,
    OWNED_BY_PRODUCERS,
    admin_properties,
    consumer_properties,
    producer_properties,
    property_faults,
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


SECURE = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "me",
    "sasl.password": "hunter2",
}


def test_a_misspelt_property_is_the_only_fault_beside_those_that_need_each_other() -> None:
    assert property_faults(SECURE) == []
    assert [name for name, _ in property_faults({**SECURE, "no.such": "1", "acks": "some"})] == [
        "no.such",
        "acks",
    ]
    ((name, text),) = property_faults({"security.protocol": "SASL_SSL"})
    assert name == "security.protocol"
    assert "GSSAPI" in text


def test_functions_of_the_user_are_not_called_by_the_check() -> None:
    def token(_config: str) -> tuple[str, float]:
        raise AssertionError

    given = {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": token}
    assert property_faults(given) == []
    assert [name for name, _ in property_faults({**given, "no.such": "1"})] == ["no.such"]
    assert [name for name, _ in property_faults({"oauth_cb": "no function"})] == ["oauth_cb"]


def test_a_text_that_is_not_utf_8_is_a_fault() -> None:
    assert [name for name, _ in property_faults({"client.id": "\udc80"})] == ["client.id"]


@pytest.mark.parametrize(
    "address",
    [
        "host",
        "host:9092",
        "a.b-c_d:1, b:65535",
        "10.0.0.1:9092",
        "[::1]:9092",
        "::1",
        "fe80::1%eth0",
        "2001:db8:1:2:3:4:5:6",
        "SASL_SSL://host:9092",
        "bücher.example:9092",
        ":9092",
        "host:9092,",
    ],
)
def test_addresses_that_librdkafka_understands(address: str) -> None:
    assert property_faults({"bootstrap.servers": address}) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://host:9092",
        "host:port",
        "a:1;b:1",
        "a:1 b:1",
        "host 9092",
        "host:",
        "host/x:1",
        "h:0",
        "h:65536",
    ],
)
def test_addresses_for_which_it_would_wait_in_vain(address: str) -> None:
    ((name, text),) = property_faults({"bootstrap.servers": f"host:1,{address}"})
    assert name == "bootstrap.servers"
    assert f"{address!r} is no broker's address" in text


def test_what_is_written_into_an_address_is_not_shown() -> None:
    ((_, text),) = property_faults({"bootstrap.servers": "https://me:hunter2@host:9092"})
    assert "hunter2" not in text
