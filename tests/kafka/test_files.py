"""Files of a table's store that are another's, damaged or gone: an error with a remedy, or a rebuild."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from statestore import (
    State,
    StateStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreIdentityError,
    StoreManager,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.backends import Batch
from statestore.storage.directory import REBUILD
from statestore.storage.layout import IDENTITY
from statestore.testing.kafka import Broker

Managers = Callable[..., StoreManager]
NewTopic = Callable[[], str]
Eventually = Callable[..., None]

pytestmark = pytest.mark.kafka


def files_of(table: Any) -> Path:
    """Return the directory of the engine's files."""
    (found,) = Path(table.health().path).glob("g0*")
    return found


def size_of(table: Any) -> int:
    size: int = table.health().size
    return size


def filled(broker: Broker, name: str, count: int = 3) -> dict[bytes, bytes]:
    rows = {b"k%05d" % number: b"%s %d" % (name.encode(), number) for number in range(count)}
    broker.create_topic(name)
    broker.produce(name, list(rows.items()))
    return rows


def failed_and_rebuilt(
    broker: Broker, managers: Managers, backend: str, name: str, kind: type[StoreUnavailableError], rows: Any
) -> str:
    """Have a table fail with ``kind``, follow its remedy, and see it work; return the error's text."""
    with managers(broker, backend=backend) as manager:
        table = manager.bind(name)
        with pytest.raises(kind) as failure:
            table.wait_until_ready(60)
        assert failure.value.remedy.endswith('bind with on_missing="rebuild"')
        with pytest.raises(kind):
            table.get(b"k00000", allow_stale=True)
        table.close()
        table = manager.bind(name, on_missing="rebuild")
        table.wait_until_ready(60)
        assert dict(table.scan()) == rows
    with managers(broker, backend=backend) as manager:  # it is sound from now on
        table = manager.bind(name)
        table.wait_until_ready(60)
        assert dict(table.scan()) == rows
    return str(failure.value)


def test_a_table_is_compacted_while_it_follows(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    rows = filled(broker, name, 20_000)
    with managers(broker, backend=backend) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        table.flush()
        before = size_of(table)
        gone = sorted(rows)[2000:]
        broker.produce(name, [(key, None) for key in gone])
        table.sync(60)
        left = {key: rows[key] for key in sorted(rows)[:2000]}
        scan = table.scan()
        next(scan)
        with table.snapshot() as snapshot:
            broker.produce(name, [(b"new", b"1")])
            table.compact()
            assert dict(snapshot.scan()) == left
        assert len(list(scan)) == len(left) - 1
        del scan
        table.sync(60)
        assert dict(table.scan()) == {**left, b"new": b"1"}
        if backend != "memory":
            eventually(lambda: size_of(table) < before / 2)
        table.stop()
        table.compact()
        table.start()
        table.wait_until_ready(60)
    with pytest.raises(StoreClosedError):
        table.compact()
    with managers(broker, backend=backend) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        assert dict(table.scan()) == {**left, b"new": b"1"}
        assert table.health().records == (0 if backend != "memory" else 38_001)


def test_files_of_another_store_are_not_served(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    left, right = topic(), topic()
    rows, _ = filled(broker, left), filled(broker, right)
    with managers(broker, backend=persistent) as manager:
        tables = [manager.bind(name) for name in (left, right)]
        manager.wait_until_ready(timeout=60)
        mine, others = map(files_of, tables)
    shutil.rmtree(mine)
    shutil.copytree(others, mine)
    text = failed_and_rebuilt(broker, managers, persistent, left, StoreIdentityError, rows)
    assert f"topic {right!r}, not {left!r}" in text


def test_files_of_the_same_store_elsewhere_are_not_served(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    """Another data directory may mirror another cluster, whose topic has the same name."""
    name = topic()
    rows = filled(broker, name)
    places = []
    for directory in ("elsewhere", "state"):
        with managers(broker, backend=persistent, directory=directory) as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            places.append(files_of(table))
    shutil.rmtree(places[1])
    shutil.copytree(places[0], places[1])
    text = failed_and_rebuilt(broker, managers, persistent, name, StoreIdentityError, rows)
    assert "another store of this name" in text


def test_files_of_a_generation_that_was_given_up_are_not_served(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        old = files_of(table)
    backup = old.parent.parent.parent / "backup"
    shutil.copytree(old, backup)
    shutil.rmtree(old / "000001" if persistent == "lmdb" else old)
    (old / "000001").mkdir(parents=True)  # so that the store is rebuilt, by a next generation
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name, on_missing="rebuild")
        table.wait_until_ready(60)
        new = files_of(table)
        assert new.name == "g000002"
    shutil.rmtree(new)
    shutil.copytree(backup, new)
    text = failed_and_rebuilt(broker, managers, persistent, name, StoreIdentityError, rows)
    assert "generation 1, which was given up" in text


def test_an_earlier_copy_of_the_own_files_goes_on(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        mine = files_of(table)
    backup = mine.parent.parent.parent / "backup"
    shutil.copytree(mine, backup)
    broker.produce(name, [(b"new", b"1"), (b"k00000", None)])
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    shutil.rmtree(mine)
    shutil.copytree(backup, mine)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        del rows[b"k00000"]
        assert dict(table.scan()) == {**rows, b"new": b"1"}


def test_files_of_another_engine_are_not_served(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    other = "lmdb" if persistent == "rocksdb" else "rocksdb"
    places = []
    for backend, directory in ((other, "elsewhere"), (persistent, "state")):
        with managers(broker, backend=backend, directory=directory) as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            places.append(files_of(table))
    shutil.rmtree(places[1])
    shutil.copytree(places[0], places[1])
    failed_and_rebuilt(broker, managers, persistent, name, StoreCorruptError, rows)


def test_what_its_engine_cannot_open_is_rebuilt(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        files = files_of(table)
    needed = files / ("CURRENT" if persistent == "rocksdb" else "000001/data.mdb")
    if persistent == "lmdb":
        os.truncate(needed, needed.stat().st_size // 2)
        failed_and_rebuilt(broker, managers, persistent, name, StoreCorruptError, rows)
        return
    needed.unlink()
    failed_and_rebuilt(broker, managers, persistent, name, StoreMissingError, rows)


def test_the_remedies_for_another_backend(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    other = "lmdb" if persistent == "rocksdb" else "rocksdb"
    with managers(broker, backend=persistent) as manager:
        manager.bind(name).wait_until_ready(60)
    remedies: list[dict[str, Any]] = [{"backend": persistent}, {"name": "Other"}, {"on_missing": "rebuild"}]
    for remedy in remedies:
        with managers(broker, backend=other) as manager:
            table = manager.bind(name)
            with pytest.raises(StoreIdentityError) as failure:
                table.wait_until_ready(60)
            assert failure.value.remedy == (
                f"bind it with backend={persistent!r}, or give this store another name, or delete its "
                'directory and bind with on_missing="rebuild"'
            )
            path = failure.value.path
            table.close()
            if "on_missing" in remedy:
                shutil.rmtree(path)
            table = manager.bind(name, **remedy)
            table.wait_until_ready(60)
            assert dict(table.scan()) == rows


def test_a_store_that_an_earlier_version_made_is_completed(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    rows = filled(broker, name)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        mirror: Any = table._binding.mirror
        mirror.store._backend.write(Batch([], [IDENTITY]))
        mirror.directory.update(store_id=None)
    for _ in range(2):
        with managers(broker, backend=persistent) as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            assert dict(table.scan()) == rows
            mirror = table._binding.mirror
            assert mirror.directory.file.store_id.encode() in mirror.store._backend.get(IDENTITY)


# Damage that a read meets


def damaged(broker: Broker, managers: Managers, name: str) -> dict[bytes, bytes]:
    """Make a store, and damage a block in the middle of its file."""
    rows = filled(broker, name, 20_000)
    with managers(broker, backend="rocksdb") as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        files = files_of(table)
    damage(files)
    return rows


def damage(files: Path) -> None:
    """Damage a block in the middle of the largest file of a RocksDB store."""
    file = max(files.rglob("*.sst"), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)


READS: dict[str, Callable[[Any, dict[bytes, bytes]], object]] = {
    "get": lambda table, rows: [table.get(key) for key in rows],
    "scan": lambda table, rows: list(table.scan()),
    "count": lambda table, rows: table.count(),
}


@pytest.mark.parametrize("read", READS)
def test_damage_that_a_read_meets_fails_the_table(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually, read: str
) -> None:
    name = topic()
    rows = damaged(broker, managers, name)
    manager = managers(broker, backend="rocksdb")
    table = manager.bind(name)
    table.wait_until_ready(60)
    with pytest.raises(StoreCorruptError, match=REBUILD):
        READS[read](table, rows)
    eventually(lambda: table.state is State.FAILED)
    assert "Corruption" in (table.health().last_error or "")
    with pytest.raises(StoreCorruptError):
        table.get(b"k00000", allow_stale=True)
    if read != "scan":
        return
    table.restart()  # does not make it sound
    with pytest.raises(StoreCorruptError, match="damage was found earlier"):
        table.wait_until_ready(60)
    table.close()
    table = manager.bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    assert dict(table.scan()) == rows


def _wait_for(event: threading.Event) -> None:
    assert event.wait(60)


def test_a_restart_does_not_overtake_the_note_of_damage(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    damaged(broker, managers, name)
    table = managers(broker, backend="rocksdb").bind(name)
    table.wait_until_ready(60)
    idle = threading.Event()
    table._binding.host.supervisor.soon(partial(_wait_for, idle))  # it notes what is found
    with pytest.raises(StoreCorruptError, match=REBUILD):
        list(table.scan())
    eventually(lambda: table.state is State.FAILED)
    table.restart()
    idle.set()
    with pytest.raises(StoreCorruptError, match="damage was found earlier"):
        table.wait_until_ready(60)


def test_damage_that_a_read_meets_has_the_table_rebuilt(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    rows = damaged(broker, managers, name)
    table = managers(broker, backend="rocksdb").bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    with pytest.raises(StateStoreError):
        table.to_list()
    eventually(lambda: table.is_ready and table.health().generation == 2)
    assert dict(table.scan()) == rows


def test_a_directory_that_vanishes_is_rebuilt_where_that_was_asked_for(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    rows = filled(broker, name)
    table = managers(broker, backend=persistent).bind(name, on_missing="rebuild")
    table.wait_until_ready(60)
    table.flush()
    shutil.rmtree(Path(table.health().path))
    eventually(lambda: table.is_ready and Path(table.health().path).exists())
    assert dict(table.scan()) == rows


def has_open(place: Path) -> bool:
    """Whether this process has a file in ``place`` open, as far as the system tells."""
    for descriptor in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            if str(place) in str(descriptor.readlink()):
                return True
    return False


def put_back(place: Path, backup: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(backup, place)


@pytest.mark.parametrize(
    ("persistent", "fault"),
    [("rocksdb", "damaged"), ("rocksdb", "vanished"), ("lmdb", "vanished")],  # LMDB has no checksums
)
def test_a_backup_that_was_put_back_is_served_after_one_restart(
    fault: str,
    persistent: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    name = topic()
    rows = filled(broker, name, 20_000)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        place, files = Path(table.health().path), files_of(table)
    backup = tmp_path / "backup"
    shutil.copytree(place, backup)
    if fault == "damaged":
        damage(files)
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        broker.produce(name, [(b"new", b"1")])  # not on disk when the store is closed
        table.sync(60)
        if fault == "damaged":
            with pytest.raises(StoreCorruptError):
                list(table.scan())
        else:
            shutil.rmtree(place)
        eventually(lambda: table.state is State.FAILED and not has_open(place))
        put_back(place, backup)
        before = sorted(place.rglob("*"))
        table.stop()
        assert sorted(place.rglob("*")) == before  # nothing was written into it
        table.restart()
        table.wait_until_ready(60)
        assert dict(table.scan()) == {**rows, b"new": b"1"}
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        assert dict(table.scan()) == {**rows, b"new": b"1"}
