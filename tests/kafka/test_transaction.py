"""Entities that become visible together, or not at all. On the real broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, make_dataclass
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore import (
    DeliveryError,
    EntityRejectedError,
    Key,
    ProducerFencedError,
    StoreClosedError,
    StoreManager,
    TransactionHealth,
    entity,
)
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


def test_each_table_waits_for_its_part_of_a_transaction(
    broker: Broker, classes: tuple[Any, Any], managers: Managers
) -> None:
    one, other = classes
    manager = managers(broker, entities=classes, wait=60)
    with manager.transaction() as transaction:
        transaction.add_all([one(1), other(1), one(2)])
    for cls, count in ((one, 2), (other, 1)):
        table = manager.bind(cls)
        table.wait_for(transaction.deliveries, 60)
        assert table.count() == count
    with manager.transaction() as transaction:
        transaction.add(other(2))
    with pytest.raises(ValueError, match=r"mirrors .*one.*, not .*other"):
        manager.bind(one).wait_for(transaction.deliveries, 60)
    manager.bind(one).wait_for([], 60)


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


def test_a_fenced_manager_stays_fenced(
    broker: Broker, classes: tuple[Any, Any], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory that was copied: only the process that came last commits, until one starts again."""
    one, _ = classes
    first, second = managers(broker, directory="a"), managers(broker, directory="b")
    monkeypatch.setattr(second._transactions, "_name", first._transactions._name)

    def write(manager: StoreManager, number: int) -> None:
        with manager.transaction() as transaction:
            transaction.add(one(number))

    write(first, 1)
    with pytest.raises(ZeroDivisionError), first.transaction() as transaction:
        transaction.add(one(1))
        raise ZeroDivisionError
    write(second, 2)
    with pytest.raises(
        ProducerFencedError, match=r"the transaction of 1 records is not committed.*fenced"
    ) as caught:
        write(first, 3)
    assert caught.value.undelivered == (one(3),)
    for _ in range(2):
        with pytest.raises(ProducerFencedError, match="restart this one"):
            first.transaction()
        write(second, 4)
    first.add(one(5))  # other writes are not concerned
    first.close()
    assert second.health().transactions == TransactionHealth(3, 3, 0, fenced=False)
    third = managers(broker, directory="a")
    monkeypatch.setattr(third._transactions, "_name", second._transactions._name)
    write(third, 6)  # a start anew takes over
    with pytest.raises(ProducerFencedError):
        write(second, 7)
    health = second.health().transactions
    assert health == TransactionHealth(4, 3, 1, fenced=True)


def test_a_successor_of_one_whose_transaction_failed_is_not_fenced_by_it(
    broker: Broker, classes: tuple[Any, Any], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an abort the producer is kept: a new one of its name would fence whoever came meanwhile."""
    one, other = classes
    first, second = managers(broker, directory="a"), managers(broker, directory="b")
    monkeypatch.setattr(second._transactions, "_name", first._transactions._name)
    first.bind(other)
    broker.configure_topic(first.bind(other).topic, {"max.message.bytes": "1000"})
    for _ in range(2):
        with pytest.raises(DeliveryError, match="not committed"), first.transaction() as transaction:
            transaction.add(one(1))
            transaction.add(other(1, "x" * 5000))
    with first.transaction() as transaction:
        transaction.add(one(2))
    with pytest.raises(DeliveryError, match="not committed"), first.transaction() as transaction:
        transaction.add(other(1, "x" * 5000))
    for number in range(2):
        with second.transaction() as transaction:
            transaction.add(one(number))
        with pytest.raises(ProducerFencedError), first.transaction() as transaction:
            transaction.add(one(3))
    assert first.health().transactions.fenced
    assert not second.health().transactions.fenced


def test_a_transaction_that_the_broker_ends_for_its_age_is_not_fenced(
    broker: Broker, classes: tuple[Any, Any], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = classes
    manager = managers(broker)
    fenced = KafkaException(Code(Code._FENCED, "This instance has been fenced by a newer instance"))
    transactions = manager._transactions
    monkeypatch.setattr(transactions, "_retry", lambda _: (_ for _ in ()).throw(fenced))
    clock = iter([0.0, 1000.0])
    ticking = SimpleNamespace(monotonic=lambda: next(clock, 2000.0))  # for the transaction alone
    monkeypatch.setattr("statestore.producing.transaction.time", ticking)
    with pytest.raises(DeliveryError, match="not committed") as caught, manager.transaction() as transaction:
        transaction.add(one(1))
    assert not isinstance(caught.value, ProducerFencedError)
    monkeypatch.undo()
    with manager.transaction() as transaction:
        transaction.add(one(1))
    assert manager.health().transactions == TransactionHealth(2, 1, 1, fenced=False)


def test_the_same_awaited(broker: Broker, classes: tuple[Any, Any], managers: Managers) -> None:
    one, other = classes
    manager = managers(broker, entities=classes, wait=60)

    async def numbers() -> AsyncIterator[Any]:
        for number in range(3):
            yield one(number)

    async def work() -> None:
        async with manager.transaction() as transaction:
            await transaction.add_async(other(1, "a"))
            await transaction.add_all_async(numbers())
            await transaction.add_all_async([one(3)])
            await transaction.delete_async(one, 0)
            with pytest.raises(RuntimeError, match="open already"):
                async with manager.transaction():
                    pass
        await manager.bind(one).wait_for_async(
            [at for at in transaction.deliveries if at.topic == manager.bind(one).topic], 60
        )
        with pytest.raises(ZeroDivisionError):
            async with manager.transaction() as transaction:
                await transaction.add_async(one(9))
                raise ZeroDivisionError
        with pytest.raises(RuntimeError, match="has ended"):
            await transaction.add_async(one(9))

    asyncio.run(work())
    assert [row.id for row in manager.bind(one).to_list()] == [1, 2, 3]
    assert manager.health().transactions == TransactionHealth(2, 1, 1, fenced=False)


def test_a_cancelled_commit_is_all_or_nothing_and_the_next_one_goes_on(
    broker: Broker, classes: tuple[Any, Any], managers: Managers
) -> None:
    one, _ = classes
    manager = managers(broker, entities=[one], wait=60)
    table = manager.bind(one)

    async def write(start: int) -> None:
        async with manager.transaction() as transaction:
            await transaction.add_all_async([one(number) for number in range(start, start + 500)])

    async def work() -> None:
        await write(0)
        for turn in range(1, 6):
            task = asyncio.create_task(write(turn * 500))
            await asyncio.sleep(0.002 * turn)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await write(5000)

    asyncio.run(work())
    table.wait_for(manager.add(one(9999)), 60)
    found = {row.id // 500 for row in table.to_list()} - {9999 // 500}
    assert {0, 10} <= found
    assert table.count() == 500 * len(found) + 1
    health = manager.health().transactions
    assert health.begun == health.committed + health.aborted == 7


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
