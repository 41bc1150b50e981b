"""The samples of README.md run, and print what they say they print (the lines after ``#>``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import pytest
from confluent_kafka import Producer

from statestore import Key, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TITLES = ["first", "entities", "foreign", "writing", "readiness", "streams", "without Kafka"]


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str
    amount: Decimal


@entity(topic="payments")
@dataclass(frozen=True, slots=True)
class Payment:
    customer: str
    amount: Decimal


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """The address of a mock broker that holds what the samples read."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    codec: EntityCodec[Order] = EntityCodec(model_of(Order))
    for number, customer, amount in ((42, "ada", "19.90"), (41, "alan", "20.00"), (43, "grace", "25.00")):
        key, value = codec.encode(Order(number, customer, Decimal(amount)))
        producer.produce("orders", value, key)
        payment = Payment(customer, Decimal(amount))
        producer.produce("payments", EntityCodec[Payment](model_of(Payment)).encode(payment)[1], partition=0)
    for name, city in (("alan", "Manchester"), ("ada", "London"), ("grace", "New York")):
        producer.produce("customers", f'{{"city": "{city}"}}', name)
    assert producer.flush(60) == 0
    found = next(iter(producer.list_topics(timeout=60).brokers.values()))
    yield f"{found.host}:{found.port}"
    producer.flush(0)  # the broker lives as long as its owner


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=TITLES)
def test_sample_prints_what_it_says(
    sample: str, mock: str, run_sample: Callable[..., None], tmp_path: Path
) -> None:
    run_sample(sample, {"localhost:9092": mock})
    assert (tmp_path / "state" / "manifest.json").exists()
