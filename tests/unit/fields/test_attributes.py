"""What ``Annotated`` says about a field: what it comes to, and what it cannot mean."""

import dataclasses
from dataclasses import MISSING, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore.fields.attributes import (
    Alias,
    EventTime,
    Float32,
    Format,
    Ignored,
    Index,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowSize,
    WindowStart,
)
from statestore.fields.inspection import read_record_type
from statestore.fields.types import DictOf, Field, ListOf, Nullable, Scalar

Money = Annotated[Decimal, Precision(18, 4)]
DAY = Format("%Y-%m-%d")


def read(*fields: tuple[Any, ...], relaxed: bool = False) -> tuple[tuple[Field, ...], list[str], list[str]]:
    """Return fields, faults and warnings of a class of these fields, all with a key in front."""
    faults: list[str] = []
    warnings: list[str] = []
    made = dataclasses.make_dataclass("Made", [("id", Annotated[int, Key]), *fields])
    record = read_record_type(made, faults, warnings, relaxed=relaxed)
    return record.fields[1:], faults, warnings


def fault_of(annotation: Any) -> str:
    _, (fault,), _ = read(("x", annotation))
    return fault.removeprefix("Made.x: ")


@pytest.mark.parametrize(
    ("annotation", "type_"),
    [
        (Money, Scalar(Decimal, precision=Precision(18, 4))),
        (Money | None, Nullable(Scalar(Decimal, precision=Precision(18, 4)))),
        (Annotated[Decimal | None, Precision(5, 0)], Nullable(Scalar(Decimal, precision=Precision(5, 0)))),
        (Annotated[int, Int32], Scalar(int, is_32_bits=True)),
        (Annotated[float, Float32()], Scalar(float, is_32_bits=True)),
        (Annotated[datetime, DAY], Scalar(datetime, format="%Y-%m-%d")),
        (Annotated[str, MaxLength(12)], Scalar(str, max_length=12)),
        (Annotated[bytes, "a note for people", MaxLength(12)], Scalar(bytes, max_length=12)),
        (list[Money], ListOf(Scalar(Decimal, precision=Precision(18, 4)))),
        (
            dict[Annotated[str, MaxLength(3)], list[Annotated[int, Int32]] | None],
            DictOf(Scalar(str, max_length=3), Nullable(ListOf(Scalar(int, is_32_bits=True)))),
        ),
    ],
)
def test_a_type_is_narrowed_where_it_stands(annotation: Any, type_: Any) -> None:
    (x,), faults, _ = read(("x", annotation))
    assert faults == []
    assert x == Field("x", type_, False, MISSING, MISSING, "x")


def test_what_is_said_of_a_field() -> None:
    (price, at, start, end, size, _), faults, _ = read(
        ("price", Annotated[Money, Name("PRICE"), Alias("cost", "amount"), Index(), "foreign"]),
        ("at", Annotated[int, EventTime]),
        ("start", Annotated[datetime, WindowStart]),
        ("end", Annotated[int, WindowEnd()]),
        ("size", Annotated[int, WindowSize]),
        ("plain", str),
    )
    assert faults == []
    assert (price.wire_name, price.aliases, price.is_indexed) == ("PRICE", ("cost", "amount"), True)
    assert price.metadata == ("foreign",)
    assert at.is_event_time
    assert [one.window for one in (price, start, end, size)] == [None, WindowStart, WindowEnd, WindowSize]


def test_an_ignored_field_is_not_stored() -> None:
    fields, faults, _ = read(("cache", Annotated[set[int], Ignored(reason="made anew")], field(default=None)))
    assert (fields, faults) == ((), [])
    _, faults, _ = read(("cache", Annotated[set[int], Ignored]))
    assert faults == ["Made.cache: an Ignored field needs a default, since it is not stored: give it one"]


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (Annotated[float, Precision(1, 1)], "Precision is for Decimal, not for float"),
        (Annotated[str, Int32], "Int32 is for int, not for str"),
        (Annotated[bool, Int32], "Int32 is for int, not for bool"),
        (Annotated[Decimal, Float32], "Float32 is for float, not for Decimal"),
        (Annotated[int, MaxLength(3)], "MaxLength is for str and bytes, not for int"),
        (Annotated[str, DAY], "Format is for datetime, date and Decimal, not for str"),
        (
            Annotated[date, Format("epoch_s")],
            "Format(pattern='epoch_s') is for a datetime: the format of a date is a pattern for strftime, "
            "or one of 'epoch_days'",
        ),
        (Annotated[datetime, Format("epoch_days")], "Format(pattern='epoch_days') is for a date"),
        (Annotated[date, Format("%Y-%m-%d%z")], "Format(pattern='%Y-%m-%d%z') has more than a date"),
        (
            Annotated[list[Decimal], Precision(1, 1)],
            "Precision is for Decimal, not for list[decimal.Decimal]: write it at the part, as in "
            "list[Annotated[Decimal, …]]",
        ),
        (Annotated[str, MaxLength], "MaxLength needs its arguments, as in MaxLength(12)"),
        (Annotated[Decimal, Precision], "Precision needs its arguments, as in Precision(18, 4)"),
        (Annotated[Money, Precision(2, 2)], "Precision is given twice"),
        (list[Annotated[int, Name("x")]], "Name must be outermost, as in Annotated[int | None, Name…]"),
        (Annotated[int, Alias("y")] | None, "Alias must be outermost, as in Annotated[int | None, Alias…]"),
        (Annotated[datetime | None, EventTime], "an EventTime must be a datetime or an int (milliseconds"),
        (Annotated[date, EventTime], "an EventTime must be a datetime or an int (milliseconds"),
        (Annotated[str, WindowStart], "a WindowStart must be a datetime or an int (milliseconds"),
        (Annotated[float, WindowSize], "a WindowSize must be an int (milliseconds)"),
        (
            Annotated[int, WindowEnd, EventTime],
            "a WindowEnd cannot also be a Key or EventTime",
        ),
        (
            Annotated[Decimal, Precision(0, 0)],
            "Precision(digits=0, scale=0): digits must be an int of 1 or more",
        ),
        (Annotated[Decimal, Precision(4, 5)], "Precision(digits=4, scale=5): digits must be an int"),
        (Annotated[Decimal, Precision(4, -1)], "Precision(digits=4, scale=-1): digits must be an int"),
        (Annotated[Decimal, Precision(4.0, 1)], "Precision(digits=4.0, scale=1): digits must be an int"),  # type: ignore[arg-type]
        (Annotated[str, MaxLength(0)], "MaxLength(length=0): the length must be an int"),
        (Annotated[str, MaxLength(True)], "MaxLength(length=True): the length must be an int"),
        (Annotated[str, Name("")], "Name(name=''): the name must be a non-empty str"),
        (Annotated[str, Name('a"b')], "Name(name='a\"b'): the name must be a non-empty str without quotes"),
        (Annotated[str, Name("a\\b")], "Name(name='a\\\\b'): the name must be a non-empty str without"),
        (Annotated[str, Name("\ud800")], "Name(name='\\ud800'): the name must be a non-empty str without"),
        (Annotated[str, Alias("old", "a\nb")], "Alias(names=('old', 'a\\nb')): give one or more old names"),
        (
            Annotated[datetime, Format("%Y-%m-%d %I:%M")],
            "Format(pattern='%Y-%m-%d %I:%M'): the pattern reads 16:00 as",
        ),
        (Annotated[str, Alias()], "Alias(names=()): give one or more old names"),
        (Annotated[str, Alias("a", "a")], "Alias(names=('a', 'a')): give one or more old names"),
        (
            Annotated[datetime, Format("%H:%M")],
            "Format(pattern='%H:%M'): the pattern must have year, month and day",
        ),
        (
            Annotated[datetime, Format("%Y-%m-%d %Q")],
            "Format(pattern='%Y-%m-%d %Q'): a time written with this pattern cannot be",
        ),
        (Annotated[int, Key, Ignored], "Key has no effect on a field that is Ignored"),
        (Annotated[int, Ignored, Alias("x")], "Alias has no effect on a field that is Ignored"),
    ],
    ids=str,
)
def test_what_cannot_be_meant(annotation: Any, fault: str) -> None:
    assert fault_of(annotation).startswith(fault)


def test_one_name_for_two_fields() -> None:
    _, faults, _ = read(
        ("a", Annotated[int, Name("c")]),
        ("b", Annotated[int, Alias("c", "d")]),
        ("d", int),
        ("e", Annotated[int, Alias("e")]),
    )
    assert faults == [
        "Made: several fields have the name 'c' in records: a, b",
        "Made: several fields have the name 'd' in records: b, d",
        "Made.e: Alias('e') is the field's present name: an alias is a former one",
    ]
    assert read(("a", Annotated[int, Name("b")]), ("b", Annotated[int, Name("a")]))[1] == []


def test_parts_that_one_field_plays() -> None:
    _, faults, _ = read(
        ("a", Annotated[int, EventTime]),
        ("b", Annotated[datetime, EventTime]),
        ("c", Annotated[int, WindowStart]),
        ("d", Annotated[int, WindowStart]),
    )
    assert faults == [
        "Made: only one field can be the EventTime, not several: a, b",
        "Made: only one field can be the WindowStart, not several: c, d",
    ]


def test_a_field_is_filled_from_one_part_of_the_window() -> None:
    _, faults, _ = read(("a", Annotated[int, WindowStart, WindowEnd]), ("b", Annotated[int, WindowSize]))
    assert faults == ["Made.a: a field cannot be the WindowStart and the WindowEnd: keep one"]


def test_marks_of_a_field_that_the_constructor_does_not_take() -> None:
    _, faults, _ = read(("a", Annotated[int, EventTime], field(init=False)))
    assert faults == [
        "Made.a: EventTime has no effect on a field that is not an argument of the constructor "
        "(init=False): remove it"
    ]


@dataclass
class Inner:
    fine: int
    odd: Annotated[set[int], Name("ODD")] = field(default_factory=set)


def test_relaxed_does_not_store_what_it_cannot() -> None:
    fields, faults, warnings = read(
        ("inner", Inner),
        ("odd", list[set[int]], field(default_factory=list)),
        ("fine", int, 3),
        ("tuned", Annotated[int | str, Name("x")], 3),
        relaxed=True,
    )
    assert faults == []
    assert [warning.partition(" is not a type")[0] for warning in warnings] == [
        "Inner.odd: set[int]", "Made.odd: set[int]", "Made.tuned: int | str"
    ]  # fmt: skip
    assert all(warning.endswith("; not stored (validation='relaxed')") for warning in warnings)
    assert [one.name for one in fields] == ["inner", "fine"]


def test_relaxed_still_refuses_what_it_could_not_read_again() -> None:
    _, faults, warnings = read(("odd", set[int]), ("key", Annotated[float, Key], 0.0), relaxed=True)
    assert [fault.partition(" ")[0] for fault in faults] == ["Made.odd:", "Made.key:"]
    assert warnings == []


def test_attributes_of_a_nested_class_hold_there() -> None:
    @dataclass
    class Place:
        code: Annotated[str, Key, MaxLength(3)]
        at: Annotated[int, EventTime]

    (place,), faults, _ = read(("place", Place))
    assert faults == []
    assert place.type == read_record_type(Place, [], [])
    assert not place.is_event_time
