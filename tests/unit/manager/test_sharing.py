"""Roles without Kafka: who owns a directory, who reads it, and what a reader may do with stores of bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from statestore import ConfigError, StoreManager, StoreUnavailableError

OWNER = """
import sys
from statestore import StoreManager
with StoreManager(sys.argv[1], backend=sys.argv[2], role=sys.argv[3]) as stores:
    store = stores.open("sessions")
    store.put(b"k", b"1")
    print("open", flush=True)
    for line in sys.stdin:
        store.put(b"k", line.strip().encode())
        print("put", flush=True)
"""


@contextmanager
def owner(
    directory: Path, backend: str = "lmdb", role: str = "auto"
) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], None]]]:
    """Run a process that owns ``directory``; give it and what has it put a value."""
    command = [sys.executable, "-P", "-c", OWNER, str(directory), backend, role]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def put(value: str) -> None:
            stdin.write(value + "\n")
            stdin.flush()
            assert stdout.readline() == "put\n"

        try:
            assert stdout.readline() == "open\n"
            yield process, put
        finally:
            process.kill()


@pytest.mark.parametrize("backend", ["lmdb", "rocksdb"])
def test_a_store_of_bytes_is_read_beside_its_owner_and_written_after_it(
    backend: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with (
        owner(tmp_path / "state", backend) as (process, put),
        StoreManager(tmp_path / "state", backend=backend, role="auto") as stores,
    ):
        assert stores.health().role == "reader"
        eventually(lambda: stores.health().owner == f"process {process.pid}")
        store = stores.open("sessions")
        put("2")
        eventually(lambda: store.get(b"k") == b"2")
        with pytest.raises(StoreUnavailableError, match=r"another process owns .*cannot write"):
            store.put(b"k", b"mine")
        put("3")
        process.kill()
        process.wait()
        eventually(lambda: stores.health().role == "owner")
        assert stores.health().owner is None
        assert store.get(b"k") == b"3"
        store.put(b"k", b"mine")
        assert dict(store.items()) == {b"k": b"mine"}
    with StoreManager(tmp_path / "state", backend=backend) as stores:
        assert stores.open("sessions").get(b"k") == b"mine"


def test_a_reader_of_an_owner_that_does_not_share_says_so(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with (
        owner(tmp_path / "state", role="owner"),
        StoreManager(tmp_path / "state", backend="lmdb", role="reader") as stores,
    ):
        eventually(lambda: "role='auto' there" in (stores.health().owner or ""))


def test_memory_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'memory' cannot share its stores .*backend='lmdb' or 'rocksdb'"):
        StoreManager(tmp_path / "state", backend="memory", role="auto")
    assert not (tmp_path / "state").exists()


def test_slots_are_taken_one_by_one(tmp_path: Path) -> None:
    with StoreManager(tmp_path, backend="lmdb", slots=2) as first:
        assert first.health().directory == str(tmp_path / "0")
        with owner(tmp_path / "1", role="owner") as (process, _):
            with pytest.raises(
                ConfigError, match=f"slots=2: .*0 by this process, 1 by process {process.pid}"
            ):
                StoreManager(tmp_path, backend="lmdb", slots=2)
            with StoreManager(tmp_path, backend="lmdb", slots=3) as third:
                assert third.health().directory == str(tmp_path / "2")
    with pytest.raises(ConfigError, match="slots=2 gives each process a copy"):
        StoreManager(tmp_path, backend="lmdb", slots=2, role="auto")
    with pytest.raises(ConfigError, match="slots=0"):
        StoreManager(tmp_path, backend="lmdb", slots=0)
