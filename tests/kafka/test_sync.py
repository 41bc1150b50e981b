"""``sync``: everything that was in the topics at the call is applied, whoever wrote it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from statestore import (
    BytesTable,
    ReadyTimeoutError,
    State,
    StoreClosedError,
    StoreManager,
    StoreNotReadyError,
    StorePositionError,
)
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


@pytest.fixture
def name(broker: Broker, topic: NewTopic) -> str:
    made = topic()
    broker.create_topic(made, partitions=2)
    return made


@pytest.fixture
def table(broker: Broker, name: str, managers: Managers) -> BytesTable:
    """A table whose topic is empty, in a manager that asks for ends only when it must."""
    table = managers(broker, defaults={"confirm_interval": 600.0}).bind(name)
    table.wait_until_ready(60)
    return table


def transactional(broker: Broker, topic: str) -> Producer:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"tx-{topic}"})
    producer.init_transactions(60)
    return producer


def test_all_that_others_wrote_is_there(broker: Broker, name: str, table: BytesTable) -> None:
    table.sync(60)
    assert table.count() == 0
    for number in range(10):
        for partition in (0, 1):
            broker.produce(name, [(b"%d" % partition, b"%d" % number)], partition=partition)
        if number % 2:
            asyncio.run(table.sync_async(60))
        else:
            table.sync(60)
        assert table.to_list() == [(b"0", b"%d" % number), (b"1", b"%d" % number)]
    assert not table._binding._awaited


def test_several_tables_at_once(
    broker: Broker, topic: NewTopic, managers: Managers, write_faults: StoreFaults
) -> None:
    manager = managers(broker, defaults={"retry_waits": [0.05] * 10_000})
    names = [topic() for _ in range(3)]
    tables = []
    for name in names:
        broker.create_topic(name)
        tables.append(manager.bind(name))
    manager.sync(timeout=60)
    assert [table.state for table in tables] == [State.READY] * 3
    for name in names:
        broker.produce(name, [(b"k", b"1")])
    manager.sync(timeout=60)
    asyncio.run(manager.sync_async(*tables[:2], timeout=60))
    assert [table.to_list() for table in tables] == [[(b"k", b"1")]] * 3
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(names[1], [(b"k", b"2"), (b"l", b"2")])
    for timeout in (1, 5, 25):  # the other tables need some time, too
        with pytest.raises(ReadyTimeoutError, match=rf"not in sync after {timeout} s: ") as late:
            manager.sync(timeout=timeout)
        if late.value.lag == 2:
            break
    assert f"{tables[1].name!r} is READY" in str(late.value)
    assert "2 offsets of those at the call are not applied" in str(late.value)
    assert tables[0].name not in str(late.value)
    write_faults.fail_where(None)
    manager.sync(timeout=60)
    assert tables[1].count() == 2


def test_a_commit_is_seen_and_an_open_transaction_is_not_waited_for(
    broker: Broker, name: str, table: BytesTable
) -> None:
    producer = transactional(broker, name)
    for number in range(10):
        producer.begin_transaction()
        producer.produce(name, b"%d" % number, b"a", partition=0)
        producer.commit_transaction(60)
        table.sync(60)
        assert table.get(b"a") == b"%d" % number
    producer.begin_transaction()
    producer.produce(name, b"aborted", b"a", partition=0)
    producer.flush(60)
    producer.abort_transaction(60)
    table.sync(60)
    assert table.get(b"a") == b"9"
    broker.produce(name, [(b"before", b"1")], partition=0)
    producer.begin_transaction()
    producer.produce(name, b"open", b"a", partition=0)
    producer.flush(60)
    broker.produce(name, [(b"other", b"1")], partition=1)
    table.sync(60)
    assert table.to_list() == [(b"a", b"9"), (b"before", b"1"), (b"other", b"1")]
    producer.abort_transaction(60)


def test_a_restoring_table_is_waited_for(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults
) -> None:
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(name, [(b"k", b"1")])
    table = managers(broker, connect="lazy", defaults={"retry_waits": [0.05] * 10_000}).bind(name)
    with pytest.raises(ReadyTimeoutError, match=r"RESTORING.*has not told where the topic ends"):
        table.sync(0.5)
    write_faults.fail_where(None)
    table.sync(60)
    assert table.get(b"k") == b"1"


def test_a_table_that_cannot_come_to_the_end_says_so_at_once(
    broker: Broker, name: str, table: BytesTable, eventually: Eventually
) -> None:
    table.pause()
    with pytest.raises(StoreNotReadyError, match=r"is PAUSED.*call resume\(\)"):
        table.sync(600)
    table.resume()
    table.sync(60)
    table.stop()
    with pytest.raises(StoreNotReadyError, match=r"is STOPPED.*call restart\(\)"):
        table.sync(600)
    table.restart()
    table.sync(60)
    table._binding.lost("as a test has it")
    with pytest.raises(StorePositionError, match="as a test has it"):
        asyncio.run(table.sync_async(600))
    table.close()
    with pytest.raises(StoreClosedError):
        table.sync(600)


@pytest.mark.parametrize("how", ["pause", "stop", "close"])
def test_it_ends_when_the_table_does(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults, eventually: Eventually, how: str
) -> None:
    table = managers(broker, defaults={"retry_waits": [0.05] * 10_000}).bind(name)
    table.wait_until_ready(60)
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(name, [(b"k", b"1")])
    errors: list[Exception] = []

    def sync() -> None:
        try:
            table.sync(600)
        except StoreNotReadyError as error:
            errors.append(error)

    waiting = threading.Thread(target=sync)
    waiting.start()
    eventually(lambda: table._binding._awaited)
    getattr(table, how)()
    waiting.join(60)
    assert len(errors) == 1
    assert not isinstance(errors[0], TimeoutError)


def test_it_begins_anew_with_another_start(
    broker: Broker, name: str, managers: Managers, write_faults: StoreFaults, eventually: Eventually
) -> None:
    table = managers(broker, defaults={"retry_waits": [0.05] * 10_000}).bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    write_faults.fail_where(lambda call: call.name == "write")
    broker.produce(name, [(b"k", b"1")])
    waiting = threading.Thread(target=table.sync, args=(60,))
    waiting.start()
    eventually(lambda: table._binding._awaited)
    table._binding.lost("as a test has it")
    write_faults.fail_where(None)
    waiting.join(60)
    assert table.health().generation in (2, None)
    assert table.get(b"k") == b"1"


def test_a_topic_that_has_grown_is_no_longer_mirrored_as_a_whole(
    broker: Broker, name: str, table: BytesTable, eventually: Eventually
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_partitions([NewPartitions(name, 3)])[name].result(60)
    eventually(lambda: len(broker.end_offsets(name)) == 3)
    broker.produce(name, [(b"k", b"1")], partition=2)
    with pytest.raises(StorePositionError, match="partitions"):
        table.sync(60)


def test_no_sync_inside_a_callback(table: BytesTable, eventually: Eventually) -> None:
    refused: list[RuntimeError] = []

    def call() -> None:
        try:
            table.sync(60)
        except RuntimeError as error:
            refused.append(error)

    table.on_ready(call)
    eventually(lambda: refused)
