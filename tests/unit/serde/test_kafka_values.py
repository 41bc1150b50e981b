"""``value_format="kafka"``: the bytes of Java's serializers; tests/kafka/test_java_keys.py asks Java."""

from __future__ import annotations

import math
import re
from dataclasses import make_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import ConfigError, DecodeError, EncodeError, Key, entity, normalise
from statestore.entity import EntityModel, model_of
from statestore.fields.attributes import Float32, Int16, Int32, MaxLength
from statestore.fields.stored_schema import conflicts
from statestore.serde.entities import EntityCodec

WRITTEN: list[tuple[Any, Any, str]] = [
    (int, -2, "ff ff ff ff ff ff ff fe"),
    (Annotated[int, Int32], -2, "ff ff ff fe"),
    (Annotated[int, Int16], -2, "ff fe"),
    (float, 0.1, "3f b9 99 99 99 99 99 9a"),
    (float, math.inf, "7f f0 00 00 00 00 00 00"),
    (Annotated[float, Float32], 0.5, "3f 00 00 00"),
    (str, "aé", "61 c3 a9"),
    (str, "", ""),
    (bytes, b"\x00\xff", "00 ff"),
    (UUID, UUID(int=10), "30" * 8 + "2d" + "30303030 2d" * 3 + "30" * 11 + "61"),
]


def model(*fields: Any, **declared: Any) -> EntityModel:
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), *fields])
    return model_of(entity(cls, topic="rows", value_format="kafka", **declared))


@pytest.mark.parametrize(("annotation", "value", "data"), WRITTEN)
def test_bytes_are_those_of_the_serializer(annotation: Any, value: Any, data: str) -> None:
    made = model(("field", annotation))
    codec: EntityCodec[Any] = EntityCodec(made)
    row = made.cls(7, value)
    key, payload = codec.encode(row)
    assert payload == bytes.fromhex(data)
    assert codec.decode(key, payload) == row == normalise(row)


def test_every_nan_is_written_as_java_writes_it() -> None:
    for annotation, data in ((float, "7ff8000000000000"), (Annotated[float, Float32], "7fc00000")):
        made = model(("field", annotation))
        codec: EntityCodec[Any] = EntityCodec(made)
        key, payload = codec.encode(made.cls(7, math.copysign(math.nan, -1)))
        assert payload == bytes.fromhex(data)
        assert math.isnan(codec.decode(key, payload).field)


@pytest.mark.parametrize(
    ("annotation", "data", "told"),
    [
        (int, b"", "Row.field: LongSerializer writes 8 bytes, the value has 0"),
        (Annotated[int, Int32], bytes(8), "IntegerSerializer writes 4 bytes, the value has 8"),
        (Annotated[int, Int16], bytes(4), "ShortSerializer writes 2 bytes"),
        (Annotated[float, Float32], bytes(8), "FloatSerializer writes 4 bytes"),
        (float, bytes(4), "DoubleSerializer writes 8 bytes"),
        (str, b"\xff", "Row.field: not UTF-8, as StringSerializer writes it"),
        (UUID, b"x" * 36, "expected a UUID of 36 characters"),
        (UUID, b"0" * 32, "expected a UUID of 36 characters"),
    ],
)
def test_other_bytes_are_refused_by_the_name_of_the_field(annotation: Any, data: bytes, told: str) -> None:
    codec: EntityCodec[Any] = EntityCodec(model(("field", annotation)))
    with pytest.raises(DecodeError, match=told):
        codec.decode(codec.encode_key((1,)), data)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2**63),
        (Annotated[int, Int32], 2**31),
        (Annotated[int, Int16], 2**15),
        (int, None),
        (int, 1.0),
        (str, 1),
        (Annotated[str, MaxLength(2)], "abc"),
        (Annotated[float, Float32], 1e39),
    ],
)
def test_values_of_another_type_or_range_are_refused(annotation: Any, value: Any) -> None:
    made = model(("field", annotation))
    with pytest.raises(EncodeError, match=r"Row\.field"):
        EntityCodec[Any](made).encode(made.cls(1, value))


@pytest.mark.parametrize("annotation", [bool, Decimal, datetime, date, list[int], dict[str, int], int | None])
def test_types_without_a_serializer_are_refused(annotation: Any) -> None:
    with pytest.raises(ConfigError, match=r'Row\.field: value_format="kafka" cannot write'):
        EntityCodec(model(("field", annotation)))


@pytest.mark.parametrize("fields", [[], [("a", int), ("b", int)]])
def test_any_other_number_of_fields_is_refused(fields: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r'Row: value_format="kafka" writes one field besides the key'):
        EntityCodec(model(*fields))


def test_short_is_a_type_of_every_format() -> None:
    narrow: Any = Annotated[int, Int16]
    formats: list[Any] = [{}, {"value_format": "json"}, {"value_format": "json", "ksql": True}]
    for declared in formats:
        cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", narrow), ("all", list[narrow])])
        codec: EntityCodec[Any] = EntityCodec(model_of(entity(cls, topic="rows", **declared)))
        row = cls(1, -(2**15), [2**15 - 1])
        assert codec.decode(*codec.encode(row)) == row
        with pytest.raises(EncodeError, match=r"Row\.field: expected int of 16 bits"):
            codec.encode(cls(1, 2**15, []))
    keys = make_dataclass("Row", [("id", Annotated[int, Key, Int16])])
    as_key: EntityCodec[Any] = EntityCodec(model_of(entity(keys, topic="rows", key_format="kafka")))
    assert as_key.encode_key((-2,)) == b"\xff\xfe"
    both = make_dataclass("Row", [("id", Annotated[int, Key, Int16, Int32])])
    with pytest.raises(ConfigError, match="Int32 and Int16 contradict each other"):
        entity(both, topic="rows")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (("a", Annotated[int, Int32]), ("a", int), "IntegerSerializer's, but field a .* LongSerializer's"),
        (("a", int), ("b", float), "LongSerializer's, but field b of the class is DoubleSerializer's"),
        (("a", int), ("b", int), None),
        (("a", str), ("a", str), None),
    ],
)
def test_a_changed_serializer_is_another_store(old: Any, new: Any, told: str | None) -> None:
    found = conflicts(model(old).stored_schema, model(new).stored_schema)
    if told is None:
        assert found == []
    else:
        (fault,) = found
        assert re.search(told, fault)
