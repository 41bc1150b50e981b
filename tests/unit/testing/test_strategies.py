"""Entities, keys and histories as a class declares them: what is drawn is read back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.vendor.pretty import pretty

from statestore import (
    ConfigError,
    EventTime,
    Float32,
    Format,
    Int16,
    Int32,
    Key,
    MaxLength,
    Precision,
    WindowStart,
    entity,
)
from statestore.entity import model_of
from statestore.runtime.times import milliseconds
from statestore.serde.entities import EntityCodec
from statestore.testing import TestDriver
from statestore.testing.driver import START
from statestore.testing.strategies import (
    Compaction,
    History,
    Step,
    Together,
    Tombstone,
    Unkeyed,
    Write,
    clocks,
    entities,
    histories,
    keys,
)


@dataclass(frozen=True, slots=True)
class Address:
    street: Annotated[str, MaxLength(5)]
    floor: Annotated[int, Int16] | None


@entity(topic="drawn", value_format="json")
@dataclass(frozen=True, slots=True)
class Drawn:
    number: Annotated[int, Key]
    name: Annotated[str, Key]
    price: Annotated[Decimal, Precision(9, 4)]
    any_price: Decimal
    small: Annotated[int, Int32]
    ratio: Annotated[float, Float32]
    code: Annotated[bytes, MaxLength(3)]
    day: Annotated[date, Format("%d.%m.%Y")]
    minute: Annotated[datetime, Format("%Y-%m-%dT%H:%M")]
    at: Annotated[datetime, EventTime, Format("epoch_ms")]
    token: UUID | None
    addresses: list[Address]
    counts: dict[str, int]
    flag: bool = False


@entity(topic="rows")
@dataclass(frozen=True, slots=True)
class Row:
    name: Annotated[str, Key]
    value: int


@entity(topic="candles", windows=["1min"])
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]


CODEC: EntityCodec[Any] = EntityCodec(model_of(Drawn))


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(entities(Drawn))
def test_an_entity_that_is_drawn_comes_back_as_it_was(drawn: Drawn) -> None:
    assert CODEC.decode(*CODEC.encode(drawn)) == drawn
    assert CODEC.overlong == 0


@settings(max_examples=10)
@given(keys(Drawn, name=st.just("ann")), entities(Drawn, small=st.integers(3, 4)))
def test_keys_and_fields_may_be_given(key: tuple[Any, ...], drawn: Drawn) -> None:
    assert isinstance(key[0], int)
    assert key[1] == "ann"
    assert drawn.small in (3, 4)


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(ConfigError, match="no stored field 'nix'"):
        entities(Row, nix=st.none())
    with pytest.raises(ConfigError, match=r"entities\(…, start=st.just"):
        entities(Candle)
    assert model_of(Candle).key_fields


@settings(max_examples=10)
@given(clocks())
def test_a_clock_never_goes_back(instants: list[datetime]) -> None:
    assert instants[0] == START
    assert all(before <= after for before, after in pairwise(instants))


def written(history: History[Row]) -> Iterator[Write | Tombstone]:
    for step in history.steps:
        match step:
            case Write() | Tombstone():
                yield step
            case Together(steps, True):
                yield from steps


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(histories(Row, strays=False))
def test_a_table_has_the_last_write_of_each_key(history: History[Row]) -> None:
    rows: dict[str, Row] = {}
    for step in written(history):
        match step:
            case Write(row):
                rows[row.name] = row
            case Tombstone((name,)):
                rows.pop(name, None)
    with TestDriver(entities=[Row], partitions=history.partitions) as driver:
        history.play(driver)
        assert {row.name: row for row in driver.table(Row)} == rows
        driver.restart()
        assert {row.name: row for row in driver.table(Row)} == rows


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(histories(Row), st.sampled_from(["memory", "lmdb"]), st.integers(0, 12))
def test_a_kill_at_any_step_changes_no_row(history: History[Row], backend: str, at: int) -> None:
    def rows(kill: int | None, backend: str) -> list[Row]:
        with TestDriver(entities=[Row], backend=backend, partitions=history.partitions) as driver:
            for number, step in enumerate(history.steps):
                history.play_step(driver, step)
                if number == kill:
                    driver.restart(kill=True)
            return driver.table(Row).to_list()

    assert rows(at, backend) == rows(None, "memory")


@pytest.mark.parametrize("kill", [False, True])
def test_a_tombstone_is_remembered_by_the_clock_of_the_driver(kill: bool) -> None:
    with TestDriver(entities=[Row], partitions=3) as driver:
        driver.delete(Row, "a", partition=2)
        driver.restart(kill=kill)
        driver.add(Row("a", 1), partition=0)  # of the same time: the highest partition counts
        assert driver.table(Row).to_list() == []
        driver.advance(2 * 86_400)  # longer than delete.retention.ms
        driver.add(Row("a", 2), partition=0)
        assert driver.table(Row).to_list() == [Row("a", 2)]


def test_all_kinds_of_steps_are_drawn() -> None:
    kinds: set[type[Step]] = set()

    @settings(max_examples=50, database=None)
    @given(histories(Row))
    def draw(history: History[Row]) -> None:
        kinds.update(map(type, history.steps))

    draw()
    assert kinds == {Write, Tombstone, Unkeyed, Together, Compaction}


def test_a_history_is_printed_as_it_is_written() -> None:
    written = History(
        Row,
        2,
        (
            Write(Row("a", 1), timestamp=milliseconds(START) + 3),
            Together((Tombstone(("a",), partition=1),), commit=False),
            Unkeyed(b"x"),
            Compaction(),
        ),
    )
    assert eval(repr(written)) == written
    assert pretty(written).splitlines() == [
        "History(Row, 2, (",
        "    Write(Row(name='a', value=1), timestamp=1704067200003),",
        "    Together((Tombstone(('a',), partition=1),), commit=False),",
        "    Unkeyed(b'x'),",
        "    Compaction(),",
        "))",
    ]


@entity(topic="pairs")
@dataclass(frozen=True, slots=True)
class Pair:
    first: Annotated[str, Key]
    second: Annotated[str, Key, MaxLength(2)]
    label: str | None


SEARCH = settings(max_examples=1000, database=None, phases=[Phase.generate])


@pytest.mark.parametrize("separator", "|_")
def test_keys_that_look_the_same_when_they_are_joined_are_drawn(separator: str) -> None:
    def look_the_same(drawn: list[tuple[str, str]]) -> bool:
        return len({separator.join(one) for one in drawn}) < len(drawn)

    find(st.lists(keys(Pair), unique=True), look_the_same, settings=SEARCH, random=Random(0))


def test_texts_that_are_taken_for_none_are_drawn() -> None:
    find(entities(Pair), lambda drawn: drawn.label == "None", settings=SEARCH, random=Random(0))
    find(entities(Pair), lambda drawn: drawn.label is None, settings=SEARCH, random=Random(0))
