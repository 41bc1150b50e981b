"""Bars that cannot be made, bars of windows without a record, and states that do not fit."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore import EncodeError, EventTime, F, Key, WindowStart, agg, entity
from statestore.testing import run_windows
from statestore.windowing import WindowAggregate

from .test_aggregate import NOON, Candle, Plain, Trade, trade

Faults = Callable[..., tuple[str, ...]]


def declared_refusing(grace: int = 0, **options: Any) -> type[Any]:
    @entity(source=Trade, windows=[1], grace=grace, **options)
    @dataclass
    class Refusing:
        symbol: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]
        close: Annotated[Decimal, agg.last(F.price)]
        count: Annotated[int, agg.count()]

        def __post_init__(self) -> None:
            if refused[0] and self.close < 0:
                raise ArithmeticError("below 0")

    return Refusing


refused = [True]


@pytest.mark.parametrize("scope", ["partition", "key"])
def test_a_record_that_closes_a_bar_which_its_class_refuses_is_in_no_window(scope: str) -> None:
    refused[0] = True
    aggregate = WindowAggregate(declared_refusing(scope=scope, retention=1))
    aggregate.update_all([trade(0, -1), trade(1, 2, "B")])
    state = aggregate.state()
    last = trade(200, 3, "B" if scope == "partition" else "C")
    for _ in range(2):
        with pytest.raises(ArithmeticError) as found:
            aggregate.update(last)
        assert found.value.__notes__ == [
            "Refusing: a bar of the window 1min of 2026-03-02T12:00:00.000+00:00 cannot be made, so the "
            "window stays open"
        ]
    assert aggregate.counts.open == 2
    assert aggregate.state() == state
    refused[0] = False
    assert [(it.bar.symbol, it.bar.count) for it in aggregate.update(last)] == [("A", 1), ("B", 1)]
    assert aggregate.counts.open == 1


def test_gap_bars_carry_the_same_after_a_bar_was_refused() -> None:
    given = [trade(1, 5, "B"), trade(70, 1), trade(130, 7, "B"), trade(190, -1)]
    last = trade(400)
    found = []
    for refuses in (True, False):
        aggregate = WindowAggregate(declared_refusing(gap="carry", gap_horizon=600, grace=120))
        assert [it.bar.close for it in aggregate.update_all(given)] == [5]
        refused[0] = refuses
        if refuses:
            with pytest.raises(ArithmeticError):
                aggregate.update(last)
        refused[0] = False
        found.append([astuple(it.bar) for it in aggregate.update(last)])
    assert found[0] == found[1]


def test_a_bar_without_a_record_has_a_copy_of_the_first_state() -> None:
    @entity(source=Trade, windows=[1], gap="empty")
    @dataclass
    class Listed:
        symbol: Annotated[str, Key]
        prices: Annotated[list[int], agg.reduce(lambda state, given: [*state, int(given.price)], [])]

    first, second = (it.bar for it in run_windows(Listed, [trade(0), trade(200)]) if it.is_gap)
    first.prices.append(5)
    assert second.prices == []
    assert not any(it.bar.prices for it in run_windows(Listed, [trade(0), trade(200)]) if it.is_gap)


def test_keys_of_gap_bars_are_asked_for_once_for_all_that_a_record_closes() -> None:
    asked: list[int] = []

    def keys() -> list[str]:
        asked.append(len(asked))
        return ["A", "N"]

    @entity(source=Trade, windows=[1, 5], grace=0, gap="empty", gap_keys=keys)
    @dataclass
    class Kept:
        symbol: Annotated[str, Key]
        count: Annotated[int, agg.count()]

    aggregate = WindowAggregate(Kept)
    assert aggregate.update_all([trade(0), trade(1)]) == []
    bars = [it.bar for it in aggregate.update(trade(400))]
    assert sum(bar.count for bar in bars) == 4, "two records, in one window of each size"
    assert {bar.symbol for bar in bars} == {"A", "N"}
    assert asked == [0]


def test_gap_bars_carry_a_nested_value() -> None:
    @dataclass(frozen=True)
    class Quote:
        bid: int

    @entity(topic="quotes", kind="stream")
    @dataclass(frozen=True)
    class Quoted:
        symbol: Annotated[str, Key]
        quote: Quote | None
        at: Annotated[int, EventTime]

    @entity(source=Quoted, windows=[1], gap="carry")
    @dataclass
    class Last:
        symbol: Annotated[str, Key]
        quote: Annotated[Quote | None, agg.last(F.quote)]
        bid: Annotated[int | None, agg.last(F.quote["bid"])]

    aggregate = WindowAggregate(Last)
    aggregate.update_all([Quoted("A", Quote(5), 0), Quoted("A", None, 1), Quoted("A", None, 70_000)])
    aggregate = WindowAggregate(Last, state=aggregate.state())
    found = [it.bar for it in aggregate.advance(190_000)]
    assert found == [Last("A", None, None), Last("A", Quote(5), 5)]


def test_keys_of_gap_bars_are_keys(faults: Faults) -> None:
    def declare(gap_keys: Any, **options: Any) -> Any:
        @entity(source=Plain, windows=[1], gap_keys=gap_keys, **options)
        @dataclass
        class Kept:
            group: Annotated[int, Key]
            day: Annotated[date, Key]
            count: Annotated[int, agg.count()]

        return Kept

    remedy = "give a list of keys, or a function that returns them"
    assert faults(lambda: declare("AB", gap="empty")) == (f"Kept: gap_keys='AB': {remedy}",)
    assert faults(lambda: declare(5, gap="empty")) == (f"Kept: gap_keys=5: {remedy}",)
    assert faults(lambda: declare(iter([]), gap="empty"))[0].endswith(remedy)
    assert faults(lambda: declare([(1, NOON.date())])) == (
        "Kept: gap_keys= requires gap='empty' or gap='carry'",
    )
    for wrong in (1, (1,), (True, NOON.date()), (1, NOON), ["A"], None):
        fault = f"Kept: gap_keys has {wrong!r}: each key must be a tuple of (group: int, day: date)"
        assert faults(lambda key=wrong: declare([key], gap="empty")) == (fault,)

    keys: list[Any] = [(1, NOON.date()), (2,)]
    aggregate = WindowAggregate(declare(lambda: keys, gap="empty"))
    aggregate.update(Plain(3, NOON.date(), None), 0)
    with pytest.raises(ValueError, match=r"Kept: gap_keys has \(2,\): each key"):
        aggregate.advance(63_000)
    del keys[1]
    assert [(it.bar.group, it.bar.count) for it in aggregate.advance(63_000)] == [(3, 1), (1, 0)]


def test_an_aggregate_is_not_copied() -> None:
    aggregate = WindowAggregate(Candle)
    calls: tuple[Callable[[Any], Any], ...] = (copy.copy, copy.deepcopy, pickle.dumps)
    for call in calls:
        with pytest.raises(TypeError, match=r"make another one with WindowAggregate\(Candle, state="):
            call(aggregate)


def test_the_state_of_other_types_and_another_time_names_what_differs(faults: Faults) -> None:
    def declare(price: Any, time: Any) -> type[Any]:
        fields = {"symbol": Annotated[str, Key], "price": price, "at": time, "on": datetime}
        source: type[Any] = entity(topic="of_type", kind="stream")(
            dataclass(type("OfType", (), {"__annotations__": fields}))
        )
        fields = {"symbol": Annotated[str, Key], "total": Annotated[price, agg.sum(F.price)]}
        made: type[Any] = entity(source=source, windows=[1])(
            dataclass(type("Total", (), {"__annotations__": fields}))
        )
        return made

    state = WindowAggregate(declare(float, Annotated[datetime, EventTime])).state()
    found = faults(lambda: WindowAggregate(declare(Decimal, datetime), state=state))
    assert [one.partition(" when")[0] for one in found] == [
        "Total: the event time was OfType.at",
        "Total: the aggregate of total was agg.sum(F.price) of OfType (float)",
    ]


def test_a_state_that_could_not_be_read_is_not_written() -> None:
    wrong: Any = 5
    aggregate = WindowAggregate(Candle)
    aggregate.update(trade(0, symbol=wrong))
    with pytest.raises(EncodeError, match=r"Candle: an open window cannot be saved: .*str"):
        aggregate.state()
