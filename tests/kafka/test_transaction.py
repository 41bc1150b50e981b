"""Entities that become visible together, or not at all. On the real broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import pytest

from statestore import DeliveryError, EntityRejectedError, Key, StoreClosedError, StoreManager, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]


@dataclass(frozen=True)
class Row:
    id: Annotated[int, Key]
    text: str = ""


def row_class(name: str, topic: str) -> Any:
    return entity(make_dataclass(name, [], bases=(Row,), frozen=True), topic=topic)


@pytest.fixture
def classes(broker: Broker, topic: Callable[[str], str]) -> tuple[Any, Any]:
    """Two entity classes with topics of two partitions."""
    topics = topic("one"), topic("other")
    for name in topics:
        broker.create_topic(name, 2)
    return row_class("One", topics[0]), row_class("Other", topics[1])


def test_all_is_visible_together(broker: Broker, classes: tuple[Any, Any], managers: Managers) -> None:
    one, other = classes
    manager = managers(broker, entities=classes, wait=60)
    table = manager.bind(one)
    table.add(one(9, "old"), wait=True)
    with manager.transaction() as transaction:
        transaction.add(one(1, "a"))
        transaction.add_all([other(1, "b"), other(2, "c")])
        transaction.delete(one, 9)
        transaction.delete(one(8))
        assert transaction.deliveries == []
    assert len(transaction.deliveries) == 5
    for cls in classes:
        bound = manager.bind(cls)
        bound.wait_for([at for at in transaction.deliveries if at.topic == bound.topic], 60)
    assert table.to_list() == [one(1, "a")]
    assert manager.bind(other).to_list() == [other(1, "b"), other(2, "c")]
    with manager.transaction() as transaction:
        transaction.add(one(2))
    table.wait_for(transaction.deliveries, 60)
    assert table.count() == 2


def test_a_block_that_raises_has_sent_nothing(
    broker: Broker, classes: tuple[Any, Any], managers: Managers
) -> None:
    one, _ = classes
    manager = managers(broker)
    table = manager.bind(one)
    with pytest.raises(ZeroDivisionError), manager.transaction() as transaction:
        transaction.add(one(1))
        raise ZeroDivisionError
    assert sum(broker.end_offsets(table.topic, read_committed=False).values()) == 0
    with pytest.raises(RuntimeError, match="has ended"):
        transaction.add(one(2))
    with manager.transaction() as transaction, pytest.raises(EntityRejectedError, match=r"One\.text"):
        transaction.add_all([one(1), one(2, 3)])
    assert transaction.deliveries == []
    assert sum(broker.end_offsets(table.topic, read_committed=False).values()) == 0


def test_one_at_a_time(broker: Broker, classes: tuple[Any, Any], managers: Managers) -> None:
    manager = managers(broker)
    with manager.transaction(), pytest.raises(RuntimeError, match="open already"), manager.transaction():
        pass
    with manager.transaction() as transaction:
        transaction.add(classes[0](1))
    assert len(transaction.deliveries) == 1
    manager.close()
    with pytest.raises(StoreClosedError):
        manager.transaction()


def test_a_topic_that_is_not_there_is_told_at_once(
    broker: Broker, topic: Callable[[str], str], managers: Managers
) -> None:
    cls = row_class("Missing", topic("missing"))
    manager = managers(broker)
    with manager.transaction() as transaction, pytest.raises(DeliveryError, match="ensure_topics"):
        transaction.add(cls(1))


def test_a_record_that_the_broker_refuses_aborts_all(
    broker: Broker, classes: tuple[Any, Any], managers: Managers
) -> None:
    one, other = classes
    manager = managers(broker, entities=classes, wait=60)
    broker.configure_topic(manager.bind(other).topic, {"max.message.bytes": "1000"})
    with pytest.raises(DeliveryError, match="not committed") as caught, manager.transaction() as transaction:
        transaction.add(one(1))
        transaction.add(other(1, "x" * 5000))
    assert caught.value.undelivered == (one(1), other(1, "x" * 5000))
    assert transaction.deliveries == []
    with manager.transaction() as transaction:  # the next one is not the worse for it
        transaction.add(one(2))
    table = manager.bind(one)
    table.wait_for(transaction.deliveries, 60)
    assert table.to_list() == [one(2)]


def test_a_successor_fences_its_predecessor(
    broker: Broker, classes: tuple[Any, Any], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory that was copied: only the process that came last commits."""
    one, _ = classes
    first, second = managers(broker, directory="a"), managers(broker, directory="b")
    monkeypatch.setattr(second._transactions, "_name", first._transactions._name)
    for manager in (first, second):
        with manager.transaction() as transaction:
            transaction.add(one(1))
    with pytest.raises(DeliveryError, match="not committed"), first.transaction() as transaction:
        transaction.add(one(2))
    with first.transaction() as transaction:  # with a new producer
        transaction.add(one(3))
    assert len(transaction.deliveries) == 1


def test_the_broker_is_away(own_broker: Any, managers: Managers) -> None:
    own_broker.create_topic("rows")
    cls = row_class("Row", "rows")
    manager = managers(own_broker, defaults={"request_timeout": 2.0})
    with manager.transaction() as transaction:
        transaction.add(cls(1))
    own_broker.kill()
    with pytest.raises(DeliveryError, match="2 records"), manager.transaction() as transaction:
        transaction.add_all([cls(2), cls(3)])
    own_broker.start()
    with manager.transaction() as transaction:
        transaction.add(cls(4))
    table = manager.bind(cls)
    table.wait_until_ready(60)
    assert {1, 4} <= {row.id for row in table.to_list()}
    assert {row.id for row in table.to_list()} in ({1, 4}, {1, 2, 3, 4})
