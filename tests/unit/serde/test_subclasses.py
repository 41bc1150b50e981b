"""Instances of subclasses of the fields' types: stored as their base, or refused where that loses something.

The classes here have the shape of what other libraries bring: ``pandas.Timestamp`` and ``NaT`` are datetimes,
NumPy's ``str_``, ``bytes_`` and ``float64`` are subclasses of Python's types, its integers are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from statestore import EncodeError, Key, entity, normalise
from statestore.entity import model_of
from statestore.fields.attributes import Float32, Format, Int32, MaxLength, Precision
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
CONTEXT = FormatContext(RegistrySettings(url="mock://subclasses"))
FORMATS: list[dict[str, Any]] = [
    {"value_format": "msgpack"},
    {"value_format": "json", "key_format": "json"},
    {"value_format": "avro", "key_format": "avro"},
    {"value_format": "json", "key_format": "json", "ksql": True},
]


class Nanoseconds(datetime):
    """A datetime with more than microseconds, as ``pandas.Timestamp``."""

    nanosecond = 0

    def __eq__(self, other: object) -> bool:
        mine = getattr(other, "nanosecond", 0) == self.nanosecond
        return mine and datetime.__eq__(self, other)

    __hash__ = datetime.__hash__


class NotATime(datetime):
    """What stands for a missing time, as ``pandas.NaT``: no field of it means anything."""

    def utcoffset(self) -> Any:
        raise ValueError("NaTType does not support utcoffset")

    def astimezone(self, tz: Any = None) -> Any:
        raise ValueError("NaTType does not support astimezone")

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.__hash__


def nanoseconds(count: int) -> Nanoseconds:
    moment = Nanoseconds(2024, 5, 6, 12, tzinfo=UTC)
    moment.nanosecond = count
    return moment


class Money(int):
    """An int with a currency, by which it is told apart."""

    currency = "EUR"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.currency == other.currency and int(self) == int(other)

    __hash__ = int.__hash__


class Lying(int):
    def __int__(self) -> int:
        return 99

    def __index__(self) -> int:
        return 99

    def __str__(self) -> str:
        return "99"


class Shouting(str):
    def __str__(self) -> str:
        return self.upper()

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"SHOUTED"

    def isascii(self) -> bool:
        return True


class Tagged(str):
    """A str with a tag, by which it is told apart."""

    tag = "x"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged) and str.__eq__(self, other)

    __hash__ = str.__hash__


class Blob(bytes):
    def __bytes__(self) -> bytes:
        return b"other"


class Raising(bytes):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = bytes.__hash__


class Side(StrEnum):
    BUY = "buy"


class Old(str, Enum):  # noqa: UP042 - the older way
    BUY = "buy"


class Level(IntEnum):
    HIGH = 3


class Flags(IntFlag):
    A = 1
    B = 2


class Plain(Enum):
    ONE = 1


class Float(float):
    pass


class Amount(Decimal):
    pass


class Unit(Decimal):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unit) and Decimal.__eq__(self, other)

    __hash__ = Decimal.__hash__


class Day(date):
    pass


class Fiscal(date):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fiscal) and date.__eq__(self, other)

    __hash__ = date.__hash__


class Id(UUID):
    pass


TAKEN: list[tuple[Any, Any, Any]] = [
    (int, Level.HIGH, 3),
    (int, Flags.A | Flags.B, 3),
    (int, Lying(5), 5),
    (Annotated[int, Int32], Level.HIGH, 3),
    (str, Side.BUY, "buy"),
    (str, Old.BUY, "buy"),
    (str, Shouting("low"), "low"),
    (Annotated[str, MaxLength(3)], Side.BUY, "buy"),
    (bytes, Blob(b"x"), b"x"),
    (datetime, nanoseconds(0), NOON),
    (date, Day(2024, 1, 1), date(2024, 1, 1)),
    (UUID, Id(int=5), UUID(int=5)),
]
TAKEN_AS_VALUES: list[tuple[Any, Any, Any]] = [
    (float, Float(0.5), 0.5),
    (float, Level.HIGH, 3.0),
    (Annotated[float, Float32], Float(0.5), 0.5),
    (Annotated[Decimal, Precision(9, 2)], Amount("1.5"), Decimal("1.50")),
    (Annotated[datetime, Format("epoch_ms")], nanoseconds(0), NOON),
]
REFUSED: list[tuple[Any, Any]] = [
    (int, Money(5)),
    (int, True),
    (int, Plain.ONE),
    (str, Tagged("x")),
    (str, Plain.ONE),
    (bytes, Raising(b"x")),
    (bytes, bytearray(b"x")),
    (datetime, nanoseconds(1)),
    (datetime, NotATime(1, 1, 1)),
    (datetime, NotATime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
    (date, Fiscal(2024, 1, 1)),
    (date, nanoseconds(0)),
    (date, NotATime(1, 1, 1)),
]
REFUSED_AS_VALUES: list[tuple[Any, Any]] = [
    (bool, Level.HIGH),
    (float, True),
    (float, Money(5)),
    (Annotated[Decimal, Precision(9, 2)], Unit("1.5")),
    (Annotated[Decimal, Precision(9, 2)], 1),
    (Annotated[datetime, Format("%Y-%m-%d")], NotATime(1, 1, 1)),
]


def of_key(annotation: Any, **formats: Any) -> Any:
    cls = make_dataclass("Row", [("field", Annotated[annotation, Key]), ("other", int)])
    return entity(cls, topic="rows", **formats), lambda value: cls(value, 0)


def of_value(annotation: Any, **formats: Any) -> Any:
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", annotation)])
    return entity(cls, topic="rows", **formats), lambda value: cls(1, value)


def of_optional(annotation: Any, **formats: Any) -> Any:
    return of_value(annotation | None if isinstance(annotation, type) else annotation, **formats)


def of_list(annotation: Any, **formats: Any) -> Any:
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", list[annotation])])
    return entity(cls, topic="rows", **formats), lambda value: cls(1, [value])


def of_dict(annotation: Any, **formats: Any) -> Any:
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", dict[str, annotation])])
    return entity(cls, topic="rows", **formats), lambda value: cls(1, {"a": value})


def of_nested(annotation: Any, **formats: Any) -> Any:
    inner = make_dataclass("Inner", [("part", annotation)])
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", inner)])
    return entity(cls, topic="rows", **formats), lambda value: cls(1, inner(value))


Made = Callable[..., tuple[type, Callable[[Any], Any]]]
VALUES = [of_value, of_optional, of_list, of_dict, of_nested]


@pytest.mark.parametrize("formats", FORMATS, ids=str)
@pytest.mark.parametrize("made", [of_key, *VALUES])
def test_an_instance_equal_to_its_base_is_stored_as_its_base(made: Made, formats: dict[str, Any]) -> None:
    for annotation, value, base in [*TAKEN, *([] if made is of_key else TAKEN_AS_VALUES)]:
        if made is of_key and formats.get("key_format") == "avro" and annotation is UUID:
            continue
        cls, row = made(annotation, **formats)
        codec: EntityCodec[Any] = EntityCodec(model_of(cls), CONTEXT)
        assert codec.encode(row(value)) == codec.encode(row(base))
        back = codec.decode(*codec.encode(row(value)))
        assert back == normalise(row(value)) == row(base)
        assert type(normalise(row(value)).field) is type(row(base).field)


@pytest.mark.parametrize("formats", FORMATS, ids=str)
@pytest.mark.parametrize("made", [of_key, *VALUES])
def test_an_instance_that_holds_more_is_refused_by_the_name_of_its_field(
    made: Made, formats: dict[str, Any]
) -> None:
    for annotation, value in [*REFUSED, *([] if made is of_key else REFUSED_AS_VALUES)]:
        cls, row = made(annotation, **formats)
        codec: EntityCodec[Any] = EntityCodec(model_of(cls), CONTEXT)
        with pytest.raises(EncodeError, match=r"Row\.field"):
            codec.encode(row(value))
        with pytest.raises(EncodeError, match=r"Row\.field"):
            normalise(row(value))


@pytest.mark.parametrize("key_format", ["ordered", "kafka", "raw", "json", "avro"])
def test_keys_to_look_up_and_bounds_are_checked_likewise(key_format: str) -> None:
    for annotation, value in REFUSED:
        if annotation in (date, datetime) and key_format == "kafka":
            continue
        if annotation is not bytes and key_format == "raw":
            continue
        cls, _ = of_key(annotation, key_format=key_format)
        codec: EntityCodec[Any] = EntityCodec(model_of(cls), CONTEXT)
        for ask in (codec.encode_key, codec.key_encodings, codec.key_plan):
            with pytest.raises(EncodeError, match=r"Row\.field"):
                ask((value,))


def test_keys_of_a_dict_are_checked_likewise() -> None:
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("field", dict[datetime, int])])
    entity(cls, topic="rows")
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    with pytest.raises(EncodeError, match=r"Row\.field\["):
        codec.encode(cls(1, {nanoseconds(1): 1}))
    assert codec.encode(cls(1, {nanoseconds(0): 1})) == codec.encode(cls(1, {NOON: 1}))


@pytest.mark.parametrize("formats", FORMATS, ids=str)
@pytest.mark.parametrize("text", ["-0", "-0.00", "-0E+2"])
def test_no_format_holds_a_negative_zero(formats: dict[str, Any], text: str) -> None:
    fixed = Annotated[Decimal, Precision(9, 2)]
    free = [] if formats["value_format"] == "avro" or "ksql" in formats else [("free", Decimal)]
    cls = make_dataclass("Row", [("id", Annotated[int, Key]), ("fixed", fixed), *free])
    entity(cls, topic="rows", **formats)
    codec: EntityCodec[Any] = EntityCodec(model_of(cls), CONTEXT)
    row = cls(1, *[Decimal(text)] * (1 + len(free)))
    assert codec.encode(row) == codec.encode(cls(1, *[Decimal(text[1:])] * (1 + len(free))))
    assert repr(codec.decode(*codec.encode(row))) == repr(normalise(row))
    assert "-" not in repr(normalise(row))


@pytest.mark.parametrize("form", ["msgpack", "json"])
@pytest.mark.parametrize("native", [True, False])
def test_no_format_reads_a_negative_zero_that_others_wrote(form: str, native: bool) -> None:
    cls = make_dataclass(
        "Row",
        [("id", Annotated[int, Key]), ("fixed", Annotated[Decimal, Precision(9, 2)]), ("free", Decimal)],
    )
    codec: EntityCodec[Any] = EntityCodec(model_of(entity(cls, topic="rows", value_format=form)))
    if not native:
        codec.decoder = None
    write = msgspec.msgpack.encode if form == "msgpack" else msgspec.json.encode
    for fixed, free in (("-0.00", "-0"), ("-0", "-0.000"), ("-0.0", "-0E+2"), ("-0.50", "-0.1")):
        row = codec.decode(codec.encode_key((1,)), write({"fixed": fixed, "free": free}))
        wanted = normalise(cls(1, Decimal(fixed), Decimal(free)))
        assert repr(row) == repr(wanted)
        assert ("-" in repr(row)) == bool(wanted.fixed)
