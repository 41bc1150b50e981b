"""The bytes of secondary indexes sort as the values do, and what decides on them is in a fingerprint."""

from __future__ import annotations

import math
from dataclasses import field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import F, Key, entity
from statestore.entity import model_of
from statestore.serde.indexes import EntityIndexes

TYPES: dict[type, list[Any]] = {
    int: [-(2**63), -1, 0, 1, 2**63 - 1],
    str: ["", "\0", "\0a", "a", "a\0", "a\0\0", "a\xff", "z" * 600, "ä", "\U0001f600"],
    bytes: [b"", b"\0", b"\0\xff", b"\1", b"\xff", b"\xff\xff"],
    float: [-math.inf, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1.0, math.inf],
    Decimal: sorted(
        Decimal(sign + text)
        for sign in ("", "-")
        for text in (
            "Infinity",
            "1E+30000",
            "1E+28673",
            "99.5",
            "99.49",
            "10",
            "1",
            "0.1",
            "1E-30000",
            "1E-28672",
        )
    ),
    bool: [False, True],
    datetime: [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
    ],
    date: [date(1, 1, 1), date(1970, 1, 1), date(9999, 12, 31)],
    UUID: [UUID(int=0), UUID(int=1), UUID(int=2**128 - 1)],
}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("optional", [False, True])
def test_bytes_sort_as_values_do(kind: type, optional: bool) -> None:
    fields = [("key", Annotated[str, Key]), ("value", kind | None if optional else kind), ("other", bytes)]
    row: Any = make_dataclass("Row", fields)
    [codec] = EntityIndexes(model_of(entity(row, topic="t", indexes=[(F.value, F.other)]))).indexes
    values = [None, *TYPES[kind]] if optional else TYPES[kind]
    suffixes = [
        codec.suffix(row("k", value, other), key)[0]
        for value in values
        for other in (b"", b"\0", b"\xff")
        for key in (b"", b"\0", b"\xff\xff")
    ]
    assert suffixes == sorted(set(suffixes))
    prefixes = [codec.prefix([value]) for value in values]
    assert [sum(one.startswith(prefix) for one in suffixes) for prefix in prefixes] == [9] * len(values)
    assert sum(one >= codec.after_null([]) for one in suffixes) == 9 * len(TYPES[kind])


@pytest.mark.parametrize(
    ("one", "other"), [(0.0, -0.0), (Decimal(1), Decimal("1.00")), (Decimal(0), Decimal("-0E+5"))]
)
def test_equal_numbers_have_the_same_bytes(one: Any, other: Any) -> None:
    row: Any = make_dataclass("Row", [("key", Annotated[str, Key]), ("value", type(one))])
    [codec] = EntityIndexes(model_of(entity(row, topic="t", indexes=[F.value]))).indexes
    assert codec.prefix([one]) == codec.prefix([other])


def test_another_definition_is_another_index() -> None:
    """What decides on the values of an index beside the rows is in its fingerprint."""

    def fingerprint(
        kind: Any = int, default: Any = 1, form: str = "msgpack", code: Any = None, others: Any = ()
    ) -> bytes:
        methods = {} if code is None else {"__post_init__": code}
        fields = [("key", Annotated[str, Key]), ("value", kind, field(default=default)), *others]
        row: Any = entity(
            make_dataclass("Row", fields, namespace=methods),
            topic="t",
            value_format=form,
            indexes=[F.value],
        )
        [codec] = EntityIndexes(model_of(row)).indexes
        return codec.fingerprint

    def halve(self: Any) -> None:
        self.value //= 2

    def double(self: Any) -> None:
        self.value *= 2

    found = [
        fingerprint(),
        fingerprint(default=2),
        fingerprint(int | None),
        fingerprint(float, 1.0),
        fingerprint(form="json"),
        fingerprint(others=[("more", int, field(default=1))]),
        fingerprint(code=halve),
        fingerprint(code=double),
    ]
    assert len(set(found)) == len(found)
    assert fingerprint(code=halve) == found[6]
    assert fingerprint() == found[0]
