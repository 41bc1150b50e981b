"""JSON keys as other programs write them, on a real broker: one value is one row, whatever its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from statestore import Key, StoreManager, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]


def test_json_keys_of_other_programs_are_found_and_deleted(
    backend: str, broker: Broker, topic: Callable[..., str], managers: Managers
) -> None:
    name = topic()

    @entity(topic=name, key_format="json", value_format="json")
    @dataclass(frozen=True, slots=True)
    class Order:
        shop: Annotated[str, Key]
        number: Annotated[int, Key]
        amount: int

    def spaced(number: int, amount: int | None, **how: Any) -> tuple[bytes, bytes | None]:
        key = json.dumps({"shop": "ä", "number": number}, **how).encode()
        return key, None if amount is None else json.dumps({"amount": amount}).encode()

    broker.create_topic(name)
    broker.produce(name, [spaced(number, number) for number in range(3)])
    with managers(broker, backend=backend) as manager:
        table = manager.bind(Order)
        table.wait_until_ready(60)
        assert table.get("ä", 1) == Order("ä", 1, 1)
        assert ("ä", 1) in table
        assert table.health().non_canonical_keys == 3
        table.add(Order("ä", 2, 20), wait=True, timeout=30)
        assert table.get("ä", 2) == Order("ä", 2, 20)
    broker.produce(name, [spaced(0, 100, sort_keys=True), spaced(3, 3, indent=1)])
    with managers(broker, backend=backend) as manager:
        table = manager.bind(Order)
        table.wait_until_ready(60)
        assert [table.get("ä", number) for number in range(4)] == [
            Order("ä", 0, 100),
            Order("ä", 1, 1),
            Order("ä", 2, 20),
            Order("ä", 3, 3),
        ]
        assert table.count() == 4
        table.delete("ä", 0, wait=True, timeout=30)
        table.wait_for(manager.delete(Order, "ä", 1), timeout=30)
        with manager.transaction() as transaction:
            transaction.delete(Order("ä", 2, 0))
        table.wait_for(transaction.deliveries, timeout=30)
        assert table.to_list() == [Order("ä", 3, 3)]
        assert ("ä", 0) not in table
        table.delete("ä", 3, wait=True, timeout=30)
    broker.produce(name, [spaced(4, None)])
    with managers(broker, backend="memory", directory="fresh") as manager:
        table = manager.bind(Order)
        table.wait_until_ready(60)
        assert table.to_list() == []
