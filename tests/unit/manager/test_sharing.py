"""Roles without Kafka: who owns a directory, who reads it, and what a reader may do with stores of bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from statestore import ConfigError, DirectoryLockedError, StoreManager, StoreUnavailableError
from statestore.changelog.owner_watch import OwnerWatch, Presence
from statestore.manager import sharing

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
    directory: Path, backend: str = "lmdb", role: str = "auto", within: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], None]]]:
    """Run a process that owns ``directory``; give it and what has it put a value."""
    command = [*within, sys.executable, "-P", "-c", OWNER, str(directory), backend, role]
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
    backend: str, tmp_path: Path, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "STILL_READ", 0.05)
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
        watch = OwnerWatch(tmp_path / "state")  # as those see it that read on
        eventually(lambda: watch.look().presence is Presence.ALIVE)
        assert f"process {os.getpid()}" in watch.look().owner
        watch.close()
        eventually(lambda: not stores._opener._replaced)  # what it read by until then
        assert store.get(b"k") == b"mine"
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
            taken = f"slots=2 are all taken: 0 by this process, 1 by process {process.pid}; stop one"
            with pytest.raises(DirectoryLockedError, match=taken) as told:
                StoreManager(tmp_path, backend="lmdb", slots=2)
            assert not told.value.is_here
            with StoreManager(tmp_path, backend="lmdb", slots=3) as third:
                assert third.health().directory == str(tmp_path / "2")
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(StoreManager, tmp_path, backend="lmdb", slots=2, lock_timeout=60)
                with pytest.raises(TimeoutError):
                    waiting.result(0.1)
                process.kill()
                with waiting.result(60) as second:
                    assert second.health().directory == str(tmp_path / "1")
    with pytest.raises(ConfigError, match="slots=2 gives each process a copy"):
        StoreManager(tmp_path, backend="lmdb", slots=2, role="auto")
    with pytest.raises(ConfigError, match="slots=0"):
        StoreManager(tmp_path, backend="lmdb", slots=0)


def test_an_owner_in_another_container_is_followed_and_succeeded(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Its process ids count there only: that of the owner may be one of this side's, and that lives."""
    within = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("this user may not make a namespace of processes")
    with (
        owner(tmp_path / "state", within=within) as (process, put),
        StoreManager(tmp_path / "state", backend="lmdb", role="auto") as stores,
    ):
        eventually(lambda: stores.health().owner == "process 1 in another container")
        store = stores.open("sessions")
        put("2")
        assert store.get(b"k") == b"2"
        process.send_signal(signal.SIGKILL)  # and the one in the container with it
        eventually(lambda: stores.health().role == "owner")
        assert store.get(b"k") == b"2"
