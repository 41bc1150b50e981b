"""Whenever the process dies, the store on disk is the topic up to exactly the positions in it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from statestore.backends import KeyRange, StoreOptions, find_engine
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import DataDirectory, StoreFile
from statestore.storage.layout import DATA
from statestore.testing.kafka import Broker

pytestmark = [pytest.mark.kafka(seconds=6), pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])]

KILLS = 30 if os.environ.get("STATESTORE_SOAK") == "1" else 5
PARTITIONS = 3
RECORDS = 60_000
KEYS = 2_000  # of each partition
PATIENCE = 60.0
MIRROR = Path(__file__).with_name("mirror_process.py")

NewTopic = Callable[..., str]


class Record(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Journal:
    """Writes to a topic, and knows from the broker's reports of delivery what is in it. Thread-safe."""

    def __init__(self, broker: Broker, topic: str, seed: int) -> None:
        broker.create_topic(topic, PARTITIONS, {"cleanup.policy": "delete"})
        self.records: list[Record] = []
        self._topic = topic
        self._random = random.Random(seed)
        self._mutex = threading.Lock()
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "max.in.flight": 1, "batch.size": 10_000}
        )
        for partition in range(PARTITIONS):  # taken only while the topic is not compacted
            self._produce(partition, None, b"no key")
        self._producer.flush()
        broker.configure_topic(topic, {"cleanup.policy": "compact"})

    def write(self, count: int) -> None:
        """Write ``count`` records, a quarter of them tombstones, and return when the broker has them."""
        with self._mutex:
            for _ in range(count):
                partition = self._random.randrange(PARTITIONS)
                key = b"%d-%d" % (partition, self._random.randrange(KEYS))
                value = self._random.randbytes(self._random.randrange(80))
                self._produce(partition, key, None if self._random.random() < 0.25 else value)
                self._producer.poll(0)
            assert self._producer.flush(PATIENCE) == 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Go on writing meanwhile."""
        done = threading.Event()

        def write() -> None:
            while not done.wait(0.1):
                self.write(200)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def ends(self) -> dict[int, int]:
        with self._mutex:
            return {record.partition: record.offset + 1 for record in self.records}

    def fold(self, positions: dict[int, int]) -> dict[bytes, bytes]:
        """Return what a store must hold at ``positions``: physical keys and values."""
        rows: dict[bytes, bytes] = {}
        with self._mutex:
            for partition, offset, key, value, timestamp in self.records:
                if key is None or offset >= positions.get(partition, 0):
                    continue
                if value is None:
                    rows.pop(DATA + key, None)
                else:
                    rows[DATA + key] = timestamp.to_bytes(8) + value
        return rows

    def _produce(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        self._producer.produce(
            self._topic, value=value, key=key, partition=partition, on_delivery=self._delivered
        )

    def _delivered(self, error: Any, message: Any) -> None:
        assert error is None, error
        self.records.append(
            Record(
                message.partition(), message.offset(), message.key(), message.value(), message.timestamp()[1]
            )
        )


@contextmanager
def mirror(directory: Path, broker: Broker, topic: str, backend: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process that mirrors; give it after its first line, and kill it at the end."""
    command = [sys.executable, "-P", str(MIRROR), str(directory), broker.bootstrap, topic, backend]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"started\n"
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[bytes], *, records: int = 0, ready: bool = False) -> None:
    """Read what the process prints until it has applied ``records``, or until it is ready."""
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE
    for line in process.stdout:
        applied, is_ready = line.split()
        if int(applied) >= records and (is_ready == b"1" or not ready):
            return
        assert time.monotonic() < deadline, f"not reached after {PATIENCE:g} s: {line!r}"
    pytest.fail(f"the process ended by itself, with status {process.wait()}")


def check_store(
    directory: Path, topic: str, backend: str, journal: Journal, earlier: dict[int, int]
) -> dict[int, int]:
    """Compare the store on disk with the topic up to the positions in it; return these.

    None of them may be before the ``earlier`` one: what was durable stays so.
    """
    data = DataDirectory(directory)
    try:
        place = data.store("mirror", StoreFile("mirror", backend, "timestamped", "bytes", topic))
        kind = find_engine(backend)
        engine = kind(64 << 20, None)
        opened = engine.open(place.generation_path, StoreOptions(changelog=True))
        with ChangelogStore("mirror", opened, kind.max_key_size) as store:
            positions = {number: one.offset for number, one in store.positions().items()}
            found = dict(opened.scan(KeyRange(prefix=DATA)))
        engine.close()
    finally:
        data.close()
    back = {number for number, offset in earlier.items() if positions.get(number, 0) < offset}
    assert not back, f"partitions {back} went back from {earlier} to {positions}"
    expected = journal.fold(positions)
    wrong = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
    assert not wrong, f"at {positions}, {len(wrong)} of {len(expected)} rows differ, as {sorted(wrong)[:3]}"
    return positions


def run_to_the_end(directory: Path, broker: Broker, topic: str, backend: str, journal: Journal) -> None:
    with mirror(directory, broker, topic, backend) as process:
        wait_for(process, ready=True)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert check_store(directory, topic, backend, journal, {}) == journal.ends()


@pytest.fixture(scope="module")
def written(broker: Broker) -> Iterator[tuple[str, Journal]]:
    """A topic that nobody writes to any longer."""
    name = f"killed-while-restoring.{uuid.uuid4().hex[:8]}"
    journal = Journal(broker, name, seed=1)
    journal.write(RECORDS)
    yield name, journal
    broker.delete_topic(name)


def test_killed_while_restoring(
    backend: str, broker: Broker, written: tuple[str, Journal], tmp_path: Path
) -> None:
    name, journal = written
    total = sum(journal.ends().values())
    seen: list[dict[int, int]] = [{}]
    noise = random.Random()
    for kill in range(KILLS):
        left = total - sum(seen[-1].values())
        target = noise.randrange(1 + 2 * left // (1 + KILLS - kill))
        with mirror(tmp_path / "state", broker, name, backend) as process:
            if kill % 5 != 4:
                wait_for(process, records=target)
            time.sleep(noise.uniform(0, 0.05))  # without waiting before: while it opens, or asks the broker
        seen.append(check_store(tmp_path / "state", name, backend, journal, seen[-1]))
    assert any(0 < sum(one.values()) < total for one in seen), f"no kill met the restore: {seen}"
    run_to_the_end(tmp_path / "state", broker, name, backend, journal)


def test_killed_while_following(backend: str, broker: Broker, topic: NewTopic, tmp_path: Path) -> None:
    name = topic()
    journal = Journal(broker, name, seed=2)
    journal.write(5_000)
    reached: dict[int, int] = {}
    with journal.writing():
        for _ in range(KILLS):
            with mirror(tmp_path / "state", broker, name, backend) as process:
                wait_for(process, ready=True)
                time.sleep(random.uniform(0, 0.3))
            reached = check_store(tmp_path / "state", name, backend, journal, reached)
    assert sum(reached.values()) > 5_000, "no kill met what was followed"
    run_to_the_end(tmp_path / "state", broker, name, backend, journal)
