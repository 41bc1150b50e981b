"""In what an existing topic is not as it is declared. No broker."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, TopicCollection

from statestore.entity import TopicSpec
from statestore.errors import ConfigError, KafkaError
from statestore.kafka.admin import AdminConnection
from statestore.kafka.topics import FoundTopic, Topics, WantedTopic, differences

COMPACT = {"cleanup.policy": "compact", "retention.ms": "604800000", "min.cleanable.dirty.ratio": "0.5"}


def unlike(found: FoundTopic, *stated: str, is_table: bool = True, **spec: Any) -> dict[str, str | None]:
    wanted = WantedTopic("orders", is_table, TopicSpec(**spec), stated)
    told = differences(wanted, found)
    assert all(one.topic == "orders" and "'orders'" in str(one) for one in told)
    return {one.setting: one.found for one in told}


def test_what_nobody_stated_is_not_compared() -> None:
    assert unlike(FoundTopic(4, 3, COMPACT)) == {}
    assert unlike(FoundTopic(4, 3, COMPACT), is_table=False, cleanup_policy="delete") == {}


def test_every_difference_is_told() -> None:
    found = FoundTopic(4, 3, {**COMPACT, "cleanup.policy": "delete"})
    assert unlike(
        found,
        "partitions",
        "replication",
        partitions=8,
        retention=timedelta(days=1),
        config={"segment.ms": "1", "min.cleanable.dirty.ratio": "0.1"},
    ) == {
        "partitions": "4",
        "replication": "3",
        "retention.ms": "604800000",
        "segment.ms": None,
        "min.cleanable.dirty.ratio": "0.5",
        "cleanup.policy": "delete",
    }


@pytest.mark.parametrize(
    ("declared", "found"), [("0.50", "0.5"), ("60000", "60000.0"), ("compact, delete", "delete,compact")]
)
def test_two_spellings_of_a_value_are_the_same(declared: str, found: str) -> None:
    assert unlike(FoundTopic(1, 1, {**COMPACT, "x": found}), config={"x": declared}) == {}
    assert unlike(FoundTopic(1, 1, {**COMPACT, "x": found}), config={"x": f"{declared}1"}) == {"x": found}


def test_a_stated_policy_is_told_once() -> None:
    found = FoundTopic(1, 1, {"cleanup.policy": "delete"})
    assert unlike(found, "cleanup_policy") == {"cleanup.policy": "delete"}
    assert unlike(FoundTopic(1, 1, COMPACT), "cleanup_policy", cleanup_policy="compact,delete") == {
        "cleanup.policy": "compact"
    }


def test_what_contradicts_itself_is_refused_before_anything_is_asked() -> None:
    topics = Topics(AdminConnection({}), 1.0)
    wanted = [
        WantedTopic("orders", True, TopicSpec(config={"cleanup.policy": "delete"}), ()),
        WantedTopic("trades", True, TopicSpec(partitions=2), ()),
        WantedTopic("trades", True, TopicSpec(partitions=3), ()),
    ]
    mode: Any = "loud"
    with pytest.raises(ConfigError) as error:
        topics.ensure(wanted, mode)
    assert len(error.value.faults) == 3
    with pytest.raises(ConfigError, match="name the classes"):
        topics.ensure([], "warn")


@pytest.mark.parametrize(
    ("code", "is_told"), [(Code.TOPIC_AUTHORIZATION_FAILED, False), (Code._TIMED_OUT, True)]
)
def test_an_earlier_outage_is_not_the_reason_of_a_refusal(code: int, is_told: bool) -> None:
    class Client:
        address, last_error = "b:9092", "b:9092/1: Connect refused"

        def client(self) -> Client:
            return self

        def wait(self, answers: Iterable[Future[Any]]) -> None: ...

        def describe_topics(
            self,
            topics: TopicCollection,
            request_timeout: float,
        ) -> dict[str, Future[Any]]:
            answer: Future[Any] = Future()
            answer.set_exception(KafkaException(Code(code)))
            return {"orders": answer}

    admin: Any = Client()
    with pytest.raises(KafkaError) as failed:
        Topics(admin, 1.0).ensure([WantedTopic("orders", True, TopicSpec(), ())], "warn")
    assert ("Connect refused" in str(failed.value)) is is_told
