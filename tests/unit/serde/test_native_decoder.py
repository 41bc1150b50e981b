"""The native decoder against the codec that judges what it leaves: the same entity or the same error."""

from __future__ import annotations

import dataclasses
import gc
import re
import struct
import sys
from abc import ABC
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import Key, StoreManager, core, entity
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.fields.attributes import Float32, Int16, Int32, MaxLength, Precision
from statestore.fields.types import Scalar
from statestore.serde.entities import EntityCodec
from statestore.serde.native_decoder import only_sets_fields

pytestmark = pytest.mark.skipif(
    core.IMPLEMENTATION == "pure" or not core.uses("decoder"), reason="there is no native decoder here"
)

INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
TIMES = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: INTS,
    float: st.floats(),
    Decimal: st.decimals(),
    str: st.text(max_size=40),
    bytes: st.binary(max_size=300),
    datetime: TIMES,
    date: st.dates(),
    UUID: st.uuids(),
}
NARROWED: dict[Any, tuple[Scalar, st.SearchStrategy[Any]]] = {
    Annotated[int, Int32]: (Scalar(int, is_32_bits=True), st.integers(-(2**31), 2**31 - 1)),
    Annotated[int, Int16]: (Scalar(int, is_16_bits=True), st.integers(-(2**15), 2**15 - 1)),
    Annotated[float, Float32]: (Scalar(float, is_32_bits=True), st.floats(width=32)),
    Annotated[Decimal, Precision(9, 3)]: (
        Scalar(Decimal, precision=Precision(9, 3)),
        st.decimals(-999_999, 999_999, places=3).map(Decimal.normalize),
    ),
    Annotated[Decimal, Precision(2, 0)]: (
        Scalar(Decimal, precision=Precision(2, 0)),
        st.integers(-99, 99).map(Decimal),
    ),
    Annotated[str, MaxLength(3)]: (Scalar(str, max_length=3), st.text("abc", max_size=3)),
    Annotated[bytes, MaxLength(3)]: (Scalar(bytes, max_length=3), st.binary(max_size=3)),
}
TYPES = [*VALUES, *NARROWED]
STRATEGIES = {Scalar(type_): values for type_, values in VALUES.items()} | dict(NARROWED.values())
KEYS = [int, str, bytes, datetime, date, UUID]
SHAPES: list[dict[str, Any]] = [
    {"frozen": True, "slots": True},
    {"frozen": True},
    {"slots": True},
    {},
    {"kw_only": True, "slots": True},
    {"frozen": True, "eq": False, "repr": False, "order": False},
]
DEFAULTED = st.lists(st.sampled_from(TYPES), max_size=2)
MARK = "__post_init__"


def codecs(cls: type) -> tuple[EntityCodec[Any], EntityCodec[Any]]:
    """Return the codec with the decoder, and its twin without."""
    twin: EntityCodec[Any] = EntityCodec(model_of(cls))
    twin.decoder = None
    return EntityCodec(model_of(cls)), twin


def outcome(codec: EntityCodec[Any], key: bytes, payload: bytes) -> tuple[object, ...]:
    """Return all there is to see of what ``decode`` does."""
    try:
        found = codec.decode(key, payload)
    except DecodeError as error:
        return "error", re.sub(r" at 0x\w+", "", str(error)), codec.key_mismatches
    values = [getattr(found, field.name) for field in dataclasses.fields(found)]
    return type(found), [(type(value), repr(value)) for value in values], codec.key_mismatches, codec.overlong


@st.composite
def classes(draw: st.DrawFn) -> type:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    types = draw(st.lists(st.tuples(st.sampled_from(TYPES), st.booleans()), max_size=18))
    fields: list[Any] = [(f"k{i}", Annotated[type_, Key]) for i, type_ in enumerate(keys)]
    fields += [(f"v{i}", type_ | None if nullable else type_) for i, (type_, nullable) in enumerate(types)]
    fields = draw(st.permutations(fields))
    fields += [
        (f"d{i}", type_ | None, dataclasses.field(default=None)) for i, type_ in enumerate(draw(DEFAULTED))
    ]
    shape = draw(st.sampled_from(SHAPES))
    members = {MARK: lambda self: None} if draw(st.integers(0, 4)) == 0 else {}
    made = dataclasses.make_dataclass("Drawn", fields, namespace=members, **shape)
    return entity(made, topic="drawn")


@st.composite
def entities(draw: st.DrawFn) -> Any:
    cls = draw(classes())
    values = {}
    for field in model_of(cls).record_type.fields:
        nullable = hasattr(field.type, "item")
        value = STRATEGIES[field.type.item if nullable else field.type]  # type: ignore[union-attr,index]
        values[field.name] = draw(st.none() | value if nullable else value)
    return cls(**values)


@pytest.mark.slow
@given(entities())
def test_what_we_write_is_decoded_alike(thing: Any) -> None:
    codec, twin = codecs(type(thing))
    key, payload = twin.encode(thing)
    assert outcome(codec, key, payload) == outcome(twin, key, payload)
    if codec.decoder is not None:
        assert codec.decoder.plain == (not hasattr(thing, MARK))
        assert codec.decoder.decode(key, payload) is not None
        del thing
        again = codec.decoder.decode(key, payload)
        gc.collect(1)  # of the young, as these are; a whole one takes longer than all else
        assert outcome(twin, *twin.encode(again)) == outcome(twin, key, payload)
    else:
        assert hasattr(thing, MARK)
        assert model_of(type(thing)).record_type.positional is False


FOREIGN = st.recursive(
    st.none()
    | st.booleans()
    | INTS
    | st.integers(2**63, 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["1.5", "-1.500", "1.5000", "01.500", "1234567.000", "0.001", "-0.000", "-0", "7", "123", ".500"]
    )
    | st.sampled_from(["NaN", "1e5", " 1", "ten", "é", "-", "", "00000000-0000-0000-0000-000000000001"])
    | st.binary(max_size=20)
    | st.just(msgspec.msgpack.Ext(1, b"abc"))
    | st.just(datetime(2020, 1, 1, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.slow
@given(thing=entities(), data=st.data())
def test_other_maps_are_decoded_alike(thing: Any, data: st.DataObject) -> None:
    codec, twin = codecs(type(thing))
    key, payload = twin.encode(thing)
    fields = msgspec.msgpack.decode(payload)
    names = [field.name for field in dataclasses.fields(thing)]
    for name in data.draw(st.lists(st.sampled_from([*names, "other"]), max_size=3)):
        fields[name] = data.draw(FOREIGN)
    for name in data.draw(st.lists(st.sampled_from(list(fields)), max_size=2) if fields else st.just([])):
        fields.pop(name, None)
    if data.draw(st.booleans()):
        fields = {name: fields[name] for name in data.draw(st.permutations(list(fields)))}
    payload = msgspec.msgpack.encode(fields)
    assert outcome(codec, key, payload) == outcome(twin, key, payload)


@given(thing=entities(), data=st.data())
def test_damaged_bytes_are_decoded_alike(thing: Any, data: st.DataObject) -> None:
    codec, twin = codecs(type(thing))
    pair = [bytearray(part) for part in twin.encode(thing)]
    for _ in range(data.draw(st.integers(1, 3))):
        part = pair[data.draw(st.sampled_from([0, 1, 1, 1]))]
        at = data.draw(st.integers(0, len(part)))
        match data.draw(st.sampled_from(["cut", "drop", "insert", "change"])):
            case "cut":
                del part[at:]
            case "drop":
                del part[at : at + 1]
            case "insert":
                part.insert(at, data.draw(st.integers(0, 255)))
            case "change" if at < len(part):
                part[at] = data.draw(st.integers(0, 255))
    key, payload = map(bytes, pair)
    assert outcome(codec, key, payload) == outcome(twin, key, payload)


@entity(topic="wide")
@dataclasses.dataclass(frozen=True, slots=True)
class Wide:
    key: Annotated[str, Key]
    number: int
    ratio: float
    text: str
    data: bytes
    at: datetime
    day: date
    price: Decimal
    uuid: UUID | None
    good: bool


def packed(**changed: bytes) -> bytes:
    """Return a payload of ``Wide`` whose values are written as ``changed`` says."""
    written = {
        "number": b"\x01",
        "ratio": b"\xcb" + struct.pack(">d", 0.5),
        "text": b"\xa1a",
        "data": b"\xc4\x01b",
        "at": b"\x00",
        "day": b"\x00",
        "price": b"\xa11",
        "uuid": b"\xc0",
        "good": b"\xc3",
    } | changed
    return b"\x89" + b"".join(msgspec.msgpack.encode(name) + value for name, value in written.items())


WRITTEN: list[dict[str, bytes]] = [
    *(
        {name: code + number.to_bytes(size, signed=signed)}
        for name in ("number", "at", "day", "ratio")
        for code, size, signed in (
            (b"\xcc", 1, False),
            (b"\xcd", 2, False),
            (b"\xce", 4, False),
            (b"\xcf", 8, False),
            (b"\xd0", 1, True),
            (b"\xd1", 2, True),
            (b"\xd2", 4, True),
            (b"\xd3", 8, True),
        )
        for number in (
            *((-(2 ** (8 * size - 1)), -1) if signed else ()),
            0,
            2 ** (8 * size - 1) - 1,
            *(() if signed else (2 ** (8 * size - 1), 2 ** (8 * size) - 1)),
        )
    ),
    *(
        {name: code + size.to_bytes(width) + data[:size]}
        for name in ("text", "data", "price", "uuid")
        for data in (b"1" * 16, b"\xff" * 16, b"\xed\xa0\x80" + b"1" * 13)
        for size in (0, 1, 2, 15, 16)
        for code, width in (
            (b"\xd9", 1),
            (b"\xda", 2),
            (b"\xdb", 4),
            (b"\xc4", 1),
            (b"\xc5", 2),
            (b"\xc6", 4),
        )
    ),
    {"text": b"\xdb\xff\xff\xff\xffa"},
    {"data": b"\xc6\x80\x00\x00\x00b"},
    {"data": b"\xc6\xff\xff\xff\xffb"},
    {"ratio": b"\xca" + struct.pack(">f", 0.5)},
    {"ratio": b"\xcb" + struct.pack(">Q", 0x7FF8_0000_0000_0001)},
    {"good": b"\xc1"},
    {"good": b"\xc0"},
    {"good": b"\x01"},
    *({"price": msgspec.msgpack.encode(text)} for text in ("sNaN", "-0", "1_0", "\u0661", "1\0", "1" * 5000)),
]


@pytest.mark.parametrize("changed", WRITTEN, ids=str)
def test_each_way_to_write_a_value_is_read_alike(changed: dict[str, bytes]) -> None:
    codec, twin = codecs(Wide)
    payload = packed(**changed)
    assert outcome(codec, b"k", payload) == outcome(twin, b"k", payload)
    for end in range(len(payload)):
        assert outcome(codec, b"k", payload[:end])[0] == "error"


def test_dates_and_instants_at_the_ends_of_their_ranges() -> None:
    codec, twin = codecs(Wide)
    first, last = date.min, date.max
    for day in (first, last):
        for off in (-1, 0, 1):
            payload = packed(day=msgspec.msgpack.encode((day - date(1970, 1, 1)).days + off))
            assert outcome(codec, b"k", payload) == outcome(twin, b"k", payload)
    for instant in (datetime.min, datetime.max):
        for off in (-1, 0, 1):
            since = (instant - datetime(1970, 1, 1)) // timedelta(microseconds=1) + off
            payload = packed(at=msgspec.msgpack.encode(since))
            assert outcome(codec, b"k", payload) == outcome(twin, b"k", payload)


def test_a_map_of_another_length_of_header() -> None:
    codec, twin = codecs(Wide)
    payload = packed()
    for head in (b"\xde\x00\x09", b"\xdf\x00\x00\x00\x09", b"\x8a", b"\x88", b"\x99"):
        assert outcome(codec, b"k", head + payload[1:]) == outcome(twin, b"k", head + payload[1:])


@pytest.mark.parametrize("key", [b"k", "k", bytearray(b"k"), None])
@pytest.mark.parametrize("payload", [packed(), "", None, bytearray(packed()), memoryview(packed())])
def test_other_types_are_left_alone(key: Any, payload: Any) -> None:
    decoder = EntityCodec(model_of(Wide)).decoder
    assert decoder is not None
    made = decoder.decode(key, payload)
    assert (made is not None) == (type(key) is type(payload) is bytes)


# Which classes are filled without being called


class Meta(type):
    def __call__(cls, *arguments: Any) -> Any:
        return super().__call__(*arguments)


@dataclasses.dataclass
class Plain:
    x: Annotated[int, Key]
    constant: ClassVar[int] = 3
    y: str = ""
    z: str = dataclasses.field(default_factory=str, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Inheriting(Wide, ABC):
    more: int = 0


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class Referable:
    x: int


@dataclasses.dataclass
class OwnInit:
    x: int

    def __init__(self, x: int) -> None:
        self.x = x


@dataclasses.dataclass
class OwnNew:
    x: int

    def __new__(cls, *_: Any) -> OwnNew:
        return super().__new__(cls)


@dataclasses.dataclass
class OwnSetting:
    x: int

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


@dataclasses.dataclass
class OwnMeta(metaclass=Meta):
    x: int


@dataclasses.dataclass
class Derived:
    x: int
    length: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Helped:
    x: int
    helper: dataclasses.InitVar[int] = 3


@dataclasses.dataclass
class Checked:
    x: int

    def __post_init__(self) -> None:
        pass


@pytest.mark.parametrize("cls", [Plain, Inheriting, Referable, Wide])
def test_a_class_that_only_sets_its_fields_is_plain(cls: type) -> None:
    assert only_sets_fields(cls)


@pytest.mark.parametrize("cls", [OwnInit, OwnNew, OwnSetting, OwnMeta, Derived, Helped, Checked])
def test_a_class_with_anything_of_its_own_is_called(cls: type) -> None:
    assert not only_sets_fields(cls)


def test_a_constructor_is_called_once_and_its_error_told_as_ever() -> None:
    calls: list[int] = []

    @entity(topic="checked")
    @dataclasses.dataclass(frozen=True)
    class Positive:
        id: "Annotated[int, Key]"  # noqa: UP037 - the name is local
        amount: int

        def __post_init__(self) -> None:
            calls.append(self.amount)
            if self.amount < 0:
                raise ValueError(f"{self.amount} is below 0")

    codec, twin = codecs(Positive)
    key = codec.encode_key((1,))
    assert codec.decode(key, b"\x81\xa6amount\x05") == Positive(1, 5)
    calls.clear()
    told = outcome(codec, key, b"\x81\xa6amount\xff")
    assert calls == [-1]
    assert told == outcome(twin, key, b"\x81\xa6amount\xff")
    assert told[0] == "error"


# Rows


def stored(pairs: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    return ((b"\x01" + key, b"8 bytes:" + payload) for key, payload in pairs)


def rows(codec: EntityCodec[Any], source: Any, judge: Callable[[bytes, bytes], Any]) -> Iterator[Any]:
    assert codec.decoder is not None
    return codec.decoder.rows(source, 1, 8, judge)


def test_rows_are_those_of_the_codec_and_an_error_does_not_end_them() -> None:
    codec, twin = codecs(Wide)
    pairs = [(b"a", packed()), (b"b", packed(number=b"\xc0")), (b"c", b""), (b"d", packed(text=b"\xa1z"))]
    judged: list[tuple[bytes, bytes]] = []

    def judge(key: bytes, payload: bytes) -> Any:
        judged.append((key, payload))
        return twin.decode(key, payload)

    found = rows(codec, stored(pairs), judge)
    assert next(found) == twin.decode(*pairs[0])
    for _ in range(2):
        with pytest.raises(DecodeError):
            next(found)
    assert list(found) == [twin.decode(*pairs[3])]
    assert list(found) == []
    assert judged == pairs[1:3]


def test_values_shorter_than_their_header_are_left_to_the_judge() -> None:
    codec, _ = codecs(Wide)
    pairs = [(b"", b""), (b"\x01", b"short"), (b"\x01k", b"8 bytes:")]
    assert list(rows(codec, iter(pairs), lambda *pair: pair)) == [(b"", b""), (b"", b""), (b"k", b"")]


def test_nothing_leaks() -> None:
    codec, twin = codecs(Wide)
    whole = packed(uuid=b"\xc4\x10" + b"u" * 16, price=b"\xa41.25")
    pairs = [(b"k", whole[:end]) for end in range(len(whole) + 1)] + [(b"\xff", whole), (b"k", whole)]

    def blocks() -> int:
        for _ in range(30):
            list(rows(codec, stored(pairs), lambda *pair: pair))
            assert codec.decode(b"k", whole) == twin.decode(b"k", whole)
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()
    assert blocks() - before < 100


@entity(topic="listed")
@dataclasses.dataclass
class Listed:
    id: Annotated[str, Key]
    names: list[str]


def test_health_tells_what_decodes_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreManager(tmp_path, kafka="127.0.0.1:1", connect="lazy", backend="memory") as manager:
        assert manager.bind(Wide).health().decoder == "native"
        assert manager.bind(Listed).health().decoder == "msgspec"
        assert manager.bind("bytes").health().decoder is None
    monkeypatch.setattr(core, "uses", lambda path: path != "decoder")
    with StoreManager(tmp_path, kafka="127.0.0.1:1", connect="lazy", backend="memory") as manager:
        assert manager.bind(Wide).health().decoder == "msgspec"
