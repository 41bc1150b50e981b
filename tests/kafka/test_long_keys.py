"""Keys that a store cannot hold: refused before they are sent; others' are located, counted, skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import EncodeError, EntityRejectedError, Key, StoreManager, StoreUnavailableError, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[..., str]

LONGEST = {"lmdb": 510, "rocksdb": 65536, "memory": 65536}


def named_entity(topic: str, **declared: Any) -> Any:
    @entity(topic=topic, **declared)
    @dataclass(frozen=True, slots=True)
    class Named:
        name: Annotated[str, Key]
        number: int

    return Named


def records_of(cls: type[Any], *rows: tuple[str, int | None]) -> list[tuple[bytes, bytes | None]]:
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    encoded = [(codec.encode(cls(name, number or 0)), number) for name, number in rows]
    return [(key, None if number is None else value) for (key, value), number in encoded]


def test_every_way_to_write_refuses_a_key_that_the_store_does_not_take(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    cls: Any = named_entity(topic())
    fits, long = "x" * LONGEST[backend], "x" * (LONGEST[backend] + 1)
    manager = managers(broker, backend=backend)
    manager.ensure_topics(cls)
    table = manager.bind(cls)
    table.add(cls(fits, 1), wait=True, timeout=30)
    ends = broker.end_offsets(table.topic)

    def in_transaction(write: Callable[[Any], None]) -> None:
        with manager.transaction() as transaction:
            write(transaction)

    ways: list[Callable[[], object]] = [
        lambda: table.add(cls(long, 2)),
        lambda: table.add_all([cls("a", 2), cls(long, 2)]),
        lambda: table.add_all(iter([cls(long, 2)])),
        lambda: table.delete(long),
        lambda: manager.add(cls(long, 2)),
        lambda: manager.add_all([cls(long, 2)]),
        lambda: manager.delete(cls, long),
        lambda: manager.delete(cls(long, 2)),
        lambda: asyncio.run(table.add_async(cls(long, 2))),
        lambda: asyncio.run(manager.add_all_async([cls(long, 2)])),
        lambda: asyncio.run(table.delete_async(long)),
        lambda: in_transaction(lambda one: one.add(cls(long, 2))),
        lambda: in_transaction(lambda one: one.delete(cls, long)),
    ]
    for way in ways:
        with pytest.raises(EntityRejectedError, match=f"takes at most {LONGEST[backend]}") as refused:
            way()
        assert isinstance(refused.value, EncodeError)
        assert ('backend="rocksdb"' in str(refused.value)) is (backend == "lmdb")
    assert broker.end_offsets(table.topic) == ends
    assert table.get(fits) == cls(fits, 1)
    assert table.get(long) is None
    assert long not in table
    assert list(table.scan(start=long)) == []
    assert list(table.scan(stop=long)) == [cls(fits, 1)]
    assert list(table.scan(prefix=long)) == []


def test_a_long_key_of_another_producer_is_located_and_can_be_skipped(
    backend: str, broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    name = topic()
    broker.create_topic(name)
    long, longer = "x" * (LONGEST[backend] + 1), "y" * (LONGEST[backend] + 2)
    failing, skipping = named_entity(name), named_entity(name, on_long_key="skip")
    rows = [("a", 1), (longer, None), ("b", 1), (long, 1), ("b", 2), (long, None), ("a", None), (longer, 1)]
    broker.produce(name, records_of(failing, *rows))
    with managers(broker, backend=backend) as manager:
        table = manager.bind(failing)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=rf"{name} \[0\] @ 3, ") as failed:
                table.wait_until_ready(60)
            assert f"{len(long)} bytes is longer than the {LONGEST[backend]}" in failed.value.cause
            assert 'on_long_key="skip"' in failed.value.remedy
            assert ("rocksdb" in failed.value.remedy) is (backend == "lmdb")
            assert table.health().positions == {0: 3}
            assert table.health().long_keys >= 1
            assert {row.name: row.number for row in table.scan(allow_stale=True)} == {"a": 1, "b": 1}
            table.restart()
    with managers(broker, backend=backend) as manager:  # what the remedy says
        table = manager.bind(skipping)
        table.wait_until_ready(60)
        assert table.to_list() == [skipping("b", 2)]
        health = table.health()
        assert (health.skipped, health.long_keys, health.lag) == (2, 2, 0)
        assert health.last_skipped is not None
        assert (health.last_skipped.partition, health.last_skipped.offset) == (0, 7)


def test_a_table_of_bytes_skips_as_its_section_says(
    broker: Broker, topic: NewTopic, managers: Managers, tmp_path: Path
) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"a", b"1"), (b"x" * 600, b"1"), (b"b", b"2")])
    settings = {"tables": {name: {"on_long_key": "skip"}}}
    table = managers(broker, backend="lmdb", settings=settings).bind(name)
    table.wait_until_ready(60)
    assert table.to_list() == [(b"a", b"1"), (b"b", b"2")]
    assert table.health().long_keys == 1
    assert list((tmp_path / "state").iterdir())
