"""The sample of docs/queries.md runs and prints what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

from statestore import Key, Precision, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

TEXT = (Path(__file__).parents[3] / "docs" / "queries.md").read_text(encoding="utf-8")
(SAMPLE,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    shop: Annotated[str, Key]
    number: Annotated[int, Key]
    customer: str | None
    amount: Annotated[Decimal, Precision(9, 2)]


@entity(topic="customers")
@dataclass(frozen=True, slots=True)
class Customer:
    name: Annotated[str, Key]
    city: str


ROWS: list[Any] = [
    Order("ber", 1, "ada", Decimal(10)),
    Order("ber", 2, "ada", Decimal(20)),
    Order("ber", 3, None, Decimal(5)),
    Order("par", 1, "grace", Decimal("31.5")),
    Customer("ada", "London"),
    Customer("grace", "New York"),
]


@pytest.mark.slow
def test_sample_prints_what_it_says(run_sample: Callable[..., None]) -> None:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    for row in ROWS:
        codec: EntityCodec[Any] = EntityCodec(model_of(type(row)))
        key, value = codec.encode(row)
        producer.produce(model_of(type(row)).topic, value, key, partition=0)
    assert producer.flush(60) == 0
    broker = next(iter(producer.list_topics(timeout=60).brokers.values()))
    run_sample(SAMPLE, {"localhost:9092": f"{broker.host}:{broker.port}"})
