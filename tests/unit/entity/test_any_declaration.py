"""Whatever is declared comes to a model or to a ``ConfigError``, never to another error."""

import dataclasses
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import F, agg, entity
from statestore.entity import model_of
from statestore.entity.arguments import EntityArguments
from statestore.errors import ConfigError
from statestore.fields.attributes import (
    Alias,
    EventTime,
    Format,
    Ignored,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowStart,
)
from statestore.manager.validation import check_entities

ANNOTATIONS: list[Any] = [
    int, str, Decimal, datetime, "int", "nowhere", None, Any, float | None, list, list[int],
    list["int"], tuple[int, int], dict[str, int], dict[float, int], Literal["a"], type, TypeVar("T"),
    NewType("N", int), ClassVar[int], dataclasses.InitVar[int], int | str | None, list[Annotated[int, Key]],
]  # fmt: skip
WRONG: Any = [Precision, Name, Alias, Format, MaxLength]
MARKS: list[Any] = [
    Key, Key(), EventTime, Ignored, Int32, WindowStart, WindowEnd, Precision(3, 1), MaxLength(3), Name("n"),
    Alias("o"), Format("%Y-%m-%d"), Format(""), agg.count(), agg.max(F.x), agg.last(F.y + 1), F.x, [], "note",
    *WRONG, *(kind(3, []) for kind in WRONG[:1]), *(kind(3) for kind in WRONG[1:]), Alias([]), MaxLength("a"),  # type: ignore[arg-type]
]  # fmt: skip
ANYTHING: list[Any] = [
    None, 0, 1, -1, 3.5, float("nan"), float("inf"), 10**30, True, Decimal(1), "", "x", "X y", "é", "\ud800",
    b"b", [], [1], [5, "1h", 60], (1, 2), {5}, range(3), {}, {"a": 1}, {"a": None}, {1: 2}, object(), int,
    str, timedelta(1), timedelta.max, datetime(2026, 1, 1), "compact", "stream", "table", "relaxed",
]  # fmt: skip

annotations = st.sampled_from(ANNOTATIONS)
some_marks = st.lists(st.sampled_from(MARKS), min_size=1, max_size=3)
marked = st.builds(lambda annotation, marks: Annotated[(annotation, *marks)], annotations, some_marks)
fields = st.tuples(annotations | marked, st.sampled_from([dataclasses.MISSING, None, 1, "x"]))
arguments = st.dictionaries(
    st.sampled_from([*EntityArguments.__annotations__]), st.sampled_from(ANYTHING), max_size=4
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@given(st.lists(fields, max_size=4), arguments)
def test_a_model_or_faults(drawn: list[tuple[Any, Any]], declared: Any) -> None:
    made: list[Any] = [(f"f{number}", *one) for number, one in enumerate(drawn)]
    try:
        cls = dataclasses.make_dataclass("Drawn", [("id", Annotated[int, Key]), *made], kw_only=True)
    except (TypeError, ValueError):  # no dataclass at all
        return
    try:
        entity(cls, **{"topic": "t", **declared})
    except ConfigError:
        return
    assert model_of(cls).cls is cls
    check_entities([cls])
