"""What a lane has read already when a table fails or begins to rebuild must not reach the table any more."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

import statestore.changelog.binding
from statestore import BytesTable, Delivery, ReadyTimeoutError, State, StoreManager, StoreUnavailableError
from statestore.changelog.readiness import Reason

Eventually = Callable[..., None]

LIMIT = 60.0


@pytest.fixture
def producer() -> Producer:
    """A producer that is a broker, too: librdkafka's in-process mock."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture
def address(producer: Producer) -> str:
    return ",".join(f"{one.host}:{one.port}" for one in producer.list_topics(timeout=LIMIT).brokers.values())


@pytest.fixture
def manager(tmp_path: Path, address: str) -> Iterator[StoreManager]:
    with StoreManager(tmp_path / "state", kafka=address, backend="lmdb") as manager:
        yield manager


def produce(producer: Producer, *keys: bytes) -> None:
    for key in keys:
        producer.produce("t", key=key, value=b"v", partition=0)
    assert producer.flush(LIMIT) == 0


def test_a_refused_batch_is_refused_again_after_a_restart(manager: StoreManager, producer: Producer) -> None:
    produce(producer, b"a" * 600, b"b")
    table = manager.bind("t")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=r"t \[0\] @ 0, .* 600 bytes is longer than the 510"):
            table.wait_until_ready(LIMIT)
        time.sleep(0.3)  # the end-of-partition event that follows the batch
        assert table.health().positions[0] == 0
        table.restart()


def test_an_end_of_partition_does_not_undo_a_rebuild(
    manager: StoreManager, producer: Producer, eventually: Eventually
) -> None:
    produce(producer, b"a", b"b")
    table: BytesTable = manager.bind("t", on_missing="rebuild")
    table.wait_until_ready(LIMIT)
    binding = table._binding

    def lose_it_and_read_on() -> None:
        binding.lost("as a test has it")
        binding.at_end(0, 2)
        binding.tick(time.time())

    binding.host.following.call(lose_it_and_read_on).result(LIMIT)
    assert table.state is not State.READY
    table.wait_until_ready(LIMIT)
    assert table.health().generation == 2
    assert [key for key, _ in table.scan()] == [b"a", b"b"]
    produce(producer, b"c")
    eventually(lambda: b"c" in table)


def test_an_end_read_before_a_resume_is_not_taken_after_it(
    manager: StoreManager, producer: Producer, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """A lane is busy with another table for longer than ``pause`` waits, and drops what it has read."""
    monkeypatch.setattr(statestore.changelog.binding, "STOP_TIMEOUT", 0.05)
    produce(producer, b"a", b"b")
    table: BytesTable = manager.bind("t")
    table.wait_until_ready(LIMIT)
    binding = table._binding
    eventually(lambda: binding.host.following.holds(binding))
    busy = threading.Event()

    def end_of_what_was_read() -> None:
        assert busy.wait(LIMIT)
        binding.at_end(0, 50)

    ended = binding.host.following.call(end_of_what_was_read)
    table.pause()
    table.resume()
    eventually(lambda: binding.machine._waiting_for is Reason.REPLAYING)
    busy.set()
    ended.result(LIMIT)
    table.wait_until_ready(LIMIT)
    assert table.health().positions[0] == 2
    produce(producer, b"c")
    eventually(lambda: b"c" in table)


def test_a_table_that_follows_is_paused_and_resumed_beside_a_busy_restore(
    manager: StoreManager, producer: Producer, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    produce(producer, b"a", b"b")
    table: BytesTable = manager.bind("t")
    table.wait_until_ready(LIMIT)
    binding = table._binding
    eventually(lambda: binding.host.following.holds(binding))
    busy = threading.Event()
    ended = binding.host.restoring.call(lambda: busy.wait(2 * LIMIT))
    table.pause()
    produce(producer, b"c")
    table.resume()
    table.wait_until_ready(LIMIT)
    assert b"c" in table
    assert "final flush" not in caplog.text
    assert not ended.done()
    busy.set()
    assert ended.result(LIMIT)


def test_a_resume_does_not_overtake_a_pause_that_a_lane_has_not_seen(
    manager: StoreManager, producer: Producer, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """The following lane is busy for longer than two pauses wait; the table goes on in the restoring one."""
    monkeypatch.setattr(statestore.changelog.binding, "STOP_TIMEOUT", 0.05)
    monkeypatch.setattr(statestore.changelog.machine, "FEW_RECORDS", 0)
    produce(producer, b"a", b"b")
    table: BytesTable = manager.bind("t")
    table.wait_until_ready(LIMIT)
    binding = table._binding
    eventually(lambda: binding.host.following.holds(binding))
    busy = threading.Event()
    ended = binding.host.following.call(lambda: busy.wait(LIMIT))
    for _ in range(2):
        table.pause()
        table.resume()
    produce(producer, b"c")
    with pytest.raises(ReadyTimeoutError):
        table.wait_until_ready(0.3)
    busy.set()
    assert ended.result(LIMIT)
    table.wait_until_ready(LIMIT)
    produce(producer, b"d")
    table.wait_for(Delivery("t", 0, 3, 0), LIMIT)
    assert [key for key, _ in table.scan()] == [b"a", b"b", b"c", b"d"]


@pytest.mark.slow
def test_a_paused_table_that_grows_stale_is_logged(
    manager: StoreManager, producer: Producer, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    produce(producer, b"a")
    table: BytesTable = manager.bind("t", max_staleness=1.0)
    table.wait_until_ready(LIMIT)
    table.pause()
    eventually(lambda: "'t_Store' is not ready any more: the broker has not confirmed the end" in caplog.text)
    assert table.state is State.PAUSED
    assert not table.is_ready
