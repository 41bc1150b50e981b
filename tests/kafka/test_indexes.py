"""Secondary indexes of a table on a real broker: complete whenever the table is ready, and kept so."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from statestore import F, Key, StoreManager, entity
from statestore.storage.layout import DATA
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
ROWS = 12_000  # loaded in bulk


def record(number: int, city: str | None) -> tuple[bytes, bytes | None]:
    key = struct.pack(">Q", number + 2**63)
    return key, None if city is None else msgspec.msgpack.encode({"city": city, "size": number % 10})


def in_order(table: Any, at: int = 0) -> list[bytes]:
    """Return the stored keys of the rows of a table, in the order of one of its indexes."""
    with table.snapshot() as snapshot:
        store = snapshot._store
        return [key[len(DATA) :] for key, _ in store.scan_index(store.indexes[at])]


def test_a_table_is_ready_with_its_indexes(
    backend: str, broker: Broker, topic: Callable[..., str], managers: Managers
) -> None:
    name = topic()

    def declared(*indexes: Any) -> type:
        @entity(topic=name, indexes=list(indexes))
        @dataclass(frozen=True, slots=True)
        class Order:
            number: Annotated[int, Key]
            city: str
            size: int

        return Order

    def check(table: Any, names: list[str]) -> None:
        assert table.health().indexes == dict.fromkeys(names, "ready")
        for at, one in enumerate(names):
            fields = one.split(", ")
            rows = sorted(table.scan(), key=lambda row: ([getattr(row, name) for name in fields], row.number))
            assert in_order(table, at) == [record(row.number, "")[0] for row in rows]

    broker.create_topic(name)
    broker.produce(name, [record(number, "ABC"[number % 3]) for number in range(ROWS)])
    with managers(broker, backend=backend) as manager:
        table: Any = manager.bind(declared(F.city))
        table.wait_until_ready(60)
        check(table, ["city"])
        broker.produce(name, [record(1, None), record(2, "D"), record(ROWS, "A")])
        table.sync(timeout=60)
        check(table, ["city"])
    with managers(broker, backend=backend) as manager:
        table = manager.bind(declared((F.size, F.city), F.city))
        table.wait_until_ready(60)
        check(table, ["size, city", "city"])
    with managers(broker, backend=backend) as manager:
        table = manager.bind(declared())
        table.wait_until_ready(60)
        assert table.health().indexes == {}
        broker.produce(name, [record(3, "D")])
        table.sync(timeout=60)
    broker.produce(name, [record(number, "E") for number in range(100)])
    with managers(broker, backend=backend) as manager:
        table = manager.bind(declared(F.city))
        table.wait_until_ready(60)
        check(table, ["city"])
        assert table.count() == ROWS + 1
