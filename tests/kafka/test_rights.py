"""A topic that we may not see is told from one that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from statestore import StoreManager
from statestore.changelog.answers import TopicInfo
from statestore.changelog.source import KafkaSource
from statestore.errors import KafkaError
from statestore.testing.kafka import KafkaBroker

pytestmark = pytest.mark.kafka

ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaBroker]:
    """A broker with a topic ``hidden`` that nobody may see."""
    with KafkaBroker(ACLS) as broker:
        broker.create_topic("hidden")
        nobody = AclBinding(
            ResourceType.TOPIC,
            "hidden",
            ResourcePatternType.LITERAL,
            "User:*",
            "*",
            AclOperation.ALL,
            AclPermissionType.DENY,
        )
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_acls([nobody])[nobody].result(25)
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
