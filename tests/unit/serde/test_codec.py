"""Entities to bytes and back. ``msgpack``, another library, writes and reads what the codec did not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import InitVar, dataclass, field, make_dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation, localcontext
from enum import IntEnum, StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore.entity import Key, entity, model_of
from statestore.errors import ConfigError, DecodeError, EncodeError
from statestore.serde.entities import EntityCodec

TOKEN = UUID(int=7)


@dataclass(frozen=True)
class Address:
    street: str
    number: int | None = None
    tags: list[str] = field(default_factory=list)


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    shop: Annotated[str, Key]
    order_id: Annotated[int, Key]
    amount: Decimal
    placed: datetime
    address: Address
    parts: dict[str, list[date]] = field(default_factory=dict)
    ratio: float = 1.0
    token: UUID = TOKEN
    paid: datetime | None = None
    fee: Decimal = Decimal("0.50")


NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
ORDER = Order("eu", 42, Decimal("1.50"), NOON, Address("Main St", 5, ["a"]), {"x": [date(2024, 1, 1)]})


@pytest.fixture
def orders() -> EntityCodec[Order]:
    return EntityCodec(model_of(Order))


def codec(**types: Any) -> tuple[EntityCodec[Any], Any]:
    """Return codec and class of an entity with an int key ``id`` and fields of ``types``."""
    cls = make_dataclass("Made", [("id", Annotated[int, Key]), *types.items()])
    return EntityCodec(model_of(entity(cls, topic="t"))), cls


def test_the_value_is_a_map_by_name_without_the_key_fields(orders: EntityCodec[Order]) -> None:
    key, payload = orders.encode(ORDER)
    assert key == orders.encode_key(("eu", 42))
    assert orders.key_plan(prefix=("eu",)).ranges == [(None, None, key[:-8])]
    assert not orders.encode_key(("eux", 42)).startswith(key[:-8])
    assert msgpack.unpackb(payload) == {
        "amount": "1.50",
        "placed": 1714996800000000,
        "address": {"street": "Main St", "number": 5, "tags": ["a"]},
        "parts": {"x": [19723]},
        "ratio": 1.0,
        "token": UUID(int=7).bytes,
        "paid": None,
        "fee": "0.50",
    }
    assert orders.decode(key, payload) == ORDER


def test_missing_fields_take_the_default_and_unknown_ones_are_ignored(orders: EntityCodec[Order]) -> None:
    old = {"amount": "1", "placed": 0, "address": {"street": "s", "gone": 1}, "removed": [{"x": None}]}
    found = orders.decode(orders.encode_key(("eu", 1)), msgpack.packb(old))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found == Order("eu", 1, Decimal(1), epoch, Address("s"))
    assert orders.decode(orders.encode_key(("eu", 1)), msgpack.packb(old)).parts is not found.parts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"amount": 5},
            r"Order\.amount: Expected `str`, got `int`: 5 \(declared Decimal, key \('eu', 42\)\)",
        ),
        ({"amount": "x"}, r"Order\.amount: .*text of a Decimal.*'x'"),
        ({"placed": "2024"}, r"Order\.placed: .*got `str`: '2024' \(declared datetime"),
        ({"placed": 2**62}, r"Order\.placed: .*declared datetime"),
        ({"address": {}}, r"Order\.address\.street: missing"),
        ({"address": {"street": "s", "number": True}}, r"Order\.address\.number: .*got `bool`: True"),
        ({"address": {"street": "s", "tags": ["a", 3]}}, r"Order\.address\.tags\[1\]: .*got `int`: 3"),
        ({"address": None}, r"Order\.address: .*got `None`: None \(declared Address"),
        ({"parts": {"x": [1, "2"]}}, r"Order\.parts.*got `str`: \{'x': \[1, '2'\]\}"),
        ({"parts": {1: []}}, r"Order\.parts: a key of the map: Expected `str`, got `int`"),
        ({"ratio": True}, r"Order\.ratio: Expected `float`, got `bool`: True"),
        ({"token": b"short"}, r"Order\.token: .*b'short' \(declared UUID"),
        ({"paid": 1.0}, r"Order\.paid: .*got `float`: 1\.0 \(declared datetime \| None"),
        ({"amount": "1" * 5000 + "x"}, r"Order\.amount: .{0,300}$"),
    ],
)
def test_a_value_of_another_type_is_named(change: Any, message: str, orders: EntityCodec[Order]) -> None:
    key, payload = orders.encode(ORDER)
    with pytest.raises(DecodeError, match=message):
        orders.decode(key, msgpack.packb(msgpack.unpackb(payload) | change))


def test_a_missing_field_without_default_is_named(orders: EntityCodec[Order]) -> None:
    key, _ = orders.encode(ORDER)
    with pytest.raises(DecodeError, match=r"Order\.amount: missing"):
        orders.decode(key, msgpack.packb({}))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x05",
        b"\xc0",
        b"\x81\xa1a",
        b"\x80\x00",
        b"\x81\xa1z\xa1\xff",
        b"\x81\xa1z" + b"\x91" * 9999,
    ],
)
def test_bytes_that_are_no_map(payload: bytes, orders: EntityCodec[Order]) -> None:
    with pytest.raises(DecodeError, match=r"^Order"):
        orders.decode(orders.encode_key(("eu", 1)), payload)


def test_bytes_that_are_no_key(orders: EntityCodec[Order]) -> None:
    with pytest.raises(DecodeError, match=r"^Order: not a key of \(shop, order_id\)"):
        orders.decode(b"eu", orders.encode(ORDER)[1])


@given(st.binary(max_size=40))
def test_foreign_bytes_give_an_entity_or_a_decode_error(payload: bytes) -> None:
    text, cls = codec(text=str | None, at=datetime | None)
    with suppress(DecodeError):
        assert isinstance(text.decode(text.encode_key((1,)), payload), cls)


def test_the_key_wins_over_a_key_field_in_the_value(orders: EntityCodec[Order]) -> None:
    key, payload = orders.encode(ORDER)
    fields = msgpack.unpackb(payload)
    for carried, mismatches in [
        ({"shop": "eu", "order_id": 42}, 0),
        ({"order_id": 43}, 1),
        ({"shop": 1, "order_id": "42"}, 3),  # of another type: not the key's value either
    ]:
        assert orders.decode(key, msgpack.packb(fields | carried)) == ORDER
        assert orders.key_mismatches == mismatches


def test_key_fields_are_compared_as_values() -> None:
    made = make_dataclass("Made", [("at", Annotated[datetime, Key]), ("id", Annotated[UUID, Key])])
    times: EntityCodec[Any] = EntityCodec(model_of(entity(made, topic="t")))
    key = times.encode_key((NOON.astimezone(timezone(timedelta(hours=5))), UUID(int=1)))
    carried = {"at": 1714996800000000, "id": UUID(int=1).bytes}
    assert times.decode(key, msgpack.packb(carried)) == made(NOON, UUID(int=1))
    assert times.key_mismatches == 0


class Size(IntEnum):
    BIG = 3


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (int, True, "Made.field: expected int, got True"),
        (int, 1.0, "Made.field: expected int, got 1.0"),
        (int, 2**63, "Made.field: expected int of 64 bits, got 9223372036854775808"),
        (int, -(2**63) - 1, "of 64 bits"),
        (int, None, "Made.field: expected int, got None"),
        (bool, 1, "Made.field: expected bool, got 1"),
        (float, True, "expected float, got True"),
        (float, 2**53 + 1, "Made.field: expected float"),
        (float, 10**400, "Made.field: expected float"),
        (Decimal, 1, "Made.field: expected Decimal, got 1"),
        (str, b"x", "expected str, got b"),
        (str, "\udc80", "surrogates"),
        pytest.param(str, 10**5000, "Made.field: expected str, got <int of 16610 bits>", id="unprintable"),
        (bytes, "x", "expected bytes, got '"),
        (bytes, bytearray(b"x"), "expected bytes, got bytearray"),
        (datetime, datetime(2024, 1, 1), "expected datetime with a time zone"),
        (datetime, date(2024, 1, 1), "expected datetime, got datetime.date("),
        (datetime, datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "years 1 to 9999"),
        (date, NOON, "expected date, got datetime.datetime("),
        (UUID, str(UUID(int=1)), "expected UUID, got '"),
        (list[int], (1,), "expected list, got ("),
        (list[int], [1, "2"], "Made.field[1]: expected int, got '2'"),
        (dict[str, Address], {"a": Address("s", "5")}, "Made.field['a'].number: expected int, got '5'"),  # type: ignore[arg-type]
        (dict[str, int], {1: 1}, "Made.field[1]: expected str, got 1"),
        (Address, {"street": "s"}, "Made.field: expected Address, got {"),
        (str, "x" * 5000 + "\udc80", "Made.field: expected str"),
    ],
)
def test_what_does_not_fit_is_not_written(type_: Any, value: Any, message: str) -> None:
    made, cls = codec(field=type_)
    with pytest.raises(EncodeError) as caught:
        made.encode(cls(1, value))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("type_", "value", "comes_back"),
    [
        (float, 3, 3.0),
        (int, Size.BIG, 3),
        (str, Colour.RED, "red"),
        (int, -(2**63), -(2**63)),
        (Decimal, Decimal("1E+3"), Decimal("1E+3")),
        (Decimal, Decimal("-Infinity"), Decimal("-Infinity")),
        (float, float("inf"), float("inf")),
        (datetime, datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (datetime, datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        (date, date.max, date.max),
        (date, date.min, date.min),
        (UUID | None, UUID(int=3), UUID(int=3)),
        (dict[UUID, date], {UUID(int=3): date.min}, {UUID(int=3): date.min}),
        (list[list[int]], [[], [1]], [[], [1]]),
    ],
)
def test_what_comes_back(type_: Any, value: Any, comes_back: Any) -> None:
    made, cls = codec(field=type_)
    found = made.decode(*made.encode(cls(1, value))).field
    assert found == comes_back
    assert type(found) is type(comes_back)
    assert str(found) == str(comes_back)


def test_another_time_zone_is_the_same_time_in_utc() -> None:
    made, cls = codec(at=datetime)
    there = NOON.astimezone(timezone(timedelta(hours=-7)))
    found = made.decode(*made.encode(cls(1, there))).at
    assert found == NOON
    assert found.tzinfo is UTC


def test_a_subclass_of_the_entity_is_not_written(orders: EntityCodec[Order]) -> None:
    @dataclass(frozen=True)
    class Special(Order):
        more: int = 0

    special = Special("eu", 1, Decimal(1), NOON, Address("s"))
    with pytest.raises(EncodeError, match=r"expected Order, got .*Special"):
        orders.encode(special)


def test_keys_that_do_not_fit(orders: EntityCodec[Order]) -> None:
    calls: list[tuple[Callable[[tuple[Any, ...]], object], tuple[Any, ...], str]] = [
        (orders.encode_key, ("eu", "42"), r"Order\.order_id: expected int, got '42'"),
        (orders.encode_key, ("eu",), r"Order \(shop, order_id\)"),
        (orders.encode_key, ("eu", 1, 2), r"Order \(shop, order_id\)"),
        (orders.key_plan, (1,), r"Order\.shop: expected str"),
        (orders.key_plan, ("eu", 1, 2), r"Order \(shop, order_id\)"),
    ]
    for call, values, message in calls:
        with pytest.raises(EncodeError, match=message):
            call(values)
    with pytest.raises(EncodeError, match=r"Order\.order_id: expected int, got True"):
        orders.encode(replace(ORDER, order_id=True))


def test_the_constructor_runs_and_what_it_raises_is_a_decode_error() -> None:
    @entity(topic="t")
    @dataclass(kw_only=True)
    class Checked:
        size: int
        id: Annotated[int, Key]
        double: int = field(init=False)
        scale: InitVar[int] = 2

        def __post_init__(self, scale: int) -> None:
            if self.size < 0:
                raise ValueError("negative size")
            self.double = self.size * scale

    checked: EntityCodec[Checked] = EntityCodec(model_of(Checked))
    assert checked.decode(*checked.encode(Checked(size=4, id=1))).double == 8
    with pytest.raises(DecodeError, match=r"Checked: ValueError: negative size \(key \(1,\)\)"):
        checked.decode(checked.encode_key((1,)), msgpack.packb({"size": -1}))


def test_a_bad_decimal_is_an_error_whatever_the_threads_decimal_context_says() -> None:
    made, _ = codec(amount=Decimal)
    with localcontext() as context:
        context.traps[InvalidOperation] = False
        context.prec = 2
        with pytest.raises(DecodeError, match="Decimal"):
            made.decode(made.encode_key((1,)), msgpack.packb({"amount": "x"}))
        assert made.decode(made.encode_key((1,)), msgpack.packb({"amount": "1.2345"})).amount == Decimal(
            "1.2345"
        )


def test_the_keys_of_a_stream_without_any_are_passed_over() -> None:
    @dataclass
    class Keyless:
        text: str

    codec: EntityCodec[Keyless] = EntityCodec(model_of(entity(Keyless, topic="t")))
    key, payload = codec.encode(Keyless("a"))
    assert key == b""
    for found in (b"", b"\x00whatever it is"):
        assert codec.decode(found, payload) == Keyless("a")


def test_a_class_that_cannot_be_a_table() -> None:
    @dataclass
    class Wrong:
        id: Annotated[int, Key]
        text: str = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match=r"Wrong\.text: its default: expected str, got None"):
        EntityCodec(model_of(entity(Wrong, topic="t")))


def test_many_threads_share_a_codec(orders: EntityCodec[Order]) -> None:
    def work(number: int) -> None:
        for size in range(300):
            order = replace(ORDER, order_id=number, address=Address("s" * size, number))
            key, payload = orders.encode(order)
            fields = msgpack.unpackb(payload) | {"order_id": number + 1}
            assert orders.decode(key, msgpack.packb(fields)) == order

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert orders.key_mismatches == 8 * 300


ZONES = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)
KEYS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(),
    bytes: st.binary(),
    UUID: st.uuids(),
    datetime: TIMES,
    date: st.dates(),
}
SCALARS = KEYS | {
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Decimal: st.decimals(allow_nan=False),
    Address: st.builds(Address, st.text(), st.none() | st.integers(0, 9), st.lists(st.text(max_size=3))),
}


def wrapped(
    pair: tuple[Any, st.SearchStrategy[Any]],
) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    type_, values = pair
    return st.sampled_from(
        [
            (type_ | None, st.none() | values),
            (list[type_], st.lists(values, max_size=3)),  # type: ignore[valid-type]
            *((dict[key, type_], st.dictionaries(keys, values, max_size=3)) for key, keys in KEYS.items()),  # type: ignore[valid-type]
        ]
    )


TYPES = st.recursive(
    st.sampled_from(list(SCALARS.items())), lambda inner: inner.flatmap(wrapped), max_leaves=3
)


def normalised(value: Any) -> Any:
    """Equal values that also print the same: times in UTC, which has no hour twice."""
    match value:
        case datetime():
            return value.astimezone(UTC).replace(fold=0)
        case list():
            return [normalised(item) for item in value]
        case dict():
            return {normalised(key): normalised(item) for key, item in value.items()}
        case _:
            return value


@settings(suppress_health_check=[HealthCheck.too_slow])  # classes are made while drawing
@given(st.data())
def test_every_entity_comes_back(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(list(KEYS.items())), min_size=1, max_size=3))
    values = data.draw(st.lists(TYPES, max_size=3))
    named = [(f"k{index}", Annotated[type_, Key]) for index, (type_, _) in enumerate(keys)]
    named += [(f"v{index}", type_) for index, (type_, _) in enumerate(values)]
    cls = make_dataclass("Made", named, frozen=True)
    made: EntityCodec[Any] = EntityCodec(model_of(entity(cls, topic="t")))
    drawn = [normalised(data.draw(strategy)) for _, strategy in [*keys, *values]]
    one = cls(*drawn)
    again = made.decode(*made.encode(one))
    assert again == one
    assert repr(again) == repr(one)
