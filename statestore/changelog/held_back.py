"""Which records an open transaction holds back from a reader that has read up to the last stable offset.

Without threads, clock and Kafka: it compares high watermarks with positions, again and again.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOKS = 3
"""How many looks in a row must find a partition at the same place: what is on its way arrives meanwhile."""


class HeldBack:
    """See the module. One table's."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int, int]] = {}
        """By partition: the position, the high watermark, and how many looks found the position there."""

    def clear(self) -> None:
        """A batch has arrived, or the table has left its lane: look anew."""
        self._places.clear()

    def look(self, positions: Mapping[int, int], marks: Mapping[int, int]) -> None:
        """Compare the ``positions`` of partitions, read to their stable ends, with high watermarks."""
        places = {}
        for partition, high in marks.items():
            position = positions.get(partition, high)
            if high > position:
                before, _, looks = self._places.get(partition, (position, high, 0))
                places[partition] = (position, high, looks + 1 if before == position else 1)
        self._places = places

    def describe(self) -> str:
        """Say what is held back; empty: nothing."""
        held = [(one, at, high) for one, (at, high, looks) in self._places.items() if looks >= LOOKS]
        if not held:
            return ""
        partition, position, high = held[0]
        more = f" (and in {len(held) - 1} more partitions)" if len(held) > 1 else ""
        return (
            f"an open transaction holds back partition {partition} from offset {position} on, while the log "
            f"goes on to {high}{more}: its producer must commit or abort it, or its transaction.timeout.ms "
            "ends it"
        )
