"""All windows of a class as one: rows, readiness, lifecycle and events, on librdkafka's mock broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest
from confluent_kafka import Producer

from statestore import (
    AsyncStoreManager,
    F,
    KafkaError,
    Key,
    QueryError,
    State,
    StateChange,
    StoreClosedError,
    StoreManager,
    StoreNotReadyError,
    WindowStart,
    entity,
)
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

Eventually = Callable[[Callable[[], object]], None]
LIMIT = 60.0
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@entity(topic="candles", windows=[1, 5])
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    close: float


ROWS = {
    "1min": [Candle("AAPL", NOON, 1.0), Candle("AAPL", NOON.replace(minute=1), 2.0)],
    "5min": [Candle("AAPL", NOON, 2.0)],
}


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """The address of librdkafka's mock broker, with the bars of each window in its topic."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (found,) = producer.list_topics(timeout=LIMIT).brokers.values()
    for window in model_of(Candle).windows:
        model = model_of(Candle).of_window(window)
        codec: EntityCodec[Candle] = EntityCodec(model)
        for row in ROWS[window.label]:
            key, value = codec.encode(row)
            producer.produce(model.topic, value, key)
    assert producer.flush(LIMIT) == 0
    yield f"{found.host}:{found.port}"
    del producer  # the broker lives as long as this


@pytest.fixture
def manager(tmp_path: Path, broker: str) -> Iterator[StoreManager]:
    with StoreManager(tmp_path, broker, "memory") as made:
        yield made


def test_each_window_has_the_rows_of_its_topic(manager: StoreManager) -> None:
    candles = manager.bind(Candle)
    candles.wait_until_ready(LIMIT)
    for one in candles.windows:
        assert candles.window(one).to_list() == ROWS[one.label]
    later = candles.window(1).where(F.start > NOON).to_list()
    assert later == ROWS["1min"][1:]


def test_a_group_waits_for_all_windows_and_the_health_lists_each(tmp_path: Path, broker: str) -> None:
    with StoreManager(tmp_path, broker, "memory", entities=[Candle], wait=LIMIT) as manager:
        candles = manager.bind(Candle)
        assert candles.is_ready
        assert manager.is_ready
        names = ["Candle_1min_Store", "Candle_5min_Store"]
        assert list(manager.health().tables) == names
        health = candles.health()
        assert [one.store for one in health["windows"].values()] == names
        assert str(health).count("Status: READY") == 2
        assert (candles.lag, candles.state) == (0, State.READY)
        candles.window(5).stop()  # of one group: none is read without the others
        with pytest.raises(StoreNotReadyError, match="'Candle_1min_Store' is read only together with"):
            candles.window(1).get("AAPL", NOON)


def test_each_window_is_ready_by_itself_and_the_whole_when_all_are(manager: StoreManager) -> None:
    candles = manager.bind(Candle)
    candles.wait_until_ready(LIMIT)
    candles.window(5).stop()
    assert candles.window(1).get("AAPL", NOON) == ROWS["1min"][0]
    assert not candles.is_ready
    assert (candles.state, candles.lag) == (State.STOPPED, None)
    health = candles.health()
    assert (health.store, health.ready) == ("Candle_5min_Store", False)
    assert [one.ready for one in health["windows"].values()] == [True, False]
    with pytest.raises(StoreNotReadyError, match="Candle_5min_Store"):
        candles.wait_until_ready(LIMIT)
    candles.start()
    manager.wait_until_ready(candles, timeout=LIMIT)
    manager.sync(candles, timeout=LIMIT)
    candles.sync(LIMIT)
    assert candles.is_ready


def test_what_is_done_with_the_whole_is_done_with_each(manager: StoreManager) -> None:
    candles = manager.bind(Candle)
    candles.wait_until_ready(LIMIT)
    for act, state in ((candles.pause, State.PAUSED), (candles.stop, State.STOPPED)):
        act()
        assert {one.state for one in candles.all_windows()} == {state}
    candles.restart()
    candles.wait_until_ready(LIMIT)
    candles.flush()
    candles.compact()
    assert candles.lag_by_partition == candles.window(1).lag_by_partition
    candles.close()
    candles.close()
    assert manager.health().tables == {}
    with pytest.raises(StoreClosedError):
        candles.window(1)


def test_a_window_that_was_closed_is_bound_anew_and_the_others_stay(manager: StoreManager) -> None:
    candles = manager.bind(Candle)
    closed, kept = candles.all_windows()
    closed.close()
    assert list(manager.health().tables) == ["Candle_5min_Store"]
    assert candles.window(5) is kept
    assert candles.all_windows() == [closed, kept]
    kept.wait_until_ready(LIMIT)
    health = candles.health()
    assert (health.status, health.ready, list(health["windows"])) == (State.STOPPED, False, ["5min"])
    assert health.cause == (
        "of the windows of Candle, '1min' is closed: bind(Candle) opens all again, "
        "or go on with window('5min') by itself"
    )
    candles.pause()
    assert kept.state is State.PAUSED
    candles.resume()
    candles.flush()
    with pytest.raises(StoreClosedError, match=r"'1min' is closed: bind\(Candle\)"):
        candles.sync(LIMIT)
    again = manager.bind(Candle)
    assert again.window(5) is kept
    assert again.window(1) is not closed
    again.wait_until_ready(LIMIT)
    with pytest.raises(StoreClosedError, match=r"'1min' is closed: bind\(Candle\)"):
        candles.wait_until_ready(LIMIT)
    for one in candles.all_windows():
        one.close()
    for call in (candles.health, candles.pause, candles.window):
        with pytest.raises(StoreClosedError):
            call()


def test_events_say_their_window_and_readiness_is_told_once(
    manager: StoreManager, eventually: Eventually
) -> None:
    candles = manager.bind(Candle)
    changes: list[StateChange] = []
    ready: list[str] = []
    candles.on_state_change(changes.append)
    candles.on_ready(lambda: ready.append("all"))
    candles.wait_until_ready(LIMIT)
    eventually(
        lambda: {(one.window, one.state) for one in changes} >= {(label, State.READY) for label in ROWS}
    )
    eventually(lambda: ready == ["all"])
    candles.window(5).restart()
    eventually(lambda: ready == ["all"] * 2)
    candles.on_ready(lambda: ready.append("at once"))
    eventually(lambda: ready == ["all", "all", "at once"])


def test_nothing_is_left_where_the_topic_of_a_window_is_not_there(tmp_path: Path, broker: str) -> None:
    settings = {"tables": {"Candle": {"windows": {"5min": {"topic": "absent"}}}}}
    with StoreManager(tmp_path, broker, "memory", settings=settings) as manager:
        for _ in range(2):
            with pytest.raises(KafkaError, match=r"'absent'.*start the program that writes it"):
                manager.bind(Candle)
            assert manager.describe() == []


def test_the_windows_of_an_asyncio_table_are_awaited(tmp_path: Path, broker: str) -> None:
    async def main() -> None:
        async with AsyncStoreManager(tmp_path, broker, "memory", entities=[Candle], wait=LIMIT) as stores:
            candles = await stores.bind(Candle)
            five = candles.window(5)
            assert five is candles.window("5min") is stores.store("Candle_5min_Store")
            assert candles.all_windows() == [candles.window(one) for one in candles.windows]
            assert await five.get("AAPL", NOON) == ROWS["5min"][0]
            assert [row async for row in five.fetch("AAPL")] == ROWS["5min"]
            assert await five.latest("AAPL") == ROWS["5min"][-1]
            assert (await candles.health()).ready
            with pytest.raises(QueryError, match="has a table for each of its windows"):
                await candles.get("AAPL")
            assert await stores.drop_orphans() == []

    asyncio.run(main())
