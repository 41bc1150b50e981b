"""What an aggregate returns and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from statestore.fields.windows import Window

B = TypeVar("B")


class Closed(NamedTuple, Generic[B]):
    """A bar whose window is closed: no record changes it any more."""

    bar: B
    window: Window
    start: datetime
    """Of its window, in UTC."""
    partition: int
    """Of the source's records."""
    is_gap: bool = False
    """Whether its window has no record of its key."""


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """What an aggregate counts. Records are counted from the first on, also across :meth:`state`."""

    late: Mapping[str, int]
    """By the window's label: records that came after their window was closed, and are not in it."""
    ahead: int
    """Records whose event time was too far after their timestamp (``max_future``)."""
    skipped: int
    """Records without a value, or without a key."""
    open: int
    """Bars that are open now: for each window and key one."""
