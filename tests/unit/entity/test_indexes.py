"""The declaration of secondary indexes, and every fault of one in one report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from statestore import ConfigError, F, Ignored, Index, Key, entity
from statestore.entity import model_of


@dataclass
class Order:
    shop: Annotated[str, Key]
    number: Annotated[int, Key]
    city: Annotated[str | None, Index]
    country: str
    amount: float
    tags: list[str]
    parts: dict[str, int]
    made: int = field(default_factory=int)
    note: Annotated[str, Ignored] = ""


def names(cls: type) -> list[list[str]]:
    return [[one.name for one in fields] for fields in model_of(cls).indexes]


def copy() -> type:
    return type("Order", (Order,), {"__annotations__": {}})


def declared(**arguments: Any) -> type:
    return entity(dataclass(copy()), topic="orders", **arguments)


def test_indexes_are_those_of_the_fields_and_then_those_given() -> None:
    cls = declared(indexes=[(F.country, F.city), F.amount, [F.amount, F.shop]])
    assert names(cls) == [["city"], ["country", "city"], ["amount"], ["amount", "shop"]]
    assert names(declared()) == [["city"]]


def test_the_same_declaration_twice_is_one() -> None:
    cls = declared(indexes=[(F.country, F.city)])
    entity(cls, topic="orders", indexes=[(F.country, F.city)])
    with pytest.raises(ConfigError, match="declared twice"):
        entity(cls, topic="orders", indexes=[(F.country, F.amount)])


FAULTS = {
    (F.cty,): "F.cty: Order has no field 'cty' (did you mean 'city'?)",
    "city": "'city' is no field: write F.city",
    (): "an index has one field or more",
    (F.amount > 1): "F.amount > 1 is no field",
    F.parts["a"]: "F.parts['a'] is a part of a field",
    (F.country, F.tags): "tags is of type list[str], which has no order",
    F.note: "F.note: Order has no field 'note'",
    (F.country, F.country): "country is in it 2 times",
    F.city: "the same index is declared by city: Index",
    F.shop: "rows are stored in the order of their key (shop, number)",
    (F.shop, F.number, F.city): "rows are stored in the order of their key (shop, number)",
    F.made: "made has a default_factory",
}


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        declared(indexes=list(FAULTS), partitons=3)
    told = caught.value.faults
    assert len(told) == len(FAULTS) + 1
    for text in FAULTS.values():
        assert sum(text in one for one in told) >= 1, text


def test_a_key_that_is_not_stored_in_order_may_be_indexed() -> None:
    assert names(declared(indexes=[F.shop], key_format="json")) == [["city"], ["shop"]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"indexes": F.country}, "give a list of indexes"),
        ({"kind": "stream"}, "a stream has no store"),
        ({"value_format": "avro"}, "not possible with value_format='avro'"),
    ],
)
def test_where_there_can_be_no_index(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        declared(**arguments)
