"""A service's tests without a broker: what is written is in the tables, as in production, and at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import (
    ConfigError,
    DeliveryError,
    EntityRejectedError,
    F,
    Key,
    StoreClosedError,
    StoreNotReadyError,
    StoreUnavailableError,
    WindowStart,
    entity,
)
from statestore.testing import TestDriver
from statestore.testing.driver import START


@entity(topic="orders", indexes=[F.customer])
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str
    amount: int


@entity(topic="customers")
@dataclass(frozen=True, slots=True)
class Customer:
    name: Annotated[str, Key]
    city: str


@entity(topic="candles", windows=["1min", "5min"])
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    price: int


REBUILD: Any = {"defaults": {"on_missing": "rebuild"}}


@pytest.fixture
def driver() -> Iterator[TestDriver]:
    with TestDriver(entities=[Order, Customer], partitions=3) as made:
        yield made


def order(number: int, amount: int = 1, customer: str = "ann") -> Order:
    return Order(number, customer, amount)


def test_what_is_written_is_read_at_once(driver: TestDriver) -> None:
    orders = driver.table(Order)
    driver.add(order(1))
    assert orders.get(1) == order(1)
    before = orders.snapshot()
    driver.add(order(1, amount=5, customer="bob"))
    driver.add(order(2))
    driver.delete(Order, 2)
    with before:
        assert before.to_list() == [order(1)]
    assert orders.where(F.customer == "bob").to_list() == [order(1, amount=5, customer="bob")]
    assert orders.where(F.customer == "ann").to_list() == []
    driver.delete(order(1))
    assert orders.count() == 0
    assert (orders.is_ready, orders.lag) == (True, 0)


def test_nothing_runs_beside_the_test(driver: TestDriver) -> None:
    orders = driver.table(Order)
    heard: list[str] = []
    orders.on_state_change(lambda change: heard.append(str(change.state)))
    driver.add(order(1))
    orders.pause()
    driver.add(order(2))
    assert orders.count() == 1
    orders.resume()
    orders.restart()
    orders.wait_until_ready(0)
    assert heard == ["READY", "PAUSED", "RESTORING", "READY", "STOPPED", "RESTORING", "READY"]
    of_managers = {f"statestore-{name}" for name in ("restore", "fetch", "follow", "supervisor", "events")}
    assert not of_managers & {thread.name for thread in threading.enumerate()}
    assert orders.count() == 2
    orders.compact()
    orders.flush()
    orders.sync(0)


def test_the_same_calls_give_the_same_history() -> None:
    def run() -> list[Any]:
        told: list[Any] = []
        with TestDriver(entities=[Order], partitions=2, settings=REBUILD) as driver:
            orders = driver.table(Order)
            orders.on_state_change(told.append)
            told += [driver.add(order(number)) for number in range(5)]
            driver.advance(100)
            driver.cut(Order, 0, to=1)
            told += [driver.add(order(7)), orders.to_list(), str(orders.health())]
        return told

    assert run() == run()


def test_a_transaction_is_seen_as_a_whole_or_never(driver: TestDriver) -> None:
    orders, customers = driver.table(Order), driver.table(Customer)
    driver.add(order(1))
    with driver.transaction() as tx:
        tx.add(order(2))
        tx.delete(Order, 1)
        tx.add(Customer("ann", "Bern"))
        driver.add(Customer("bob", "Basel"))
        assert (orders.to_list(), customers.get("ann")) == ([order(1)], None)
    assert (orders.to_list(), customers.get("ann")) == ([order(2)], Customer("ann", "Bern"))
    with pytest.raises(ZeroDivisionError), driver.transaction() as tx:
        tx.add(order(2, amount=1 // 0))
    with driver.transaction() as tx:
        tx.add(order(3))
        tx.record("orders", b"x", b"y")
        tx.abort()
        with pytest.raises(RuntimeError, match="before abort"):
            tx.add(order(4))
    assert orders.to_list() == [order(2)]
    assert orders.lag == 0


def test_what_comes_after_an_open_transaction_waits_for_its_end(driver: TestDriver) -> None:
    orders = driver.table(Order)
    with driver.transaction() as tx:
        tx.add(order(1), partition=0)
        driver.add(order(2), partition=0)
        driver.add(order(3), partition=1)
        assert orders.to_list() == [order(3)]
        driver.restart()
        assert driver.table(Order).to_list() == [order(3)]
    assert driver.table(Order).count() == 3


def test_the_record_with_the_latest_time_counts_of_a_key_in_two_partitions(driver: TestDriver) -> None:
    late = driver.now + timedelta(seconds=5)
    driver.add(order(1, amount=1), partition=2, timestamp=late)
    driver.add(order(1, amount=2), partition=0)
    assert driver.table(Order).get(1) == order(1, amount=1)
    assert driver.end_offsets(Order) == {0: 1, 1: 0, 2: 1}


def test_compaction_leaves_the_rows_as_they_are(driver: TestDriver) -> None:
    for number in range(9):
        driver.add(order(number % 4, amount=number))
    driver.delete(Order, 0)
    with driver.transaction() as tx:
        tx.add(order(9))
        tx.abort()
    rows = driver.table(Order).to_list()
    ends = driver.end_offsets(Order)
    for tombstones in (False, True):
        driver.compact(Order, tombstones=tombstones)
        driver.restart()
        assert driver.table(Order).to_list() == rows
        assert driver.table(Order).health().records == (3 if tombstones else 4)
    assert driver.end_offsets(Order) == ends


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_a_store_goes_on_after_a_kill_with_what_its_files_had(backend: str) -> None:
    with TestDriver(entities=[Order], backend=backend) as driver:
        for number in range(5):
            driver.add(order(number))
        driver.table(Order).flush()
        driver.add(order(5))
        driver.restart(kill=True)
        orders = driver.table(Order)
        assert orders.count() == 6
        assert orders.health().records == (1 if backend == "rocksdb" else 0)
        driver.restart()
        assert driver.table(Order).health().records == 0


def test_a_topic_that_is_another_one_fails_the_table_or_rebuilds_it(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    ways: list[Callable[[TestDriver], None]] = [
        lambda driver: driver.recreate(Order),
        lambda driver: driver.cut(Order, 0, to=2),
    ]
    for lose in ways:
        with TestDriver(entities=[Order]) as driver:
            driver.add(order(1))
            driver.add(order(1, amount=2))
            driver.add(order(2))
            orders = driver.table(Order)
            lose(driver)
            assert str(orders.state) == "FAILED"
            with pytest.raises(StoreUnavailableError, match="not in the log any more"):
                orders.get(1)
        with TestDriver(entities=[Order], settings=REBUILD) as driver:
            driver.add(order(1))
            driver.add(order(1, amount=2))
            driver.add(order(2))
            orders = driver.table(Order)
            lose(driver)
            driver.add(order(3))
            assert order(2) not in orders.to_list()
            assert order(3) in orders.to_list()


def test_a_topic_that_has_grown_past_the_position_is_another_one_all_the_same() -> None:
    with TestDriver(entities=[Order], settings=REBUILD) as driver:
        driver.add(order(1))
        orders = driver.table(Order)
        orders.pause()
        driver.recreate(Order)
        driver.add(order(2))
        driver.add(order(3))
        orders.resume()
        assert orders.to_list() == [order(2), order(3)]


def test_records_that_were_deleted_before_they_were_read_fail_the_table(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    with TestDriver(entities=[Order]) as driver:
        orders = driver.table(Order)
        driver.add(order(1))
        orders.pause()
        driver.add(order(2))
        driver.add(order(3))
        driver.truncate(Order, 0, before_offset=2)
        orders.resume()
        with pytest.raises(StoreUnavailableError, match="records 1 to 1 were deleted"):
            orders.get(1)


def test_time_passes_when_the_test_says_so() -> None:
    settings: Any = {"tables": {"Order": {"ttl": 3600}}}
    with TestDriver(entities=[Order], settings=settings) as driver:
        orders = driver.table(Order)
        assert driver.now == START
        driver.add(order(1))
        driver.advance(1800)
        assert driver.add(order(2)).timestamp == (START.timestamp() + 1800) * 1000
        driver.advance(timedelta(seconds=1799, milliseconds=999))
        assert orders.count() == 2
        driver.advance(0.001)
        assert orders.to_list() == [order(2)]
        driver.advance(timedelta(days=365))
        assert orders.count() == 0
        assert orders.health().status == "READY"
        with pytest.raises(ValueError, match="time goes forward"):
            driver.advance(-1)


def test_a_table_lags_by_the_clock_of_the_driver() -> None:
    settings: Any = {"defaults": {"max_staleness": 30}}
    with TestDriver(entities=[Order], settings=settings, now=datetime(2030, 1, 1, tzinfo=UTC)) as driver:
        orders = driver.table(Order)
        orders.pause()
        driver.add(order(1))
        driver.advance(29)
        assert orders.count() == 0
        driver.advance(2)
        with pytest.raises(StoreNotReadyError, match="max_staleness"):
            orders.count()
        orders.resume()
        assert orders.get(1) == order(1)


def test_the_service_writes_through_its_manager(driver: TestDriver) -> None:
    stores = driver.manager
    orders = stores.bind(Order)
    written = orders.add(order(1), timeout=60)
    assert (written.offset, orders.get(1)) == (0, order(1))
    with stores.transaction() as tx:
        tx.add(order(2))
        tx.delete(Order, 1)
        assert orders.get(2) is None
    orders.wait_for(tx.deliveries[-1], timeout=60)
    assert orders.to_list() == [order(2)]
    stores.open("sessions", backend="memory").put(b"k", b"v")


def test_windows_streams_and_bytes() -> None:
    @entity(topic="clicks", kind="stream")
    @dataclass(frozen=True, slots=True)
    class Click:
        page: str

    with TestDriver(entities=[Candle, Click, "raw"]) as driver:
        candles = driver.table(Candle)
        candle = Candle("A", driver.now, 3)
        driver.add(candle, window="5min")
        assert (candles.window("5min").to_list(), candles.window("1min").to_list()) == ([candle], [])
        driver.delete(candle, window="5min")
        assert candles.window("5min").count() == 0
        with pytest.raises(ConfigError, match=r"window\('1min'\)"):
            driver.add(candle)
        driver.add(Click("home"))
        driver.record("clicks", None, b"\x81\xa4page\xa4cart", headers=[("trace", b"1")])
        assert [click.page for click in driver.manager.stream(Click).to_list()] == ["home", "cart"]
        driver.record("raw", b"k", b"v")
        driver.record("raw", b"gone", None)
        assert driver.table("raw").to_list() == [(b"k", b"v")]


def test_what_does_not_fit_is_refused_with_a_remedy(driver: TestDriver) -> None:
    with pytest.raises(ConfigError, match=r"no topic 'nix' \(there are: 'customers', 'orders'\): create"):
        driver.record("nix", b"k", b"v")
    with pytest.raises(ConfigError, match="no partition 3: it has 0 to 2"):
        driver.record(Order, b"k", b"v", partition=3)
    with pytest.raises(ConfigError, match=r"recreate\('orders'\)"):
        driver.create_topic("orders")
    with pytest.raises(EntityRejectedError, match="order_id"):
        driver.add(order("one"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="within its with block"):
        driver.transaction().add(order(1))


def test_a_given_directory_is_kept(tmp_path: Path) -> None:
    for records in (1, 0):
        with TestDriver(entities=["raw"], directory=tmp_path, backend="lmdb", settings=REBUILD) as driver:
            if records:
                driver.record("raw", b"k", b"v")
        assert (tmp_path / "manifest.json").exists()
    with TestDriver() as driver:
        own = driver.directory
        assert own.exists()
    driver.close()
    assert not own.exists()


def test_a_log_is_cut_below_what_retention_deleted() -> None:
    with TestDriver([Order], settings={"defaults": {"on_missing": "rebuild"}}) as driver:
        for number in range(10):
            driver.record(Order, b"%d" % number, None)
        driver.truncate(Order, 0, 5)
        driver.cut(Order, 0, 2)
        driver.record(Order, b"a", None)
        assert driver.end_offsets(Order) == {0: 3}


def test_what_is_no_offset_is_refused() -> None:
    with TestDriver([Order]) as driver:
        with pytest.raises(ConfigError, match=r"to=-1 is no offset"):
            driver.cut(Order, 0, -1)
        with pytest.raises(ConfigError, match=r"before_offset=-1 is no offset"):
            driver.truncate(Order, 0, -1)
        with pytest.raises(ValueError, match="time goes forward"):
            driver.advance(float("inf"))


@pytest.mark.parametrize(("name", "partitions"), [("", 1), ("a/b", 1), ("..", 1), ("a" * 250, 1), ("a", 0)])
def test_topics_that_no_broker_has_are_refused(driver: TestDriver, name: str, partitions: int) -> None:
    with pytest.raises(ConfigError, match="give 1"):
        driver.create_topic(name, partitions)


def test_what_a_broker_refuses_is_refused(driver: TestDriver) -> None:
    with pytest.raises(
        ConfigError, match=r"is compacted, and the record has no key \(INVALID_RECORD\): give"
    ):
        driver.record(Order, None, b"v")
    driver.create_topic("log", config={"cleanup.policy": "compact,delete", "max.message.bytes": "1000"})
    with pytest.raises(ConfigError, match="no key"):
        driver.record("log", None, b"v")
    with pytest.raises(ConfigError, match=r"1001 bytes, but the limit is max\.message\.bytes=1000"):
        driver.record("log", b"k", b"v" * 930)
    driver.record("log", b"k", b"v" * 929)
    assert driver.end_offsets("log") == {0: 1}


def test_the_service_is_told_of_what_a_broker_refuses() -> None:
    small = {"topics": {"orders": {"config": {"max.message.bytes": "1000"}}}}
    with TestDriver(entities=[Order], settings=small) as driver:
        with pytest.raises(DeliveryError, match="smaller"):
            driver.manager.bind(Order).add(order(1, customer="a" * 1000), timeout=60)
        assert driver.end_offsets(Order) == {0: 0}


def test_a_topic_may_have_the_time_of_the_broker(driver: TestDriver) -> None:
    driver.create_topic("log", config={"message.timestamp.type": "LogAppendTime"})
    sent = driver.record("log", b"k", b"v", timestamp=1)
    assert sent.timestamp == START.timestamp() * 1000


def test_a_closed_driver_says_so() -> None:
    driver = TestDriver(entities=[Order])
    driver.close()
    calls: list[Callable[[], Any]] = [
        lambda: driver.restart(),
        lambda: driver.add(order(1)),
        lambda: driver.record("orders", b"k", b"v"),
        lambda: driver.table(Order),
        lambda: driver.advance(1),
        lambda: driver.create_topic("log"),
        lambda: driver.transaction(),
        lambda: driver.compact(Order),
    ]
    for call in calls:
        with pytest.raises(StoreClosedError, match="this TestDriver is closed: make another one"):
            call()
    driver.close()


def test_arguments_that_do_not_fit_are_told_with_a_remedy(driver: TestDriver) -> None:
    naive: Any = datetime(2024, 1, 1)
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: TestDriver(now=5), r"now=5\) is no time in UTC: give a datetime with a time zone"),  # type: ignore[arg-type]
        (lambda: TestDriver(now=naive), "is no time in UTC"),
        (lambda: TestDriver("orders"), r"entities='orders'\): give a list"),
        (lambda: TestDriver(Order), "give a list"),  # type: ignore[arg-type]
        (lambda: TestDriver(partitions=None, entities=[Order]), "partitions=None"),  # type: ignore[arg-type]
        (lambda: driver.add(order(1), timestamp=naive), "timestamp=datetime.* is no time in UTC"),
        (
            lambda: driver.add(order(1), timestamp=-1),
            "timestamp=-1 of a record for topic 'orders': give",
        ),
        (lambda: driver.add(order(1), partition="0"), "no partition '0': it has 0 to 2"),  # type: ignore[arg-type]
        (lambda: driver.record(Order, "k", b"v"), "key='k' is not bytes: encode it"),  # type: ignore[arg-type]
        (lambda: driver.record(Order, b"k", 5), "value=5 is not bytes"),  # type: ignore[arg-type]
        (lambda: driver.cut(Order, 0, "1"), "to='1' is no offset"),  # type: ignore[arg-type]
        (lambda: driver.cut(Order, 9, 0), "no partition 9"),
        (lambda: driver.recreate(Order, partitions=-1), "partitions=-1"),
        (lambda: driver.create_topic("log", partitions="2"), "partitions='2'"),  # type: ignore[arg-type]
        (lambda: driver.create_topic(7), "topic 7"),  # type: ignore[arg-type]
        (
            lambda: driver.create_topic("log", config={"cleanup.policy": "compacted"}),
            "cleanup.policy='compacted'",
        ),
        (lambda: driver.add(Order), "declared"),
        (lambda: driver.table(int), "declared"),
        (lambda: driver.end_offsets(7), "topic 7"),  # type: ignore[arg-type]
    ]
    for call, told in wrong:
        with pytest.raises(ConfigError, match=told):
            call()
    with pytest.raises(ValueError, match=r"advance\('x'\): time goes forward"):
        driver.advance("x")  # type: ignore[arg-type]
    assert driver.end_offsets(Order) == {0: 0, 1: 0, 2: 0}
