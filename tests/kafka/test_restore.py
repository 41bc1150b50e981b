"""A table becomes ready exactly when it holds what its topic folds to, whatever the log looks like."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from statestore import Reason, State, StoreManager, StoreNotReadyError
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]


def test_four_partitions_one_of_them_empty(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, partitions=4)
    for partition in (0, 1, 3):
        keys = [b"%d-%04d" % (partition, i) for i in range(1000)]
        broker.produce(name, [(key, b"old") for key in keys], partition)
        broker.produce(name, [(key, b"new") for key in keys[:500]], partition)
        broker.produce(name, [(key, None) for key in keys[250:300]], partition)
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)
    assert table.count() == 3 * 950
    assert table.lag == 0
    assert table.lag_by_partition == {0: 0, 1: 0, 2: 0, 3: 0}


def test_an_empty_value_is_not_a_tombstone_and_a_null_key_is_counted(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "delete"})  # while compacted it takes no null key
    broker.produce(name, [(b"empty", b""), (None, b"lost"), (b"", b"empty key")])
    broker.produce(name, [(b"gone", b"1"), (b"gone", None)])
    broker.configure_topic(name, {"cleanup.policy": "compact"})
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == [(b"", b"empty key"), (b"empty", b"")]
    assert table.get(b"empty") == b""
    assert table.get(b"gone") is None
    health = table.health()
    assert (health.records, health.null_keys, health.tombstones) == (5, 1, 1)


def test_an_empty_topic_is_ready_at_once(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, partitions=2)
    table = managers(broker, backend=backend).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == []
    assert table.lag == 0
    assert table.health().records == 0


def test_tombstones_before_and_after_real_compaction(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "delete.retention.ms": "0"})
    broker.produce(name, [(b"%03d" % i, b"v%d" % version) for version in range(3) for i in range(100)])
    broker.produce(name, [(b"%03d" % i, None) for i in range(50)])
    before = managers(broker, backend=backend, directory="before").bind(name)
    before.wait_until_ready(60)
    assert dict(before.scan()) == fold(broker, name) == {b"%03d" % i: b"v2" for i in range(50, 100)}
    broker.force_compaction(name, tombstones=True)
    after = managers(broker, backend=backend, directory="after").bind(name)
    after.wait_until_ready(60)
    assert dict(after.scan()) == dict(before.scan()) == fold(broker, name)
    assert after.health().records < 350, "the records were still there: nothing was compacted"


def test_a_log_whose_records_are_all_deleted_is_ready(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact,delete"})
    broker.produce(name, [(b"%d" % i, b"") for i in range(10)])
    broker.truncate(name, 0, before_offset=10)
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == []
    assert table.health().positions == {0: 10}


def test_ready_although_a_producer_never_stops(
    broker: Broker, topic: NewTopic, managers: Managers, writing: Callable[[str], None]
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%05d" % i, b"x" * 100) for i in range(20_000)])
    writing(name)
    table = managers(broker).bind(name)
    table.wait_until_ready(60)
    assert 20_000 <= table.count() <= 20_100  # the producer's 100 keys may not be there yet
    assert table.get(b"19999") == b"x" * 100


def test_reading_before_ready_raises_with_the_lag(
    broker: Broker, topic: NewTopic, managers: Managers, write_faults: StoreFaults, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%d" % i, b"") for i in range(10)])
    write_faults.fail_where(lambda call: call.name == "write")  # so that it never gets there
    table = managers(broker, defaults={"retry_waits": [60.0]}).bind(name)
    eventually(lambda: table.lag == 10 and table.health().write_failures)
    assert table.state is State.RESTORING
    assert table.reason is Reason.REPLAYING
    reads: list[Callable[[], object]] = [
        lambda: table.get(b"1"),
        lambda: b"1" in table,
        table.to_list,
        table.count,
        table.__iter__,
    ]
    for read in reads:
        with pytest.raises(StoreNotReadyError, match="lag 10") as refused:
            read()
        assert (refused.value.lag, refused.value.reason) == (10, "replaying")
    assert table.get(b"1", allow_stale=True) is None
    assert table.to_list(allow_stale=True) == []
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="lag 10"):
        table.wait_until_ready(0.2)
    assert time.monotonic() - began >= 0.2


def test_a_restart_goes_on_at_the_stored_position(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, fold: Fold
) -> None:
    name = topic()
    broker.create_topic(name, partitions=2)
    broker.produce(name, [(b"%03d" % i, b"1") for i in range(100)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    broker.produce(name, [(b"%03d" % i, None) for i in range(10)])
    broker.produce(name, [(b"other", b"2")], partition=1)
    table = managers(broker, backend=persistent).bind(name)
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(broker, name)
    assert table.health().records == 11, "it began anew"
