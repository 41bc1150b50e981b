"""What the tests of the mirror share: managers that look often, and the fold that a table must equal."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from statestore import StoreManager
from statestore.testing import StoreFaults
from statestore.testing.kafka import Broker

BACKENDS = ("memory", "rocksdb", "lmdb")
QUICK = {
    "confirm_interval": 0.2,
    "progress_interval": 0.05,
    "request_timeout": 10.0,
    "retry_waits": [0.01, 0.01, 0.01, 0.01],
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: a mirror behaves the same on all of them."""
    name: str = request.param
    return name


@pytest.fixture(params=[name for name in BACKENDS if name != "memory"])
def persistent(request: pytest.FixtureRequest) -> str:
    """Each engine that has files."""
    name: str = request.param
    return name


@pytest.fixture
def managers(tmp_path: Path) -> Iterator[Callable[..., StoreManager]]:
    """Make managers: ``managers(broker, backend="memory", directory="state", defaults={…}, …)``.

    They are closed after the test, which takes no long time with the broker gone either.
    """
    made: list[StoreManager] = []

    def make(
        broker: Broker | str, *, directory: str = "state", defaults: dict[str, Any] | None = None, **more: Any
    ) -> StoreManager:
        more.setdefault("backend", "memory")
        more.setdefault("kafka", broker if isinstance(broker, str) else broker.bootstrap)
        settings = {"defaults": {**QUICK, **(defaults or {})}, **more.pop("settings", {})}
        made.append(StoreManager(tmp_path / directory, settings=settings, **more))
        return made[-1]

    yield make
    began = time.monotonic()
    for manager in made:
        manager.close()
    assert time.monotonic() - began < 60, "closing took too long"


@pytest.fixture
def fold() -> Callable[[Broker, str], dict[bytes, bytes]]:
    """Fold a topic in plain Python: of a key's last records in each partition the latest; no tombstones."""

    def fold_of(broker: Broker, topic: str) -> dict[bytes, bytes]:
        last: dict[bytes, dict[int, Message]] = {}
        for partition in broker.end_offsets(topic):
            for message in broker.read(topic, partition):
                key = message.key()
                if key is not None:
                    last.setdefault(bytes(key), {})[partition] = message
        latest = {
            key: max(records.items(), key=lambda item: (item[1].timestamp()[1], item[0]))[1]
            for key, records in last.items()
        }
        values = {key: message.value() for key, message in latest.items()}
        return {key: bytes(value) for key, value in values.items() if value is not None}

    return fold_of


@pytest.fixture
def writing(broker: Broker) -> Iterator[Callable[[str], None]]:
    """Go on writing to a topic, 100 keys round and round, until the test ends."""
    done = threading.Event()
    threads: list[threading.Thread] = []

    def start(topic: str) -> None:
        writer = Broker(broker.bootstrap)  # a broker object belongs to one thread

        def write() -> None:
            for round_ in itertools.count():
                writer.produce(topic, [(b"%02d" % key, b"%d" % round_) for key in range(100)])
                if done.wait(0.02):
                    return

        threads.append(threading.Thread(target=write))
        threads[-1].start()

    yield start
    done.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def write_faults() -> Iterator[StoreFaults]:
    """Let a test choose which calls of the stores fail that are opened from now on."""
    with StoreFaults() as faults:
        yield faults
