"""What lmdb 3.0 really does, where the LMDB engine depends on it.

When one of these fails after an upgrade, look at the place in the engine that answers to it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from statestore.testing.forking import outcomes_in_child

MAP = 1 << 20


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(tmp_path / "environment"), map_size=MAP) as environment:
        yield environment


def put(environment: lmdb.Environment, *keys: bytes, value: bytes = b"1") -> None:
    with environment.begin(write=True) as transaction:
        for key in keys:
            transaction.put(key, value)


def test_an_empty_key_and_one_above_511_bytes_are_refused(environment: lmdb.Environment) -> None:
    assert environment.max_key_size() == 511
    put(environment, b"k" * 511)
    for key in (b"", b"k" * 512):
        with pytest.raises(lmdb.BadValsizeError):
            put(environment, key)


def test_any_buffer_is_a_key(environment: lmdb.Environment) -> None:
    buffer: Any = bytearray(b"k")
    put(environment, buffer)
    assert environment.begin().get(b"k") == b"1"


def test_a_full_map_aborts_the_batch_and_the_next_one_fits(environment: lmdb.Environment) -> None:
    keys = [b"%05d" % number for number in range(4000)]
    put(environment, b"before")
    with pytest.raises(lmdb.MapFullError):
        put(environment, *keys, value=b"x" * 400)
    assert environment.stat()["entries"] == 1
    put(environment, *keys[:100], value=b"x" * 400)
    environment.set_mapsize(8 * MAP)
    put(environment, *keys, value=b"x" * 400)
    assert environment.stat()["entries"] == 4001


def test_growing_invalidates_every_open_transaction_without_a_word(environment: lmdb.Environment) -> None:
    put(environment, b"k")
    transaction = environment.begin()
    cursor = transaction.cursor()
    pairs = environment.begin().cursor().iternext()
    environment.set_mapsize(2 * MAP)
    for read in (lambda: transaction.get(b"k"), cursor.first, lambda: next(pairs)):
        with pytest.raises(lmdb.Error, match="closed/deleted/dropped"):
            read()
    assert environment.begin().get(b"k") == b"1"


def test_the_map_of_an_existing_file_is_never_smaller_than_its_content(tmp_path: Path) -> None:
    path = str(tmp_path / "environment")
    with lmdb.open(path, map_size=8 * MAP) as environment:
        put(environment, *(b"%05d" % number for number in range(4000)), value=b"x" * 400)
    with lmdb.open(path, map_size=MAP) as environment:
        assert environment.info()["map_size"] > MAP
        assert environment.stat()["entries"] == 4000


def test_a_large_map_takes_no_disk(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "environment"), map_size=64 << 30) as environment:
        put(environment, b"k")
    assert (tmp_path / "environment" / "data.mdb").stat().st_blocks * 512 < MAP


def test_a_map_beyond_the_address_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lmdb.MemoryError):
        lmdb.open(str(tmp_path), map_size=1 << 50)


def test_one_environment_twice_in_a_process_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "environment")
    with lmdb.open(path), pytest.raises(lmdb.Error, match="already open in this process"):
        lmdb.open(path)


def test_there_are_126_readers_unless_told_otherwise(environment: lmdb.Environment) -> None:
    transactions: list[lmdb.Transaction[bytes]] = []
    with pytest.raises(lmdb.ReadersFullError):
        transactions.extend(environment.begin() for _ in range(1000))
    assert 120 <= len(transactions) <= 126


def test_a_transaction_ends_with_its_last_reference(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "environment"), max_spare_txns=8) as environment:
        put(environment, b"k")
        pairs = environment.begin().cursor().iternext()
        transaction = environment.begin()
        gone = weakref.ref(transaction)
        assert next(pairs) == (b"k", b"1")
        del pairs, transaction
        assert gone() is None
        put(environment, b"k", value=b"2")
        assert environment.begin().get(b"k") == b"2"


def test_an_open_snapshot_makes_the_file_grow(tmp_path: Path) -> None:
    def size_after_churn(name: str, pinned: bool) -> int:
        with lmdb.open(str(tmp_path / name), map_size=64 * MAP, sync=False) as environment:
            keys = [b"%05d" % number for number in range(200)]
            put(environment, *keys, value=b"x" * 400)
            pin = environment.begin() if pinned else None
            for _ in range(60):
                put(environment, *keys, value=b"y" * 400)
            del pin
            return (tmp_path / name / "data.mdb").stat().st_size

    assert size_after_churn("pinned", True) > 5 * size_after_churn("free", False)


def test_a_damaged_page_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "environment"
    with lmdb.open(str(path), map_size=8 * MAP) as environment:
        put(environment, *(b"%05d" % number for number in range(4000)), value=b"x" * 400)
    with (path / "data.mdb").open("r+b") as file:
        file.seek((path / "data.mdb").stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with lmdb.open(str(path), map_size=8 * MAP) as environment, pytest.raises(lmdb.CorruptedError):
        list(environment.begin().cursor())


@pytest.mark.parametrize("content", [b"Dear", b"Dear" * 4096])
def test_a_foreign_file_is_invalid(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(lmdb.InvalidError):
        lmdb.open(str(tmp_path))


def test_a_newer_format_is_an_error_without_a_class(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path)).close()
    with (tmp_path / "data.mdb").open("r+b") as file:
        for page in (0, 4096):
            file.seek(page + 20)
            file.write((7).to_bytes(4, sys.byteorder))
    with pytest.raises(lmdb.Error, match="LMDB data format v7 is not supported"):
        lmdb.open(str(tmp_path))


def test_reading_and_writing_in_a_forked_child_is_silently_allowed(environment: lmdb.Environment) -> None:
    put(environment, b"k")
    calls = {"get": lambda: environment.begin().get(b"k"), "put": lambda: put(environment, b"k")}
    assert outcomes_in_child(calls) == {"get": "returned", "put": "returned"}


def test_growing_beside_a_writer_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "environment")
    environment = lmdb.open(path, map_size=64 * MAP, sync=False)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            try:
                put(environment, b"k", value=b"x" * 9000)
            except lmdb.Error:
                continue

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    refused = False
    deadline = time.monotonic() + 60
    size = 64 * MAP
    while not refused and time.monotonic() < deadline:
        size += MAP
        try:
            environment.set_mapsize(size)
        except lmdb.Error:
            refused = True
    stop.set()
    for thread in threads:
        thread.join()
    assert refused
    environment.close()


def test_close_beside_readers_does_not_crash(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, threading, time, lmdb
        environment = lmdb.open(sys.argv[1], map_size=64 << 20, sync=False)
        with environment.begin(write=True) as transaction:
            for number in range(500):
                transaction.put(b"%d" % number, b"x" * 9000)
        def read():
            while True:
                try:
                    with environment.begin() as transaction:
                        list(transaction.cursor())
                except lmdb.Error:
                    return
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads: thread.start()
        time.sleep(0.1)
        environment.close()
        for thread in threads: thread.join()
        """
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=600, check=False)
    assert ended.returncode != -signal.SIGSEGV
    assert ended.returncode == 0
