"""Stores and tables with the record cache in front: what was written is what is read, until it is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from statestore import StoreClosedError, StoreManager, StoreUnavailableError
from statestore.backends import StoreOptions
from statestore.core import IMPLEMENTATION, WriteRun, uses
from statestore.storage.changelog_store import SMALL_COUNT, ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.storage.store import KeyValueStore

CACHED = IMPLEMENTATION == "native" and uses("cache")


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreManager]:
    with StoreManager(tmp_path / "state", backend=request.param) as manager:
        yield manager


@pytest.fixture
def kv(manager: StoreManager) -> KeyValueStore:
    return manager.open("sessions")


def test_what_is_read_is_kept_but_not_of_the_memory_engine(manager: StoreManager) -> None:
    kv = manager.open("sessions")
    kv.put(b"k", b"v")
    assert kv.get(b"k") == b"v"
    assert manager._opener.cache.count == (
        1 if CACHED and manager._settings.defaults.backend != "memory" else 0
    )


def test_every_way_to_write_is_seen(kv: KeyValueStore) -> None:
    def expect(value: bytes | None) -> None:
        for _ in range(2):
            assert kv.get(b"k") == value
            assert kv.get_many([b"k", b"other"]) == [value, None]
            assert (b"k" in kv) is (value is not None)
            if value is None:
                with pytest.raises(KeyError):
                    kv[b"k"]
            else:
                assert kv[b"k"] == value
            with kv.snapshot() as snapshot:
                assert snapshot.get(b"k") == value

    expect(None)
    kv.put(b"k", b"1")
    expect(b"1")
    kv[b"k"] = b"2"
    expect(b"2")
    kv.delete(b"k")
    expect(None)
    with kv.batch() as batch:
        batch.put(b"k", b"")
        batch.delete(b"unheard of")
    expect(b"")
    del kv[b"k"]
    expect(None)
    kv.update({b"k": b"4"})
    expect(b"4")
    kv.clear()
    expect(None)
    assert kv.setdefault(b"k", b"5") == b"5"
    expect(b"5")
    assert kv.pop(b"k") == b"5"
    expect(None)
    with pytest.raises(ZeroDivisionError), kv.batch() as batch:
        batch.put(b"k", b"6")
        raise ZeroDivisionError
    expect(None)


def test_a_snapshot_neither_sees_the_cache_nor_fills_it(kv: KeyValueStore) -> None:
    kv.put(b"k", b"old")
    with kv.snapshot() as snapshot:
        kv.put(b"k", b"new")
        assert kv.get(b"k") == b"new"
        assert snapshot.get(b"k") == b"old"
        assert snapshot.get_many([b"k"]) == [b"old"]
        assert kv.get(b"k") == b"new"


def test_a_failed_write_changes_nothing(kv: KeyValueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.put(b"k", b"old")
    assert kv.get(b"k") == b"old"
    with pytest.raises(TypeError):
        kv.put(b"k", "text")  # type: ignore[arg-type]
    assert kv.get(b"k") == b"old"

    def fail(batch: object) -> None:
        raise StoreUnavailableError(Path("here"), "the disk is gone", "find it")

    monkeypatch.setattr(kv._backend, "write", fail)
    with pytest.raises(StoreUnavailableError):
        kv.put(b"k", b"new")
    monkeypatch.undo()
    assert kv.get(b"k") == b"old"
    kv.put(b"k", b"new")
    assert kv.get(b"k") == b"new"


def test_a_closed_store_answers_nothing(manager: StoreManager, kv: KeyValueStore) -> None:
    kv.put(b"k", b"v")
    assert kv.get(b"k") == b"v"
    kv.close()
    for read in (kv.get, kv.__getitem__, kv.__contains__, lambda key: kv.get_many([key])):
        with pytest.raises(StoreClosedError):
            read(b"k")
    assert manager._opener.cache.count == 0


def test_a_store_opened_again_does_not_answer_for_the_one_before(manager: StoreManager) -> None:
    for number in range(3):
        with manager.open("sessions") as kv:
            kv.put(b"k", b"%d" % number)
            assert kv.get(b"k") == b"%d" % number


@pytest.mark.parametrize("count", [3, SMALL_COUNT + 1])
def test_a_mirror_s_batch_is_seen_small_or_in_bulk(manager: StoreManager, tmp_path: Path, count: int) -> None:
    engine = manager._opener._engine(manager._settings.defaults.backend)
    backend = engine.open(tmp_path / "mirror", StoreOptions(changelog=True))
    keys = [b"%06d" % number for number in range(count)]
    with ChangelogStore("mirror", backend, engine.max_key_size, manager._opener._cache_of(engine)) as store:
        for value in (b"1", b"2", None, b"3"):
            run = WriteRun(DATA)
            for key in keys:
                run.write(key, value, 7)
            store.apply(run, {0: Position(1)})
            for _ in range(2):
                assert store.get(keys[0]) == store.get(keys[-1]) == value
                assert store.get_many(keys[:3]) == [value] * 3
        assert store.get_with_timestamp(keys[1]) == (7, b"3")
    with pytest.raises(StoreClosedError):
        store.get(keys[0])


def test_without_the_fast_path_nothing_is_kept(tmp_path: Path) -> None:
    code = """
import sys
from statestore import StoreManager
with StoreManager(sys.argv[1]) as manager:
    kv = manager.open("sessions")
    kv.put(b"k", b"v")
    assert kv.get(b"k") == kv.get(b"k") == b"v"
    assert kv.get_many([b"k", b"l"]) == [b"v", None]
    print(manager._opener.cache.count)
"""
    for number, chosen in enumerate(({"STATESTORE_WITHOUT": "cache"}, {"STATESTORE_PURE_PYTHON": "1"})):
        run = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", code, tmp_path / str(number)],
            env={**os.environ, **chosen},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
