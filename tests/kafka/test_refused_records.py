"""Records that a broker refuses: the error says what to do, and doing it helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest

from statestore import DeliveryError, EventTime, Key, StoreManager, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

TIMEOUT = 60


def row_of(topic: str) -> Any:
    @entity(topic=topic)
    @dataclass(frozen=True)
    class Row:
        number: Annotated[int, Key]
        text: str

    return Row(1, "x" * 5000)


def keyless_of(topic: str) -> Any:
    @entity(topic=topic)
    @dataclass(frozen=True)
    class Event:
        text: str

    return Event("x")


def old_of(topic: str) -> Any:
    @entity(topic=topic)
    @dataclass(frozen=True)
    class Old:
        number: Annotated[int, Key]
        at: Annotated[datetime, EventTime]

    return Old(1, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("made", "limit", "remedy", "followed"),
    [
        (
            row_of,
            {"max.message.bytes": "1000"},
            "make the record smaller, or raise max.message.bytes of the topic",
            {"max.message.bytes": "100000"},
        ),
        (
            keyless_of,
            {},
            "or have the topic delete instead (cleanup.policy=delete)",
            {"cleanup.policy": "delete"},
        ),
        (
            old_of,
            {"message.timestamp.before.max.ms": "1000"},
            "correct the event time, or raise message.timestamp.before.max.ms",
            {"message.timestamp.before.max.ms": "9223372036854775807"},
        ),
    ],
    ids=["too large", "without a key", "too old"],
)
def test_a_refused_record_is_taken_once_the_remedy_is_followed(
    made: Callable[[str], Any],
    limit: dict[str, str],
    remedy: str,
    followed: dict[str, str],
    broker: Broker,
    topic: Callable[..., str],
    managers: Callable[..., StoreManager],
    eventually: Callable[..., None],
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", **limit})
    manager, subject = managers(broker), made(name)
    with pytest.raises(DeliveryError) as told:
        manager.add(subject, timeout=TIMEOUT)
    assert remedy in str(told.value)
    assert told.value.undelivered == (subject,)
    broker.configure_topic(name, followed)

    def is_taken() -> bool:
        try:
            manager.add(subject, timeout=TIMEOUT)
        except DeliveryError:  # the broker has not learned of its new configuration yet
            return False
        return True

    eventually(is_taken)


def test_a_missing_topic_is_created_as_the_error_says(
    broker: Broker, topic: Callable[..., str], managers: Callable[..., StoreManager]
) -> None:
    manager, row = managers(broker), row_of(topic("t").lower())
    with pytest.raises(DeliveryError, match=r"create the topic, for example with manager\.ensure_topics"):
        manager.add(row, timeout=TIMEOUT)
    manager.ensure_topics(type(row))
    manager.add(row, timeout=TIMEOUT)
