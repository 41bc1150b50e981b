"""RocksDB stores shrink by themselves after deletions, and do not fall apart into small files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.backends.contract import Batch, KeyRange, StoreOptions
from statestore.backends.rocksdb import RocksDBEngine, upkeep
from statestore.backends.rocksdb.store import RocksDBBackend
from statestore.testing.conformance.loading import SampleRun

Eventually = Callable[..., None]

COUNT = 20_000
KEYS = [b"\x01key-%06d" % number for number in range(COUNT)]
DEAD = [key for number, key in enumerate(KEYS) if number % 10]


def value(key: bytes) -> bytes:
    return key.hex().encode() * 5


def open_store(directory: Path, *, changelog: bool = True) -> RocksDBBackend:
    store = RocksDBEngine(16 << 20).open(directory, StoreOptions(changelog=changelog))
    assert isinstance(store, RocksDBBackend)
    return store


def size(store: RocksDBBackend) -> int:
    return sum(file["size"] for file in store._files())


def fill(store: RocksDBBackend) -> None:
    store.load([SampleRun({key: value(key) for key in KEYS}), SampleRun({b"\x00pos": b"1"})])
    store.flush()


def delete_in_bulk(store: RocksDBBackend) -> None:
    store.load([SampleRun(dict.fromkeys(DEAD)), SampleRun({b"\x00pos": b"2"})])
    store.flush()


def delete_in_batches(store: RocksDBBackend) -> None:
    for start in range(0, len(DEAD), 1000):
        store.write(Batch([(b"\x00pos", b"2")], DEAD[start : start + 1000]))
    store.flush()


@pytest.mark.parametrize("delete", [delete_in_bulk, delete_in_batches])
def test_a_store_shrinks_after_deletions(
    delete: Callable[[RocksDBBackend], None], tmp_path: Path, eventually: Eventually
) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
        before = size(store)
        delete(store)
        eventually(lambda: size(store) < before / 4)
        assert store.get_many(DEAD[:50]) == [None] * 50
        assert sum(1 for _ in store.scan()) == COUNT - len(DEAD) + 1


def test_a_store_without_a_changelog_shrinks_though_nobody_flushes_it(
    tmp_path: Path, eventually: Eventually
) -> None:
    with open_store(tmp_path / "store", changelog=False) as store:
        fill(store)
        before = size(store)
        for start in range(0, len(DEAD), 1000):
            store.write(Batch([], DEAD[start : start + 1000]))
        eventually(lambda: size(store) < before / 1.5)


def test_deletions_of_an_earlier_process_are_carried_out(tmp_path: Path, eventually: Eventually) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
        before = size(store)
        store.load([SampleRun(dict.fromkeys(DEAD)), SampleRun({b"\x00pos": b"2"})])
        shutil.copytree(tmp_path / "store", tmp_path / "killed")
    with open_store(tmp_path / "killed") as store:
        store.flush()
        eventually(lambda: size(store) < before / 4)


@pytest.mark.parametrize("changelog", [False, True])
def test_a_store_shrinks_after_a_range_was_deleted(
    changelog: bool, tmp_path: Path, eventually: Eventually
) -> None:
    with open_store(tmp_path / "store", changelog=changelog) as store:
        fill(store)
        before = size(store)
        assert store.delete_range(KeyRange(KEYS[100], KEYS[-100]))
        assert sum(1 for _ in store.scan()) == 201
        eventually(lambda: size(store) < before / 10)
        eventually(lambda: store._range_marks() == 0)


def test_a_range_waits_for_the_compaction_of_another_store(tmp_path: Path, eventually: Eventually) -> None:
    with open_store(tmp_path / "store", changelog=False) as store:
        fill(store)
        before = size(store)
        with store._upkeep._turn:
            store.delete_range(KeyRange(KEYS[100], KEYS[-100]))

        def is_small() -> bool:
            store.write(Batch([(b"\x00pos", b"2")]))
            return size(store) < before / 10

        eventually(is_small)


def test_a_range_deleted_by_an_earlier_process_is_compacted(tmp_path: Path, eventually: Eventually) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
        before = size(store)
        with store._upkeep._turn:
            store.delete_range(KeyRange(KEYS[100], KEYS[-100]))
        shutil.copytree(tmp_path / "store", tmp_path / "killed")
    with open_store(tmp_path / "killed") as store:
        assert store._range_marks() == 1
        store.flush()
        eventually(lambda: size(store) < before / 10)


def test_what_a_snapshot_sees_stays(tmp_path: Path, eventually: Eventually) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
        with store.snapshot() as snapshot:
            delete_in_bulk(store)
            eventually(lambda: store._upkeep._kept > 0)
            assert snapshot.get(DEAD[0]) == value(DEAD[0])
            assert store.get(DEAD[0]) is None
            store.flush()  # and does not do the same again
            assert not store._upkeep._turn.locked()


def test_a_store_closes_beside_it(tmp_path: Path) -> None:
    for number in range(5):
        with open_store(tmp_path / str(number)) as store:
            fill(store)
            delete_in_bulk(store)
        with open_store(tmp_path / str(number)) as store:
            assert store.get(b"\x00pos") == b"2"
            assert sum(1 for _ in store.scan()) == COUNT - len(DEAD) + 1


def test_a_process_ends_beside_it(tmp_path: Path) -> None:
    code = """if True:
        import os, sys, threading
        from pathlib import Path
        from statestore.backends.contract import Batch, StoreOptions
        from statestore.backends.rocksdb import RocksDBEngine
        engine = RocksDBEngine(16 << 20)
        store = engine.open(Path(sys.argv[1]), StoreOptions(changelog=True))
        keys = [b"\\x01%06d" % number for number in range(40_000)]
        store.write(Batch([(key, os.urandom(1000)) for key in keys]))
        store.flush()
        store.write(Batch([], keys[::2]))
        store.flush()
        assert "statestore-compact" in [thread.name for thread in threading.enumerate()]
    """
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "store")], check=True, timeout=60)


def test_a_flush_does_not_fail_where_no_thread_can_be_started(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:  # as Python 3.12 has it while the interpreter ends
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with open_store(tmp_path / "store") as store:
        fill(store)
        before = size(store)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            delete_in_bulk(store)
        assert not store._upkeep._turn.locked()
        store.flush()
        eventually(lambda: size(store) < before / 4)


def test_small_files_are_merged(tmp_path: Path, eventually: Eventually) -> None:
    count = upkeep._MANY + 10
    with open_store(tmp_path / "store") as store:
        for number in range(count):  # each with keys after those of all others
            store.write(Batch([(b"\x01key-%06d" % number, b"x")]))
            store.flush()
        eventually(lambda: len(store._files()) < count / 2)
        assert sum(1 for _ in store.scan()) == count


def test_which_deletions_are_worth_it() -> None:
    def file(pairs: int, deletions: int, level: int = 6) -> upkeep.File:
        return {
            "num_entries": pairs + deletions,
            "num_deletions": deletions,
            "level": level,
            "size": 1 << 26,
            "start_key": b"%d" % level,
            "end_key": b"%d~" % level,
        }

    assert upkeep.deleted([], 0) == []
    assert upkeep.deleted([file(10, 0), file(0, 200, 0)], 0) == []  # few
    assert upkeep.deleted([file(10_000, 0), file(0, 2_000, 0)], 0) == []
    assert upkeep.deleted([file(10_000, 0), file(0, 2_500, 0)], 0) == [(b"0", b"0~")]
    assert upkeep.deleted([file(10_000, 0), file(0, 2_500, 0)], 1_000) == []
    assert upkeep.deleted([file(900, 100, 5), file(0, 900, 0)], 0) == [(b"0", b"5~")]


def test_which_files_are_merged() -> None:
    def files(sizes: list[int], level: int = 6) -> list[upkeep.File]:
        return [
            {"size": size, "level": level, "start_key": b"%04d" % number, "end_key": b"%04d~" % number}
            for number, size in enumerate(sizes)
        ]

    assert upkeep.small([]) == []
    assert upkeep.small(files([100] * 63)) == []
    assert upkeep.small(files([100] * 64, level=0)) == []  # RocksDB's business
    assert upkeep.small(files([100] * 64)) == [(b"0000", b"0063~")]
    large = 64 << 20
    assert upkeep.small(files([100] * 60 + [large] + [100] * 7 + [large])) == [(b"0000", b"0059~")]
