"""Records that time out: the remedy fits why."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from statestore.kafka import remedies
from statestore.producing import delivery_errors
from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord, SendTracker


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer({"bootstrap.servers": "127.0.0.1:9"}, 1.0)
    yield made
    made.close()


def told(producer: Producer, code: int) -> None:
    producer._on_error(KafkaError(code, "as a test has it"))


def test_a_refused_password_is_the_cause_and_not_an_absent_broker(producer: Producer) -> None:
    timed_out = KafkaError(KafkaError._MSG_TIMED_OUT)
    told(producer, KafkaError._ALL_BROKERS_DOWN)
    assert "when the broker is back" in delivery_errors._cause(timed_out, producer)
    told(producer, KafkaError._AUTHENTICATION)
    told(producer, KafkaError._ALL_BROKERS_DOWN)  # which librdkafka says next
    text = delivery_errors._cause(timed_out, producer)
    assert remedies.SASL in text
    assert "is back" not in text
    producer._count(None)  # a record is delivered
    told(producer, KafkaError._TRANSPORT)
    assert "when the broker is back" in delivery_errors._cause(timed_out, producer)


def test_a_short_time_is_the_cause_where_nothing_is_wrong_with_the_broker() -> None:
    producer: Any = SimpleNamespace(heard=remedies.HeardError(), address="b:9092")
    tracker = SendTracker()
    tracker.track(ProducerRecord("t", b"k", b"v", 0, "subject", str))
    error = delivery_errors.timed_out(tracker, producer, ())
    assert str(error).endswith("it may be in the topic all the same: write it again with a longer timeout")
    producer.heard.hear(KafkaError(KafkaError._TRANSPORT, "as a test has it"))
    assert "when the broker is back" in str(delivery_errors.timed_out(tracker, producer, ()))
