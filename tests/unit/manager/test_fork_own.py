"""A forked child makes a manager of its own, with Kafka clients of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from statestore import ForkedProcessError, StoreManager
from statestore.testing.forking import outcomes_in_child

BACKENDS = ("memory", "lmdb", "rocksdb")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with a topic of three rows."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for number in range(3):
        producer.produce("orders", key=b"k%d" % number, value=b"v")
    producer.flush(60)
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


@pytest.mark.parametrize("parent", ["open", "closed"])
def test_a_child_has_its_own_stores_but_no_rocksdb_after_its_parent(
    parent: str, address: str, tmp_path: Path
) -> None:
    managers = {one: StoreManager(tmp_path / f"parent-{one}", kafka=address, backend=one) for one in BACKENDS}
    for manager in managers.values():
        manager.open("sessions").put(b"a", b"1")
        manager.bind("orders").wait_until_ready(60)
        if parent == "closed":
            manager.close()

    def work(backend: str) -> None:
        with StoreManager(tmp_path / backend, kafka=address, backend=backend) as own:
            sessions = own.open("sessions")
            sessions.put(b"b", b"2")
            sessions.flush()
            orders = own.bind("orders")
            orders.wait_until_ready(60)
            assert (dict(sessions), orders.count()) == ({b"b": b"2"}, 3)

    def bind() -> None:
        with StoreManager(tmp_path / "bound", kafka=address) as own:
            own.bind("orders")

    def refuse() -> None:
        with pytest.raises(ForkedProcessError, match=r"'spawn'.*lmdb"):
            work("rocksdb")

    ended = outcomes_in_child(
        {"rocksdb": refuse, "bind": bind, "lmdb": lambda: work("lmdb"), "memory": lambda: work("memory")}
    )
    assert ended == {
        "rocksdb": "returned",
        "bind": "ForkedProcessError",
        "lmdb": "returned",
        "memory": "returned",
    }
    assert not (tmp_path / "rocksdb" / "sessions").exists()
    for manager in managers.values():
        if parent == "open":
            manager.open("sessions").put(b"c", b"3")
        manager.close()
