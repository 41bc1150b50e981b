"""The bytes of ``key_format="kafka"``, and what it refuses. ``tests/kafka/test_java_keys.py`` asks Java."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import ConfigError, Key, entity
from statestore.attributes import Int32
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.serde.entities import EntityCodec

SOME = UUID("12345678-9abc-def0-1234-56789abcdef0")


def codec_of(*types: Any, key_format: str = "kafka") -> EntityCodec[Any]:
    fields = [(f"k{number}", type_) for number, type_ in enumerate(types)]
    made = dataclasses.make_dataclass("Row", fields)
    return EntityCodec(model_of(entity(made, topic="rows", key_format=key_format)))


@pytest.mark.parametrize(
    ("type_", "value", "key"),
    [
        (Annotated[int, Key], 1, "0000000000000001"),
        (Annotated[int, Key], -1, "ffffffffffffffff"),
        (Annotated[int, Key, Int32], -2, "fffffffe"),
        (Annotated[str, Key], "grüße\0", "6772c3bcc39f6500"),
        (Annotated[bytes, Key], b"\0\xff", "00ff"),
        (Annotated[UUID, Key], SOME, b"12345678-9abc-def0-1234-56789abcdef0".hex()),
    ],
)
def test_keys_are_as_the_serializers_of_java_write_them(type_: Any, value: Any, key: str) -> None:
    codec = codec_of(type_)
    assert codec.encode_key((value,)).hex() == key
    assert codec.decode_key(bytes.fromhex(key)) == (value,)


@pytest.mark.parametrize(
    ("type_", "key", "message"),
    [
        (Annotated[int, Key], b"\0\0\0\1", "LongSerializer writes 8 bytes, the stored key has 4"),
        (Annotated[int, Key, Int32], bytes(8), "IntegerSerializer writes 4 bytes, the stored key has 8"),
        (Annotated[UUID, Key], SOME.bytes, "not a UUID as UUIDSerializer writes it"),
        (Annotated[UUID, Key], str(SOME).upper().encode(), "36 characters, lower case"),
        (Annotated[UUID, Key], SOME.hex.encode(), "36 characters, lower case"),
        (Annotated[str, Key], b"\xff", "not UTF-8"),
    ],
)
def test_keys_of_another_serializer_are_told(type_: Any, key: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=rf"Row: not a key of \(k0\): .*{message}"):
        codec_of(type_).decode_key(key)


@pytest.mark.parametrize(
    ("key_format", "types", "message"),
    [
        ("kafka", (Annotated[int, Key], Annotated[str, Key]), r"Row: .*one field.* k0, k1: use .*json"),
        ("kafka", (Annotated[datetime, Key],), r"Row\.k0: .* has no datetime, .*declare an int"),
        ("kafka", (Annotated[date, Key],), r"Row\.k0: .* has no date, .*declare an int"),
        ("raw", (Annotated[str, Key],), r"Row: .*one key field of bytes, the key is \(k0: str\)"),
        ("raw", (Annotated[bytes, Key],) * 2, r"the key is \(k0: bytes, k1: bytes\)"),
        ("orderd", (Annotated[str, Key],), r"Row: key_format='orderd' is not known; installed: .*ordered"),
    ],
)
def test_a_key_that_the_format_cannot_hold_is_an_error(
    key_format: str, types: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        codec_of(*types, key_format=key_format)
