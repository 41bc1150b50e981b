"""Partitioners by the names that librdkafka has for them, and the partition where each puts a key."""

from __future__ import annotations

from typing import Final

from statestore.core import place_of
from statestore.settings import Partitioner

DEFAULT_PARTITIONER: Final = "murmur2_random"
"""Java's, which the producer has (``kafka/properties.py``)."""

_NUMBERS: dict[Partitioner, int] = {
    "murmur2_random": 0,
    "consistent_random": 1,
    "fnv1a_random": 2,
    "murmur2": 0,
    "consistent": 1,
    "fnv1a": 2,
}
"""The number of each in ``core.PARTITIONERS``, the usual name of each first."""

ANY_PARTITION: Final = -1
"""Leaves the partition to the producer."""


def number_of(name: Partitioner) -> int:
    """Return the number of a partitioner in ``core.PARTITIONERS``."""
    return _NUMBERS[name]


def name_of(number: int) -> Partitioner:
    """Return the usual name of a partitioner of whole keys."""
    return next(name for name, one in _NUMBERS.items() if one == number)


def partition_of(name: Partitioner, key: bytes | None, partitions: int) -> int:
    """Return where ``name`` puts a record; ``ANY_PARTITION`` for one without a key that may be anywhere."""
    if key is None and name.endswith("_random"):
        return ANY_PARTITION
    return place_of(_NUMBERS[name], key or b"", partitions)
