"""Queries over a window's table give what Python gives of its rows; the native core reads most of them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import F, agg
from statestore.backends import find_engine

from .test_window_tables import Count, Number, Opened, Visit, at, ms

TEXTS = st.text("\0ab", max_size=3)
MINUTES = st.integers(0, 50)


def row(cls: type[Any], text: str, number: int, minutes: int, length: int) -> Any:
    start, end = at(minutes), at(minutes + length)
    if cls is Count:
        return Count(text, start, at(minutes + 5), ms(at(minutes + 5)) - ms(start), number)
    if cls is Number:
        return Number(text, number, start, number)
    return Visit("at", text, start, end, ms(end) - ms(start), number)


@pytest.mark.parametrize("cls", [Count, Number, Visit])
@settings(max_examples=25)
@given(
    given_rows=st.lists(st.tuples(TEXTS, st.integers(-3, 3), MINUTES, st.integers(0, 9)), max_size=15),
    since=MINUTES,
)
def test_queries_are_those_of_the_rows(
    cls: type[Any], given_rows: list[tuple[str, int, int, int]], since: int
) -> None:
    opened = Opened(cls, find_engine("memory")(64 << 20), Path("unused"))
    rows = [row(cls, *one) for one in given_rows]
    opened.apply([opened.codec.encode(one) for one in rows])
    table = opened.table()
    kept = table.to_list()
    last = {opened.codec.encode(one)[0]: one for one in rows}
    assert sorted(map(repr, kept)) == sorted(map(repr, last.values()))
    late = [one for one in kept if one.start >= at(since) and one.n > 0]
    query = table.where(F.start >= at(since), F.n > 0)
    assert query.to_list() == late
    assert query.count() == len(late)
    groups = table.group_by(F.start).aggregate(rows=agg.count()).to_list()
    assert dict(groups) == Counter(one.start for one in kept)
    columns = table.select(F.start, F.n).to_arrow()
    assert columns.column("n").to_pylist() == [one.n for one in kept]
    assert columns.column("start").to_pylist() == [one.start for one in kept]
    if cls is not Number:
        short = table.where(F.size <= 5 * 60_000, F.end < at(since) + timedelta(minutes=5)).to_list()
        assert short == [one for one in kept if one.size <= 300_000 and one.end < at(since + 5)]
