"""Any records: an aggregate equals a naive fold, however the records are cut, shuffled and saved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statestore.tables.timestamps import Record
from statestore.windowing import Closed, WindowAggregate

from .naive import Bar, CarriedBar, EmptyBar, Given, KeyBar, bars

RECORDS = st.lists(
    st.builds(
        Given,
        st.integers(-40, 200),
        st.sampled_from([None, "a", "b", "c"]),
        st.none() | st.integers(-9, 9),
        st.integers(0, 1),
    ),
    max_size=25,
)
EXAMPLES = 2_000 if os.environ.get("STATESTORE_SOAK") == "1" else 40
CLASSES = (Bar, KeyBar, EmptyBar, CarriedBar)
OF_PARTITIONS = (Bar, EmptyBar, CarriedBar)


def one(aggregate: WindowAggregate[Any], record: Given) -> list[Closed[Any]]:
    if record.key is None:
        return aggregate.advance(record.second * 1000, partition=record.partition)
    return aggregate.update(record.tick, partition=record.partition)


def closed_by(cls: type[Any], records: Sequence[Given]) -> list[Closed[Any]]:
    aggregate = WindowAggregate(cls)
    return [closed for record in records for closed in one(aggregate, record)]


@pytest.mark.parametrize("cls", OF_PARTITIONS)
@settings(max_examples=EXAMPLES)
@given(records=RECORDS)
@example(  # a forgotten key, and a record of it that is too old for the windows to come
    records=[Given(0, "a"), Given(75), Given(0, "a"), Given(80, "a"), Given(85)],
)
def test_equals_a_naive_fold(cls: type[Any], records: list[Given]) -> None:
    found = closed_by(cls, records)
    assert sorted(found, key=lambda it: it.partition) == bars(cls, records)


@pytest.mark.parametrize("cls", CLASSES)
@settings(max_examples=EXAMPLES)
@given(records=RECORDS, data=st.data())
def test_batches_never_matter(cls: type[Any], records: list[Given], data: st.DataObject) -> None:
    records = [record for record in records if record.key is not None]
    aggregate = WindowAggregate(cls)
    found: list[Closed[Any]] = []
    for batch in batches(records, data):
        found += aggregate.update_all([as_record(record) for record in batch])
    assert found == closed_by(cls, records)


def as_record(record: Given) -> Record[Any]:
    return Record(record.key, record.tick, None, record.partition, None)


def batches(records: list[Given], data: st.DataObject) -> Iterator[list[Given]]:
    while records:
        size = data.draw(st.integers(1, len(records)))
        yield records[:size]
        records = records[size:]


@pytest.mark.parametrize("cls", CLASSES)
@settings(max_examples=EXAMPLES)
@given(records=RECORDS, after=st.integers(0, 25))
def test_saved_and_loaded_at_any_record_nothing_changes(
    cls: type[Any], records: list[Given], after: int
) -> None:
    aggregate, other = WindowAggregate(cls), WindowAggregate(cls)
    for record in records[:after]:
        assert one(aggregate, record) == one(other, record)
    state = aggregate.state()
    aggregate = WindowAggregate(cls, state=state)
    assert aggregate.state() == state
    for record in [*records[after:], Given(1000, None), Given(1000, None, partition=1)]:
        assert one(aggregate, record) == one(other, record)
    assert aggregate.counts == other.counts


@pytest.mark.parametrize("cls", CLASSES)
@settings(max_examples=EXAMPLES)
@given(records=RECORDS)
def test_nothing_changes_a_closed_bar(cls: type[Any], records: list[Given]) -> None:
    found = [(it.partition, it.window.label, it.start, it.bar.key) for it in closed_by(cls, records)]
    assert len(found) == len(set(found))


@settings(max_examples=EXAMPLES)
@given(records=RECORDS, delays=st.lists(st.floats(0, 4.9), min_size=25, max_size=25))
def test_shuffled_within_grace_bars_are_the_same_where_order_does_not_matter(
    records: list[Given], delays: list[float]
) -> None:
    records = [record for record in records if record.key is not None and record.partition == 0]
    records.sort(key=lambda record: record.second)
    late = sorted(zip(records, delays, strict=False), key=lambda one: one[0].second + one[1])

    def found(records: list[Given]) -> dict[Any, Any]:
        closed = closed_by(Bar, [*records, Given(1000, "a", 0)])
        return {(it.window, it.start, it.bar.key): of_any_order(it.bar) for it in closed}

    assert found([record for record, _ in late]) == found(records)


def of_any_order(bar: Any) -> Any:
    return bar.least, bar.most, bar.total, bar.mean, bar.count, bar.values


@settings(max_examples=EXAMPLES)
@given(records=RECORDS)
def test_the_watermark_of_a_key_is_that_of_a_partition_with_one_key(records: list[Given]) -> None:
    """As long as nothing is older than the retention."""
    records = [record for record in records if record.key is not None and 0 <= record.second < 60]
    ends = [Given(59, key, None) for key in "abc"]
    for key in "abc":
        alone = [record for record in [*records, *ends] if record.key == key and record.partition == 0]
        found = [
            it.bar for it in closed_by(KeyBar, [*records, *ends]) if it.bar.key == key and it.partition == 0
        ]
        assert [values_of(bar) for bar in found] == [values_of(it.bar) for it in closed_by(Bar, alone)]


def values_of(bar: Any) -> Any:
    return (bar.start, bar.text, bar.prices, bar.count)
