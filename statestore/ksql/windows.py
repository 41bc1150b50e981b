"""Windows of a query: what ``PersistentQuery(window=…)`` takes, and the WINDOW clause of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from statestore.errors import ConfigError, KsqlError
from statestore.fields.windows import (
    SESSIONS,
    DeclaredWindow,
    Hopping,
    Window,
    WindowSpec,
    declared_window,
    length_of,
)
from statestore.ksql.durations import duration
from statestore.runtime.text import bounded_repr

_WEEK: Final = timedelta(weeks=1)
_DEFAULT_GRACE: Final = timedelta(hours=24)
"""How long ksqlDB waits after the start of a window where nothing is said."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Windows of activity: records of a key that are no further apart than ``gap`` are in one window."""

    gap: WindowSpec


WindowGiven = DeclaredWindow | Sessions
Within = WindowSpec | tuple[WindowSpec, WindowSpec]
"""How far apart in time two joined records may be; or how far before and after the left one the right is."""
Lengths = tuple[timedelta, timedelta]


@dataclass(frozen=True, slots=True)
class QueryWindow:
    """The windows of a query, checked."""

    window: Window
    gap: timedelta | None = None
    """Of sessions."""
    grace: timedelta | None = None
    retention: timedelta | None = None


def query_window(
    given: WindowGiven | None, grace: timedelta | None, retention: timedelta | None, faults: list[str]
) -> QueryWindow | None:
    """Return the windows that are given; ``None``: none, or faulty ones."""
    if given is None:
        if retention is not None:
            faults.append("retention= requires window=…: ksqlDB keeps other tables for ever")
        return None
    try:
        if isinstance(given, Sessions):
            gap = length_of(given.gap, "Sessions gap")
            return QueryWindow(Window(timedelta(0), SESSIONS), gap, grace, retention)
        window = declared_window(given)
    except ConfigError as error:
        faults += [f"window: {one}" for one in error.faults]
        return None
    if window.advance is None and window.size == _WEEK:
        faults.append(
            f"window={bounded_repr(given)}: a week begins on a Monday here, and on a Thursday in ksqlDB, "
            "which counts from 1970-01-01: aggregate days, window='1d', and add them up"
        )
    return QueryWindow(window, None, grace, retention)


def retention_faults(found: QueryWindow) -> list[str]:
    """Return what is wrong with the lengths of time together."""
    if found.retention is None:
        return []
    length = found.gap or found.window.size
    grace = max(_DEFAULT_GRACE - length, timedelta(0)) if found.grace is None else found.grace
    if found.retention >= length + grace:
        return []
    of_grace = f"the grace of {duration(grace)}{' that ksqlDB takes without grace=' * (found.grace is None)}"
    return [
        f"retention={duration(found.retention)} is shorter than the window of {duration(length)} and "
        f"{of_grace}: give a longer retention=, or a shorter grace="
    ]


def window_clause(found: QueryWindow) -> str:
    """Return ``WINDOW TUMBLING (SIZE 5 MINUTES, RETENTION 7 DAYS, GRACE PERIOD 3 SECONDS)``."""
    if found.gap is not None:
        name, sizes = "SESSION", [duration(found.gap)]
    elif found.window.advance is None:
        name, sizes = "TUMBLING", [f"SIZE {duration(found.window.size)}"]
    else:
        name = "HOPPING"
        sizes = [f"SIZE {duration(found.window.size)}", f"ADVANCE BY {duration(found.window.advance)}"]
    if found.retention is not None:
        sizes.append(f"RETENTION {duration(found.retention)}")
    if found.grace is not None:
        sizes.append(f"GRACE PERIOD {duration(found.grace)}")
    return f"WINDOW {name} ({', '.join(sizes)})"


def within_of(given: Within | None, faults: list[str]) -> Lengths | None:
    """Return how far before and after a record its partner may be."""
    if given is None:
        return None
    try:
        if isinstance(given, tuple):
            before, after = given
            return _from_zero(before, "within"), _from_zero(after, "within")
        both = length_of(given, "within")
    except ConfigError as error:
        faults += error.faults
        return None
    except ValueError:
        faults.append(f"within={bounded_repr(given)}: give one length, or two: (before, after)")
        return None
    return both, both


def within_clause(lengths: Lengths, grace: timedelta | None) -> str:
    """Return ``WITHIN 1 HOUR GRACE PERIOD 5 MINUTES``, or with two lengths ``WITHIN (1 HOUR, 2 HOURS)``."""
    before, after = lengths
    text = duration(before) if before == after else f"({duration(before)}, {duration(after)})"
    return f"WITHIN {text}" + ("" if grace is None else f" GRACE PERIOD {duration(grace)}")


def stated_length(given: object, what: str, faults: list[str]) -> timedelta | None:
    """Return a length of time that has a unit: a number alone would be seconds in ``@entity``."""
    if given is None:
        return None
    if isinstance(given, timedelta):
        if given >= timedelta(0) and not given % timedelta(milliseconds=1):
            return given
    elif isinstance(given, str):
        try:
            return _from_zero(given, what)
        except ConfigError as error:
            faults += error.faults
            return None
    faults.append(
        f"{what}={bounded_repr(given)}: give a length with its unit, as '3s', '5min', '1d', or a timedelta "
        "of whole milliseconds"
    )
    return None


def _from_zero(given: WindowSpec, what: str) -> timedelta:
    if given in ("0s", "0min", "0h", "0d") or given == timedelta(0):
        return timedelta(0)
    return length_of(given, what)


def check_window(given: object) -> None:
    """Raise ``KsqlError`` for what is no window at all."""
    if given is not None and not isinstance(given, int | str | timedelta | Hopping | Sessions):
        raise KsqlError(
            f"window={bounded_repr(given)}: give a size such as 5 or '5min', Hopping(…) or "
            "ksql.Sessions('30min')"
        )
