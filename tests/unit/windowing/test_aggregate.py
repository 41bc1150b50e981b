"""What an aggregate does with single records, and what it refuses."""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import (
    DecodeError,
    EncodeError,
    EventTime,
    F,
    Key,
    WindowEnd,
    WindowSize,
    WindowStart,
    agg,
    entity,
)
from statestore.tables.timestamps import Record
from statestore.testing import run_windows
from statestore.windowing import WindowAggregate

Faults = Callable[..., tuple[str, ...]]

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday


@entity(topic="trades", kind="stream")
@dataclass(frozen=True, slots=True)
class Trade:
    symbol: Annotated[str, Key]
    price: Decimal
    at: Annotated[datetime, EventTime]


@dataclass(frozen=True, slots=True)
class Prices:
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@entity(source=Trade, windows=[1, 5], grace=3)
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    size: Annotated[int, WindowSize]
    prices: Annotated[Prices, agg.ohlc(F.price)]
    count: Annotated[int, agg.count()]


def trade(second: float, price: int = 1, symbol: str = "A") -> Trade:
    return Trade(symbol, Decimal(price), NOON + timedelta(seconds=second))


def test_a_window_closes_when_its_end_and_grace_have_passed() -> None:
    aggregate = WindowAggregate(Candle)
    assert aggregate.update_all([trade(0, 5), trade(10, 9), trade(59.999, 2), trade(62.999, 7)]) == []
    (closed,) = aggregate.update(trade(63, 8))
    start, end = NOON, NOON + timedelta(minutes=1)
    prices = Prices(Decimal(5), Decimal(9), Decimal(2), Decimal(2))
    assert closed.bar == Candle("A", start, end, 60_000, prices, 3)
    assert (closed.window.label, closed.start, closed.partition, closed.is_gap) == ("1min", NOON, 0, False)
    assert aggregate.event_time() == NOON + timedelta(seconds=63)
    assert aggregate.event_time(partition=1) is None
    assert aggregate.counts.open == 2


def test_a_late_record_is_counted_for_each_window_that_is_closed() -> None:
    aggregate = WindowAggregate(Candle)
    aggregate.update_all([trade(0), trade(70), trade(59), None])
    counts = aggregate.counts
    assert (counts.late, counts.skipped) == ({"1min": 1, "5min": 0}, 1)
    found = {
        (it.window.label, it.bar.start): it.bar.count for it in aggregate.advance(NOON + timedelta(hours=1))
    }
    assert found == {("1min", NOON + timedelta(minutes=1)): 1, ("5min", NOON): 3}


def test_partitions_have_watermarks_of_their_own() -> None:
    aggregate = WindowAggregate(Candle)
    aggregate.update(trade(0), partition=1)
    aggregate.update(Record("A", trade(600), None, 2))
    assert aggregate.advance(NOON + timedelta(seconds=63), partition=7) == []
    assert [it.partition for it in aggregate.advance(NOON + timedelta(seconds=63))] == [1]
    assert aggregate.event_time(2) == NOON + timedelta(seconds=600)


def test_an_event_time_far_after_the_timestamp_moves_nothing() -> None:
    aggregate = WindowAggregate(Candle)
    aggregate.update(trade(3600), timestamp=NOON)
    assert aggregate.update(trade(3600.001), timestamp=NOON) == []
    assert aggregate.counts.ahead == 1
    assert aggregate.event_time() == NOON + timedelta(seconds=3600)


@entity(topic="plain", kind="stream")
@dataclass(frozen=True, slots=True)
class Plain:
    group: Annotated[int, Key]
    day: Annotated[date, Key]
    value: float | None


@entity(source=Plain, windows=["1w", "1s"], grace=0)
@dataclass(frozen=True, slots=True)
class Sums:
    group: Annotated[int, Key]
    day: Annotated[date, Key]
    start: Annotated[int, WindowStart]
    total: Annotated[float, agg.sum(F.value)]
    mean: Annotated[float | None, agg.avg(F.value)]
    first: Annotated[float | None, agg.first(F.value * 2)]


def test_without_an_event_time_the_timestamp_is_the_time() -> None:
    aggregate = WindowAggregate(Sums)
    day = date(2026, 3, 2)
    with pytest.raises(ValueError, match=r"no EventTime field.*timestamp="):
        aggregate.update(Plain(1, day, 1.0))
    aggregate.update(Plain(1, day, None), timestamp=-1)
    aggregate.update(Plain(1, day, 2.5), timestamp=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    closed = aggregate.advance(datetime(1970, 1, 6, tzinfo=UTC))
    # A second before 1970, and the week of Monday, 1969-12-29.
    assert [it.bar for it in closed] == [
        Sums(1, day, -1000, 2.5, 2.5, 5.0),
        Sums(1, day, -259_200_000, 2.5, 2.5, 5.0),
    ]


def test_no_bars_to_make(faults: Faults) -> None:
    @entity(source="trades", windows=[1])
    @dataclass
    class OfTopic:
        symbol: Annotated[str, Key]

    assert faults(WindowAggregate, Trade) == (
        "Trade has no bars to make: give it its source and its windows, as in @entity(source=Trade, "
        "windows=[1, 5])",
    )
    assert faults(WindowAggregate, OfTopic) == (
        "OfTopic: source='trades' is the name of a topic: give the entity class of its records",
    )


def failing(state: int, given: Trade) -> int:
    if given.price < 0:
        raise ArithmeticError("below 0")
    return state + 1


@entity(source=Trade, windows=[1, 5], grace=0)
@dataclass(frozen=True, slots=True)
class Reduced:
    symbol: Annotated[str, Key]
    total: Annotated[Decimal, agg.sum(F.price)]
    count: Annotated[int, agg.reduce(failing, 0)]


def test_a_record_that_fails_moves_no_time_of_its_partition() -> None:
    @entity(source=Trade, windows=[1], grace=0, scope="key", retention=1)
    @dataclass(frozen=True, slots=True)
    class ByKey:
        symbol: Annotated[str, Key]
        count: Annotated[int, agg.reduce(failing, 0)]

    aggregate = WindowAggregate(ByKey)
    for partition in (0, 1):
        with pytest.raises(ArithmeticError):
            aggregate.update(trade(0, -1), partition=partition)
    assert aggregate.event_time() is None
    aggregate.update(trade(0))
    state = aggregate.state()
    with pytest.raises(ArithmeticError):
        aggregate.update(trade(600, -1, "B"))
    with pytest.raises(ArithmeticError):
        aggregate.update(trade(600, -1))
    assert aggregate.state() == state
    aggregate.update(trade(1))
    (closed,) = aggregate.update(trade(600))  # of a key that is forgotten by it, and is there anew
    assert closed.bar.count == 2
    assert (aggregate.counts.open, aggregate.counts.late) == (1, {"1min": 0})


def test_a_record_that_fails_is_in_no_window_and_no_bar_is_lost() -> None:
    aggregate = WindowAggregate(Reduced)
    given = [trade(0), trade(1, -1), trade(2), trade(60), trade(61, -1), trade(62)]
    with pytest.raises(ArithmeticError):
        aggregate.update_all(given)
    with pytest.raises(ArithmeticError):
        aggregate.update_all(given[2:])
    closed = aggregate.update(given[5])
    assert [(it.bar.total, it.bar.count) for it in closed] == [(Decimal(2), 2)]
    assert aggregate.counts.open == 2


def test_each_window_has_a_copy_of_the_first_state() -> None:
    def noted(state: list[Any], given: Trade) -> list[Any]:
        state.append(int(given.price))
        return state

    @entity(source=Trade, windows=[1])
    @dataclass
    class Listed:
        symbol: Annotated[str, Key]
        prices: Annotated[list[int], agg.reduce(noted, [])]

    closed = run_windows(Listed, [trade(0, 1), trade(1, 2, "B"), trade(60, 3), trade(2, 4)])
    assert [it.bar.prices for it in closed] == [[1, 4], [2], [3]]


def test_what_a_reducer_may_keep() -> None:
    @entity(source=Trade, windows=[1])
    @dataclass
    class Kept:
        symbol: Annotated[str, Key]
        prices: Annotated[list[Decimal], agg.reduce(lambda state, given: [*state, given.price], [])]

    aggregate = WindowAggregate(Kept)
    aggregate.update(trade(0))
    with pytest.raises(EncodeError, match=r"Kept: an open window cannot be saved: .*Decimal.*msgpack"):
        aggregate.state()


def test_a_sum_beyond_64_bits_cannot_be_saved() -> None:
    @entity(source=Many, windows=["1s"])
    @dataclass
    class Total:
        key: Annotated[UUID, Key]
        total: Annotated[int, agg.sum(F.number)]

    aggregate = WindowAggregate(Total)
    for _ in range(2):
        aggregate.update(Many(UUID(int=1), 2**63, 0.0, Decimal(0), "", b"", date(2026, 3, 2), NOON, 0))
    with pytest.raises(EncodeError, match=r"Total: an open window cannot be saved: .*64 bits"):
        aggregate.state()


@pytest.mark.parametrize(
    "call", [lambda one, given: one.update(given), lambda one, given: one.advance(given.at)]
)
def test_an_aggregate_that_calls_itself_is_refused(call: Callable[[Any, Any], list[Any]]) -> None:
    made: list[WindowAggregate[Any]] = []

    @entity(source=Trade, windows=[1])
    @dataclass
    class Calling:
        symbol: Annotated[str, Key]
        count: Annotated[int, agg.reduce(lambda state, given: len(call(made[0], given)) + state, 0)]

    made.append(WindowAggregate(Calling))
    with pytest.raises(RuntimeError, match="takes a record already"):
        made[0].update(trade(0))
    assert made[0].counts.open == 0


def test_the_state_of_another_declaration_names_what_differs(faults: Faults) -> None:
    state = WindowAggregate(Candle).state()

    @entity(source=Trade, windows=[1, 15], grace=3)
    @dataclass(frozen=True, slots=True)
    class Other:
        symbol: Annotated[str, Key]
        count: Annotated[int, agg.count()]

    def load() -> None:
        WindowAggregate(Other, state=state)

    found = faults(load)
    assert found[0].startswith(
        "Other: windows= was 1min, 5min when the state was saved, and is 1min, 15min: restore"
    )
    assert found[1].startswith("Other: the aggregate of prices was agg.ohlc(F.price) of Trade (Decimal) when")
    for wrong in (b"", b"\x80", state[:-3], b"\x91\x01"):
        with pytest.raises(DecodeError, match="not what state"):
            WindowAggregate(Candle, state=wrong)
    no_bytes: Any = "text"
    with pytest.raises(TypeError, match="Candle: state= is str 'text': give the bytes"):
        WindowAggregate(Candle, state=no_bytes)


def test_a_key_is_forgotten_when_no_record_of_it_can_come_in_time() -> None:
    @entity(source=Trade, windows=[1, 5], grace=3, scope="key", retention=60)
    @dataclass(frozen=True, slots=True)
    class OfKey:
        symbol: Annotated[str, Key]
        count: Annotated[int, agg.count()]

    aggregate = WindowAggregate(OfKey)
    aggregate.update_all([trade(0), trade(1000, symbol="B"), trade(20), trade(3899, symbol="B")])
    assert aggregate.counts.late == {"1min": 0, "5min": 0}
    # 5 minutes and the retention after A's windows began, they close; what is older is late.
    closed = aggregate.update(trade(3900, symbol="B"))
    assert [(it.window.label, it.bar.symbol, it.bar.count) for it in closed if it.bar.symbol == "A"] == [
        ("1min", "A", 2),
        ("5min", "A", 2),
    ]
    aggregate.update(trade(299))
    assert aggregate.counts.late == {"1min": 1, "5min": 1}


def test_what_a_bar_without_a_record_cannot_have(faults: Faults) -> None:
    def declare(**options: Any) -> Any:
        @entity(source=Trade, windows=[1], **options)
        @dataclass
        class Gapped:
            symbol: Annotated[str, Key]
            close: Annotated[Decimal, agg.last(F.price)]
            high: Annotated[Decimal, agg.max(F.price)]
            mean: Annotated[Decimal, agg.avg(F.price)] = Decimal(0)

        return Gapped

    remedy = "let the field be None, give it a default, or write gap='skip'"
    missing = "has no value in a bar without a record, which the gap policy makes"
    of_both = tuple(
        f"Gapped.{name}: agg.{how}(F.price) {missing}: {remedy}"
        for name, how in (("close", "last"), ("high", "max"))
    )
    assert faults(lambda: declare(gap="empty")) == of_both
    assert faults(lambda: declare(gap="carry", gap_keys=["A"])) == of_both
    carried = declare(gap="carry", gap_horizon=120)
    closed = run_windows(carried, [trade(0, 4), trade(500, 5)])
    assert [(it.bar.close, it.bar.high, it.bar.mean, it.is_gap) for it in closed] == [
        (4, 4, 4, False), (4, 4, 0, True), (4, 4, 0, True), (5, 5, 5, False)
    ]  # fmt: skip
    assert faults(lambda: declare(grace=700_000)) == (
        "Gapped: grace=8 days, 2:26:40 is longer than the retention of windows, 7 days, 0:00:00: "
        "windows would end before they close",
    )
    assert faults(lambda: declare(scope="topic"))[0].startswith("Gapped: scope='topic': ")


def test_ohlc_makes_a_dataclass_of_four_prices(faults: Faults) -> None:
    @dataclass
    class Three:
        open: Decimal
        high: Decimal
        low: Decimal

    @dataclass
    class Floats:
        open: float
        high: Decimal
        low: Decimal
        close: Decimal

    def declare(type_: Any) -> None:
        entity(source=Trade, windows=[1])(
            dataclass(type("Wrong", (), {"__annotations__": {"symbol": Annotated[str, Key], "p": type_}}))
        )

    assert faults(declare, Annotated[Three, agg.ohlc(F.price)]) == (
        "Wrong.p: agg.ohlc makes a dataclass with the fields open, high, low, close: annotate the field as "
        "one, not Three",
    )
    assert faults(declare, Annotated[Floats, agg.ohlc(F.price)]) == (
        "Wrong.p: Floats.open: annotate the field as Decimal, not float",
    )


@entity(topic="many", kind="stream")
@dataclass(frozen=True, slots=True)
class Many:
    key: Annotated[UUID, Key]
    number: int
    real: float
    exact: Decimal
    text: str
    raw: bytes
    day: date
    when: datetime
    at: Annotated[int, EventTime]


@entity(source=Many, windows=["1s"], grace=0, gap="carry")
@dataclass(frozen=True, slots=True)
class Extremes:
    key: Annotated[UUID, Key]
    number: Annotated[int | None, agg.max(F.number)]
    total: Annotated[int, agg.sum(F.number)]
    real: Annotated[float | None, agg.min(F.real)]
    most: Annotated[float | None, agg.max(F.real)]
    exact: Annotated[Decimal | None, agg.max(F.exact)]
    text: Annotated[str | None, agg.min(F.text)]
    raw: Annotated[bytes | None, agg.last(F.raw)]
    day: Annotated[date | None, agg.max(F.day)]
    when: Annotated[datetime | None, agg.first(F.when, by="event_time")]


@pytest.mark.parametrize("nan", [False, True])
def test_values_of_every_type(nan: bool) -> None:
    chance = random.Random(5)
    given = [
        Many(
            UUID(int=chance.randrange(3)),
            chance.randrange(-(2**40), 2**40),
            float("nan") if nan and number % 3 == 0 else chance.uniform(-1, 1),
            Decimal("NaN") if nan and number % 5 == 0 else Decimal(chance.randrange(-999, 999)) / 100,
            chance.choice("äbc") * chance.randrange(4),
            chance.randbytes(3),
            date.fromordinal(700_000 + chance.randrange(999)),
            NOON + timedelta(microseconds=chance.randrange(10**9)),
            chance.randrange(0, 900),
        )
        for number in range(60)
    ]
    aggregate = WindowAggregate(Extremes)
    for number, record in enumerate(given):
        aggregate.update(record)
        if number % 20 == 7:
            aggregate = WindowAggregate(Extremes, state=aggregate.state())
    for it in aggregate.advance(1000):
        mine = [record for record in given if record.key == it.bar.key]
        assert it.bar.number == max(record.number for record in mine)
        assert it.bar.total == sum(record.number for record in mine)
        numbers = [record.real for record in mine if record.real == record.real]
        assert it.bar.real == min(numbers)
        assert it.bar.most == max(numbers) or (nan and it.bar.most != it.bar.most)
        exact = [record.exact for record in mine if not record.exact.is_nan()]
        assert it.bar.exact is not None
        assert it.bar.exact.is_nan() if len(exact) < len(mine) else it.bar.exact == max(exact)
        assert it.bar.text == min(record.text for record in mine)
        assert it.bar.raw == mine[-1].raw
        assert it.bar.day == max(record.day for record in mine)
        assert it.bar.when == min(mine, key=lambda record: record.at).when


def test_nothing_leaks() -> None:
    aggregate = WindowAggregate(Candle)
    symbol, price = "".join(("le", "ak")), Decimal("17.25")
    before = sys.getrefcount(symbol), sys.getrefcount(price)
    for _ in range(50):
        aggregate.update_all(
            [Trade(symbol, price, NOON + timedelta(seconds=second)) for second in range(400)]
        )
        aggregate = WindowAggregate(Candle)
    assert (sys.getrefcount(symbol), sys.getrefcount(price)) == before
