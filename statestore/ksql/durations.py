"""Lengths of time, as KSQL writes them: whole numbers of one unit."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_UNITS: Final = (
    (timedelta(days=1), "DAY"),
    (timedelta(hours=1), "HOUR"),
    (timedelta(minutes=1), "MINUTE"),
    (timedelta(seconds=1), "SECOND"),
    (timedelta(milliseconds=1), "MILLISECOND"),
)


def duration(length: timedelta) -> str:
    """Return a length of whole milliseconds in the greatest unit that divides it: ``5 MINUTES``."""
    for unit, name in _UNITS:
        if length and not length % unit:
            count = length // unit
            return f"{count} {name}{'' if count == 1 else 'S'}"
    return "0 SECONDS"
