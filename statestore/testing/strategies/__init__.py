"""Hypothesis strategies: entities and keys by their annotations, histories of a topic, and times.

>>> @given(history=histories(Order))
... def test_the_service_survives_any_history(history: History[Order]) -> None:
...     with TestDriver(entities=[Order], partitions=history.partitions) as driver:
...         history.play(driver)
"""

from __future__ import annotations

from statestore.testing.strategies.histories import (
    Compaction,
    History,
    Step,
    Together,
    Tombstone,
    Unkeyed,
    Write,
    histories,
)
from statestore.testing.strategies.values import clocks, entities, keys

__all__ = [
    "Compaction",
    "History",
    "Step",
    "Together",
    "Tombstone",
    "Unkeyed",
    "Write",
    "clocks",
    "entities",
    "histories",
    "keys",
]
