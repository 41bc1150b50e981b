"""The bytes of key formats, and what they refuse. ``tests/kafka/test_java_keys.py`` asks Java."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import ConfigError, Key, entity, normalise
from statestore.entity import model_of
from statestore.errors import DecodeError, EncodeError
from statestore.fields.attributes import Alias, Int32, MaxLength, Name
from statestore.serde.entities import EntityCodec

SOME = UUID("12345678-9abc-def0-1234-56789abcdef0")


def codec_of(*types: Any, key_format: str = "kafka") -> EntityCodec[Any]:
    """Return the codec of a class with the fields ``k0``, ``k1``, … of ``types``."""
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
        (Annotated[int, Key], b"\0\0\0\1", "LongSerializer writes 8 bytes, but the stored key has 4"),
        (Annotated[int, Key, Int32], bytes(8), "IntegerSerializer writes 4 bytes, but the stored key has 8"),
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
        ("kafka", (Annotated[datetime, Key],), r"Row\.k0: .* cannot write datetime, .*declare an int"),
        ("kafka", (Annotated[date, Key],), r"Row\.k0: .* cannot write date, .*declare an int"),
        ("raw", (Annotated[str, Key],), r"Row: .*one key field of bytes, but the key is \(k0: str\)"),
        ("raw", (Annotated[bytes, Key],) * 2, r"the key is \(k0: bytes, k1: bytes\)"),
        ("orderd", (Annotated[str, Key],), r"Row: key_format='orderd' is not known; installed: .*ordered"),
    ],
)
def test_a_key_that_the_format_cannot_hold_is_an_error(
    key_format: str, types: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        codec_of(*types, key_format=key_format)


JSON_VECTORS = [
    ((Annotated[int, Key],), (-7,), "-7"),
    ((Annotated[str, Key],), ("",), '""'),
    (
        (Annotated[str, Key],),
        ('gr\u00fc\u00dfe "\\/ \x7f\u2028\U0001f600',),
        '"gr\u00fc\u00dfe \\"\\\\/ \x7f\u2028\\uD83D\\uDE00"',
    ),
    ((Annotated[str, Key],), ("\b\t\n\f\r\0\x0b\x1f",), r'"\b\t\n\f\r\u0000\u000B\u001F"'),
    ((Annotated[bytes, Key],), (b"\0\xff",), '"AP8="'),
    ((Annotated[UUID, Key],), (SOME,), '"12345678-9abc-def0-1234-56789abcdef0"'),
    ((Annotated[date, Key],), (date(2024, 2, 29),), '"2024-02-29"'),
    (
        (Annotated[str, Key, Name("SYMBOL")], Annotated[int, Key]),
        ("%s", 5),
        '{"SYMBOL":"%s","k1":5}',
    ),
]


@pytest.mark.parametrize(("types", "values", "text"), JSON_VECTORS)
def test_json_keys_are_compact_in_the_order_of_the_class_and_escaped_as_by_jackson(
    types: tuple[Any, ...], values: tuple[Any, ...], text: str
) -> None:
    codec = codec_of(*types, key_format="json")
    assert codec.encode_key(values).decode() == text
    assert codec.key_encodings(values) == [text.encode()]
    assert codec.decode_key(text.encode()) == values


@pytest.mark.parametrize(
    "text",
    [
        '{"k0":"\u00e9","k1":5}',
        ' {"k0" : "\\u00E9",\n"k1": 5}',
        '{"k1":5,"k0":"\u00e9"}',
        '{"k1":5,"old":"\u00e9"}',
    ],
)
def test_any_text_of_a_json_key_is_read(text: str) -> None:
    codec = codec_of(Annotated[str, Key, Alias("old")], Annotated[int, Key], key_format="json")
    assert codec.decode_key(text.encode()) == ("\u00e9", 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"k0":"a"}', "k1 is missing"),
        (b'{"k0":"a","k1":1,"k2":1}', "'k2' is not a key field"),
        (b'{"k0":"a","k1":1,"old":"a"}', "'old' is given twice"),
        (b'{"k0":"a","k1":null}', "Expected `int`, got `null`"),
        (b'{"k0":"a","k1":9223372036854775808}', "Expected `int` <= 9223372036854775807"),
        (b'{"k0":"\xff","k1":1}', "utf-8"),
        (b'{"k0":"a","k1":1', "truncated"),
        (b"", "truncated"),
    ],
)
def test_what_is_no_json_key_is_told(text: bytes, message: str) -> None:
    codec = codec_of(Annotated[str, Key, Alias("old")], Annotated[int, Key], key_format="json")
    with pytest.raises(DecodeError, match=rf"Row: not a key of \(k0, k1\): .*{message}"):
        codec.decode_key(text)


def test_a_renamed_field_of_a_json_key_is_looked_for_under_each_name() -> None:
    codec = codec_of(Annotated[str, Key, Alias("old")], Annotated[int, Key], key_format="json")
    assert codec.encode_key(("a", 5)) == b'{"k0":"a","k1":5}'
    assert codec.key_encodings(("a", 5)) == [b'{"k0":"a","k1":5}', b'{"old":"a","k1":5}']


def test_keys_are_equal_that_are_stored_alike() -> None:
    """ksqlDB's TIMESTAMP has no microseconds."""

    @entity(topic="rows", key_format="json", ksql=True)
    @dataclasses.dataclass
    class Row:
        at: Annotated[datetime, Key]
        day: Annotated[date, Key]

    codec: EntityCodec[Any] = EntityCodec(model_of(Row))
    stored, given = (
        datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    )
    key = b'{"AT":-1,"DAY":2}'
    assert codec.encode_key((given, date(1970, 1, 3))) == key
    assert codec.decode_key(key) == (stored, date(1970, 1, 3))
    assert normalise(Row(given, date(1970, 1, 3))) == Row(stored, date(1970, 1, 3))
    accepts = codec.key_plan(start=(given,)).accepts
    assert accepts is not None
    assert accepts((stored, date.min))


@pytest.mark.parametrize("key_format", ["kafka", "json"])
def test_a_key_longer_than_is_written_is_looked_for(key_format: str) -> None:
    codec = codec_of(Annotated[str, Key, MaxLength(2)], key_format=key_format)
    assert codec.decode_key(codec.encode_key(("abc",))) == ("abc",)
    with pytest.raises(EncodeError, match=r"Row\.k0: .*MaxLength allows 2"):
        codec.encode(codec.decode(codec.encode_key(("abc",)), b"\x80"))


def test_a_store_says_which_keys_it_has() -> None:
    kept = dataclasses.make_dataclass("Row", [("k0", Annotated[int, Key])])
    ordered = model_of(entity(kept, topic="rows"))
    assert ordered.serialisation == "ordered(int) msgpack", "as stores of format 1 have it"
    kept = dataclasses.make_dataclass("Row", [("k0", Annotated[int, Key])])
    assert model_of(entity(kept, topic="rows", key_format="kafka")).serialisation == "kafka(int) msgpack"
