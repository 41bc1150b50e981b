"""A lag of 0 is said only of a table that has everything: not of one that does not follow its topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from statestore import (
    BytesTable,
    Reason,
    State,
    StoreClosedError,
    StoreManager,
    StoreNotReadyError,
    StoreUnavailableError,
)
from statestore.changelog.machine import Connection, TableMachine
from statestore.changelog.readiness import Progress
from statestore.changelog.status import LEAST_PATIENCE
from statestore.settings import TableOptions

Eventually = Callable[..., None]
Produce = Callable[[int], None]
LIMIT = 60.0
SETTINGS: dict[str, Any] = {"defaults": {"confirm_interval": 0.1}}


class MockBroker:
    """librdkafka's in-process mock, with a topic ``t`` of one partition that matters."""

    def __init__(self) -> None:
        self._producer = Producer(
            {"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0}
        )
        brokers = self._producer.list_topics(timeout=LIMIT).brokers.values()
        self.address = ",".join(f"{one.host}:{one.port}" for one in brokers)

    def produce(self, count: int) -> None:
        for number in range(count):
            self._producer.produce("t", key=b"a", value=b"%d" % number, partition=0)
        assert self._producer.flush(LIMIT) == 0

    def end(self) -> None:
        del self._producer


@pytest.fixture
def mock() -> MockBroker:
    return MockBroker()


@pytest.fixture
def manager(tmp_path: Path, mock: MockBroker) -> Iterator[StoreManager]:
    mock.produce(1)
    with StoreManager(tmp_path, kafka=mock.address, backend="memory", settings=SETTINGS) as manager:
        yield manager


@pytest.fixture
def table(manager: StoreManager) -> BytesTable:
    table = manager.bind("t")
    table.wait_until_ready(LIMIT)
    return table


def told(table: BytesTable) -> tuple[int | None, int | None, int | None, int | None]:
    """Return the lag, that of the partition, and both of them and the end as the health has them."""
    health = table.health()
    assert health.lag_by_partition == table.lag_by_partition
    assert f"Lag: {'unknown' if health.lag is None else health.lag}" in str(health)
    return table.lag, table.lag_by_partition[0], health.lag, health.end_offsets[0]


def test_a_paused_table_is_as_far_behind_as_its_topic_has_run_on(
    table: BytesTable, mock: MockBroker, eventually: Eventually
) -> None:
    eventually(lambda: told(table) == (0, 0, 0, 1))
    table.pause()
    eventually(lambda: told(table) == (0, 0, 0, 1))
    mock.produce(3)
    eventually(lambda: told(table) == (3, 3, 3, 4))
    assert table.is_ready
    table.resume()
    table.wait_until_ready(LIMIT)
    assert table.get(b"a") == b"2"
    eventually(lambda: told(table) == (0, 0, 0, 4))


def test_a_pause_forgets_what_was_told_before(table: BytesTable, eventually: Eventually) -> None:
    host = table._binding.host
    asked = host.ask_ends
    eventually(lambda: table.lag == 0)
    with host.changed:  # no answer is taken meanwhile
        table._binding._handle(lambda: table._binding.machine.pause(1.0))
        table._binding.mirror.progress.told_at = None
        assert table.lag is None
    asked()
    eventually(lambda: table.lag == 0)


def test_max_lag_holds_in_a_pause(manager: StoreManager, mock: MockBroker, eventually: Eventually) -> None:
    table = manager.bind("t", max_lag=2)
    table.wait_until_ready(LIMIT)
    table.pause()
    mock.produce(2)
    eventually(lambda: table.lag == 2)
    assert table.get(b"a") == b"0"
    mock.produce(1)
    eventually(lambda: not table.is_ready)
    with pytest.raises(StoreNotReadyError, match="3 records behind, more than max_lag=2") as refused:
        table.get(b"a")
    assert (refused.value.lag, refused.value.reason, table.state) == (3, Reason.PAUSED, State.PAUSED)


def test_a_resumed_table_is_not_ready_before_it_knows_the_end(
    table: BytesTable, mock: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = table._binding
    asked: list[int] = []
    connect = binding.host.connect
    table.pause()
    mock.produce(3)
    monkeypatch.setattr(binding.host, "connect", lambda member, start_id: asked.append(start_id))
    table.resume()
    assert (table.state, table.reason, table.lag) == (State.RESTORING, Reason.CONNECTING, None)
    with pytest.raises(StoreNotReadyError):
        table.get(b"a")
    connect(binding, asked[0])
    table.wait_until_ready(LIMIT)
    assert table.get(b"a") == b"2"


@pytest.mark.parametrize("ending", [lambda table: table.stop(), lambda table: table._binding.fail("a", "b")])
def test_nobody_asks_for_a_table_that_has_stopped_or_failed(
    table: BytesTable, mock: MockBroker, eventually: Eventually, ending: Callable[[BytesTable], None]
) -> None:
    eventually(lambda: told(table) == (0, 0, 0, 1))
    ending(table)
    mock.produce(3)
    assert told(table) == (None, None, None, None)
    table.restart()
    table.wait_until_ready(LIMIT)
    eventually(lambda: told(table) == (0, 0, 0, 4))


def test_after_close_no_lag_is_told(table: BytesTable, eventually: Eventually) -> None:
    eventually(lambda: table.lag == 0)
    table.close()
    assert (table.lag, table.lag_by_partition[0], table.state) == (None, None, State.STOPPED)


@pytest.mark.parametrize("paused", [False, True])
def test_a_broker_that_is_away_tells_of_no_lag(
    table: BytesTable, mock: MockBroker, eventually: Eventually, paused: bool
) -> None:
    eventually(lambda: table.lag == 0)
    if paused:
        table.pause()
        eventually(lambda: table.lag == 0)
    mock.end()
    eventually(lambda: table.lag is None)
    assert table.is_ready
    assert told(table)[:3] == (None, None, None)


def test_an_answer_does_not_hold_for_ever(table: BytesTable, eventually: Eventually) -> None:
    """A broker that hangs gives no error for long."""
    eventually(lambda: table.lag == 0)
    progress = table._binding.mirror.progress
    with table._binding.changed:  # no answer is taken meanwhile
        assert progress.told_at is not None
        progress.told_at -= LEAST_PATIENCE + 0.1
        assert (table.lag, table.lag_by_partition[0], progress.lag) == (None, None, 0)
    eventually(lambda: table.lag == 0)


def test_a_forked_child_is_told_of_nothing_that_it_does_not_know() -> None:
    machine = TableMachine(TableOptions(), Connection(), 0.0)
    machine.start(1.0)
    machine.opened(1)
    machine.captured(1, Progress())
    assert machine.hears_ends
    machine.forked()
    assert (machine.state, machine.reason, machine.hears_ends) == (State.STOPPED, Reason.NONE, False)
    assert machine.restart(9.0) == machine.stop(9.0) == machine.evaluated(Progress(), 9.0) == ()


def test_a_stopped_table_is_started_again(table: BytesTable, mock: MockBroker) -> None:
    table.start()
    table.stop()
    mock.produce(3)
    table.start()
    table.wait_until_ready(LIMIT)
    assert table.get(b"a") == b"2"
    table._binding.fail("a cause", "a remedy")
    with pytest.raises(StoreUnavailableError, match="a cause"):
        table.start()
    table.close()
    with pytest.raises(StoreClosedError):
        table.start()
