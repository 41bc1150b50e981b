"""A program that never calls ``close()`` ends at once, with everything on disk and the directory free."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from statestore import DirectoryLockedError, StoreManager

ROWS = 1000
LONGEST = 60.0
"""Seconds from a program's last output to its end; 4 are what a callback is given that does not return."""

PROGRAM = """
import sys
from statestore import StoreManager

manager = StoreManager(sys.argv[1], kafka=sys.argv[2], backend=sys.argv[3])
kv = manager.open("sessions")
kv.put(b"runs", kv.get(b"runs", b"") + b"1")
table = manager.bind("orders")
table.wait_until_ready(60)
rows, snapshot = iter(table), kv.snapshot()
next(rows)
print(table.health().records, table.count(), len(kv[b"runs"]), flush=True)
"""

ENDINGS = {
    "falls off its end": ("", 0),
    "exits": ("sys.exit(3)", 3),
    "raises": ("raise KeyError('a defect')", 1),
    "is interrupted": (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job of the background\n"
        "os.kill(os.getpid(), signal.SIGINT)",
        -2,
    ),
    "reads in a thread meanwhile": (
        "import threading\n"
        "def read():\n"
        "    while True: table.count(), kv.put(b'x', b'1')\n"
        "threading.Thread(target=read, daemon=True).start()",
        0,
    ),
    "waits in a callback": (
        "import threading, time\n"
        "waits = threading.Event()\n"
        "table.on_ready(lambda: (waits.set(), time.sleep(600)))\n"
        "waits.wait()",
        0,
    ),
}

pytestmark = pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with a topic of ``ROWS`` rows."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for number in range(ROWS):
        producer.produce("orders", key=b"%d" % number, value=b"v")
    assert producer.flush(60) == 0
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


def run(program: str, directory: Path, address: str, backend: str) -> tuple[int, list[int]]:
    """Run the program; return its status and the numbers it printed. Fails where its end takes too long."""
    command = [sys.executable, "-P", "-c", program, str(directory), address, backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            numbers = [int(word) for word in process.stdout.readline().split()]
            status = process.wait(LONGEST)
        finally:
            process.kill()
    return status, numbers


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_that_closes_nothing_loses_nothing(
    backend: str, ending: str, address: str, tmp_path: Path
) -> None:
    statement, status = ENDINGS[ending]
    assert run(PROGRAM + statement, tmp_path / "state", address, backend) == (status, [ROWS, ROWS, 1])
    assert run(PROGRAM, tmp_path / "state", address, backend) == (0, [0, ROWS, 2])


def test_a_second_process_is_told_who_has_the_directory(backend: str, tmp_path: Path) -> None:
    program = (
        "import sys; from statestore import StoreManager\n"
        "manager = StoreManager(sys.argv[1], backend=sys.argv[2])\n"
        "manager.open('sessions').put(b'k', b'v'); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", program, str(tmp_path / "state"), backend]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(DirectoryLockedError, match=f"process {owner.pid}") as caught:
            StoreManager(tmp_path / "state", backend=backend)
        assert caught.value.pid == owner.pid
        owner.kill()
        owner.wait()
    with StoreManager(tmp_path / "state", backend=backend) as manager:
        assert manager.open("sessions")[b"k"] == b"v"
