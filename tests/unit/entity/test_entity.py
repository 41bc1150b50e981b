"""Declaring dataclasses as entities; annotations are evaluated at once here, not in test_postponed.py."""

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar
from uuid import UUID

import pytest

from statestore.entity import Key, entity, model_of
from statestore.errors import ConfigError
from statestore.fields.types import Scalar

Faults = Callable[..., tuple[str, ...]]


def names(fields: tuple[Any, ...]) -> list[str]:
    return [field.name for field in fields]


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    shop: Annotated[str, Key]
    amount: Decimal
    order_id: Annotated[int, Key]
    note: str | None = None


def test_the_class_says_everything() -> None:
    model = model_of(Order)
    assert (model.cls, model.name, model.topic) == (Order, "Order", "orders")
    assert (model.logical_name, model.physical_name) == ("Order_Store", "order_store")
    assert names(model.key_fields) == ["shop", "order_id"]
    assert names(model.value_fields) == ["amount", "note"]


def test_declaring_leaves_the_class_as_it_was() -> None:
    assert [field.name for field in dataclasses.fields(Order)] == ["shop", "amount", "order_id", "note"]
    order = Order("s", Decimal(1), 2)
    assert repr(order) == "Order(shop='s', amount=Decimal('1'), order_id=2, note=None)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        order.note = "x"  # type: ignore[misc]


def test_under_dataclass_slots_which_makes_another_class() -> None:
    @dataclass(frozen=True, slots=True)
    @entity(topic="t")
    class Under:
        id: Annotated[int, Key]

    model = model_of(Under)
    assert model.cls is Under
    assert names(model.key_fields) == ["id"]
    assert model_of(Under) is model


def test_faults_under_dataclass_come_with_the_first_use(faults: Faults) -> None:
    @dataclass
    @entity(topic="t")
    class Under:
        id: Annotated[float, Key]

    assert "Under.id" in faults(model_of, Under)[0]


def test_from_outside() -> None:
    @dataclass
    class Foreign:
        id: Annotated[int, Key]

    assert entity(Foreign, topic="t", store_name="Mine", physical_name="there") is Foreign
    model = model_of(Foreign)
    assert (model.logical_name, model.physical_name) == ("Mine", "there")


def test_a_subclass_is_no_entity() -> None:
    @dataclass(frozen=True)
    class Special(Order):
        extra: int = 0

    class Plain(Order):
        pass

    for cls in (Special, Plain, int):
        with pytest.raises(ConfigError, match=r"not declared.*@entity\(topic="):
            model_of(cls)
    assert names(model_of(entity(Special, topic="special")).value_fields) == ["amount", "note", "extra"]
    with pytest.raises(ConfigError, match="Plain: not a dataclass"):
        model_of(entity(Plain, topic="t"))


def test_declaring_twice(faults: Faults) -> None:
    assert entity(Order, topic="orders") is Order
    assert "declared twice" in faults(entity, Order, topic="others")[0]
    assert model_of(Order).topic == "orders"


def test_only_a_stream_without_key() -> None:
    @entity(topic="t")
    @dataclass
    class Event:
        text: str

    assert model_of(Event).key_fields == ()


class Colour(Enum):
    RED = 1


@dataclass
class Inner:
    bad: set[int]


def test_every_fault_of_a_class_at_once(faults: Faults) -> None:
    class Bad(abc.ABC):
        ratio: Annotated[float, Key]
        maybe: Annotated[int | None, Key]
        hidden: Annotated[int, Key] | None
        colour: Colour
        either: int | str
        anything: Any
        items: list  # type: ignore[type-arg]
        by_ratio: dict[float, int]
        inner: Inner
        late: Annotated[int, Key] = field(init=False)

        @abc.abstractmethod
        def f(self) -> None: ...

    found = faults(entity, dataclass(Bad), topic="no way", store_name="")
    wanted = [
        "Bad: topic 'no way'",
        "Bad: a store's name",
        "Bad: the class is abstract (f)",
        "Bad.ratio: float cannot be a key",
        "Bad.maybe: int | None cannot be a key: a key is never None",
        "Bad.hidden: Key must be outermost",
        "Bad.colour: Colour is not",
        "Bad.either: int | str is not",
        "Bad.anything: Any is not",
        "Bad.items: list is not",
        "Bad.by_ratio (key of the dict): float cannot",
        "Inner.bad: set[int] is not",
        "Bad.late: a key field",
    ]
    assert len(found) == len(wanted)
    for fault, beginning in zip(found, wanted, strict=True):
        assert fault.startswith(beginning)


def test_no_topic_is_a_fault_with_the_remedy(faults: Faults) -> None:
    @dataclass
    class Homeless:
        id: Annotated[int, Key]

    assert faults(entity, Homeless) == ("Homeless: no topic: write @entity(topic=…)",)


@pytest.mark.parametrize("key", [int, str, bytes, UUID, datetime, date])
def test_key_types(key: Any) -> None:
    made = dataclasses.make_dataclass("Made", [("id", Annotated[key, Key])])
    assert [field.type for field in model_of(entity(made, topic="t")).key_fields] == [Scalar(key)]


@pytest.mark.parametrize("key", [bool, float, Decimal, list[int], Inner, Colour, None, str | None])
def test_types_no_key_can_have(key: Any, faults: Faults) -> None:
    made = dataclasses.make_dataclass("Made", [("id", Annotated[key, Key])])
    (fault,) = faults(entity, made, topic="t")
    assert fault.startswith("Made.id: ")
    assert "int, str, bytes, UUID, datetime, date" in fault


def test_what_the_constructor_takes_is_what_is_stored() -> None:
    @entity(topic="t")
    @dataclass
    class Odd:
        shared: ClassVar[int] = 3
        id: Annotated[int, Key]
        double: int = field(init=False)
        scale: InitVar[int] = 2
        _: KW_ONLY
        note: str = ""

        def __post_init__(self, scale: int) -> None:
            self.double = self.id * scale

    assert names(model_of(Odd).record_type.fields) == ["id", "note"]


def test_a_constructor_that_cannot_be_called_with_the_fields(faults: Faults) -> None:
    @dataclass
    class Needs:
        id: Annotated[int, Key]
        scale: InitVar[int]

    @dataclass(init=False)
    class Own:
        id: Annotated[int, Key]
        text: str

        def __init__(self, id: int) -> None:  # noqa: A002
            self.id, self.text = id, ""

    assert [fault.partition(":")[0] for fault in faults(entity, Needs, topic="t")] == ["Needs.scale"]
    assert [fault.partition(":")[0] for fault in faults(entity, Own, topic="t")] == ["Own.text"]


def test_an_instance_in_the_place_of_its_class_is_told() -> None:
    @entity(topic="t")
    @dataclass
    class Row:
        number: Annotated[int, Key]
        text: str = "x" * 100_000

    row: Any = Row(1)
    with pytest.raises(ConfigError, match=r"is an entity, not a class: give Row$") as told:
        model_of(row)
    assert len(str(told.value)) < 1000
