"""Stores that fail as a test says, and scenarios of which each call fails in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest

from statestore import (
    Key,
    KeyValueStore,
    State,
    StoreFullError,
    StoreManager,
    StoreMissingError,
    StoreUnavailableError,
    entity,
)
from statestore.backends import Batch, KeyRange, StoreOptions, find_engine
from statestore.errors import ConfigError
from statestore.testing import BrokenScenarioError, StoreFaults, TestDriver, fail_every_call


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    amount: int


def store_of(manager: StoreManager) -> KeyValueStore:
    return manager.open("sums")


def test_the_call_that_is_named_fails_and_no_other(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        faults.fail(2, of=["write"])
        store.put(b"a", b"1")
        with pytest.raises(StoreUnavailableError, match="fault of this test"):
            store.put(b"b", b"2")
        store.put(b"c", b"3")
        assert [key for key, _ in store.scan()] == [b"a", b"c"]
        assert [(call.name, call.what) for call in faults.failed] == [("write", "1 puts, 0 deletes")]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("get", lambda store: store.get(b"a")),
        ("scan", lambda store: list(store.scan())),
        ("snapshot", lambda store: store.snapshot()),
        ("flush", lambda store: store.flush()),
    ],
)
def test_reads_and_flushes_fail_with_the_error_of_the_test(
    tmp_path: Path, name: str, call: Callable[[KeyValueStore], object]
) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        faults.fail(of=[name], error=lambda path: StoreMissingError(path, "gone", "put it back"))
        with pytest.raises(StoreMissingError):
            call(store)
        call(store)


def test_what_an_open_snapshot_reads_fails_too(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        store.put(b"a", b"1")
        with store.snapshot() as snapshot:
            faults.fail(of=["get"])
            with pytest.raises(StoreUnavailableError):
                snapshot.get(b"a")
            assert snapshot.get(b"a") == b"1"


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        faults.fail(of=["open"])
        with pytest.raises(StoreUnavailableError):
            store_of(manager)
        store_of(manager).put(b"a", b"1")


def test_a_full_disk_takes_nothing_until_there_is_space(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        faults.fill_disk()
        for _ in range(2):
            with pytest.raises(StoreFullError):
                store.put(b"a", b"1")
        assert store.get(b"a") is None
        faults.free_disk()
        store.put(b"a", b"1")


def test_a_table_goes_on_after_a_write_that_failed() -> None:
    with StoreFaults() as faults, TestDriver([Order]) as driver:
        orders = driver.table(Order)
        faults.fail(of=["write"])
        driver.add(Order(1, 30))
        driver.advance(60)
        assert orders.state is State.READY
        assert orders.to_list() == [Order(1, 30)]
        assert len(faults.failed) == 1


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_what_was_not_flushed_is_lost_when_the_power_is_cut(tmp_path: Path, backend: str) -> None:
    with StoreFaults() as faults:
        with StoreManager(tmp_path, backend=backend) as manager:
            store = store_of(manager)
            store.update([(b"a", b"1"), (b"b", b"1")])
            store.flush()
            store.update([(b"a", b"2"), (b"c", b"2")])
            store.delete(b"b")
            faults.cut_power()
            store.put(b"d", b"3")
        with StoreManager(tmp_path, backend=backend) as manager:
            store = store_of(manager)
            assert dict(store.scan()) == {b"a": b"1", b"b": b"1"}
            store.put(b"d", b"3")
            assert store.get(b"d") == b"3"


def test_a_range_that_was_deleted_is_back_when_the_power_is_cut(tmp_path: Path) -> None:
    with StoreFaults() as faults:
        engine = find_engine("lmdb")(16 << 20)
        with engine.open(tmp_path / "s", StoreOptions()) as backend:
            backend.write(Batch([(b"a", b"1"), (b"b", b"2")]))
            backend.flush()
            backend.delete_range(KeyRange(b"a", b"b"))
            assert list(backend.scan()) == [(b"b", b"2")]
            faults.cut_power()
            assert list(backend.scan()) == [(b"a", b"1"), (b"b", b"2")]
        engine.close()


def test_a_table_reads_again_what_the_power_cut_took() -> None:
    with StoreFaults() as faults, TestDriver([Order], backend="rocksdb") as driver:
        driver.add(Order(1, 30))
        driver.table(Order).flush()
        driver.add(Order(2, 12))
        faults.cut_power()
        assert driver.table(Order).to_list() == [Order(1, 30)]
        driver.restart(kill=True)
        assert driver.table(Order).to_list() == [Order(1, 30), Order(2, 12)]


def test_a_torn_batch_is_written_by_half(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        store.put(b"a", b"1")
        faults.tear()
        with pytest.raises(StoreUnavailableError):
            store.update([(b"b", b"2"), (b"c", b"3")])
        assert dict(store.scan()) == {b"a": b"1", b"b": b"2"}


def test_a_flipped_bit_is_another_value_in_silence(tmp_path: Path) -> None:
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        faults.flip_bit()
        store.put(b"a", b"10")
        store.put(b"b", b"10")
        assert dict(store.scan()) == {b"a": b"11", b"b": b"10"}


def test_late_calls_take_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    with StoreFaults() as faults, StoreManager(tmp_path, backend="memory") as manager:
        store = store_of(manager)
        monkeypatch.setattr("statestore.testing.faults.time.sleep", slept.append)
        faults.delay(0.25, of=["get"])
        store.put(b"a", b"1")
        store.get(b"a")
        faults.delay(0)
        store.get(b"a")
    assert slept == [0.25]


def test_stores_are_as_ever_before_and_after(tmp_path: Path) -> None:
    before = find_engine("memory")
    with StoreFaults() as faults:
        assert issubclass(find_engine("memory"), before)
        with pytest.raises(RuntimeError, match="in force already"):
            faults.__enter__()
    assert find_engine("memory") is before


def test_calls_that_do_not_exist_are_named() -> None:
    with pytest.raises(ValueError, match=r"of=\['wirte'\]: give some of the calls .* open, write, load"):
        StoreFaults().fail(of=["wirte"])
    with pytest.raises(ValueError, match="call=0: calls are counted from now on, the next one is 1"):
        StoreFaults().fail(0)


def transfers(folder: Path, *, at_once: bool) -> None:
    """Move money from one account to another, twice; nothing of it may get lost."""
    number = sum(1 for _ in folder.iterdir())
    with StoreManager(folder / str(number), backend="memory") as manager:
        store = store_of(manager)
        try:
            store.update([(b"ann", b"50"), (b"bob", b"50")])
            for ann, bob in ((b"40", b"60"), (b"30", b"70")):
                if at_once:
                    store.update([(b"ann", ann), (b"bob", bob)])
                else:
                    store.put(b"ann", ann)
                    store.put(b"bob", bob)
        except StoreUnavailableError:
            pass
        assert sum(int(value) for _, value in store.scan()) in {0, 100}


def test_a_scenario_that_stands_every_call_that_fails(tmp_path: Path) -> None:
    assert fail_every_call(partial(transfers, tmp_path, at_once=True), of=["write"]) == 3
    assert len(list(tmp_path.iterdir())) == 5, "once without a fault, each call, and one too many"


def test_the_call_that_breaks_a_scenario_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenScenarioError, match=r"breaks where call 3 fails, write of .*1 puts") as caught:
        fail_every_call(partial(transfers, tmp_path, at_once=False), of=["write"])
    assert caught.value.number == 3
    assert caught.value.call.name == "write"
    assert isinstance(caught.value.__cause__, AssertionError)


def test_an_error_that_the_scenario_lets_through_is_a_finding() -> None:
    def careless() -> None:
        with TestDriver([Order]) as driver:
            driver.manager.open("sums").put(b"a", b"1")

    with pytest.raises(BrokenScenarioError) as caught:
        fail_every_call(careless, of=["write"], error=lambda path: StoreFullError(path, "full", "tidy up"))
    assert isinstance(caught.value.__cause__, StoreFullError)


def test_a_scenario_that_fails_anyway_says_so_itself() -> None:
    def wrong() -> None:
        raise LookupError("of its own")

    with pytest.raises(LookupError, match="of its own"):
        fail_every_call(wrong)


def test_a_scenario_in_which_nothing_can_fail_is_told(tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend="memory") as stores:
        store = stores.open("opened.before")
        with pytest.raises(ConfigError, match="makes none of the calls write to a store that it opens"):
            fail_every_call(lambda: store.put(b"a", b"1"), of=["write"])
