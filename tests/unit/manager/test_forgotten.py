"""A manager that nobody refers to any more gives its directory up, without ``close()``."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import DirectoryLockedError, F, Key, KeyValueStore, StoreManager, entity
from statestore.entity import model_of
from statestore.storage import lock
from statestore.testing.kafka import Broker


@pytest.fixture(params=["rocksdb", "lmdb", "memory"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    yield
    gc.collect()
    lock.wait_for_closing()
    assert not lock._given_up


def test_no_thread_is_left(tmp_path: Path, eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    stores = StoreManager(tmp_path)
    stores.open("rows")
    del stores
    gc.collect()
    lock.wait_for_closing()
    eventually(lambda: set(threading.enumerate()) <= before)


def test_the_directory_can_be_opened_again(tmp_path: Path, backend: str) -> None:
    for number in range(3):
        stores = StoreManager(tmp_path, backend=backend)
        rows = stores.open("rows")
        rows.put(b"%d" % number, b"1")
        if backend != "memory":
            assert len(rows) == number + 1
        del stores, rows
        gc.collect()
    with StoreManager(tmp_path, backend=backend) as stores:
        assert len(stores.open("rows")) == (0 if backend == "memory" else 3)


def test_a_manager_is_not_copied(tmp_path: Path) -> None:
    """A copy that nobody refers to would close the original's stores."""
    with StoreManager(tmp_path, backend="memory") as stores:
        for refused in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                refused(stores)


def test_who_has_a_store_has_its_manager(tmp_path: Path, backend: str) -> None:
    rows = StoreManager(tmp_path, backend=backend).open("rows")
    gc.collect()
    rows.put(b"a", b"1")
    with pytest.raises(DirectoryLockedError):
        StoreManager(tmp_path, backend=backend)
    assert dict(rows.items()) == {b"a": b"1"}


READS: dict[str, Callable[[KeyValueStore], Iterator[object]]] = {
    "scan": lambda rows: rows.scan(),
    "iter": iter,
    "reversed": reversed,
    "items": lambda rows: iter(rows.items()),
    "values": lambda rows: iter(rows.values()),
    "snapshot": lambda rows: rows.snapshot().scan(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_who_has_an_iterator_has_its_manager(
    tmp_path: Path, backend: str, read: Callable[[KeyValueStore], Iterator[object]]
) -> None:
    rows = StoreManager(tmp_path, backend=backend).open("rows")
    rows.update({b"%d" % number: b"1" for number in range(3000)})
    left = read(rows)
    next(left)
    del rows
    gc.collect()
    lock.wait_for_closing()
    assert len(list(left)) == 2999


def test_who_has_a_snapshot_has_its_manager(tmp_path: Path, backend: str) -> None:
    rows = StoreManager(tmp_path, backend=backend).open("rows")
    rows.put(b"a", b"1")
    snapshot = rows.snapshot()
    del rows
    gc.collect()
    lock.wait_for_closing()
    assert snapshot.get(b"a") == b"1"


def test_another_process_gets_the_directory(tmp_path: Path) -> None:
    stores = StoreManager(tmp_path)
    stores.open("rows").put(b"a", b"1")
    del stores
    gc.collect()
    lock.wait_for_closing()
    code = "import sys; from statestore import StoreManager; StoreManager(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=True, timeout=60)


def test_a_process_may_end_right_after(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from statestore import StoreManager
        for number in range(2):
            stores = StoreManager(sys.argv[1])
            stores.open("rows").put(b"a", b"1")
            del stores
    """
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=True, timeout=60)
    with StoreManager(tmp_path) as stores:
        assert len(stores.open("rows")) == 1


def test_one_that_could_not_be_made_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("as a test has it")

    with monkeypatch.context() as patched:
        patched.setattr("statestore.manager.manager.Transactions", fail)
        with pytest.raises(RuntimeError):
            StoreManager(tmp_path)
    StoreManager(tmp_path).close()


@pytest.mark.kafka
def test_a_manager_with_tables_ends_its_threads(
    tmp_path: Path, backend: str, broker: Broker, topic: Callable[[], str]
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"%d" % number, b"1") for number in range(3000)])
    broker.produce(name, [(b"a", b"1")])
    before = set(threading.enumerate())
    table = StoreManager(tmp_path, kafka=broker.bootstrap, backend=backend).bind(name)
    gc.collect()
    table.wait_until_ready(60)  # who has a table has its manager
    assert table.get(b"a") == b"1"
    snapshot = table.snapshot()
    del table
    gc.collect()
    lock.wait_for_closing()
    assert snapshot.get(b"a") == b"1"  # and who has a snapshot
    rows, timed = snapshot.scan(), snapshot.scan_with_timestamps()
    del snapshot
    gc.collect()
    lock.wait_for_closing()
    assert len(list(rows)) == len(list(timed)) == 3001  # or an iterator over one
    del rows, timed
    gc.collect()
    manager = StoreManager(tmp_path, kafka=broker.bootstrap, backend=backend)
    manager.bind(name).wait_until_ready(60)
    rows, timed = manager.bind(name).scan(), manager.bind(name).scan_with_timestamps()
    transaction = manager.transaction()
    del manager
    gc.collect()
    lock.wait_for_closing()
    assert len(list(rows)) == len(list(timed)) == 3001  # or over a table
    del rows, timed
    gc.collect()
    lock.wait_for_closing()
    with transaction:  # or a transaction
        pass
    del transaction
    gc.collect()
    with StoreManager(tmp_path, kafka=broker.bootstrap, backend=backend) as stores:
        table = stores.bind(name)
        table.wait_until_ready(60)
        assert table.get(b"a") == b"1"
    assert not [one for one in set(threading.enumerate()) - before if one.is_alive() and not one.daemon]


@pytest.mark.kafka
@pytest.mark.parametrize("key_format", ["ordered", "json"])
def test_who_reads_entities_has_their_manager(
    tmp_path: Path, backend: str, key_format: Any, broker: Broker, topic: Callable[[], str]
) -> None:
    cls = make_dataclass("Row", [("number", Annotated[int, Key]), ("text", str)])
    model: Any = entity(cls, topic=topic(), key_format=key_format)
    broker.create_topic(model_of(model).topic)
    manager = StoreManager(tmp_path, kafka=broker.bootstrap, backend=backend)
    manager.add_all([model(number, "x") for number in range(3000)])
    table = manager.bind(model)
    table.sync(60)
    snapshot = table.snapshot()
    left = [
        table.scan(),
        table.scan_with_timestamps(),
        table.where(F.text == "x").scan(),
        snapshot.scan(),
        snapshot.scan_with_timestamps(),
        snapshot.where(F.text == "x").scan(),
    ]
    del table, snapshot, manager
    while left:
        gc.collect()
        lock.wait_for_closing()
        assert len(list(left.pop())) == 3000
