"""Several tables share one manager's threads, and may be one readiness group."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from statestore import (
    ConfigError,
    DirectoryLockedError,
    ReadyTimeoutError,
    StartupError,
    State,
    StoreManager,
    StoreNotReadyError,
    StoreUnavailableError,
)
from statestore.changelog.binding import Binding
from statestore.kafka import source
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


def library_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("statestore")]


@pytest.fixture
def two(broker: Broker, topic: NewTopic) -> tuple[str, str]:
    names = topic("a"), topic("b")
    for name in names:
        broker.create_topic(name)
        broker.produce(name, [(b"k", name.encode())])
    return names


def test_closing_has_every_table_leave_its_lane_before_it_waits_for_one(
    broker: Broker, two: tuple[str, str], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = managers(broker, backend="lmdb")
    tables = [manager.bind(name) for name in two]
    manager.wait_until_ready(timeout=60)
    seen: list[list[State]] = []
    waiting = Binding._wait_until_left

    def recording(binding: Binding, timeout: float) -> None:
        seen.append([table.state for table in tables])
        waiting(binding, timeout)

    monkeypatch.setattr(Binding, "_wait_until_left", recording)
    manager.close()
    assert seen == [[State.STOPPED, State.STOPPED]] * 2
    with managers(broker, backend="lmdb") as again:
        for name in two:
            table = again.bind(name)
            table.wait_until_ready(60)
            assert table.health().records == 0, "what was written before the close was durable"


def test_the_admin_client_is_told_of_a_topic_what_a_consumer_is_told(
    broker: Broker, two: tuple[str, str], managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = managers(broker)
    manager.bind(two[0])
    binder = manager._binder
    assert binder is not None
    monkeypatch.setattr(source, "_AT_ONCE", 60.0)
    told = binder.source._described(two[1])
    assert told is not None, "a real broker names its controller"
    assert binder.source._described(two[1] + "-not-there") is None
    monkeypatch.setattr(source, "_AT_ONCE", 1e-9)
    assert binder.source._described(two[1]) is None
    # A consumer is not told the id.
    assert binder.source.topic_info(two[1], timeout=10) == dataclasses.replace(told, topic_id=None)
    assert told.partitions == 1
    assert told.cluster_id


def test_threads_do_not_grow_with_tables(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    names = [topic(f"n{i}") for i in range(8)]
    for name in names:
        broker.create_topic(name, partitions=2)
        broker.produce(name, [(b"k", name.encode())])
    manager = managers(broker, backend=backend)
    first = manager.bind(names[0])
    first.wait_until_ready(60)
    threads, all_threads = library_threads(), threading.active_count()
    tables = [manager.bind(name) for name in names]
    manager.wait_until_ready(timeout=60)
    assert tables[0] is first
    assert library_threads() == threads
    assert threading.active_count() == all_threads
    assert len(threads) == (5 if manager.health().fetcher == "native" else 4)
    for name, table in zip(names, tables, strict=True):
        assert dict(table.scan()) == fold(broker, name)
        broker.produce(name, [(b"k2", b"followed")])
    eventually(lambda: all(table.get(b"k2") for table in tables))
    assert manager.is_ready
    assert manager.state is State.READY


def test_a_table_that_restores_does_not_starve_a_ready_one(
    broker: Broker,
    two: tuple[str, str],
    managers: Managers,
    write_faults: StoreFaults,
    eventually: Eventually,
) -> None:
    manager = managers(broker, defaults={"retry_waits": [0.1] * 1000})
    ready = manager.bind(two[0])
    ready.wait_until_ready(60)
    write_faults.fail_where(lambda call: call.name == "write" and call.directory.name.startswith("stuck"))
    stuck = manager.bind(two[1], name="Stuck")
    eventually(lambda: stuck.health().write_failures)
    broker.produce(two[0], [(b"k", b"followed")])
    eventually(lambda: ready.get(b"k") == b"followed")
    assert stuck.state is State.RESTORING
    assert manager.state is State.RESTORING
    assert not manager.is_ready
    with pytest.raises(ReadyTimeoutError, match="'Stuck' is RESTORING, lag 1") as late:
        manager.wait_until_ready(timeout=0.2)
    assert late.value.lag == 1
    assert ready.name not in str(late.value)
    manager.wait_until_ready(ready, timeout=0.2)


def test_a_group_is_read_together_or_not_at_all(
    broker: Broker,
    two: tuple[str, str],
    managers: Managers,
    write_faults: StoreFaults,
    eventually: Eventually,
) -> None:
    write_faults.fail_where(
        lambda call: call.name == "write" and two[1].split(".")[-1] in str(call.directory)
    )
    manager = managers(broker, entities=two, defaults={"retry_waits": [0.1] * 1000})
    ready, late = (manager.bind(name) for name in two)
    eventually(lambda: ready.state is State.READY and late.lag == 1)
    assert not ready.is_ready
    with pytest.raises(StoreNotReadyError, match="only together with") as refused:
        ready.get(b"k")
    assert late.name in str(refused.value)
    assert refused.value.lag == 1
    assert ready.get(b"k", allow_stale=True) == two[0].encode()
    with pytest.raises(ReadyTimeoutError, match="RESTORING"):
        ready.wait_until_ready(0.2)  # what it waits for is that it can be read
    write_faults.fail_where(None)
    ready.wait_until_ready(60)
    assert ready.get(b"k") == two[0].encode()
    assert late.get(b"k") == two[1].encode()


def test_without_require_all_ready_each_stands_alone(
    broker: Broker, two: tuple[str, str], managers: Managers, write_faults: StoreFaults
) -> None:
    write_faults.fail_where(
        lambda call: call.name == "write" and two[1].split(".")[-1] in str(call.directory)
    )
    manager = managers(broker, entities=two, require_all_ready=False, defaults={"retry_waits": [0.1] * 1000})
    ready, late = (manager.bind(name) for name in two)
    ready.wait_until_ready(60)
    assert ready.get(b"k") == two[0].encode()
    with pytest.raises(StoreNotReadyError):
        late.get(b"k")


def test_a_constructor_that_waits_comes_back_ready(
    backend: str, broker: Broker, two: tuple[str, str], managers: Managers
) -> None:
    manager = managers(broker, backend=backend, entities=two, wait=60)
    assert [manager.bind(name).get(b"k") for name in two] == [name.encode() for name in two]


def test_a_start_that_fails_names_each_table_and_closes_everything(
    broker: Broker, two: tuple[str, str], managers: Managers, write_faults: StoreFaults
) -> None:
    broken, slow = two
    late = {"retry_waits": [0.1] * 1000}
    write_faults.fail_where(lambda call: call.name == "write")
    for wait in (1.0, 10.0, 60.0):  # by then it knows where the topics end
        with pytest.raises(StartupError) as failure:
            managers(broker, entities=two, wait=wait, defaults=late)
        if str(failure.value).count("lag 1") == 2:
            break
    for name in (broken, slow):
        assert f"{name}_Store' is RESTORING, lag 1" in str(failure.value)
    write_faults.fail_where(None)
    assert managers(broker, entities=two, wait=60).is_ready, "the directory is still taken"


def test_a_failed_table_ends_the_wait_at_once(
    broker: Broker, two: tuple[str, str], managers: Managers, write_faults: StoreFaults
) -> None:
    write_faults.fail_where(lambda call: call.name == "write")
    began = time.monotonic()
    with pytest.raises(StartupError, match=r"input/output error .*; replace the disk") as failure:
        managers(broker, entities=two, wait=600)
    assert time.monotonic() - began < 60
    assert isinstance(failure.value.__cause__, StoreUnavailableError)


def test_a_second_bind_is_the_same_or_refused(
    broker: Broker, two: tuple[str, str], managers: Managers
) -> None:
    manager = managers(broker)
    table = manager.bind(two[0], max_lag=5)
    assert manager.bind(two[0], max_lag=5) is table
    for choice in ({}, {"max_lag": 6}, {"max_lag": 5, "backend": "rocksdb"}):
        with pytest.raises(ConfigError, match="is already bound"):
            manager.bind(two[0], **choice)
    with pytest.raises(ConfigError, match="is already bound, as"):
        manager.bind(two[0], name="Other")
    assert manager.store(table.name) is table


def test_many_threads_bind_one_table(broker: Broker, two: tuple[str, str], managers: Managers) -> None:
    manager = managers(broker)
    tables: list[Any] = []
    threads = [threading.Thread(target=lambda: tables.append(manager.bind(two[0]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 8
    assert len(set(map(id, tables))) == 1
    tables[0].wait_until_ready(60)


def test_two_managers_on_two_directories(
    persistent: str, broker: Broker, two: tuple[str, str], managers: Managers
) -> None:
    one, other = managers(broker, backend=persistent), managers(broker, backend=persistent, directory="other")
    tables = [one.bind(two[0]), other.bind(two[0])]
    for table in tables:
        table.wait_until_ready(60)
    one.close()
    assert tables[1].get(b"k") == two[0].encode()
    with pytest.raises(DirectoryLockedError):
        managers(broker, backend=persistent, directory="other")
