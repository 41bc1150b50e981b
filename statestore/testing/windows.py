"""The bars that a class makes of records, without Kafka: :func:`run_windows`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from statestore.windowing import Closed, WindowAggregate

B = TypeVar("B")


def run_windows(
    cls: type[B], records: Iterable[Any], *, until: datetime | int | None = None
) -> list[Closed[B]]:
    """Return the bars that ``cls`` makes of ``records``, in the order in which their windows close.

    ``records`` are entities of the source, which then are of one partition, or ``Record`` with timestamps and
    partitions. After the last one the event time becomes ``until``, in UTC or in milliseconds since 1970; by
    default it moves on until every window that has a record is closed. Raises what
    :class:`~statestore.windowing.WindowAggregate` raises.
    """
    aggregate = WindowAggregate(cls)
    closed = aggregate.update_all(records)
    if until is not None:
        return closed + aggregate.advance(until)
    end = aggregate.open_until
    return closed if end is None else closed + aggregate.advance(end)
