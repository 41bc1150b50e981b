"""A manager inside a service: quiet, waiting for its directory, and replacing itself."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from statestore import (
    AsyncStoreManager,
    ConfigError,
    DirectoryLockedError,
    StoreClosedError,
    StoreManager,
    StoreUnavailableError,
)

QUIET = """if True:
    import sys, time
    from statestore import KafkaError, StoreManager
    stores = StoreManager(sys.argv[1], kafka={"bootstrap.servers": "127.0.0.1:1"}, settings={
        "defaults": {"request_timeout": 1}})
    try:
        stores.bind("orders")  # librdkafka logs that it cannot connect
    except KafkaError as error:
        print("refused")
    del stores  # a warning: it was not closed
"""


def test_a_program_that_has_not_configured_logging_sees_no_line(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", QUIET, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


@contextmanager
def owner(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has the directory, until it is killed."""
    program = (
        "import sys; from statestore import StoreManager\n"
        "stores = StoreManager(sys.argv[1]); stores.open('rows').put(b'k', b'v')\n"
        "stores.open('rows').flush(); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", program, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


def test_the_next_process_waits_for_the_directory_of_the_last(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        with pytest.raises(DirectoryLockedError, match=rf"process {process.pid}: .* lock_timeout=…"):
            StoreManager(tmp_path, lock_timeout=0.1)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(StoreManager, tmp_path, lock_timeout=60)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            process.kill()
            with waiting.result(60) as stores:
                assert stores.open("rows")[b"k"] == b"v"


def test_a_manager_replaces_the_one_that_this_process_has(tmp_path: Path) -> None:
    first = StoreManager(tmp_path)
    rows = first.open("rows")
    rows.put(b"k", b"v")
    with pytest.raises(DirectoryLockedError, match=r"already open in this process.*replace=True") as caught:
        StoreManager(tmp_path, lock_timeout=600)  # it would wait for itself
    assert caught.value.is_here
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with StoreManager(link, replace=True) as second:
        assert second.open("rows")[b"k"] == b"v"
        with pytest.raises(StoreClosedError):
            rows.get(b"k")
        first.close()  # again, and it takes nothing from the second
        assert second.open("rows")[b"k"] == b"v"


def test_a_read_only_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def refuse(path: Any, flags: int, *mode: Any, **how: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return really(path, flags, *mode, **how)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        StoreUnavailableError, match="cannot be used: Read-only file system; mount its volume for writing"
    ):
        StoreManager(tmp_path)


@pytest.mark.parametrize("wrong", ["5", None, -1, float("nan")])
def test_what_is_no_number_of_seconds_is_refused(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give seconds, 0 or more"):
        StoreManager(tmp_path, lock_timeout=wrong)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prune": "x"}, "prune='x': give True or False"),
        ({"wait": True}, "wait=True: give seconds, 0 or more, or None"),
        ({"wait": -1.0}, "wait=-1.0: give seconds"),
        ({"lock_timeout": True}, "lock_timeout=True: give seconds"),
    ],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused(
    arguments: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=fault):
        StoreManager(tmp_path, **arguments)
    if "wait" in arguments:
        with pytest.raises(ConfigError, match=fault):
            AsyncStoreManager(tmp_path, **arguments)
