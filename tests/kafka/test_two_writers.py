"""What two writers of one key may rely on, and what they may not. On the real broker."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass, replace
from typing import Annotated, Any, NamedTuple

import pytest

from statestore import (
    ConfigError,
    EntityRejectedError,
    Key,
    NewerRecordError,
    StoreManager,
    entity,
)
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]


@dataclass(frozen=True)
class Counter:
    name: Annotated[str, Key]
    count: int = 0
    share: float = 0.0


class Writer(NamedTuple):
    """One instance of a service: its manager and its table."""

    stores: StoreManager
    table: Any

    def sees(self, *deliveries: Any) -> None:
        self.table.wait_for(deliveries, 60)


@pytest.fixture
def two(broker: Broker, topic: Callable[..., str], managers: Managers) -> tuple[Writer, Writer]:
    """Two instances with a counter ``a`` that both have read."""
    cls: Any = entity(make_dataclass("Hits", [], bases=(Counter,), frozen=True), topic=topic())
    broker.create_topic(cls.__statestore_entity__.model.topic, 2)
    stores = [managers(broker, directory=name, entities=[cls], wait=60) for name in ("one", "two")]
    one, other = (Writer(each, each.bind(cls)) for each in stores)
    began = one.table.add(cls("a"))
    one.sees(began)
    other.sees(began)
    return one, other


def test_two_instances_that_read_modify_and_write_lose_updates(two: tuple[Writer, Writer]) -> None:
    """Half of the increments are lost: Kafka does not compare, the last write wins."""
    rounds = 10
    for _ in range(rounds):
        read = [each.table.get("a") for each in two]
        written = [
            each.table.add(replace(row, count=row.count + 1)) for each, row in zip(two, read, strict=True)
        ]
        for each in two:
            each.sees(*written)
    assert [each.table.get("a").count for each in two] == [rounds, rounds]


def test_a_write_is_refused_once_the_table_has_a_newer_record(two: tuple[Writer, Writer]) -> None:
    one, other = two
    read = other.table.get_record("a")
    other.sees(one.table.add(replace(read.value, count=5)))
    with pytest.raises(
        NewerRecordError, match=r"Hits\(name='a'\) is not written .*has applied a newer one"
    ) as stale:
        other.table.add(replace(read.value, count=1), unless_newer_than=read)
    assert stale.value.read == read
    assert stale.value.found == other.table.get_record("a")
    assert read.timestamp.isoformat() in str(stale.value)
    assert stale.value.found.timestamp.isoformat() in str(stale.value)
    again = stale.value.found
    other.table.add(replace(again.value, count=6), unless_newer_than=again, wait=True, timeout=60)
    assert other.table.get("a").count == 6
    with pytest.raises(NewerRecordError):
        other.table.delete("a", unless_newer_than=again)
    other.table.delete("a", unless_newer_than=other.table.get_record("a"), wait=True, timeout=60)
    with pytest.raises(NewerRecordError, match="has applied its deletion"):
        other.stores.add(again.value, unless_newer_than=again)


def test_the_first_row_of_a_key_is_written_once(two: tuple[Writer, Writer]) -> None:
    """``None`` is what ``get_record`` of an absent key returns."""
    one, other = two
    first = replace(one.table.get("a"), name="b")
    other.sees(one.table.add(first, unless_newer_than=one.table.get_record("b")))
    with pytest.raises(NewerRecordError, match="since no record was read, the table has applied one") as late:
        other.table.add(first, unless_newer_than=None)
    assert late.value.read is None
    assert late.value.found == other.table.get_record("b")
    with pytest.raises(NewerRecordError), other.stores.transaction() as transaction:
        transaction.add(first, unless_newer_than=None)
    with pytest.raises(NewerRecordError):
        other.stores.delete(type(first), "b", unless_newer_than=None)
    assert one.table.delete("c", unless_newer_than=None).offset >= 0


def test_what_the_table_has_not_applied_yet_is_not_seen(two: tuple[Writer, Writer]) -> None:
    """The window that is left: the write of the other instance is overwritten, without a word."""
    one, other = two
    other.table.pause()
    read = other.table.get_record("a")
    one.table.add(replace(read.value, count=5))
    last = other.table.add(replace(read.value, count=1), unless_newer_than=read)
    other.table.resume()
    for each in two:
        each.sees(last)
        assert each.table.get("a").count == 1


def test_threads_of_one_manager_lose_nothing_with_it(two: tuple[Writer, Writer]) -> None:
    """What this process itself has on its way is known, whether the table has applied it or not."""
    one, _ = two
    table, each, refused = one.table, 5, itertools.count()

    def increment() -> None:
        done = 0
        while done < each:
            read = table.get_record("a")
            try:
                table.add(replace(read.value, count=read.value.count + 1), unless_newer_than=read)
                done += 1
            except NewerRecordError:
                next(refused)
                table.sync(60)

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table.sync(60)
    assert table.get("a").count == 4 * each
    assert next(refused) > 0


def test_in_a_transaction_nothing_is_written_if_one_record_is_newer(two: tuple[Writer, Writer]) -> None:
    one, other = two
    read = other.table.get_record("a")
    with pytest.raises(NewerRecordError), other.stores.transaction() as transaction:
        transaction.add(replace(read.value, name="b"))
        transaction.add(replace(read.value, count=1), unless_newer_than=read)
        other.sees(one.table.add(replace(read.value, count=5)))
    assert transaction.deliveries == []
    read = other.table.get_record("a")

    async def change() -> None:
        async with other.stores.transaction() as later:
            await later.add_async(replace(read.value, count=6), unless_newer_than=read)
        # In the topic, and perhaps not in the table yet: what was read before is not the newest any more.
        with pytest.raises(NewerRecordError):
            await other.table.delete_async("a", unless_newer_than=read)
        await other.table.wait_for_async(later.deliveries, 60)

    asyncio.run(change())
    assert other.table.get("a").count == 6
    assert other.table.get("b") is None


def test_a_row_with_nan_is_the_same_when_it_is_read_again(two: tuple[Writer, Writer]) -> None:
    table = two[0].table
    table.add(replace(table.get("a"), share=float("nan")), wait=True, timeout=60)
    read = table.get_record("a")
    table.add(replace(read.value, count=3), unless_newer_than=read, wait=True, timeout=60)
    assert table.get("a").count == 3


def test_a_row_that_was_changed_in_place_and_what_is_no_record_are_told(two: tuple[Writer, Writer]) -> None:
    one, _ = two
    read = one.table.get_record("a")
    changed = replace(read, value=replace(read.value, count=7))
    with pytest.raises(NewerRecordError, match=r"changed in place: change a copy"):
        one.table.add(changed.value, unless_newer_than=changed)
    with pytest.raises(TypeError, match=r"is no record: give what get_record\(key\)"):
        one.table.add(replace(read.value, count=7), unless_newer_than=read.value)


def test_a_record_of_another_key_or_class_is_refused(
    broker: Broker, two: tuple[Writer, Writer], managers: Managers
) -> None:
    one, _ = two
    read = one.table.get_record("a")
    with pytest.raises(ValueError, match=r"a record of Hits\(name='a'\), but Hits\(name='b'\) is written"):
        one.table.add(replace(read.value, name="b"), unless_newer_than=read)
    with pytest.raises(EntityRejectedError, match="not of class Hits"):
        one.table.add(read.value, unless_newer_than=replace(read, value=Counter("a")))
    unbound = managers(broker, directory="unbound")
    with pytest.raises(ConfigError, match="Hits is not bound in this manager: bind it first"):
        unbound.add(read.value, unless_newer_than=read)
