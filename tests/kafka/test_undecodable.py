"""Records that do not decode, on a real broker: a table skips them, or fails before the first."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from statestore import (
    DecodeError,
    Key,
    State,
    StoreManager,
    StoreUnavailableError,
    Table,
    UnreachableRegistryError,
    entity,
)
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import OnUndecodable, RegistrySettings
from statestore.testing.kafka import Broker
from statestore.testing.registry import StandInRegistry

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[..., str]
Eventually = Callable[..., None]

BAD = msgspec.msgpack.encode({"amount": "a lot"})


def order_entity(topic: str, on_undecodable: OnUndecodable, **declared: Any) -> type[Any]:
    @entity(topic=topic, on_undecodable=on_undecodable, **declared)
    @dataclass(frozen=True, slots=True)
    class Order:
        order_id: Annotated[str, Key]
        amount: int

    return Order


def records_of(cls: type[Any], *amounts: tuple[str, int | bytes | None]) -> list[tuple[bytes, bytes | None]]:
    """Encode orders; an amount of ``None`` is a tombstone, bytes are a payload as it is."""
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    records = []
    for name, amount in amounts:
        key, payload = codec.encode(cls(name, amount if isinstance(amount, int) else 0))
        records.append((key, payload if isinstance(amount, int) else amount))
    return records


def rows(table: Table[Any], **stale: bool) -> dict[str, int]:
    return {row.order_id: row.amount for row in table.scan(**stale)}


def test_skipped_records_are_as_if_never_written(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    cls = order_entity(name, "skip")
    broker.create_topic(name)
    broker.produce(
        name,
        [
            *records_of(cls, ("a", 1), ("b", 1), ("a", BAD), ("b", None), ("b", BAD), ("c", 1)),
            (b"\xff\xff no key", b"\x81"),
            *records_of(cls, ("c", 2), ("d", BAD)),
        ],
    )
    with managers(broker, backend=backend) as manager:
        table = manager.bind(cls)
        table.wait_until_ready(60)
        assert rows(table) == {"a": 1, "c": 2}
        health = table.health()
        assert (health.skipped, health.records, health.lag) == (4, 5, 0)
        assert health.positions == {0: 9}
        last = health.last_skipped
        assert last is not None
        assert (last.partition, last.offset) == (0, 8)
        assert "Order.amount" in last.error
        json.dumps(asdict(health))
    broker.produce(name, records_of(cls, ("a", BAD), ("e", 5)))
    with managers(broker, backend=backend) as manager:
        table = manager.bind(cls)
        table.wait_until_ready(60)
        assert rows(table) == {"a": 1, "c": 2, "e": 5}
        assert table.health().skipped == (5 if backend == "memory" else 1)


def test_a_table_fails_before_the_record_and_again_after_a_restart(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    cls = order_entity(name, "fail")
    broker.create_topic(name)
    broker.produce(name, records_of(cls, ("a", 1), ("b", 1), ("a", BAD), ("b", 2), ("c", None)))
    with managers(broker, backend=persistent) as manager:
        table = manager.bind(cls)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError) as failed:
                table.wait_until_ready(60)
            text = str(failed.value)
            assert f"{name} [0] @ 2" in text
            assert "Order.amount" in text
            assert "on_undecodable" in failed.value.remedy
            assert isinstance(failed.value.__cause__, DecodeError)
            assert table.state is State.FAILED
            assert table.health().positions == {0: 2}
            assert rows(table, allow_stale=True) == {"a": 1, "b": 1}
            table.restart()
    skipping = {"tables": {"Order": {"on_undecodable": "skip"}}}
    with managers(broker, backend=persistent, settings=skipping) as manager:
        table = manager.bind(cls)
        table.wait_until_ready(60)
        assert rows(table) == {"a": 1, "b": 2}, "it goes on after what was applied"
        assert table.health().records == 2


def test_a_table_that_follows_fails_too(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name = topic()
    failing, other = order_entity(name, "fail"), topic("other")
    for one in (name, other):
        broker.create_topic(one)
        broker.produce(one, records_of(failing, ("a", 1)))
    manager = managers(broker)
    table, beside = manager.bind(failing), manager.bind(other)
    manager.wait_until_ready(timeout=60)
    broker.produce(name, records_of(failing, ("b", 2), ("a", BAD), ("c", 3)))
    eventually(lambda: table.state is State.FAILED)
    assert rows(table, allow_stale=True) == {"a": 1, "b": 2}
    broker.produce(other, [(b"k", b"v")])
    eventually(lambda: beside.get(b"k"))


def test_a_registry_that_is_away_is_waited_for(
    broker: Broker,
    topic: NewTopic,
    managers: Managers,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = topic()
    cls = order_entity(name, "skip")
    broker.create_topic(name)
    broker.produce(name, records_of(cls, ("a", 1), ("a", BAD), ("b", 2)))
    away = True
    decode = EntityCodec.decode

    def decode_with_registry(codec: EntityCodec[Any], key: bytes, payload: bytes) -> Any:
        if payload == BAD and away:
            raise UnreachableRegistryError("http://127.0.0.1:1", f"{name}-value", "connection refused")
        return decode(codec, key, payload)

    monkeypatch.setattr(EntityCodec, "decode", decode_with_registry)
    table = managers(broker).bind(cls)
    eventually(lambda: "connection refused" in table.health().cause)
    health = table.health()
    assert (health.status, health.positions, health.skipped) == ("RESTORING", {0: 1}, 0)
    assert f"{name} [0] @ 1" in health.cause
    away = False
    table.wait_until_ready(60)
    assert rows(table) == {"a": 1, "b": 2}
    assert table.health().skipped == 1
    away = True
    broker.produce(name, records_of(cls, ("a", BAD), ("c", 3)))
    eventually(lambda: "connection refused" in table.health().cause)
    assert table.get("c") is None
    away = False
    eventually(lambda: table.get("c"))
    assert table.health().cause.startswith("the schema registry has answered")
    assert table.health().skipped == 2


def test_what_only_a_registry_knows(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    """A table waits in front of data whose schema is not known yet, and skips what is of no schema."""
    name = topic()
    cls = order_entity(name, "skip", value_format="avro")
    broker.create_topic(name)
    with StandInRegistry() as registry:
        settings = {"schema_registry": {"url": registry.url, "retries": 0, "timeout": 5.0}}
        context = FormatContext(RegistrySettings.model_validate(settings["schema_registry"]))
        codec: EntityCodec[Any] = EntityCodec(model_of(cls), context)
        foreign = (b"x", b"\x00\x00\x00\x99\x99something of nobody's")
        other = (b"y", b"\x00\x00\x00\x88\x88also")
        broker.produce(name, [codec.encode(cls("a", 1)), foreign, codec.encode(cls("b", 2))])
        registry.stop()
        table = managers(broker, settings=settings).bind(cls)
        eventually(lambda: "schema registry at" in table.health().cause)
        health = table.health()
        assert (health.status, health.positions, health.skipped) == ("RESTORING", {0: 0}, 0)
        assert f"{name} [0] @ 0" in health.cause
        registry.start()
        table.wait_until_ready(60)
        assert rows(table) == {"a": 1, "b": 2}
        assert table.health().skipped == 1
        registry.stop()
        broker.produce(name, [foreign, codec.encode(cls("a", 3)), other, codec.encode(cls("c", 4))])
        eventually(lambda: rows(table) == {"a": 3, "b": 2})
        eventually(lambda: "schema registry at" in table.health().cause)
        assert table.health().skipped == 2, "that there is no such schema is still known"
        registry.start()
        eventually(lambda: table.get("c"))
        assert table.health().cause.startswith("the schema registry has answered")
        assert table.health().skipped == 3


def test_a_registry_that_does_not_answer_holds_its_table_alone(
    broker: Broker, topic: NewTopic, managers: Managers, eventually: Eventually
) -> None:
    name, beside = topic(), topic("beside")
    for one in (name, beside):
        broker.create_topic(one)
    broker.produce(name, [(b"x", b"\x00\x00\x00\x99\x99")])
    broker.produce(beside, [(b"k", b"before")])
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"schema_registry": {"url": url, "retries": 0, "timeout": 300.0}}
        manager = managers(broker, settings=settings)
        held = manager.bind(order_entity(name, "fail", value_format="avro"))
        connection, _ = silent.accept()
        other = manager.bind(beside)
        other.wait_until_ready(60)
        for number in range(3):
            broker.produce(beside, [(b"k", b"%d" % number)])
            eventually(lambda expected=b"%d" % number: other.get(b"k") == expected)
        assert held.state is State.RESTORING
        assert held.lag == 1
        manager.close()
        connection.close()


MIRROR = """
import sys
from dataclasses import dataclass, replace
from typing import Annotated
from statestore import Key, StoreManager, entity
from statestore.changelog import binder

@entity(topic=sys.argv[3], on_undecodable="skip")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[str, Key]
    amount: int

restore_limits = binder.restore_limits
binder.restore_limits = lambda memory: replace(restore_limits(memory), records=500)
settings = {"defaults": {"flush_interval": 0.02}}
kafka = {"bootstrap.servers": sys.argv[2], "queued.min.messages": 1000, "fetch.message.max.bytes": 10_000}
with StoreManager(sys.argv[1], kafka=kafka, backend=sys.argv[4], settings=settings) as manager:
    table = manager.bind(Order)
    while True:
        print(table.health().records, flush=True)
"""


def test_killed_while_skipping(
    persistent: str, broker: Broker, topic: NewTopic, managers: Managers, tmp_path: Path
) -> None:
    name = topic()
    cls = order_entity(name, "skip")
    broker.create_topic(name)
    noise = random.Random(1)
    amounts: list[tuple[str, int | bytes | None]] = [
        (f"{noise.randrange(300)}", noise.choice([number, number, BAD, None])) for number in range(20_000)
    ]
    broker.produce(name, records_of(cls, *amounts))
    expected: dict[str, int] = {}
    for key, amount in amounts:
        if isinstance(amount, int):
            expected[key] = amount
        elif amount is None:
            expected.pop(key, None)
    command = [
        sys.executable,
        "-P",
        "-c",
        MIRROR,
        str(tmp_path / "state"),
        broker.bootstrap,
        name,
        persistent,
    ]
    for target in (1, 1000, 4000):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if int(line) >= target:
                        break
            finally:
                process.kill()
    table = managers(broker, backend=persistent).bind(cls)
    table.wait_until_ready(60)
    assert rows(table) == expected
    assert table.health().positions == {0: len(amounts)}
    bad = [amount for _, amount in amounts if amount == BAD]
    assert table.health().skipped < len(bad), "it went on where the last one was killed"
