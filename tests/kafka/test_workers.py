"""Several processes share one data directory: one mirrors, the others read, and one takes over."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import msgspec
import pytest

from statestore import ConfigError, F, Index, Key, StoreManager, StoreNotReadyError, agg, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka(seconds=3)

SOAK = os.environ.get("STATESTORE_SOAK") == "1"
WORKERS = 9 if SOAK else 3
KILLS = 40 if SOAK else 1
KEYS = 20
PATIENCE = 240.0 if SOAK else 60.0
WORKER = Path(__file__).with_name("worker_process.py")

NewTopic = Callable[..., str]


class Worker:
    """A process that reads and checks. Its lines are read on a thread of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.least = 0
        """The least value of all rows that it has seen last."""
        self.role = self.state = ""
        self.owns_since: float | None = None
        self.wrong: str | None = None
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "wrong" in said:
                self.wrong = said["wrong"]
            elif "done" in said:
                self.answers.put(said)
            else:
                self.role, self.state, self.least = said["role"], said["state"], said["least"]
                if self.role == "owner" and self.owns_since is None:
                    self.owns_since = time.monotonic()

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answers.get(timeout=PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Service:
    """Workers of one directory, and what is written to their topic meanwhile."""

    def __init__(self, broker: Broker, topic: str, directory: Path, backend: str) -> None:
        self.workers: list[Worker] = []
        self.written = 0
        """All rows were written with this number, and the broker has them."""
        self._broker = Broker(broker.bootstrap)
        self._topic = topic
        self._command = [str(directory), broker.bootstrap, topic, backend]

    def start(self, role: str = "auto") -> Worker:
        floor = max([1, *(one.least for one in self.workers)])
        command = [sys.executable, "-P", str(WORKER), *self._command, role, str(floor)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.workers.append(Worker(process))
        return self.workers[-1]

    def write(self) -> None:
        number = self.written + 1
        self._broker.produce(self._topic, [(b"%02d" % key, b"%06d" % number * 40) for key in range(KEYS)])
        self.written = number

    @property
    def owners(self) -> list[Worker]:
        return [one for one in self.workers if one.role == "owner"]

    def wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            for one in self.workers:
                assert one.wrong is None, one.wrong
                assert one.process.poll() is None, f"a worker ended with {one.process.returncode}"
            said = [(one.role, one.state, one.least) for one in self.workers]
            assert time.monotonic() < deadline, f"{what}: not after {PATIENCE:g} s: {said}, {self.written}"
            time.sleep(0.01)

    def wait_until_current(self) -> None:
        """Wait until one owns the directory, and all have read what is written by now."""
        written = self.written
        self.wait(lambda: all(one.least >= written for one in self.workers), "all rows are read everywhere")
        self.wait(lambda: len(self.owners) == 1, "one owns the directory")

    @contextmanager
    def writing(self) -> Iterator[None]:
        done = threading.Event()

        def write() -> None:
            while not done.wait(0.03):
                self.write()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def close(self) -> None:
        for one in self.workers:
            one.kill()


@pytest.fixture
def service(broker: Broker, topic: NewTopic, tmp_path: Path, persistent: str) -> Iterator[Service]:
    name = topic()
    broker.create_topic(name, 2, {"cleanup.policy": "compact"})
    made = Service(broker, name, tmp_path / "state", persistent)
    made.write()
    yield made
    made.close()


def test_owners_are_killed_and_no_reader_notices(service: Service) -> None:
    for _ in range(WORKERS):
        service.start()
    took = []
    with service.writing():
        service.wait_until_current()
        for _ in range(KILLS):
            time.sleep(random.uniform(0, 0.2))
            (owner,) = service.owners
            killed_at = time.monotonic()
            owner.kill()
            service.workers.remove(owner)
            service.start()
            service.wait_until_current()
            took += [one.owns_since - killed_at for one in service.owners if one.owns_since is not None]
    print(f"taken over within {median(took):.3f} s (median), {max(took):.3f} s (most) of {len(took)} kills")
    (owner,) = service.owners
    reader = next(one for one in service.workers if one is not owner)
    reader.ask("sync")
    service.wait(lambda: reader.least == service.written, "a sync is followed by all rows")
    # An owner that hangs is not one that has ended: it keeps the directory, and is named.
    owner.process.send_signal(signal.SIGSTOP)
    try:
        service.wait(lambda: "hangs" in reader.ask("health")["cause"], "the owner is said to hang")
        assert (reader.role, reader.state) == ("reader", "READY")
    finally:
        owner.process.send_signal(signal.SIGCONT)
    service.wait(lambda: "hangs" not in reader.ask("health")["cause"], "the owner is followed again")


def test_a_reader_without_a_successor_says_that_its_owner_has_ended(
    service: Service, broker: Broker, tmp_path: Path, persistent: str, eventually: Any
) -> None:
    owner = service.start()
    service.wait(lambda: owner.state == "READY", "the owner is ready")
    with StoreManager(
        tmp_path / "state", backend=persistent, role="reader", settings={"defaults": {"backend": persistent}}
    ) as stores:
        rows = stores.bind(service._topic, name="rows")
        rows.wait_until_ready(60)
        assert rows.get(b"00") == b"%06d" % 1 * 40
        assert rows.lag == 0
        with pytest.raises(ConfigError, match="needs a broker"):
            rows.sync(1)
        unbound = stores.bind("another", name="unbound")
        eventually(lambda: "has not bound 'unbound'" in unbound.health().cause)
        assert not unbound.is_ready
        with pytest.raises(ConfigError, match="mirrors topic"):
            rows.close()
            stores.bind("third", name="rows")
        rows = stores.bind(service._topic, name="rows")
        rows.wait_until_ready(60)
        owner.kill()
        eventually(lambda: "has ended" in rows.health().cause)
        assert rows.get(b"00") == b"%06d" % 1 * 40
        eventually(lambda: str(rows.state) == "LAGGING")
        assert not rows.is_ready
        assert f"process {owner.process.pid}" in rows.health().cause
        assert rows.get(b"00") == b"%06d" % 1 * 40  # reads go on
        service.workers.remove(owner)
        service.write()
        service.start()  # it owns the directory now
        eventually(lambda: rows.is_ready and rows.get(b"00") == b"%06d" % 2 * 40)


def test_a_reader_follows_what_changes_beside_the_records(
    managers: Callable[..., StoreManager], broker: Broker, topic: NewTopic, eventually: Any
) -> None:
    """With RocksDB owner and reader may be in one process."""
    name = topic()
    policy = {"cleanup.policy": "compact,delete", "retention.ms": "86400000"}
    broker.create_topic(name, config=policy)
    broker.produce(name, [(b"key", b"%d" % number) for number in range(50)])
    owner, reader = (managers(broker, backend="rocksdb", role=role) for role in ("auto", "reader"))
    first, rows = (one.bind(name, name="rows", on_missing="rebuild") for one in (owner, reader))
    rows.wait_until_ready(60)
    assert rows.get(b"key") == b"49"

    # Another log, whose offsets begin anew.
    first.close()
    eventually(lambda: not rows.is_ready)
    broker.recreate_topic(name, config=policy)
    broker.produce(name, [(b"key", b"new")])
    first = owner.bind(name, name="rows", on_missing="rebuild")
    first.wait_until_ready(60)
    eventually(lambda: rows.is_ready and rows.get(b"key") == b"new")
    broker.produce(name, [(b"key", b"newer")])
    eventually(lambda: rows.get(b"key") == b"newer")
    eventually(lambda: reader.health().tables["rows"].positions == owner.health().tables["rows"].positions)

    # The topic keeps its records for a shorter time.
    broker.configure_topic(name, {"retention.ms": "1"})
    eventually(lambda: first.get(b"key") is None)
    eventually(lambda: rows.get(b"key") is None)


def test_a_table_that_is_being_closed_does_not_hold_up_a_takeover(
    managers: Callable[..., StoreManager], broker: Broker, topic: NewTopic, eventually: Any
) -> None:
    name = topic()
    broker.create_topic(name)
    manager = managers(broker)
    table = manager.bind(name)
    binding = table._binding
    with manager._mutex:  # as who takes over holds it, ...
        closing = threading.Thread(target=table.close)
        closing.start()
        eventually(lambda: binding.machine.closed)
        assert binding._lifecycle.acquire(timeout=PATIENCE)  # ... who then wants this of each table
        binding._lifecycle.release()
    closing.join()


def test_a_reader_answers_as_its_owner_does_until_what_it_has_is_too_old(
    managers: Callable[..., StoreManager], broker: Broker, topic: NewTopic, eventually: Any
) -> None:
    @entity(topic=topic("customers"))
    @dataclass(frozen=True, slots=True)
    class Customer:
        name: Annotated[str, Key]
        city: str

    @entity(topic=topic("orders"), ttl=timedelta(hours=1))
    @dataclass(frozen=True, slots=True)
    class Order:
        number: Annotated[int, Key]
        customer: Annotated[str, Index]

    owner, reader = (managers(broker, backend="rocksdb", role=role) for role in ("auto", "reader"))
    owner.ensure_topics(Customer, Order)
    first = [owner.bind(one) for one in (Customer, Order)]
    customers: Any = reader.bind(Customer)
    orders: Any = reader.bind(Order, max_staleness=3600.0)
    reader.wait_until_ready(timeout=60)
    names = "ABC"
    for name in names[:2]:
        customers.add(Customer(name, f"city of {name}"))
    old = [(struct.pack(">Q", 2**63), msgspec.msgpack.encode({"customer": "A"}))]
    broker.produce(orders.topic, old, timestamp=int((time.time() - 7200) * 1000))
    for number in range(1, 40):
        delivered = orders.add(Order(number, names[number % 3]))
    orders.wait_for(delivered)
    customers.sync(60)

    def answers(customers: Any, orders: Any) -> list[Any]:
        joined = orders.left_join(customers, on=F[Order].customer == F[Customer].name)
        of_b = orders.where(F.customer == "B")
        return [
            sorted(joined.to_list(), key=repr),
            of_b.to_list(),
            str(of_b.explain()),
            orders.group_by(F.customer).aggregate(rows=agg.count()).order_by(F.customer).to_list(),
            orders.to_arrow().sort_by("number").to_pydict(),
            orders.get(0),
        ]

    found = answers(customers, orders)
    assert found == answers(*first)
    assert [len(one) for one in found[:2]] == [39, 13]
    assert "index" in found[2]
    assert found[4]["number"] == list(range(1, 40))
    assert found[5] is None, "its hour is over"

    orders.close()
    orders = reader.bind(Order, max_staleness=0.5)
    eventually(lambda: orders.is_ready)
    owner.close()

    def is_refused() -> bool:
        try:
            orders.get(1)
        except StoreNotReadyError as error:
            return "has closed the directory" in str(error)
        return False

    eventually(is_refused)
    assert orders.state == "LAGGING"
    assert orders.get(1, allow_stale=True) == Order(1, "B")
    assert customers.get("A") == Customer("A", "city of A")  # whatever its age
