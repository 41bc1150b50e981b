"""Tables for asyncio: nothing blocks the loop, waiting takes no threads, and cancellation releases all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import (
    AsyncStoreManager,
    F,
    KafkaError,
    Key,
    ReadyTimeoutError,
    RowCountError,
    StartupError,
    State,
    StateChange,
    StoreClosedError,
    agg,
    entity,
)
from statestore.aio import AsyncTable
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Run = Callable[[Coroutine[Any, Any, Any]], Any]
NOWHERE = "127.0.0.1:1"
MANY = 10_000


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on a new event loop, which must be free all the time."""
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def orders(broker: Broker, topic: Callable[..., str]) -> type[Any]:
    name = topic("orders")
    broker.create_topic(name, partitions=2)

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Order:
        number: Annotated[int, Key]
        text: str = ""

    return Order


@pytest.fixture
def opened(tmp_path: Path, broker: Broker) -> Callable[..., AsyncStoreManager]:
    def make(**more: Any) -> AsyncStoreManager:
        defaults = {"confirm_interval": 0.2, **more.pop("defaults", {})}
        arguments = {"kafka": broker.bootstrap, "backend": "memory", **more}
        return AsyncStoreManager(tmp_path / "state", settings={"defaults": defaults}, **arguments)

    return make


def test_the_table_of_a_service(run: Run, orders: type[Any], opened: Callable[..., Any]) -> None:
    async def main() -> None:
        async with opened(entities=[orders], wait=60) as stores:
            table: AsyncTable[Any] = await stores.bind(orders)
            assert await stores.bind(orders) is table
            assert table.is_ready
            assert stores.state is State.READY
            await table.add(orders(1, "one"), wait=True, timeout=60)
            assert await table.get(1) == orders(1, "one")
            delivered = await table.add_all([orders(n, str(n % 7)) for n in range(2, 1000)])
            await table.wait_for(delivered, 60)
            delivered = [await stores.add(orders(1000, "last")), await stores.delete(orders, 3)]
            await table.sync(60)
            assert await table.get_many([1, 3, 1000]) == [orders(1, "one"), None, orders(1000, "last")]
            assert 3 not in table
            everything = [orders(1, "one"), *(orders(n, str(n % 7)) for n in range(2, 1000) if n != 3)]
            everything.append(orders(1000, "last"))
            assert await table.to_list() == everything
            assert [row async for row in table] == everything
            assert await table.count() == len(everything)

            sevens = table.where(F.text == "5").order_by(F.number.desc())
            expected = [row for row in everything if row.text == "5"][::-1]
            assert await sevens.to_list() == expected
            assert [row async for row in sevens.take(3)] == expected[:3]
            assert await sevens.first() == expected[0]
            assert await sevens.count() == len(expected)
            assert await sevens.max(F.number) == expected[0].number
            assert await table.where(F.number > 5000).first_or_default(default=0) == 0
            assert (await sevens.to_arrow()).num_rows == len(expected)
            with pytest.raises(RowCountError):
                await sevens.single()
            groups = table.group_by(F.text).aggregate(rows=agg.count()).order_by(F.text)
            assert sum(row.rows for row in await groups.to_list()) == len(everything)

            async with table.snapshot() as before, stores.snapshot(table, table) as both:
                await table.delete(1, wait=True, timeout=60)
                assert await before.get(1) == await both[0].get(1) == orders(1, "one")
                assert await before.where(F.number == 1).any()
            with pytest.raises(StoreClosedError):
                await before.get(1)
            assert (await table.health()).ready
            assert (await stores.health()).ready

    run(main())


def test_callbacks_run_on_the_loop_in_order(run: Run, orders: type[Any], opened: Any) -> None:
    async def main() -> None:
        async with opened() as stores:
            table = await stores.bind(orders)
            loop, ready = asyncio.get_running_loop(), asyncio.Event()
            states: list[StateChange] = []

            async def slowly(change: StateChange) -> None:
                await asyncio.sleep(0.01)
                states.append(change)

            def is_ready() -> None:
                assert asyncio.get_running_loop() is loop
                ready.set()

            table.on_state_change(slowly)
            table.on_ready(is_ready)
            await asyncio.wait_for(ready.wait(), 60)
            await table.pause()
            while not states or states[-1].state is not State.PAUSED:
                await asyncio.sleep(0.01)
            assert [one.time for one in states] == sorted(one.time for one in states)

    run(main())


def test_a_transaction_and_a_stream(
    run: Run, broker: Broker, topic: Callable[..., str], orders: type[Any], opened: Any
) -> None:
    name = topic("lines")
    broker.create_topic(name, 2, {"cleanup.policy": "delete"})

    @entity(topic=name, kind="stream")
    @dataclass(frozen=True, slots=True)
    class Line:
        text: str

    async def main() -> None:
        async with opened() as stores:
            table = await stores.bind(orders)
            with pytest.raises(KeyError):
                async with stores.transaction() as failed:
                    await failed.add(orders(1))
                    raise KeyError
            async with stores.transaction() as tx:
                await tx.add(orders(2))
                await tx.add_all(Line(str(n)) for n in range(3000))
            await table.wait_for(tx.deliveries, 60)
            assert await table.to_list() == [orders(2)]
            lines = await stores.stream(Line)
            assert {line.text for line in await lines.to_list()} == {str(n) for n in range(3000)}
            seen: list[Any] = []
            await lines.for_each(seen.append, limit=2000)
            assert len(seen) == 2000

    run(main())


@asynccontextmanager
async def free_loop(threads: int) -> AsyncIterator[None]:
    """The loop goes round meanwhile, and no more than so many threads are begun."""
    before, rounds = threading.active_count(), 0
    running = True

    async def go_round() -> None:
        nonlocal rounds
        while running:
            await asyncio.sleep(0.01)
            rounds += 1
            assert threading.active_count() <= before + threads

    watch = asyncio.create_task(go_round())
    yield
    running = False
    await watch
    assert rounds > 1


def test_ten_thousand_wait_without_a_thread(run: Run, orders: type[Any], opened: Any) -> None:
    """For readiness, for records and for the end of the topic; half of them are cancelled."""

    async def main() -> None:
        async with opened() as stores:
            table = await stores.bind(orders)
            await table.wait_until_ready(60)
            await table.stop()
            delivered = await stores.add_all([orders(n) for n in range(100)])
            await table.restart()
            waits = [table.wait_until_ready(60) for _ in range(MANY)]
            waits += [table.wait_for(delivered[n % 100], 60) for n in range(MANY)]
            tasks = [asyncio.create_task(one) for one in waits]
            async with free_loop(threads=8):
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled = [one for one in outcomes if isinstance(one, asyncio.CancelledError)]
            assert all(one is None for one in outcomes[1::2])
            assert len(cancelled) > 0
            assert not table.blocking._binding._awaited
            assert not table.blocking._binding._await_ready

    run(main())


def test_ten_thousand_writes_are_in_flight(run: Run, orders: type[Any], opened: Any) -> None:
    """Each of them was the first to its topic, as far as it knew."""

    async def main() -> None:
        async with opened() as stores:
            table = await stores.bind(orders)
            async with free_loop(threads=12):
                writes = [table.add(orders(n), wait=True, timeout=60) for n in range(MANY)]
                deliveries = await asyncio.gather(*writes)
            assert len({(one.partition, one.offset) for one in deliveries}) == MANY
            assert await table.count() == MANY

    run(main())


def test_a_broker_that_is_away_blocks_nothing(run: Run, orders: type[Any], opened: Any) -> None:
    """Not the loop: opening, binding, writing and closing behind what was not delivered."""

    async def main() -> None:
        async with free_loop(threads=20):
            slow = {"request_timeout": 2.0}
            async with opened(kafka=NOWHERE, defaults=slow) as stores:
                with pytest.raises(KafkaError):
                    await stores.bind(orders)
            async with opened(kafka=NOWHERE, defaults=slow, connect="lazy") as stores:
                table = await stores.bind(orders)
                with pytest.raises(ReadyTimeoutError):
                    await table.ready(0.1)
                adding = asyncio.create_task(table.add(orders(1)))
                await asyncio.sleep(0.5)
            with pytest.raises(Exception):  # noqa: B017, PT011 - closed, or not delivered
                await adding
            with pytest.raises(StartupError):
                await opened(kafka=NOWHERE, defaults=slow, connect="lazy", entities=[orders], wait=0.1)

    run(main())
