"""A key goes to the partition where Kafka's own Java client puts it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer as Client

from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord, SendTracker
from statestore.testing.kafka import Broker
from statestore.testing.kafka.maven import find_java, kafka_jars

JAVA = Path(__file__).with_name("Partitions.java")
MOCK_PARTITIONS = 4
"""Of a topic that librdkafka's mock broker makes."""

# Keys, and their hashes as Kafka's Java client makes them (Utils.toPositive(Utils.murmur2(key))).
VECTORS = {
    b"": 275646681,
    b"21": 1173551340,
    b"foobar": 1357151166,
    b"a-little-bit-long-string": 1161502112,
    b"a-little-bit-longer-string": 661178819,
    b"lkjh234lh9fiuh90y23": 15659111,
    b"abc": 479470107,
    b"\x00": 375494588,
    b"\x80\x00\x00\x00\x00\x00\x00\x2a": 330201000,
    b"\xff\xff\xff\xff": 644171429,
}


@pytest.fixture
def mock() -> Iterator[str]:
    client = Client({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (found,) = client.list_topics(timeout=60).brokers.values()
    yield f"{found.host}:{found.port}"
    client.flush(0)  # the broker lives as long as its owner


def partitions_of(keys: Sequence[bytes], topic: str, address: str) -> list[int]:
    """Return where our producer puts ``keys``."""
    producer = Producer({"bootstrap.servers": address}, 20.0)
    tracker = SendTracker()
    try:
        for key in keys:
            record = ProducerRecord(topic, key, b"", 0, key, repr)
            assert producer.send(record, tracker.track(record)) is None
        tracker.all_reported().result(20)
    finally:
        producer.close()
    assert tracker.failures == {}
    return [delivery.partition for delivery in tracker.deliveries()]


def test_known_hashes(mock: str) -> None:
    found = partitions_of(list(VECTORS), "vectors", mock)
    assert found == [hashed % MOCK_PARTITIONS for hashed in VECTORS.values()]
    assert len(set(found)) == MOCK_PARTITIONS


@pytest.mark.kafka
def test_as_the_java_client(broker: Broker, topic: Callable[[str], str]) -> None:
    name, partitions = topic("partitions"), 13
    broker.create_topic(name, partitions)
    dice = random.Random(1)
    keys = [dice.randbytes(length) for length in range(40) for _ in range(10)]
    java = subprocess.run(
        [find_java(), "-cp", f"{kafka_jars()}/*", str(JAVA), str(partitions)],
        input="\n".join([*(key.hex() for key in keys), ""]),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert partitions_of(keys, name, broker.bootstrap) == [int(line) for line in java.stdout.split()]
