"""What attributes and formats do to single values: what is written, what is refused, what else is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation, localcontext
from typing import Annotated, Any, get_type_hints

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import Key, entity, normalise
from statestore.entity import model_of
from statestore.errors import ConfigError, DecodeError, EncodeError
from statestore.fields.attributes import (
    Alias,
    Float32,
    Format,
    Ignored,
    Int32,
    MaxLength,
    Name,
    Precision,
)
from statestore.serde.entities import EntityCodec

KSQL: dict[str, Any] = {"value_format": "json", "ksql": True}
PACKS: dict[str, Callable[[Any], bytes]] = {
    "msgpack": msgpack.packb,
    "json": lambda value: json.dumps(value, separators=(",", ":")).encode(),
}
PRICE = Annotated[Decimal, Precision(9, 2)]
DAY = Annotated[datetime, Format("%Y-%m-%d")]
ZONED = Annotated[datetime, Format("%Y-%m-%dT%H:%M%z")]
DATE = Annotated[date, Format("%d.%m.%Y")]
DAYS = Annotated[date, Format("epoch_days")]
MICROSECONDS = Annotated[datetime, Format("epoch_us")]
LAST = datetime.max.replace(tzinfo=UTC)


def codec(*fields: Any, value_format: str = "json", ksql: bool = False) -> tuple[EntityCodec[Any], Any]:
    """Return codec and class of an entity with an int key ``id`` and other fields."""
    cls = make_dataclass("Made", [("id", Annotated[int, Key]), *fields], kw_only=True)
    return EntityCodec(model_of(entity(cls, topic="t", value_format=value_format, ksql=ksql))), cls


def encoded(type_: Any, value: Any, **declared: Any) -> str:
    made, cls = codec(("field", type_), **declared)
    return made.encode(cls(id=1, field=value))[1].decode()


def decoded(type_: Any, payload: bytes, **declared: Any) -> Any:
    made, _ = codec(("field", type_), **declared)
    return made.decode(made.encode_key((1,)), payload).field


@pytest.mark.parametrize("value_format", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (int, 2**63, "expected int of 64 bits"),
        (Annotated[int, Int32], 2**31, "expected int of 32 bits, got 2147483648"),
        (Annotated[int, Int32], -(2**31) - 1, "expected int of 32 bits"),
        (Annotated[float, Float32], 3.5e38, "expected float of 32 bits, got 3.5e+38"),
        (
            PRICE,
            Decimal("1.005"),
            "expected at most 9 digits with 2 decimal places (Precision(9, 2)), got Decimal",
        ),
        (PRICE, Decimal(12345678), "expected at most 9 digits"),
        (PRICE, Decimal("1E+1000000"), "expected at most 9 digits"),
        (PRICE, Decimal("NaN"), "expected at most 9 digits"),
        (PRICE, Decimal("-Infinity"), "expected at most 9 digits"),
        (Annotated[str, MaxLength(2)], "aéb", "has 3 characters, but MaxLength allows 2"),
        (Annotated[bytes, MaxLength(2)], b"abc", "has 3 bytes, but MaxLength allows 2"),
        (datetime, datetime(2024, 1, 1), "expected datetime with a time zone"),
        (datetime, LAST.replace(tzinfo=timezone(-timedelta(hours=1))), "years 1 to 9999 in UTC"),
    ],
)
def test_what_no_format_writes(type_: Any, value: Any, message: str, value_format: str) -> None:
    for place, held in (("", value), ("[0]", [value]), ("['x']", {"x": value})):
        around = {"": type_, "[0]": list[type_], "['x']": dict[str, type_]}[place]
        made, cls = codec(("field", around), value_format=value_format)
        with pytest.raises(EncodeError) as caught:
            made.encode(cls(id=1, field=held))
        assert str(caught.value).startswith(f"Made.field{place}: ")
        assert message in str(caught.value)
        with pytest.raises(EncodeError, match=r"Made\.field"):
            normalise(cls(id=1, field=held))


@pytest.mark.parametrize("declared", [{"value_format": "json"}, KSQL], ids=["json", "ksql"])
@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (float, float("nan"), "expected a finite number (JSON has no other), got nan"),
        (float, float("-inf"), "expected a finite number"),
        (Annotated[float, Float32], float("inf"), "expected a finite number"),
        (DAY, datetime(999, 1, 1, tzinfo=UTC), "writing and reading as '%Y-%m-%d'"),
        (
            Annotated[datetime, Format("%d.%m.%y")],
            datetime(1950, 1, 1, tzinfo=UTC),
            "writing and reading as '%d.%m.%y'",
        ),
        (Annotated[date, Format("%d.%m.%y")], date(1950, 1, 1), "writing and reading as '%d.%m.%y'"),
        (dict[DAY, int], {LAST: 1, LAST - timedelta(seconds=1): 2}, "two keys of"),
    ],
)
def test_what_json_does_not_write(type_: Any, value: Any, message: str, declared: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encoded(type_, value, **declared)
    assert str(caught.value).startswith("Made.field")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-sNaN"])
def test_a_decimal_that_is_no_number_is_not_in_json(value: str) -> None:
    with pytest.raises(EncodeError, match=r"Made\.field: expected a finite number"):
        encoded(Decimal, Decimal(value))
    with pytest.raises(DecodeError, match=r"Made\.field: expected a finite number"):
        decoded(Decimal, b'{"field":"%s"}' % value.encode())


@pytest.mark.parametrize(
    ("type_", "value", "iso", "ksql"),
    [
        (datetime, LAST, '"9999-12-31T23:59:59.999999Z"', "253402300799999"),
        (datetime, datetime.min.replace(tzinfo=UTC), '"0001-01-01T00:00:00Z"', "-62135596800000"),
        (datetime, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), '"1969-12-31T23:59:59.999999Z"', "-1"),
        (MICROSECONDS, datetime(1970, 1, 1, 0, 0, 1, 2, UTC), "1000002", "1000002"),
        (date, date.min, '"0001-01-01"', "-719162"),
        (DAYS, date.min, "-719162", "-719162"),
        (DATE, date(2024, 2, 1), '"01.02.2024"', '"01.02.2024"'),
        (PRICE, Decimal("1E+2"), '"100.00"', "100.00"),
        (PRICE, Decimal("-0.5"), '"-0.50"', "-0.50"),
        (Annotated[Decimal, Precision(38, 0)], Decimal(10**37 + 1), f'"{10**37 + 1}"', f"{10**37 + 1}"),
        (float, 5e-324, "5e-324", "5e-324"),
        (float, 3, "3.0", "3.0"),
        (dict[date, int], {date.max: 1}, '{"9999-12-31":1}', '{"9999-12-31":1}'),
        (dict[int, int], {-5: 1}, '{"-5":1}', '{"-5":1}'),
        (str, '"\\\x00é\U0001f600', r'"\"\\\u0000é😀"', r'"\"\\\u0000é😀"'),
    ],
)  # fmt: skip
def test_json_text(type_: Any, value: Any, iso: str, ksql: str) -> None:
    assert encoded(type_, value) == f'{{"field":{iso}}}'
    assert encoded(type_, value, **KSQL) == f'{{"FIELD":{ksql}}}'
    assert decoded(type_, f'{{"field":{iso}}}'.encode()) == value
    assert json.loads(iso) is not None


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Decimal, "1.10", Decimal("1.10")),  # digit by digit, not through a float
        (Decimal, "123456789012345678901234.123456789", Decimal("123456789012345678901234.123456789")),
        (Decimal, "1E+3", Decimal("1E+3")),
        (PRICE, "1.5", Decimal("1.50")),
        (PRICE, "7", Decimal("7.00")),
        (float, "1", 1.0),
        (Annotated[float, Float32], "0.1", 0.10000000149011612),
        (datetime, '"2024-01-01 02:00:00.5+02:00"', datetime(2024, 1, 1, 0, 0, 0, 500_000, UTC)),
        (ZONED, '"2024-01-01T02:00+02:00"', datetime(2024, 1, 1, tzinfo=UTC)),
        (Annotated[str, MaxLength(2)], '"abc"', "abc"),
    ],
)  # fmt: skip
def test_what_else_json_may_have(type_: Any, text: str, value: Any) -> None:
    found = decoded(type_, f'{{"field":{text}}}'.encode())
    assert (repr(found), type(found)) == (repr(value), type(value))


@pytest.mark.parametrize(
    ("type_", "text", "message"),
    [
        (int, "9223372036854775808", "<= 9223372036854775807"),
        (int, "-9223372036854775809", ">= -9223372036854775808"),
        (int, "18446744073709551615", "<= 9223372036854775807"),
        (int, "1.0", "Expected `int`, got `float`"),
        (Annotated[int, Int32], "2147483648", "<= 2147483647"),
        (Annotated[float, Float32], "1e39", "expected float of 32 bits"),
        (float, "1e999", "out of range"),
        (float, '"NaN"', "got `str`: 'NaN'"),
        (float, "null", "got `null`"),
        (PRICE, "1.005", "at most 9 digits"),
        (Decimal, '"x"', "Invalid decimal"),
        (datetime, '"2024-01-01T00:00:00"', "timezone"),
        (datetime, '"9999-12-31T23:59:59.999999-05:00"', "years 1 to 9999 in UTC"),
        (datetime, '"0001-01-01T00:00:00+05:00"', "years 1 to 9999 in UTC"),
        (datetime, "0", "got `int`: 0"),
        (DATE, '"2024-02-01"', "expected date as '%d.%m.%Y', got '2024-02-01'"),
        (Annotated[date, Format("%d.%m.%Y %H")], '"01.02.2024 03"', "without a time of day"),
        (DAYS, "2932897", "<= 2932896"),
        (DAY, '"01.02.2024"', "expected datetime as '%Y-%m-%d', got '01.02.2024'"),
        (Annotated[datetime, Format("epoch_s")], "253402300800", "<= 253402300799"),
        (bytes, '"AP8"', "base64"),
        (dict[int, int], '{"x":1}', "a key of the map"),
        (list[dict[str, DAY]], '[{},{"a":"?"}]', "Made.field[1]['a']: expected datetime"),
    ],
)
def test_what_is_not_read(type_: Any, text: str, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoded(type_, f'{{"field":{text}}}'.encode())
    assert str(caught.value).startswith("Made.field")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b'{"field":"\\ud800"}', b'{"field":"\xff"}', b"{} {}"]
)
def test_bytes_that_are_no_json(payload: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^Made"):
        decoded(str, payload)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_foreign_bytes_give_an_entity_or_a_decode_error(payload: bytes) -> None:
    made, cls = codec(("text", str | None), ("at", datetime), ("price", PRICE | None))
    for body in (payload, b'{"text":' + payload + b"}", b'{"at":"' + payload + b'"}'):
        with suppress(DecodeError):
            assert isinstance(made.decode(made.encode_key((1,)), body), cls)


def test_a_threads_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.traps[InvalidOperation] = False
        context.prec = 2
        assert encoded(PRICE, Decimal("1234.5")) == '{"field":"1234.50"}'
        assert decoded(PRICE, b'{"field":1234.5}') == Decimal("1234.50")
        with pytest.raises(DecodeError, match="finite"):
            decoded(Decimal, b'{"field":"x"}')


@dataclass
class Part:
    size: Annotated[int, Name("Size"), Alias("old_size", "older_size")]


@dataclass
class Named:
    id: Annotated[int, Key, Name("ID")]
    price: Annotated[Decimal, Precision(9, 2), Name("PRICE"), Alias("amount", "cost")]
    part: Part
    note: Annotated[str, Alias("comment")] = "none"
    cache: Annotated[list[int], Ignored(reason="made here")] = field(default_factory=list)


NAMED: dict[str, Any] = {"PRICE": "1.50", "part": {"Size": 3}, "note": "n"}


@pytest.mark.parametrize("value_format", PACKS)
def test_names_in_records(value_format: str) -> None:
    hints = get_type_hints(Named, include_extras=True)
    cls: Any = make_dataclass("Copy", [(one.name, hints[one.name], one) for one in fields(Named)])
    made: EntityCodec[Any] = EntityCodec(model_of(entity(cls, topic="t", value_format=value_format)))
    pack, key = PACKS[value_format], made.encode_key((7,))
    one = cls(7, Decimal("1.5"), Part(3), "n", [9])
    assert made.encode(one) == (key, pack(NAMED))
    assert made.decode(key, pack(NAMED)) == normalise(one) == cls(7, Decimal("1.50"), Part(3), "n", [])

    def price(**carried: Any) -> Any:
        return made.decode(key, pack({"part": {"Size": 3}} | carried)).price

    assert [price(cost="1"), price(cost="1", amount="2"), price(cost="1", PRICE="3", amount="2")] == [1, 2, 3]
    assert made.decode(key, pack({"PRICE": "1", "part": {"older_size": 4}, "comment": "c"})).part == Part(4)
    assert made.decode(key, pack({"PRICE": "1", "part": {"Size": 4}, "comment": "c"})).note == "c"
    assert made.decode(key, pack({"PRICE": "1", "part": {"Size": 4}})).note == "none"

    assert made.key_mismatches == 0
    made.decode(key, pack(NAMED | {"ID": 7}))
    assert made.key_mismatches == 0
    made.decode(key, pack(NAMED | {"ID": "x"}))
    made.decode(key, pack(NAMED | {"ID": 8}))
    assert made.key_mismatches == 2

    refused: list[tuple[dict[str, Any], str]] = [
        ({"PRICE": []}, r"Copy\.price: .*declared Decimal"),
        ({"part": {"Size": "x"}}, r"Copy\.part\.size: .*'x'"),
        ({"part": {}}, r"Copy\.part\.size: missing"),
        ({"part": {"old_size": "x"}}, r"Copy\.part\.size: .*'x'"),
    ]
    for change, message in refused:
        with pytest.raises(DecodeError, match=message):
            made.decode(key, pack(NAMED | change))
    with pytest.raises(DecodeError, match=r"Copy\.price: missing"):
        made.decode(key, pack({"part": {"Size": 1}}))


def test_a_key_field_in_the_value_is_compared_as_exactly_as_the_value_keeps_it() -> None:
    declared = make_dataclass("Tick", [("at", Annotated[datetime, Key]), ("number", Annotated[int, Key])])
    made: EntityCodec[Any] = EntityCodec(model_of(entity(declared, topic="t", **KSQL)))
    tick = declared(datetime(1970, 1, 1, 0, 0, 1, 234_567, UTC), 7)
    key = made.encode_key((tick.at, tick.number))
    assert made.decode(key, b'{"AT":1234,"NUMBER":7}') == tick
    assert made.key_mismatches == 0
    assert made.decode(key, b'{"AT":1235}') == tick
    assert made.key_mismatches == 1
    assert made.decode(key, b'{"AT":1234,"NUMBER":8}') == tick
    assert made.key_mismatches == 2


def test_columns_of_ksqldb_are_in_upper_case() -> None:
    made, cls = codec(
        ("shop_name", str), ("Nested", Part | None), ("kept", Annotated[int, Name("asIs")]), **KSQL
    )  # fmt: skip
    key, payload = made.encode(cls(id=1, shop_name="s", Nested=Part(2), kept=3))
    assert payload == b'{"SHOP_NAME":"s","NESTED":{"Size":2},"asIs":3}'
    for carried in (
        b'{"shop_name":"s","nested":{"size":2},"asis":3}',
        b'{"SHOP_NAME":"s","nested":{"OLD_SIZE":2},"ASIS":3,"ID":1,"OTHER":null}',
    ):
        assert made.decode(key, carried) == cls(id=1, shop_name="s", Nested=Part(2), kept=3)
    assert made.key_mismatches == 0
    made.decode(key, b'{"shop_name":"s","nested":null,"asis":3,"id":2}')
    assert made.key_mismatches == 1


@pytest.mark.parametrize("value_format", PACKS)
def test_longer_than_max_length_is_read_and_counted(value_format: str) -> None:
    made, _ = codec(
        ("text", Annotated[str, MaxLength(2)]),
        ("maybe", Annotated[bytes | None, MaxLength(2)], None),
        (
            "items",
            dict[Annotated[str, MaxLength(2)], list[Annotated[str, MaxLength(2)]]],
            field(default_factory=dict),
        ),
        value_format=value_format,
    )
    pack, key = PACKS[value_format], made.encode_key((1,))
    assert made.decode(key, pack({"text": "éé"})).text == "éé"
    assert made.overlong == 0
    assert made.decode(key, pack({"text": "abc"})).text == "abc"
    assert made.overlong == 1
    made.decode(key, pack({"text": "ab", "items": {"kkk": ["aa", "bbb", "ccc"]}}))
    assert made.overlong == 4


def test_narrow_keys() -> None:
    @entity(topic="t")
    @dataclass
    class Small:
        code: Annotated[str, Key, MaxLength(2)]
        number: Annotated[int, Key, Int32]

    made: EntityCodec[Small] = EntityCodec(model_of(Small))
    assert made.decode(*made.encode(Small("ab", 1))) == Small("ab", 1)
    for bad, message in [
        (Small("abc", 1), r"Small\.code: has 3"),
        (Small("a", 2**31), r"Small\.number: .*32 bits"),
    ]:
        with pytest.raises(EncodeError, match=message):
            made.encode(bad)
    assert made.decode(made.encode_key(("abc", 1)), msgpack.packb({})) == Small("abc", 1)
    assert made.overlong == 1


def test_raw_values() -> None:
    made, cls = codec(("body", Annotated[bytes, MaxLength(3)]), value_format="raw")
    assert made.encode(cls(id=1, body=b"\x00\xff"))[1] == b"\x00\xff"
    assert made.decode(made.encode_key((1,)), b"\x00\xff") == cls(id=1, body=b"\x00\xff")
    assert made.decode(made.encode_key((1,)), b"long") == cls(id=1, body=b"long")
    assert made.overlong == 1
    assert normalise(cls(id=1, body=b"")) == cls(id=1, body=b"")
    for bad, message in [(b"long", "has 4 bytes"), ("x", "expected bytes"), (None, "expected bytes")]:
        with pytest.raises(EncodeError, match=rf"Made\.body: {message}"):
            made.encode(cls(id=1, body=bad))
    with pytest.raises(EncodeError, match="expected Made"):
        made.encode(Part(1))


@pytest.mark.parametrize("fields", [(), (("a", str),), (("a", bytes), ("b", bytes)), (("a", bytes | None),)])
def test_raw_values_are_one_field_of_bytes(fields: Any) -> None:
    with pytest.raises(ConfigError, match=r'Made: value_format="raw" takes one field of bytes'):
        codec(*fields, value_format="raw")


def test_a_format_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"Made: value_format='yaml' is not known; installed: .*json, .*msgpack, raw"
    ):
        codec(value_format="yaml")


@pytest.mark.parametrize("type_", [Decimal, Annotated[Decimal, Precision(39, 2)], dict[str, list[Decimal]]])
def test_a_decimal_of_ksqldb_has_a_precision(type_: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"Made\.field: a DECIMAL of ksqlDB needs a precision of at most 38 digits"
    ):
        codec(("field", type_), **KSQL)


def test_normal_entities_are_made_by_the_class() -> None:
    def refuse(one: Any) -> None:
        if one.size < 0:
            raise ValueError("negative")

    cls: Any = make_dataclass(
        "Checked", [("id", Annotated[int, Key]), ("size", int)], namespace={"__post_init__": refuse}
    )
    assert normalise(entity(cls, topic="t")(1, 2)) == cls(1, 2)
    with pytest.raises(ConfigError, match="not declared as an entity"):
        normalise(Part(1))
