"""The time given to a call ends it, whatever it is given to write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

from statestore import DeliveryError, Key, StoreManager, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

MOST = 1_000_000
SLOW = 0.02  # seconds that a slow iterator takes for each entity; PATIENCE is far less than all of them take
PATIENCE = 0.3


def test_an_endless_iterator_ends(
    broker: Broker, topic: Callable[[str], str], managers: Callable[..., StoreManager]
) -> None:
    broker.create_topic(name := topic("rows"))

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Row:
        number: Annotated[int, Key]

    taken: list[Row] = []

    def endless() -> Iterator[Row]:
        while len(taken) < MOST:
            taken.append(Row(len(taken)))
            yield taken[-1]

    manager = managers(broker)
    manager.add(Row(MOST))  # what is written first takes longer
    with pytest.raises(DeliveryError, match="the time given") as caught:
        manager.add_all(endless(), timeout=0.5)
    assert len(caught.value.delivered) + len(caught.value.undelivered) == len(taken) < MOST
    with pytest.raises(DeliveryError, match="nothing was sent") as caught:
        manager.add_all([Row(n) for n in range(10_000)], timeout=0.0)
    assert len(caught.value.undelivered) == 10_000


def test_a_slow_iterator_ends_when_the_time_is_over(
    broker: Broker, topic: Callable[[str], str], managers: Callable[..., StoreManager]
) -> None:
    broker.create_topic(name := topic("rows"))

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Row:
        number: Annotated[int, Key]

    taken: list[Row] = []
    ended: list[str] = []

    def slowly() -> Iterator[Row]:
        while len(taken) < 5000:
            time.sleep(SLOW)
            taken.append(Row(len(taken)))
            yield taken[-1]

    async def slowly_awaited(each: float) -> AsyncIterator[Row]:
        try:
            while len(taken) < 5000:
                await asyncio.sleep(each)
                taken.append(Row(len(taken)))
                yield taken[-1]
        finally:
            ended.append("ended")

    manager = managers(broker)
    table = manager.bind(Row)
    table.add(Row(MOST), wait=True, timeout=60)

    def check(error: DeliveryError) -> None:
        assert "the time given" in str(error)
        assert [*range(len(error.delivered))] == [at.offset - first for at in error.delivered]
        assert error.undelivered == tuple(taken[len(error.delivered) :])
        assert len(taken) < 1000
        taken.clear()

    for call in (manager.add_all, table.add_all):
        first = next(iter(broker.end_offsets(name).values()))
        with pytest.raises(DeliveryError) as caught:
            call(slowly(), timeout=PATIENCE)
        check(caught.value)
        manager.flush()
    for each in (SLOW, 300.0):
        first = next(iter(broker.end_offsets(name).values()))
        with pytest.raises(DeliveryError) as caught:
            asyncio.run(manager.add_all_async(slowly_awaited(each), timeout=PATIENCE))
        check(caught.value)
        manager.flush()
    assert ended == ["ended"] * 2


def test_an_async_iterator_is_written_in_its_order(
    broker: Broker, topic: Callable[[str], str], managers: Callable[..., StoreManager]
) -> None:
    broker.create_topic(name := topic("rows"))

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Row:
        number: Annotated[int, Key]

    async def rows(most: int) -> AsyncIterator[Row]:
        for number in range(most):
            yield Row(number)
        if most == 3:
            raise ZeroDivisionError

    manager = managers(broker)
    table = manager.bind(Row)
    written = asyncio.run(table.add_all_async(rows(500), wait=True, timeout=60))
    assert [at.offset for at in written] == [*range(500)]
    assert table.count() == 500
    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(manager.add_all_async(rows(3), timeout=60))
    assert caught.value.__notes__ == ["3 entities before it were delivered"]
    with pytest.raises(TypeError, match="not iterable"):
        manager.add_all(rows(1))  # type: ignore[arg-type]
