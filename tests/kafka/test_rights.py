"""A topic that we may not see is told from one that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from statestore import DeliveryError, Key, StoreManager, entity
from statestore.errors import KafkaError
from statestore.kafka.answers import TopicInfo
from statestore.kafka.source import KafkaSource
from statestore.testing.kafka import KafkaBroker

pytestmark = pytest.mark.kafka

ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaBroker]:
    """A broker with a topic ``hidden`` that nobody may see, and ``finished`` that nobody may write to."""
    with KafkaBroker(ACLS) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        everyone = ("User:*", "*")
        for topic, rights in (
            ("hidden", [(AclOperation.ALL, AclPermissionType.DENY)]),
            (
                "finished",
                [(AclOperation.ALL, AclPermissionType.ALLOW), (AclOperation.WRITE, AclPermissionType.DENY)],
            ),
        ):
            broker.create_topic(topic)
            for right in rights:
                one = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, *everyone, *right)
                admin.create_acls([one])[one].result(60)
        yield broker


@pytest.mark.parametrize("late", [False, True], ids=["told at once", "told late"])
def test_binding_a_topic_that_may_not_be_seen(
    late: bool, guarded: KafkaBroker, managers: Callable[..., StoreManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = KafkaSource._described
    waiting = [None] if late else []

    def described(source: KafkaSource, topic: str) -> TopicInfo | None:
        return waiting.pop() if waiting else describe(source, topic)

    monkeypatch.setattr(KafkaSource, "_described", described)
    with pytest.raises(KafkaError, match=r"(?i)authorization failed"):
        managers(guarded).bind("hidden")
    with pytest.raises(KafkaError, match=r"(?i)unknown topic"):
        managers(guarded, directory="other").bind("missing")


def test_writing_without_the_right_to(guarded: KafkaBroker, managers: Callable[..., StoreManager]) -> None:
    manager = managers(guarded)
    for topic in ("finished", "hidden"):

        @entity(topic=topic)
        @dataclass
        class Row:
            number: Annotated[int, Key]

        pattern = (
            rf"(?i)Row\(number=1\).*'{topic}'.*authorization failed.*grant the client Describe and Write"
        )
        with pytest.raises(DeliveryError, match=pattern) as error:
            manager.add(Row(1))
        assert error.value.undelivered == (Row(1),)
