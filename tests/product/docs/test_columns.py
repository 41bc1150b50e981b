"""The sample of docs/columns.md runs and prints what it says, and its types are those of the columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from confluent_kafka import Producer

from statestore import Key, entity
from statestore.entity import model_of
from statestore.fields import attributes
from statestore.fields.attributes import Precision
from statestore.fields.types import SCALAR_TYPES
from statestore.query.arrow import field
from statestore.serde.entities import EntityCodec

TEXT = (Path(__file__).parents[3] / "docs" / "columns.md").read_text(encoding="utf-8")
(SAMPLE,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TYPES = re.findall(r"^\| (.*) \| (.*) \|$", TEXT, re.MULTILINE)[1:]


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str
    amount: Annotated[Decimal, Precision(9, 2)]


@dataclass
class Point:
    x: int
    y: int | None


NAMES = {
    "Annotated": Annotated,
    "a dataclass": Point,
    **{one.__name__: one for one in (Decimal, datetime, date, UUID)},
    **{name: getattr(attributes, name) for name in ("Int32", "Int16", "Float32", "Precision")},
}


@pytest.mark.slow
def test_sample_prints_what_it_says(run_sample: Callable[..., None]) -> None:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    codec: EntityCodec[Order] = EntityCodec(model_of(Order))
    for number, customer, amount in (
        (41, "alan", "20"),
        (42, "ada", "19.9"),
        (43, "grace", "25"),
        (44, "ada", "7.5"),
    ):
        key, value = codec.encode(Order(number, customer, Decimal(amount)))
        producer.produce("orders", value, key)
    assert producer.flush(60) == 0
    broker = next(iter(producer.list_topics(timeout=60).brokers.values()))
    run_sample(SAMPLE, {"localhost:9092": f"{broker.host}:{broker.port}"})


@pytest.mark.parametrize(("python", "arrow"), TYPES)
def test_each_type_is_that_of_its_column(python: str, arrow: str) -> None:
    if arrow == "as `T`, with nulls":
        python, arrow = "int | None", "int64"
    text = python.strip("`")
    type_: Any = NAMES.get(text) or eval(text, NAMES.copy())
    cls: type = entity(make_dataclass("AsField", [("id", Annotated[int, Key]), ("value", type_)]), topic="t")
    column = model_of(cls).record_type.fields[1]
    assert str(field(column.name, column.type).type) == arrow.strip("`")


def test_each_type_of_a_field_has_a_row() -> None:
    assert {one.__name__ for one in SCALAR_TYPES} <= {python.strip("`") for python, _ in TYPES}
