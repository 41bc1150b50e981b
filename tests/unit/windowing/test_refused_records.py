"""Records that an aggregate does not take: which, and what it says of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore import Key, agg, entity
from statestore.tables.timestamps import Record
from statestore.windowing import WindowAggregate

from .test_aggregate import NOON, Candle, Plain, Sums, Trade, trade


def test_a_key_is_never_none_and_a_time_has_a_year() -> None:
    aggregate = WindowAggregate(Sums)
    nobody: Any = None
    assert aggregate.update(Plain(nobody, date(2026, 3, 2), 1.0), 0) == []
    assert aggregate.counts.skipped == 1
    for time in (2**62, -(2**62), 253_402_300_799_999):
        with pytest.raises(ValueError, match=r"outside of the years 2 to 9998"):
            aggregate.update(Plain(1, date(2026, 3, 2), 1.0), time)
        with pytest.raises(ValueError, match=r"outside of the years 2 to 9998"):
            aggregate.advance(time)
    assert aggregate.counts.open == 0


def test_a_record_of_another_class_is_refused() -> None:
    aggregate = WindowAggregate(Candle)
    other = Plain(1, date(2026, 1, 1), 0.0)
    record: Record[Any] = Record(1, other, NOON, 0)
    calls: list[Callable[[], object]] = [
        lambda: aggregate.update(other),
        lambda: aggregate.update(record),
        lambda: aggregate.update_all([Trade("A", Decimal(1), NOON), other]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"Candle is made of Trade, not of Plain: give its records"):
            call()
    assert aggregate.counts.open == 2  # of the record before


def test_an_attribute_error_of_a_reducer_is_its_own() -> None:
    def wrong(_so_far: Any, record: Any) -> Any:
        return record.prize

    @entity(source=Trade, windows=[1])
    @dataclass(frozen=True, slots=True)
    class Reduced:
        symbol: Annotated[str, Key]
        price: Annotated[float, agg.reduce(wrong, initial=0.0)]

    with pytest.raises(AttributeError, match="prize"):
        WindowAggregate(Reduced).update(Trade("A", Decimal(1), NOON))


@pytest.mark.parametrize("time", [5.0, True, "2026-03-02", date(2026, 3, 2), Decimal(5)])
def test_what_is_no_time_is_refused(time: Any) -> None:
    aggregate = WindowAggregate(Sums)
    for call in (
        lambda: aggregate.update(Plain(1, date(2026, 3, 2), 1.0), time),
        lambda: aggregate.advance(time),
        lambda: WindowAggregate(Candle).update(Trade("A", Decimal(1), time)),
    ):
        with pytest.raises(
            TypeError, match=r"the event time is \w+ .*: it must be a datetime with a zone, or"
        ):
            call()
    assert aggregate.counts.open == 0


def test_a_time_has_a_zone() -> None:
    nothing: Any = None
    with pytest.raises(ValueError, match="this Trade has no time: its at is None"):
        WindowAggregate(Candle).update(Trade("A", Decimal(1), nothing))
    naive = datetime(2026, 3, 2, 12)
    calls: tuple[Callable[[], object], ...] = (
        lambda: WindowAggregate(Candle).update(Trade("A", Decimal(1), naive)),
        lambda: WindowAggregate(Candle).update(trade(0), naive),
        lambda: WindowAggregate(Candle).advance(naive),
    )
    for call in calls:
        with pytest.raises(ValueError, match="2026-03-02T12:00:00 has no zone: give one, such as"):
            call()


def test_an_int_of_any_size_and_class_is_a_time_or_none() -> None:
    class Milliseconds(int):
        pass

    aggregate = WindowAggregate(Sums)
    day = date(2026, 3, 2)
    with pytest.raises(ValueError, match=r"outside of the years 2 to 9998"):
        aggregate.update(Plain(1, day, 1.0), 2**70)
    aggregate.update(Plain(1, day, 1.0), Milliseconds(1500))
    (closed,) = aggregate.advance(Milliseconds(2000))
    assert (closed.bar.start, type(closed.bar.start)) == (1000, int)
