"""Windows over records: :class:`WindowAggregate` makes bars of them, without Kafka, threads or clocks."""

from statestore.windowing.aggregate import WindowAggregate
from statestore.windowing.values import Closed, WindowCounts

__all__ = ["Closed", "WindowAggregate", "WindowCounts"]
