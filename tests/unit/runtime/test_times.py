"""Times and dates as numbers, and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.runtime import times

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12, minutes=-30))])
TIMES = st.datetimes(timezones=ZONES)


def exact(time: datetime) -> int:
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@given(TIMES)
def test_microseconds_are_exact_and_come_back(time: datetime) -> None:
    number = times.microseconds(time)
    assert number == exact(time)
    if times.FIRST_MICROSECOND <= number <= times.LAST_MICROSECOND:
        back = times.time_at(number)
        assert back == time
        assert back.tzinfo is UTC
    else:
        with pytest.raises(OverflowError):
            times.time_at(number)


@given(TIMES)
def test_milliseconds_are_rounded_down_or_up(time: datetime) -> None:
    assert times.milliseconds(time) == exact(time) // 1000
    assert times.milliseconds_up(time) == -(-exact(time) // 1000)


@given(st.dates())
def test_days_come_back(day: date) -> None:
    assert times.FIRST_DAY <= times.days(day) <= times.LAST_DAY
    assert times.date_at(times.days(day)) == day


def test_the_ends() -> None:
    assert times.days(date(1970, 1, 2)) == 1
    assert times.time_at(times.LAST_MICROSECOND) == datetime.max.replace(tzinfo=UTC)
    assert times.date_at(times.FIRST_DAY) == date.min
    with pytest.raises(ValueError, match="ordinal"):
        times.date_at(times.FIRST_DAY - 1)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1, "1970-01-01T00:00:00.001+00:00"),
        (-1, "1969-12-31T23:59:59.999+00:00"),
        (10**15, "1000000000000000 ms since 1970"),
        (-(2**63), "-9223372036854775808 ms since 1970"),
    ],
)
def test_text_of_milliseconds(milliseconds: int, text: str) -> None:
    assert times.milliseconds_text(milliseconds) == text
