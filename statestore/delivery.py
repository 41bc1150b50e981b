"""Where a written record is in Kafka."""

from __future__ import annotations

from typing import NamedTuple


class Delivery(NamedTuple):
    """A record that Kafka has confirmed. ``table.wait_for`` waits until a table has applied it."""

    topic: str
    partition: int
    offset: int
    """The record's offset. After an outage the broker may not know it; the record is then at or before it."""
    timestamp: int
    """The record's timestamp in ms since 1970 UTC: the entity's event time, else the time of writing."""
