"""Where a written record is in Kafka."""

from __future__ import annotations

from typing import NamedTuple


class Delivery(NamedTuple):
    """A record that Kafka has taken. ``table.wait_for`` waits until a table has applied it."""

    topic: str
    partition: int
    offset: int
    """Where it is in the partition. Where the broker cannot tell after an outage, it is there or before."""
    timestamp: int
    """The record's time, in ms since 1970 UTC: the entity's event time, else when it was written."""
