"""Times of windows as users give them: a ``datetime`` with a zone, or ``int`` milliseconds since 1970."""

from __future__ import annotations

from datetime import datetime

from statestore.core.common import END_OF_TIME as END_OF_TIME  # others take them from here
from statestore.core.common import FIRST_TIME as FIRST_TIME
from statestore.errors import EncodeError
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import FIRST_MICROSECOND, LAST_MICROSECOND, microseconds

Time = datetime | int
"""A ``datetime`` with a time zone, or an ``int`` of milliseconds since 1970 UTC."""


def exact_time(what: str, time: Time) -> int:
    """Return the milliseconds of ``what``, which must be whole."""
    if type(time) is int and FIRST_TIME <= time < END_OF_TIME:
        return time
    at, rest = divmod(_microseconds(what, time), 1000)
    if rest:
        raise EncodeError(
            f"{what} {time.isoformat() if isinstance(time, datetime) else time}: stores keep whole "
            "milliseconds; round it as you mean it, as with time.replace(microsecond=0)"
        )
    return at


def bound_of(what: str, time: Time) -> int:
    """Return the first millisecond that is not before ``time``."""
    if type(time) is int:
        return min(max(time, FIRST_TIME), END_OF_TIME)
    return -(-_microseconds(what, time) // 1000)


def bounds(start: Time | None, stop: Time | None) -> tuple[int, int]:
    """Return the milliseconds of a range of times."""
    return (
        FIRST_TIME if start is None else bound_of("start", start),
        END_OF_TIME if stop is None else bound_of("stop", stop),
    )


def _microseconds(what: str, time: object) -> int:
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise EncodeError(
                f"{what} {time.isoformat()}: a time needs a zone, such as datetime(2026, 1, 1, tzinfo=UTC)"
            )
        found = microseconds(time)
        if FIRST_MICROSECOND <= found <= LAST_MICROSECOND:
            return found
        raise EncodeError(f"{what} {time.isoformat()}: in UTC it is not in the years 1 to 9999: give another")
    if isinstance(time, int) and not isinstance(time, bool):
        if FIRST_TIME <= time < END_OF_TIME:
            return time * 1000
        raise EncodeError(
            f"{what} {bounded_repr(time)}: an int is milliseconds since 1970, of the years 1 to 9999"
        )
    raise TypeError(
        f"{what} must be a datetime or an int of milliseconds since 1970, not {type(time).__name__} "
        f"{bounded_repr(time)}"
    )
