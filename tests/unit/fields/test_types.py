"""Types by other names, fields of generic bases, and what a default_factory makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, NewType, TypeVar
from uuid import UUID, uuid4

import pytest

from statestore import ConfigError, Key, entity
from statestore.entity import model_of
from statestore.fields.attributes import MaxLength
from statestore.fields.types import type_name
from statestore.serde.entities import EntityCodec

UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)
new_type: Any = NewType  # checkers take no Annotated there
ShortName = new_type("ShortName", Annotated[str, MaxLength(3)])

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Keyed(Generic[K]):
    id: Annotated[K, Key]


@dataclass(frozen=True)
class Base(Keyed[K], Generic[K, T]):
    value: T
    values: list[T]
    maybe: T | None
    by_name: dict[str, T]


@dataclass(frozen=True)
class Middle(Base[str, list[T]], Generic[T]):
    own: T


@entity(topic="rows")
@dataclass(frozen=True)
class Row(Base[UserId, Decimal]):
    text: str


@entity(topic="rows")
@dataclass(frozen=True)
class Deep(Middle[date]):
    pass


@dataclass(frozen=True)
class Plain(Base[int, str]):
    pass


@entity(topic="rows")
@dataclass(frozen=True)
class OfPlain(Plain):
    value: str = "x"
    values: list[str] = field(default_factory=list)
    maybe: str | None = None
    by_name: dict[str, str] = field(default_factory=dict)


def types_of(cls: type) -> dict[str, str]:
    return {one.name: type_name(one.type) for one in model_of(cls).record_type.fields}


def test_type_variables_of_bases_are_replaced() -> None:
    assert types_of(Row) == {
        "id": "int",
        "value": "Decimal",
        "values": "list[Decimal]",
        "maybe": "Decimal | None",
        "by_name": "dict[str, Decimal]",
        "text": "str",
    }
    assert types_of(Deep) == {
        "id": "str",
        "value": "list[date]",
        "values": "list[list[date]]",
        "maybe": "list[date] | None",
        "by_name": "dict[str, list[date]]",
        "own": "date",
    }
    assert types_of(OfPlain)["value"] == "str"
    row = Deep("a", [date(2024, 1, 1)], [], None, {"x": []}, date(2024, 1, 2))
    codec: EntityCodec[Deep] = EntityCodec(model_of(Deep))
    assert codec.decode(*codec.encode(row)) == row


def test_a_type_variable_without_a_type_is_a_fault() -> None:
    @dataclass(frozen=True)
    class Open(Base[int, T]):
        pass

    with pytest.raises(
        ConfigError, match=r"Open\.value: the type variable ~T stands for no type here.*Base\[int\]"
    ):
        entity(Open, topic="rows")


def test_a_new_type_is_its_type() -> None:
    cls = make_dataclass(
        "Made",
        [
            ("id", Annotated[AdminId, Key]),
            ("name", ShortName),
            ("others", list[UserId]),
            ("by_id", dict[UserId, UserId | None]),
        ],
    )
    entity(cls, topic="rows")
    assert types_of(cls) == {
        "id": "int",
        "name": "str",
        "others": "list[int]",
        "by_id": "dict[int, int | None]",
    }
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    row = cls(1, "abc", [2], {3: None})
    assert codec.decode(*codec.encode(row)) == row


if sys.version_info >= (3, 12):  # which has the statement

    def test_a_type_alias_is_its_type() -> None:
        names: dict[str, Any] = {}
        exec("type Id = int", names)
        identity = names["Id"]
        cls = make_dataclass("Made", [("id", Annotated[identity, Key])])
        assert types_of(entity(cls, topic="rows")) == {"id": "int"}


Inner = make_dataclass("Inner", [("x", int)])


@pytest.mark.parametrize(
    ("annotation", "factory", "told"),
    [
        (int, lambda: "x", "expected int, got 'x'"),
        (int, lambda: True, "expected int, got True"),
        (dict[str, int], list, r"expected dict\[str, int\], got \[\]"),
        (list[int], dict, r"expected list\[int\], got \{\}"),
        (list[int], lambda: ["a"], r"x\[0\]: its default_factory: expected int, got 'a'"),
        (dict[str, int], lambda: {"a": None}, r"x\['a'\]: its default_factory: expected int, got None"),
        (int, lambda: None, "expected int, got None"),
        (date, lambda: datetime.now(UTC), "expected date, got datetime"),
        (Inner, lambda: Inner("a"), r"x\.x: its default_factory: expected int, got 'a'"),
        (Inner, dict, "expected Inner, got {}"),
        (UUID, lambda: str(uuid4()), "expected UUID, got '"),
    ],
)
def test_a_wrong_default_factory_is_told_at_the_declaration(
    annotation: Any, factory: Callable[[], Any], told: str
) -> None:
    cls = make_dataclass(
        "Made", [("id", Annotated[int, Key]), ("x", annotation, field(default_factory=factory))]
    )
    with pytest.raises(ConfigError, match=told):
        entity(cls, topic="rows")


def test_a_right_default_factory_is_taken() -> None:
    def raising() -> int:
        raise LookupError("nothing is there yet")

    cls = make_dataclass(
        "Made",
        [
            ("id", Annotated[int, Key]),
            ("a", list[int], field(default_factory=lambda: [1])),
            ("b", float, field(default_factory=lambda: 1)),
            ("c", int | None, field(default_factory=lambda: None)),
            ("d", int, field(default_factory=raising)),
            ("e", dict[str, list[int]], field(default_factory=dict)),
            ("f", Inner, field(default_factory=lambda: Inner(1))),
        ],
    )
    entity(cls, topic="rows")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"key_format": "orderd"},
            r"Made: key_format='orderd' is not known; installed: .*did you mean 'ordered'",
        ),
        (
            {"value_format": "mesgpack"},
            r"value_format='mesgpack' is not known; .* \(did you mean 'msgpack'\?\)",
        ),
        ({"value_format": "ordered"}, "value_format='ordered' is not known"),
        ({"key_format": "msgpack"}, "key_format='msgpack' is not known"),
    ],
)
def test_a_misspelt_format_is_told_at_the_declaration(arguments: Any, told: str) -> None:
    cls = make_dataclass("Made", [("id", Annotated[int, Key])])
    with pytest.raises(ConfigError, match=told):
        entity(cls, topic="rows", **arguments)
