"""What keeps a partition from being read on is told, whoever waits, and is no silent stall."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

import statestore.kafka.source
from statestore import (
    KafkaError,
    Key,
    ReadyTimeoutError,
    State,
    StoreManager,
    StoreUnavailableError,
    entity,
)
from statestore.testing.kafka import Broker, KafkaBroker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]
NewTopic = Callable[..., str]

TIMEOUT = 60


@pytest.fixture(params=["native", "consumer"])
def fetcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each reader in turn."""
    if request.param == "consumer":
        monkeypatch.setattr(statestore.kafka.source, "why_not_native", lambda _: "a test")
    name: str = request.param
    return name


def produce_large_batch(broker: Broker, topic: str) -> None:
    """Write sixty rows of 100 kB in one batch, which takes a few kB."""
    most = {"batch.size": 10_000_000, "message.max.bytes": 10_000_000, "linger.ms": 60_000}  # until the flush
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": "zstd", **most})
    for number in range(60):
        producer.produce(topic, b"x" * 100_000, b"large %d" % number)
    assert producer.flush(TIMEOUT) == 0


@pytest.mark.usefixtures("fetcher")
def test_a_batch_that_is_too_large_is_told_and_the_remedy_helps(
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1")])
    kafka = {"bootstrap.servers": broker.bootstrap, "receive.message.max.bytes": 3_000_000}
    small = managers(broker, kafka=kafka, directory="small", defaults={"retry_waits": [0.3] * 3})
    table = small.bind(name)
    table.wait_until_ready(TIMEOUT)
    produce_large_batch(broker, name)
    broker.produce(name, [(b"b", b"1")])
    eventually(lambda: "receive.message.max.bytes" in table.health().cause)
    eventually(lambda: table.state is State.FAILED)
    with pytest.raises(StoreUnavailableError, match=r"@ 1: Decompression .*message\.max\.bytes") as told:
        table.count()
    assert told.value.remedy.startswith("where the batch is sound")
    assert table.count(allow_stale=True) == 1
    warned = [record for record in caplog.records if "a read failed" in record.getMessage()]
    assert len(warned) == 1
    kafka["receive.message.max.bytes"] = 18_000_000
    large = managers(broker, kafka=kafka, directory="large").bind(name)
    large.wait_until_ready(TIMEOUT)
    assert large.count() == 62


@pytest.mark.usefixtures("fetcher")
def test_an_open_transaction_is_named_as_the_cause(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Row:
        number: Annotated[int, Key]

    broker.create_topic(name)
    table: Any = managers(broker).bind(Row)
    table.wait_until_ready(TIMEOUT)
    table.add(Row(1), wait=True, timeout=TIMEOUT)
    assert "transaction" not in table.health().cause
    other = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    other.init_transactions(TIMEOUT)
    other.begin_transaction()
    other.produce(name, b"x", b"other")
    assert other.flush(TIMEOUT) == 0
    eventually(lambda: "an open transaction holds back partition 0 from offset 1 on" in table.health().cause)
    with pytest.raises(ReadyTimeoutError, match="an open transaction holds back partition 0"):
        table.add(Row(2), wait=True, timeout=0.5)
    other.abort_transaction(TIMEOUT)
    eventually(lambda: table.get(2) == Row(2))
    eventually(lambda: "transaction" not in table.health().cause)


def damaged(batch: bytes) -> bytes:
    """Return a batch with another value than its checksum is of."""
    return batch.replace(b"two", b"tXo")


def of_an_unknown_codec(batch: bytes) -> bytes:
    """Return a batch that says of itself that it is compressed in a way that does not exist yet."""
    checked = struct.pack(">h", 6) + batch[23:]
    return batch[:17] + struct.pack(">I", crc32c(checked)) + checked


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


@pytest.mark.usefixtures("fetcher")
@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        (damaged, "failed CRC32C check", "restore the partition from a replica; then restart() the table"),
        (of_an_unknown_codec, "Not implemented", "start the process with a newer confluent-kafka"),
    ],
)
def test_a_batch_that_cannot_be_read_is_told_and_no_row_comes_of_it(
    change: Callable[[bytes], bytes],
    says: str,
    remedy: str,
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not isinstance(broker, KafkaBroker):
        pytest.skip("changes the broker's files")
    name = topic()
    broker.create_topic(name)
    for key, value in ((b"k", b"one"), (b"k", b"two"), (b"next", b"three")):
        broker.produce(name, [(key, value)])
    (log,) = Path(broker._home, "data", f"{name}-0").glob("*.log")
    sound = log.read_bytes()
    begin, end = (sound.index(value) + 4 for value in (b"one", b"two"))  # after the count of headers
    with log.open("r+b") as file:
        file.seek(begin)
        file.write(change(sound[begin:end]))
    manager = managers(broker)
    table = manager.bind(name)
    with pytest.raises(StoreUnavailableError, match=rf"\[0\] @ 1: .*{says}") as told:
        table.wait_until_ready(TIMEOUT)
    assert remedy in told.value.remedy
    assert table.health().last_error == str(told.value)
    assert table.get(b"k", allow_stale=True) == b"one"
    assert table.get(b"next", allow_stale=True) is None

    @entity(topic=name, value_format="raw")
    @dataclass(frozen=True)
    class Value:
        value: bytes

    with pytest.raises(KafkaError, match=rf"@ 1: .*{says}.*{re.escape(remedy)}"):
        manager.stream(Value).to_list()
    assert sum("a read failed" in record.getMessage() for record in caplog.records) == 1
    with log.open("r+b") as file:
        file.write(sound)
    table.restart()
    table.wait_until_ready(TIMEOUT)
    assert table.get_many([b"k", b"next"]) == [b"two", b"three"]


@pytest.mark.usefixtures("fetcher")
def test_an_answer_that_is_too_large_is_told_and_the_remedy_helps(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact", "max.message.bytes": "8000000"})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 8_000_000})
    producer.produce(name, b"x" * 5_000_000, b"k")
    assert producer.flush(TIMEOUT) == 0
    kafka = {"bootstrap.servers": broker.bootstrap, "receive.message.max.bytes": 3_000_000}
    manager = managers(broker, kafka=kafka, directory="small")
    other = topic("other")
    broker.create_topic(other)
    following = manager.bind(other)
    following.wait_until_ready(TIMEOUT)
    table = manager.bind(name)
    with pytest.raises(StoreUnavailableError, match=r"\[0\] @ 0: .*increase receive.message.max") as told:
        table.wait_until_ready(TIMEOUT)
    assert told.value.remedy.startswith("where the batch is sound")
    assert "transaction" not in table.health().cause
    broker.produce(other, [(b"a", b"1")])
    following.sync(TIMEOUT)
    assert following.count() == 1  # its records are not the ones
    manager.close()
    kafka["receive.message.max.bytes"] = 15_000_000
    enough = managers(broker, kafka=kafka, directory="small").bind(name)
    enough.wait_until_ready(TIMEOUT)
    assert enough.count() == 1
