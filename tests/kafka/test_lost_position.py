"""A topic that no longer continues at the stored position fails the table, or has it rebuilt; never mixed."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from statestore import (
    BytesTable,
    Key,
    State,
    StoreManager,
    StoreMissingError,
    StorePositionError,
    StoreUnavailableError,
    Table,
    entity,
)
from statestore.testing.kafka import FILLER_KEY, Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


def assert_failed(table: BytesTable, error: type[StoreUnavailableError], words: str) -> None:
    """Every read and wait raises the failure, with cause and remedy."""
    with pytest.raises(error, match=words) as failure:
        table.wait_until_ready(60)
    assert failure.value.remedy in str(failure.value)
    with pytest.raises(error, match=words):
        table.to_list()
    assert table.state is State.FAILED
    assert not table.is_ready
    assert re.search(words, table.health().last_error or "")


def rebuilt(manager: StoreManager, table: BytesTable) -> dict[bytes, bytes]:
    """Follow the remedy to the letter, and return the rows of the table that comes of it."""
    table.close()
    table = manager.bind(table.topic, on_missing="rebuild")
    table.wait_until_ready(60)
    rows = dict(table.scan())
    assert table.count() == len(rows)
    return rows


def recreate(broker: Broker, name: str, records: int) -> None:
    """Delete and create the topic again, at once grown to ``records``."""
    broker.recreate_topic(name)
    broker.produce(name, [(b"new%03d" % i, b"2") for i in range(records)])


# Recreated


@pytest.mark.parametrize("records", [20, 150], ids=["smaller", "grown past the old position"])
def test_recreated_while_away(
    persistent: str, records: int, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"old%03d" % i, b"1") for i in range(100)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    recreate(broker, name, records)
    manager = managers(broker, backend=persistent)
    table = manager.bind(name)
    assert_failed(table, StorePositionError, "deleted and created again")
    assert len(table.to_list(allow_stale=True)) == 100, "the old data stays readable for who asks"
    rows = rebuilt(manager, table)
    assert rows == fold(broker, name)
    assert len(rows) == records


# The next look at the topic's id comes when the new topic is complete: one in between would find none.
WHEN_TOLD = {"confirm_interval": 3600.0}


def looked(manager: StoreManager, condition: Callable[[], object]) -> Callable[[], object]:
    """Return ``condition``, before which the manager asks its broker all that it asks now and then."""

    def look() -> object:
        assert manager._binder is not None
        manager._binder.supervisor.soon(manager._binder._tick)
        return condition()

    return look


@pytest.mark.parametrize("records", [20, 150], ids=["smaller", "grown past the old position"])
def test_recreated_under_a_live_reader(
    records: int, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"old%03d" % i, b"1") for i in range(100)])
    manager = managers(broker, defaults=WHEN_TOLD)
    table = manager.bind(name)
    table.wait_until_ready(60)
    recreate(broker, name, records)
    eventually(looked(manager, lambda: table.state is State.FAILED))
    # Which is noticed first: that the log was shorter for a moment, or that the topic is another one.
    assert_failed(table, StorePositionError, "created again|not in the log any more")
    table.restart()  # which is no remedy
    with pytest.raises(StorePositionError, match=r"created again|rows of another topic"):
        table.wait_until_ready(60)


def test_recreated_under_a_live_reader_that_rebuilds(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"old%03d" % i, b"1") for i in range(100)])
    manager = managers(broker, backend=backend, defaults=WHEN_TOLD)
    table = manager.bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    recreate(broker, name, 150)
    eventually(looked(manager, lambda: table.is_ready and table.get(b"new149") and not table.get(b"old000")))
    assert dict(table.scan()) == fold(broker, name)


def test_rows_of_two_topics_are_read_by_nobody(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    """Neither with ``allow_stale`` nor by a later process, until the store is rebuilt."""
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"old%03d" % i, b"1") for i in range(50)])
    manager = managers(broker, backend=persistent, defaults=WHEN_TOLD)
    table = manager.bind(name)
    table.wait_until_ready(60)
    eventually(lambda: table.health().topic_id != "unknown")
    recreate(broker, name, 80)
    eventually(lambda: table.state is State.FAILED or table.get(b"new079"))
    eventually(looked(manager, lambda: table.state is State.FAILED))
    mixed = "rows of another topic" in (table.health().last_error or "")
    for _ in range(2):
        with pytest.raises(StorePositionError):
            table.wait_until_ready(60)
        if mixed:
            with pytest.raises(StorePositionError, match="rows of another topic may be in the store"):
                table.to_list(allow_stale=True)
        else:  # the reader met the new topic while it was shorter, and applied nothing of it
            assert len(table.to_list(allow_stale=True)) == 50
        manager.close()
        manager = managers(broker, backend=persistent)
        table = manager.bind(name)
    assert rebuilt(manager, table) == fold(broker, name)


# A write that meets the new topic


Write = Callable[[StoreManager, Table[Any], Any], None]


def by_add(manager: StoreManager, table: Table[Any], row: Any) -> None:
    table.add(row, wait=True, timeout=60)


def by_wait_for(manager: StoreManager, table: Table[Any], row: Any) -> None:
    table.wait_for(manager.add(row), timeout=60)


def by_transaction(manager: StoreManager, table: Table[Any], row: Any) -> None:
    with manager.transaction() as transaction:
        transaction.add(row)
    table.wait_for(transaction.deliveries, timeout=60)


@pytest.mark.parametrize("write", [by_add, by_wait_for, by_transaction])
def test_a_write_to_a_topic_that_was_made_anew(
    write: Write, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    """The offset of the record is below the position that the mirror had before: it asks at once."""
    name = topic()

    @entity(topic=name)
    @dataclass(frozen=True)
    class Row:
        number: Annotated[int, Key]
        text: str

    broker.create_topic(name)
    for on_missing in ("rebuild", "fail"):
        manager = managers(broker, directory=on_missing, defaults=WHEN_TOLD)
        table = manager.bind(Row, on_missing=on_missing)
        table.wait_until_ready(60)
        table.add_all([Row(number, "old") for number in range(100)], wait=True, timeout=60)
        broker.recreate_topic(name)
        row = Row(500, "new")
        if on_missing == "rebuild":
            write(manager, table, row)
            assert table.to_list() == [row]
        else:
            # The reader may learn it first, by the answer to its next fetch.
            with pytest.raises(StorePositionError, match=r"created again|not in the log any more"):
                write(manager, table, row)
        manager.close()


# Truncated


def test_truncated_while_away(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact,delete"})
    broker.produce(name, [(b"%03d" % i, b"1") for i in range(100)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    broker.produce(name, [(b"000", None), (b"001", b"2"), (b"002", b"2")])
    broker.truncate(name, 0, before_offset=102)
    table = managers(broker, backend=persistent, directory="state").bind(name)
    assert_failed(
        table,
        StorePositionError,
        "now starts at offset 102, but the stored position is 100: records 100 to 101 were",
    )
    assert table.get(b"000", allow_stale=True) == b"1"
    table.close()


def test_truncated_below_the_position_is_no_loss(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact,delete"})
    broker.produce(name, [(b"%03d" % i, b"1") for i in range(100)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    broker.truncate(name, 0, before_offset=100)
    table = managers(broker, backend=persistent).bind(name)
    table.wait_until_ready(60)
    assert table.count() == 100


def test_truncated_under_a_paused_reader(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact,delete"})
    broker.produce(name, [(b"%03d" % i, b"1") for i in range(100)])
    manager = managers(broker, backend=backend)
    table = manager.bind(name)
    table.wait_until_ready(60)
    table.pause()
    broker.produce(name, [(b"000", None), (b"001", b"2"), (b"002", b"2")])
    broker.truncate(name, 0, before_offset=102)
    table.resume()
    eventually(lambda: table.state is State.FAILED)
    with pytest.raises(StorePositionError, match="starts at offset 102"):
        table.to_list()
    assert rebuilt(manager, table) == fold(broker, name) == {b"002": b"2"}


# Tombstones compacted away


def test_no_zombie_after_tombstones_were_compacted_away(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "delete.retention.ms": "500"})
    broker.produce(name, [(b"kept", b"1"), (b"zombie", b"1")])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    broker.produce(name, [(b"zombie", None)])
    broker.force_compaction(name, tombstones=True)
    assert (b"zombie", None) not in [(message.key(), message.value()) for message in broker.read(name)]
    manager = managers(broker, backend=persistent)
    table = manager.bind(name)
    assert_failed(table, StorePositionError, "tombstones may be gone")
    assert rebuilt(manager, table) == fold(broker, name) == {b"kept": b"1"}


def test_no_zombie_after_a_long_pause(
    broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "delete.retention.ms": "500"})
    broker.produce(name, [(b"kept", b"1"), (b"zombie", b"1")])
    table = managers(broker).bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    table.pause()
    broker.produce(name, [(b"zombie", None)])
    broker.force_compaction(name, tombstones=True)
    table.resume()
    eventually(lambda: table.is_ready and b"zombie" not in table)
    assert dict(table.scan()) == fold(broker, name)


def test_a_quiet_topic_never_grows_too_old(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    """Nothing was written since the store was closed: then no tombstone can have been missed."""
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "delete.retention.ms": "100"})
    broker.produce(name, [(b"a", b"1"), (b"b", None)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    time.sleep(0.5)
    table = managers(broker, backend=persistent).bind(name)
    table.wait_until_ready(60)
    time.sleep(1)  # several looks at the topic's configuration
    assert table.to_list() == [(b"a", b"1")]


def test_following_a_topic_with_short_tombstone_retention(
    broker: Broker, topic: NewTopic, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "delete.retention.ms": "0"})
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    for i in range(10):
        broker.produce(name, [(b"a", b"%d" % i), (b"b", None), (b"c%d" % i, b"1")])
        time.sleep(0.1)
    eventually(lambda: table.get(b"c9"))
    broker.force_compaction(name, tombstones=True)
    broker.produce(name, [(b"last", b"1")])
    eventually(lambda: table.get(b"last"))
    assert dict(table.scan()) == fold(broker, name)
    assert FILLER_KEY not in table


# Other causes


def test_grown_partitions_while_away(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, partitions=1)
    broker.produce(name, [(b"a", b"1")])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    grow(broker, name, 3)
    broker.produce(name, [(b"b", b"1")], partition=2)
    manager = managers(broker, backend=persistent)
    table = manager.bind(name)
    assert_failed(table, StorePositionError, "has 3 partitions, but the store was made from 1")
    assert rebuilt(manager, table) == fold(broker, name)


def test_grown_partitions_under_a_live_reader(
    backend: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
) -> None:
    name = topic()
    broker.create_topic(name, partitions=1)
    broker.produce(name, [(b"a", b"1")])
    table = managers(broker, backend=backend).bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    grow(broker, name, 2)
    broker.produce(name, [(b"b", b"1")], partition=1)
    eventually(lambda: table.is_ready and table.get(b"b"))
    assert dict(table.scan()) == fold(broker, name)
    assert table.health().partitions == 2


def grow(broker: Broker, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_partitions([NewPartitions(name, partitions)])[name].result(60)
    broker.end_offsets(name)


def test_a_topic_that_is_not_compacted(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "delete"})
    table = managers(broker).bind(name)
    eventually(lambda: table.state is State.FAILED)
    with pytest.raises(StoreUnavailableError, match=r"cleanup\.policy=delete"):
        table.to_list()
    broker.configure_topic(name, {"cleanup.policy": "compact"})
    table.restart()
    table.wait_until_ready(60)
    assert table.to_list() == []


def test_a_deleted_topic(broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    manager = managers(broker)
    table = manager.bind(name)
    table.wait_until_ready(60)
    broker.delete_topic(name)
    eventually(lambda: table.state is State.FAILED)
    with pytest.raises(StoreUnavailableError, match="does not exist any more") as failure:
        table.get(b"a")
    assert table.get(b"a", allow_stale=True) == b"1"
    assert (
        failure.value.remedy == 'create it, then close() this table and bind again with on_missing="rebuild"'
    )
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"2")])
    table.close()
    again = manager.bind(name, on_missing="rebuild")
    again.wait_until_ready(60)
    assert again.get(b"a") == b"2"


# The local files


def test_a_directory_that_vanishes_while_running(
    persistent: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    manager = managers(broker, backend=persistent)
    table = manager.bind(name)
    table.wait_until_ready(60)
    table.flush()  # after which the store is known to be complete
    path = Path(table.health().path)
    shutil.rmtree(path)
    eventually(lambda: table.state is State.FAILED)
    for allow_stale in (False, True):
        with pytest.raises(StoreMissingError) as failure:
            table.get(b"a", allow_stale=allow_stale)
        assert failure.value.path.is_relative_to(path)
    assert table.health().reason == "missing"
    eventually(lambda: any(record.levelno == logging.CRITICAL for record in caplog.records))
    table.restart()
    with pytest.raises(StoreMissingError, match="was complete once"):
        table.wait_until_ready(60)
    assert rebuilt(manager, table) == fold(broker, name)


def test_a_store_that_is_missing_at_the_start(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        path = Path(table.health().path)
    shutil.rmtree(path)
    manager = managers(broker, backend=persistent)
    table = manager.bind(name)
    assert_failed(table, StoreMissingError, "was complete once")
    with pytest.raises(StoreMissingError):
        table.get(b"a", allow_stale=True)
    assert rebuilt(manager, table) == {b"a": b"1"}
