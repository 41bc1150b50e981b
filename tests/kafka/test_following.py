"""A ready table follows its topic, says when it falls behind, and tells its listeners in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from statestore import RestoreProgress, State, StateChange, StoreManager, StoreNotReadyError
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


def test_writes_deletes_and_rewrites_appear(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
) -> None:
    name = topic()
    broker.create_topic(name, partitions=2)
    broker.produce(name, [(b"a", b"1"), (b"b", b"1")])
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    broker.produce(name, [(b"a", b"2"), (b"b", None)])
    broker.produce(name, [(b"c", b"1"), (b"c", None), (b"c", b"3")], partition=1)
    eventually(lambda: table.get(b"a") == b"2" and table.get(b"c") == b"3")
    assert dict(table.scan()) == fold(broker, name)
    assert table.is_ready


def test_a_scan_is_of_one_moment(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%03d" % i, b"old") for i in range(500)])
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    rows = table.scan()
    first = next(rows)
    broker.produce(name, [(b"%03d" % i, b"new") for i in range(500)])
    eventually(lambda: table.get(b"499") == b"new")
    assert {value for _, value in [first, *rows]} == {b"old"}


def test_falling_behind_by_records_and_catching_up_are_events(
    broker: Broker, topic: NewTopic, managers: Managers, write_faults: StoreFaults, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    table = managers(broker, defaults={"retry_waits": [0.1] * 1000}).bind(name, max_lag=10)
    table.wait_until_ready(60)
    seen: list[StateChange] = []
    table.on_state_change(seen.append)
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(name, [(b"%d" % i, b"") for i in range(11)])
    eventually(lambda: not table.is_ready)
    assert table.state is State.LAGGING
    with pytest.raises(StoreNotReadyError, match="11 records behind, more than max_lag=10") as refused:
        table.to_list()
    assert (refused.value.lag, refused.value.reason) == (11, "lagging")
    assert table.to_list(allow_stale=True) == []
    failing = "a write failed and is tried again in 0.1 s: input/output error (a fault of this test)"
    eventually(lambda: failing in table.health().cause)  # the lag may be known before a write is tried
    write_faults.fail_where(None)
    table.wait_until_ready(60)
    assert table.count() == 11
    assert "a write failed" not in table.health().cause
    eventually(lambda: len(seen) == 3)
    assert [event.state for event in seen] == [State.READY, State.LAGGING, State.READY]
    assert seen[1].table == table.name
    assert seen[0].time <= seen[1].time <= seen[2].time


def test_no_lag_within_the_limit(
    broker: Broker, topic: NewTopic, managers: Managers, write_faults: StoreFaults, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    table = managers(broker, defaults={"retry_waits": [0.1] * 1000}).bind(name, max_lag=10)
    table.wait_until_ready(60)
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(name, [(b"%d" % i, b"") for i in range(10)])
    eventually(lambda: table.lag == 10)
    time.sleep(0.5)  # a second look, and a third
    assert table.is_ready


def test_a_stream_that_never_pauses_is_not_stale(
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    writing: Callable[[str], None],
    eventually: Eventually,
) -> None:
    """Under load each answer tells of records that are still to come: that is no falling behind."""
    name = topic()
    broker.create_topic(name)
    table = managers(broker).bind(name, max_staleness=3.0)
    table.wait_until_ready(60)
    writing(name)
    began = time.monotonic()
    # Were it falling behind, it would be no longer ready by then, and not become so again.
    eventually(lambda: time.monotonic() - began > 6 and table.is_ready)


def test_a_paused_table_is_read_until_it_is_too_stale(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    table = managers(broker).bind(name, max_staleness=1.5)
    table.wait_until_ready(60)

    def read_while_paused() -> bool:
        table.resume()
        table.wait_until_ready(60)
        table.pause()
        assert table.state is State.PAUSED
        try:
            return bool(table.get(b"a") == b"1")
        except StoreNotReadyError:  # that took longer than max_staleness
            return False

    eventually(read_while_paused)
    eventually(lambda: not table.is_ready)
    with pytest.raises(StoreNotReadyError, match=r"max_staleness=1\.5") as refused:
        table.get(b"a")
    assert refused.value.reason == "paused"
    table.resume()
    table.wait_until_ready(60)
    assert table.get(b"a") == b"1"


def test_listeners_are_told_in_order_and_late_ones_at_once(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    table = managers(broker).bind(name)
    told: list[object] = []
    table.on_state_change(lambda event: told.append(event.state))
    table.on_ready(lambda: told.append("ready"))
    table.wait_until_ready(60)
    eventually(lambda: "ready" in told)
    assert told[-2:] == [State.READY, "ready"]
    late: list[object] = []
    table.on_ready(lambda: late.append("ready"))
    table.on_state_change(lambda event: late.append(event.state))
    eventually(lambda: len(late) == 2)
    assert late == ["ready", State.READY]
    table.restart()
    table.wait_until_ready(60)
    eventually(lambda: late.count("ready") == 2)
    assert late[2:] == [State.STOPPED, State.RESTORING, State.READY, "ready"] or late[2:] == [
        State.STOPPED,
        State.RESTORING,
        "ready",
        State.READY,
    ]


def test_a_raising_listener_harms_nothing(
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = topic()
    broker.create_topic(name)
    table = managers(broker).bind(name)
    told: list[str] = []
    table.on_ready(lambda: 1 / 0)  # type: ignore[arg-type]
    table.on_ready(lambda: told.append("second"))
    table.wait_until_ready(60)
    eventually(lambda: told == ["second"])
    assert "ZeroDivisionError" in caplog.text
    broker.produce(name, [(b"a", b"1")])
    eventually(lambda: table.get(b"a") == b"1")


def test_waiting_inside_a_callback_is_refused(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    manager = managers(broker)
    table = manager.bind(name)
    refused: list[RuntimeError] = []

    def wait() -> None:
        for waiting in (table.wait_until_ready, manager.wait_until_ready):
            try:
                waiting(timeout=1)
            except RuntimeError as error:
                refused.append(error)

    table.on_ready(wait)
    eventually(lambda: len(refused) == 2)
    assert "inside a callback" in str(refused[0])


def test_waiting_sees_readiness_within_a_tenth_of_a_second(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%d" % i, b"") for i in range(1000)])
    table = managers(broker).bind(name)
    late = []
    for _ in range(10):  # one of which is not held up by other programs
        table.wait_until_ready(60)
        woke = time.time()
        with table._binding.changed:
            late.append(woke - table._binding.machine.since)
        if late[-1] < 0.1:
            break
        table.restart()
    assert min(late) < 0.1


def test_ready_is_logged_with_topic_store_seconds_and_records(
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%d" % i, b"") for i in range(7)])
    with caplog.at_level(logging.INFO, logger="statestore"):
        table = managers(broker).bind(name)
        table.wait_until_ready(60)
        eventually(lambda: "is ready after" in caplog.text)
    [line] = [record.getMessage() for record in caplog.records if "is ready after" in record.getMessage()]
    assert name in line
    assert table.name in line
    assert "7 records" in line
    assert str(table.health()).startswith(f"Topic: {name}, Status: READY, Lag: 0, Partitions: 1, Ready in: ")


def test_progress_is_told_while_restoring(
    broker: Broker, topic: NewTopic, managers: Managers, write_faults: StoreFaults
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%d" % i, b"") for i in range(2000)])
    for call in range(1, 5):  # it takes a while
        write_faults.fail(call, of=["write"])
    table = managers(broker, defaults={"retry_waits": [0.1] * 9}).bind(name)
    told: list[RestoreProgress] = []
    enough = threading.Event()

    def tell(progress: RestoreProgress) -> None:
        told.append(progress)
        if progress.lag is not None:
            enough.set()

    table.on_progress(tell)
    table.wait_until_ready(60)
    assert enough.wait(60)
    known = next(progress for progress in told if progress.lag is not None)
    assert known.table == table.name
    assert 0 < known.lag <= 2000 if known.lag is not None else False
    assert known.records + (known.lag or 0) == 2000
