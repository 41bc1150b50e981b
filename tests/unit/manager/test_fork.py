"""A forked child can use nothing of its parent's, ends at once, and harms neither parent nor directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from statestore import StoreManager

FORKING = Path(__file__).with_name("fork_process.py")
FORKS = 3
PYTHON = (sys.executable, "-P", "-W", "ignore")  # from 3.12 on, it warns of forking a process with threads
PATIENCE = 60

pytestmark = pytest.mark.parametrize("backend", ["memory", "rocksdb", "lmdb"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with a topic of three rows."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for number in range(3):
        producer.produce("orders", key=b"k%d" % number, value=b"v")
    producer.produce("payments", key=b"k", value=b"v")
    producer.flush(60)
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


def command(directory: Path, address: str, backend: str, ending: str) -> list[str]:
    return [*PYTHON, str(FORKING), str(directory / "state"), address, backend, str(FORKS), ending]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["_exit", "exit", "end"])
def test_a_child_is_refused_everything_and_ends_and_the_parent_goes_on(
    backend: str, ending: str, address: str, tmp_path: Path
) -> None:
    run = subprocess.run(
        command(tmp_path, address, backend, ending),
        capture_output=True,
        text=True,
        timeout=FORKS * PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    *children, parent = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(children) == 2 * FORKS
    for number, (outcomes, end) in enumerate(zip(children[::2], children[1::2], strict=True)):
        assert outcomes.pop("told") == "[<State.STOPPED: 'STOPPED'>, False, None, set()]"
        assert {name: how for name, how in outcomes.items() if how != "ForkedProcessError"} == {}
        assert end == {"status": 0 if ending == "end" else number}
    assert parent == {"rest": [1, 2], "a": "b'1'", "rows": 3}
    assert "Traceback" not in run.stderr
    if backend != "memory":
        with StoreManager(tmp_path / "state", backend=backend) as manager:
            sessions = manager.open("sessions")
            assert (sessions[b"a"], sessions[b"c"]) == (b"1", b"3")


@pytest.mark.slow
def test_a_child_that_outlives_its_parent_does_not_keep_the_directory(
    backend: str, address: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(tmp_path, address, backend, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        child = json.loads(process.stdout.readline())["child"]
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with StoreManager(tmp_path / "state", backend=backend) as manager:
            assert manager.open("sessions").get(b"a") == (None if backend == "memory" else b"1")
        os.kill(child, 0)
