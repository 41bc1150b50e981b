"""The key codec by example: what it accepts, what it refuses, and how it says so."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import IntEnum, StrEnum
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from statestore.errors import DecodeError, EncodeError

SOME_UUID = UUID("12345678-9abc-def0-1234-56789abcdef0")


@pytest.mark.parametrize("kinds", [[], ["int", "float"], ["bool"], "int"])
def test_unknown_or_missing_component_types_are_refused(core: ModuleType, kinds: Any) -> None:
    with pytest.raises(ValueError, match="each of int, str, bytes, uuid, datetime, date"):
        core.KeyCodec(kinds)


def test_a_codec_shows_its_kinds_and_cannot_be_changed(core: ModuleType) -> None:
    codec = core.KeyCodec(["str", "int"])
    assert codec.kinds == ("str", "int")
    assert repr(codec) == "KeyCodec(('str', 'int'))"
    with pytest.raises(AttributeError):
        codec.surprise = 1


def test_a_single_string_is_bare_utf8(core: ModuleType) -> None:
    assert core.KeyCodec(["str"]).encode(("grüße\0",)) == "grüße\0".encode()
    assert core.KeyCodec(["str"]).encode(("",)) == b""


def test_a_uuid_comes_back_as_its_constructor_makes_it(core: ModuleType) -> None:
    codec = core.KeyCodec(["uuid"])
    for wanted in (SOME_UUID, UUID(int=0), UUID(int=1), UUID(int=2**128 - 1), UUID(int=1 << 64)):
        (found,) = codec.decode(codec.encode((wanted,)))
        assert type(found) is UUID
        assert found == wanted
        assert hash(found) == hash(wanted)
        assert (found.int, found.bytes, found.is_safe) == (wanted.int, wanted.bytes, wanted.is_safe)
        assert repr(pickle.loads(pickle.dumps(found))) == repr(wanted)
        with pytest.raises(TypeError, match="immutable"):
            setattr(found, "int", 3)  # noqa: B010 - type checkers refuse it too


def test_every_day_of_the_calendar_s_cycle_and_its_ends(core: ModuleType) -> None:
    dates, instants = core.KeyCodec(["date"]), core.KeyCodec(["datetime"])
    step = 1 if core.__name__.endswith("_native") else 97
    cycle = range(date(1970, 1, 1).toordinal() - 200_000, date(1970, 1, 1).toordinal() + 200_000, step)
    for ordinal in (*cycle, 1, 2, 59, 60, 365, 366, date.max.toordinal() - 1, date.max.toordinal()):
        day = date.fromordinal(ordinal)
        key = dates.encode((day,))
        assert int.from_bytes(key) == ordinal - date(1970, 1, 1).toordinal() + 2**31
        assert dates.decode(key) == (day,)
    for moment in (datetime.min, datetime.max, datetime(2000, 2, 29, 23, 59, 59, 999_999)):
        aware = moment.replace(tzinfo=UTC)
        assert instants.decode(instants.encode((aware,))) == (aware,)


def test_only_an_instant_in_utc_itself_is_taken_apart_by_its_fields(core: ModuleType) -> None:
    codec = core.KeyCodec(["datetime"])
    in_utc = datetime(2024, 3, 1, 1, 30, tzinfo=UTC)

    class Shifted(datetime):
        """As a library's own type may: what it shows as fields is not what it is."""

        @property
        def hour(self) -> int:
            return 7

    same = [
        in_utc.astimezone(timezone(timedelta(hours=-11, seconds=7))),
        in_utc.replace(tzinfo=timezone(timedelta(0), "Z")),
        in_utc.replace(fold=1),
        Shifted(2024, 3, 1, 1, 30, tzinfo=UTC),
    ]
    assert {codec.encode((moment,)) for moment in same} == {codec.encode((in_utc,))}


def test_long_keys_grow_past_every_buffer(core: ModuleType) -> None:
    codec = core.KeyCodec(["str", "bytes", "str"])
    values = ("ä\0" * 5_000, b"\0" * 70_000, "z" * 3_000)
    assert codec.decode(codec.encode(values)) == values


def test_subclasses_are_taken_for_their_value(core: ModuleType) -> None:
    class Side(StrEnum):
        BUY = "buy"

    class Level(IntEnum):
        HIGH = 3

    class Name(bytes):
        pass

    codec = core.KeyCodec(["str", "int", "bytes"])
    key = codec.encode((Side.BUY, Level.HIGH, Name(b"x")))
    assert key == codec.encode(("buy", 3, b"x"))
    assert type(core.KeyCodec(["bytes"]).encode((Name(b"x"),))) is bytes


def test_instants_are_equal_in_every_time_zone(core: ModuleType) -> None:
    codec = core.KeyCodec(["datetime"])
    utc = datetime(2024, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    elsewhere = utc.astimezone(timezone(timedelta(hours=-7, minutes=-30)))
    assert codec.encode((utc,)) == codec.encode((elsewhere,))
    (decoded,) = codec.decode(codec.encode((elsewhere,)))
    assert decoded == utc
    assert decoded.tzinfo is UTC


@pytest.mark.parametrize("at", [datetime.min, datetime.max, datetime(1969, 12, 31, 23, 59, 59, 999_999)])
def test_datetimes_keep_their_microseconds_to_both_ends(core: ModuleType, at: datetime) -> None:
    codec = core.KeyCodec(["datetime"])
    assert codec.decode(codec.encode((at.replace(tzinfo=UTC),))) == (at.replace(tzinfo=UTC),)


class _Zone(tzinfo):
    def dst(self, at: datetime | None) -> timedelta | None:
        return None

    def tzname(self, at: datetime | None) -> str | None:
        return None


class _NoOffset(_Zone):
    def utcoffset(self, at: datetime | None) -> timedelta | None:
        return None


class _BrokenZone(_Zone):
    def utcoffset(self, at: datetime | None) -> timedelta | None:
        raise LookupError("no such zone")


def test_an_error_of_a_time_zone_comes_through(core: ModuleType) -> None:
    with pytest.raises(LookupError, match="no such zone"):
        core.KeyCodec(["datetime"]).encode((datetime(2024, 1, 1, tzinfo=_BrokenZone()),))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("int", True, "component 2 of 2 must be int, not bool: True"),
        ("int", 1.0, "component 2 of 2 must be int, not float: 1.0"),
        ("int", None, "component 2 of 2 must be int, not NoneType: None"),
        ("int", 2**63, r"component 2 of 2 \(int\) does not fit 64 bits: 9223372036854775808"),
        ("int", -(2**63) - 1, r"\(int\) does not fit 64 bits: -9223372036854775809"),
        pytest.param("int", 10**5000, r"\(int\) does not fit 64 bits: <int of 16610 bits>", id="int-huge"),
        ("str", b"x", "must be str, not bytes: b'x'"),
        ("str", "a\ud800", r"\(str\) has a lone surrogate, which UTF-8 cannot encode: 'a\\ud800'"),
        ("bytes", "x", "must be bytes, not str: 'x'"),
        ("bytes", bytearray(b"x"), "must be bytes, not bytearray"),
        ("uuid", str(SOME_UUID), "must be uuid, not str"),
        ("datetime", date(2024, 1, 1), "must be datetime, not date"),
        ("datetime", datetime(2024, 1, 1), r"\(datetime\) has no time zone; give it one"),
        ("datetime", datetime(2024, 1, 1, tzinfo=_NoOffset()), r"\(datetime\) has no time zone"),
        (
            "datetime",
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            r"\(datetime\) is outside of the years 1 to 9999 in UTC",
        ),
        (
            "datetime",
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            r"\(datetime\) is outside of the years 1 to 9999 in UTC",
        ),
        ("date", datetime(2024, 1, 1, tzinfo=UTC), "must be date, not datetime"),
        ("date", "2024-01-01", "must be date, not str"),
    ],
)
def test_what_does_not_fit_names_component_and_value(
    core: ModuleType, kind: str, value: object, message: str
) -> None:
    with pytest.raises(EncodeError, match=message):
        core.KeyCodec(["str", kind]).encode(("first", value))
    with pytest.raises(EncodeError):
        core.KeyCodec([kind, "str"]).encode_prefix((value,))


def test_the_first_bad_component_is_the_one_named(core: ModuleType) -> None:
    with pytest.raises(EncodeError, match="component 1 of 2"):
        core.KeyCodec(["int", "str"]).encode((2**63, "\ud800"))


@pytest.mark.parametrize("values", [(), (1,), (1, "a", 2)])
def test_a_wrong_number_of_components_is_refused(core: ModuleType, values: tuple[Any, ...]) -> None:
    with pytest.raises(EncodeError, match=rf"the key is \(int, str\), got {len(values)} values"):
        core.KeyCodec(["int", "str"]).encode(values)


def test_a_prefix_has_at_most_all_components(core: ModuleType) -> None:
    codec = core.KeyCodec(["int", "str"])
    assert codec.encode_prefix(()) == b""
    assert codec.encode_prefix((1,)) == codec.encode((1, ""))
    assert codec.encode_prefix((1, "a")) == codec.encode((1, "a"))
    with pytest.raises(EncodeError, match="got 3 values"):
        codec.encode_prefix((1, "a", 2))


def test_arguments_of_the_wrong_type_are_type_errors(core: ModuleType) -> None:
    codec = core.KeyCodec(["str"])
    for call in (codec.encode, codec.encode_prefix):
        with pytest.raises(TypeError, match="key values must be a tuple, not str: 'abc'"):
            call("abc")
    with pytest.raises(TypeError, match="a key must be bytes, not str: 'abc'"):
        codec.decode("abc")


@pytest.mark.parametrize(
    ("kinds", "data", "message"),
    [
        (["int"], "00000000000000", r"component 1 of 1 \(int\) of the stored key needs 8 bytes, 7 are left"),
        (["int"], "000000000000000000", r"has 1 bytes too many for \(int\)"),
        (["int", "date"], "8000000000000001800000", r"component 2 of 2 \(date\).* needs 4 bytes, 3 are left"),
        (["uuid"], "00" * 15, r"\(uuid\) of the stored key needs 16 bytes, 15 are left"),
        (["uuid"], "00" * 17, "1 bytes too many"),
        (["datetime"], "7fffffffffffff", r"\(datetime\) of the stored key needs 8 bytes"),
        (["datetime"], "00" * 8, "is outside of the years 1 to 9999"),
        (["datetime"], "ff" * 8, "is outside of the years 1 to 9999"),
        (["date"], "00" * 4, "is outside of the years 1 to 9999"),
        (["date"], "ff" * 4, "is outside of the years 1 to 9999"),
        (["str"], "61ff", r"\(str\) of the stored key is not UTF-8: b'a\\xff'"),
        (["str"], "eda080", "is not UTF-8"),
        (["str"], "c080", "is not UTF-8"),
        (["str", "int"], "c0800000" + "00" * 8, "component 1 of 2 .* is not UTF-8"),
        (["str", "str"], "", "component 1 of 2 .* has no terminator 00 00"),
        (["str", "str"], "61", "has no terminator 00 00"),
        (["bytes", "str"], "6100", "has no terminator 00 00"),
        (["bytes", "str"], "6100ff", "has no terminator 00 00"),
        (["bytes", "str"], "61000100", "has a byte 00 followed by neither 00 nor ff"),
        (
            ["bytes", "bytes", "int"],
            "0000" + "6100fe",
            "component 2 of 3 .* has a byte 00 followed by neither",
        ),
    ],
)
def test_malformed_keys_are_refused(core: ModuleType, kinds: list[str], data: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        core.KeyCodec(kinds).decode(bytes.fromhex(data))


@pytest.mark.parametrize("last", ["0000", "00ff", "00", "0001"])
def test_the_last_component_is_plain(core: ModuleType, last: str) -> None:
    raw = bytes.fromhex(last)
    assert core.KeyCodec(["bytes"]).decode(raw) == (raw,)
    assert core.KeyCodec(["bytes", "bytes"]).decode(b"a\0\0" + raw) == (b"a", raw)


def test_huge_values_are_shortened_in_messages(core: ModuleType) -> None:
    with pytest.raises(EncodeError) as caught:
        core.KeyCodec(["int"]).encode(("x" * 1_000_000,))
    assert len(str(caught.value)) < 300
    with pytest.raises(DecodeError) as refused:
        core.KeyCodec(["int"]).decode(b"x" * 1_000_000)
    assert len(str(refused.value)) < 300
