"""Times and dates as numbers since 1970-01-01T00:00Z, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Tells the seconds since 1970, as ``time.time`` does."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


def microseconds(time: datetime) -> int:
    """Return the microseconds from 1970 to ``time``, which has a time zone."""
    return (time - _EPOCH) // _MICROSECOND


def time_at(microseconds: int) -> datetime:
    """Return the time ``microseconds`` after 1970, in UTC. ``OverflowError`` outside years 1 to 9999."""
    return _EPOCH + _MICROSECOND * microseconds  # a third faster than timedelta(microseconds=…)


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds from 1970 to ``time``, which has a time zone, rounded down."""
    return (time - _EPOCH) // _MILLISECOND


def milliseconds_up(time: datetime) -> int:
    """Return the same, rounded up: the first millisecond that is not before ``time``."""
    return -((_EPOCH - time) // _MILLISECOND)


def milliseconds_text(milliseconds: int) -> str:
    """Return the time ``milliseconds`` after 1970 in ISO 8601, or the number outside the years 1 to 9999."""
    try:
        return (_EPOCH + _MILLISECOND * milliseconds).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{milliseconds} ms since 1970"


def days(day: date) -> int:
    """Return the days from 1970-01-01 to ``day``."""
    return day.toordinal() - _EPOCH_DAY


def date_at(days: int) -> date:
    """Return the date ``days`` after 1970-01-01. Raises ``ValueError`` outside the years 1 to 9999."""
    return date.fromordinal(days + _EPOCH_DAY)


FIRST_MICROSECOND: Final = microseconds(datetime.min.replace(tzinfo=UTC))
LAST_MICROSECOND: Final = microseconds(datetime.max.replace(tzinfo=UTC))
FIRST_DAY: Final = days(date.min)
LAST_DAY: Final = days(date.max)
