"""Where a broker makes each topic that is asked for, ours still makes none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from statestore import DeliveryError, KafkaError, Key, State, StoreManager, entity
from statestore.testing.kafka import KafkaBroker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[[Callable[[], Any]], None]


@pytest.fixture(scope="module")
def creating() -> Iterator[KafkaBroker]:
    with KafkaBroker({"auto.create.topics.enable": "true"}) as broker:
        yield broker


def test_binding_creates_no_topic(creating: KafkaBroker, managers: Managers) -> None:
    with pytest.raises(KafkaError, match="missing"):
        managers(creating).bind("missing")
    creating.create_topic("later")  # the broker has done by now what it was asked before
    assert not creating.has_topic("missing")


def test_writing_creates_no_topic(creating: KafkaBroker, managers: Managers) -> None:
    @entity(topic="never")
    @dataclass
    class Row:
        number: Annotated[int, Key]

    manager = managers(creating)
    with pytest.raises(DeliveryError, match=r"never.*ensure_topics"):
        manager.add(Row(1))
    assert not creating.has_topic("never")
    assert manager.ensure_topics(Row).created == ("never",)
    assert manager.add(Row(1)).offset == 0


def test_a_deleted_topic_does_not_come_back(
    creating: KafkaBroker, managers: Managers, eventually: Eventually
) -> None:
    creating.create_topic("deleted")
    creating.produce("deleted", [(b"k", b"v")])
    manager = managers(creating)
    table = manager.bind("deleted")
    table.wait_until_ready(60)
    creating.delete_topic("deleted")
    assert manager._binder is not None
    manager._binder.source.look_again()
    eventually(lambda: table.state is State.FAILED)
    manager._binder.source.look_again()
    assert not creating.has_topic("deleted")
