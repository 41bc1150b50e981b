"""Stop, restart, pause, close, and what happens when our own writes fail."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore import (
    BytesTable,
    Reason,
    State,
    StoreClosedError,
    StoreFullError,
    StoreManager,
    StoreNotReadyError,
    StoreUnavailableError,
)
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


@pytest.fixture
def name(broker: Broker, topic: NewTopic) -> str:
    made = topic()
    broker.create_topic(made, partitions=2)
    broker.produce(made, [(b"%03d" % i, b"1") for i in range(100)])
    broker.produce(made, [(b"x%03d" % i, b"1") for i in range(100)], partition=1)
    return made


def restored(manager: StoreManager, name: str) -> BytesTable:
    table = manager.bind(name)
    table.wait_until_ready(60)
    return table


def test_stopped_and_restarted(
    backend: str, broker: Broker, name: str, managers: Managers, fold: Fold
) -> None:
    table = restored(managers(broker, backend=backend), name)
    table.stop()
    table.stop()
    assert table.state is State.STOPPED
    with pytest.raises(StoreNotReadyError, match="STOPPED"):
        table.get(b"001")
    with pytest.raises(StoreNotReadyError, match=r"call restart\(\)"):
        table.wait_until_ready(60)
    assert table.get(b"001", allow_stale=True) == b"1"
    broker.produce(name, [(b"001", b"2"), (b"002", None)])
    table.restart()
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)
    assert table.health().records == 202, "it began anew"
    assert table.health().restarts == 1


def test_paused_and_resumed(
    backend: str, broker: Broker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    table = restored(managers(broker, backend=backend), name)
    table.pause()
    table.pause()
    eventually(lambda: table.lag == 0)
    assert (table.state, table.reason) == (State.PAUSED, Reason.PAUSED)
    broker.produce(name, [(b"001", b"2")])
    eventually(lambda: table.lag == 1)
    assert table.get(b"001") == b"1"
    assert table.is_ready
    table.resume()
    table.resume()
    table.wait_until_ready(60)
    assert table.get(b"001") == b"2"
    assert dict(table.scan()) == fold(broker, name)


def test_paused_while_restoring_is_not_ready(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults, eventually: Eventually
) -> None:
    write_faults.fail_where(lambda call: call.name == "write")
    table = managers(broker, defaults={"retry_waits": [0.05] * 1000}).bind(name)
    eventually(lambda: table.health().write_failures)
    table.pause()
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"001")
    assert refused.value.reason == "paused"
    write_faults.fail_where(None)
    table.resume()
    table.wait_until_ready(60)
    assert table.count() == 200


def test_closed(backend: str, broker: Broker, name: str, managers: Managers) -> None:
    manager = managers(broker, backend=backend)
    table = restored(manager, name)
    rows = iter(table)
    next(rows)
    table.close()
    table.close()
    uses: list[Callable[[], object]] = [
        lambda: next(rows),
        lambda: table.get(b"001"),
        lambda: table.get(b"001", allow_stale=True),
        table.to_list,
        table.count,
        table.health,
        table.wait_until_ready,
        table.stop,
        table.restart,
        table.pause,
        table.resume,
        table.flush,
    ]
    for use in uses:
        with pytest.raises(StoreClosedError):
            use()
    again = restored(manager, name)  # another table of the same topic
    assert again is not table
    manager.close()
    manager.close()
    for use in (lambda: again.get(b"001"), lambda: manager.bind(name), lambda: manager.open("kv")):
        with pytest.raises(StoreClosedError):
            use()


def test_closing_leaves_no_thread_behind(broker: Broker, name: str, managers: Managers) -> None:
    broker.end_offsets(name)  # the test's own client has its threads by now
    before = {thread.name for thread in threading.enumerate()}
    manager = managers(broker)
    restored(manager, name)
    inside = native_threads()
    manager.close()
    assert {thread.name for thread in threading.enumerate()} == before
    assert native_threads() < inside, "librdkafka's threads are still there"


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_closing_in_the_middle_of_a_restore(
    backend: str, broker: Broker, name: str, managers: Managers, fold: Fold
) -> None:
    broker.produce(name, [(b"%06d" % i, b"x" * 100) for i in range(50_000)])
    for _ in range(3):
        with managers(broker, backend=backend) as manager:
            manager.bind(name)
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)


def test_flush_makes_data_and_position_durable(
    persistent: str, broker: Broker, name: str, managers: Managers, tmp_path: Path, eventually: Eventually
) -> None:
    table = restored(managers(broker, backend=persistent), name)
    broker.produce(name, [(b"flushed", b"1")])
    eventually(lambda: table.get(b"flushed"))
    table.flush()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    copy = managers(broker, backend=persistent, directory="copy").bind(name)
    copy.wait_until_ready(60)
    assert copy.health().records == 0, "records were read again, so their position was not on disk"
    assert copy.to_list() == table.to_list()


# Writes that fail


@pytest.mark.parametrize("failing", range(2, 6))  # the first write is a part of opening the store
def test_a_failing_write_is_tried_again_and_loses_nothing(
    failing: int,
    backend: str,
    broker: Broker,
    name: str,
    managers: Managers,
    write_faults: StoreFaults,
    fold: Fold,
    eventually: Eventually,
) -> None:
    write_faults.fail(failing, of=["write"])
    table = restored(managers(broker, backend=backend), name)
    for i in range(failing + 1):  # each needs a write of its own; the restore had one or more
        broker.produce(name, [(b"001", b"%d" % i), (b"%03d" % i, None), (b"more%d" % i, b"1")])
        eventually(lambda i=i: table.get(b"more%d" % i, allow_stale=True))
    assert sum(call.name == "write" for call in write_faults.calls) > failing
    assert table.health().write_failures == 1
    assert dict(table.scan()) == fold(broker, name)


def test_the_number_of_tries_starts_anew_after_progress(
    broker: Broker,
    name: str,
    managers: Managers,
    write_faults: StoreFaults,
    fold: Fold,
    eventually: Eventually,
) -> None:
    """Two tries for each write, of which the first always fails: any number of writes succeeds."""
    turns = itertools.cycle([True, False])
    write_faults.fail_where(lambda call: call.name == "write" and next(turns))
    table = managers(broker, defaults={"retry_waits": [0.01]}).bind(name)
    table.wait_until_ready(60)
    for i in range(5):
        broker.produce(name, [(b"more%d" % i, b"1")])
        eventually(lambda i=i: table.get(b"more%d" % i, allow_stale=True))
    assert table.health().write_failures >= 5
    assert dict(table.scan()) == fold(broker, name)


def test_giving_up_is_told_on_every_read_and_wait_until_restarted(
    backend: str,
    broker: Broker,
    name: str,
    managers: Managers,
    write_faults: StoreFaults,
    fold: Fold,
    eventually: Eventually,
) -> None:
    table = restored(managers(broker, backend=backend), name)
    states: list[State] = []
    table.on_state_change(lambda event: states.append(event.state))
    write_faults.fail_where(
        lambda call: call.name == "write", lambda path: StoreFullError(path, "no space left", "free some")
    )
    broker.produce(name, [(b"001", b"2")])
    eventually(lambda: table.state is State.FAILED)
    reads: list[Callable[[], object]] = [
        lambda: table.get(b"001"),
        table.to_list,
        table.count,
        lambda: table.for_each(print),
        lambda: table.wait_until_ready(60),
    ]
    for read in reads:
        with pytest.raises(StoreFullError, match="no space left; free some"):
            read()
    assert table.get(b"001", allow_stale=True) == b"1", "the data is intact"
    assert "no space left" in (table.health().last_error or "")
    assert table.health().write_failures == 5, "one more than there are waits"
    eventually(lambda: states[-1] is State.FAILED)
    write_faults.fail_where(None)
    table.restart()
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)
    assert table.health().last_error is None


def test_without_auto_restart_the_first_failure_is_final(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults
) -> None:
    write_faults.fail_where(lambda call: call.name == "write")
    table = managers(broker, defaults={"auto_restart": False}).bind(name)
    with pytest.raises(StoreUnavailableError, match=r"input/output error .*; replace the disk"):
        table.wait_until_ready(60)
    assert table.health().write_failures == 1


def test_stop_flushes_what_was_applied_and_a_failing_flush_is_told(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults, caplog: pytest.LogCaptureFixture
) -> None:
    table = restored(managers(broker), name)
    write_faults.fail_where(lambda call: call.name == "write")
    table._binding.mirror._written.clear()  # so that there is something to write
    table.stop()
    assert "final flush failed" in caplog.text
    assert table.state is State.STOPPED
