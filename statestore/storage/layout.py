"""The bytes of a store: namespaces in front of keys, the header of a row, the position of a partition.

Each key has one namespace byte in front: ``0x00`` metadata, ``0x01`` data; ``0x02`` and up are kept for
windows and indexes. The value of a row in a bound store is ``timestamp ms (int64, -1 = none) ‖ payload``; a
store that ``open`` made holds values as they were given. The key of a position is ``0x00 ‖ "pos" ‖ partition
int32``, its value ``next offset int64 ‖ leader epoch int32 ‖ valid since, in ms since the epoch, int64``. All
numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from statestore.core import KeyRange

DATA = b"\x01"
HEADER = 8
"""Bytes in front of the payload of a row in a bound store: its timestamp."""

_POSITION_PREFIX = b"\x00pos"
_POSITION_KEY = struct.Struct(">4si")
_POSITION = struct.Struct(">qiq")

POSITIONS = KeyRange(prefix=_POSITION_PREFIX)
"""Where the positions are."""


class Position(NamedTuple):
    """Where the mirror of one partition stands."""

    offset: int
    """The next offset to apply."""
    leader_epoch: int = -1
    """Leader epoch of the last applied record, -1 unknown."""
    valid_since: int = 0
    """When the pass that last reached the end began, ms since the epoch; 0: the end was never reached."""


def position_pairs(positions: Mapping[int, Position]) -> list[tuple[bytes, bytes]]:
    """Return the stored pairs of the positions of partitions."""
    return [
        (_POSITION_KEY.pack(_POSITION_PREFIX, partition), _POSITION.pack(*position))
        for partition, position in positions.items()
    ]


def positions_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[int, Position]:
    """Return the positions that the pairs in ``POSITIONS`` hold, by partition."""
    return {_POSITION_KEY.unpack(key)[1]: Position._make(_POSITION.unpack(value)) for key, value in pairs}


def pack_timestamp(timestamp: int) -> bytes:
    """Return a header."""
    return timestamp.to_bytes(HEADER, signed=True)


def timestamp_of(value: bytes) -> int:
    """Return the timestamp in the header of a row's stored value, in ms since the epoch, -1 for none."""
    return int.from_bytes(value[:HEADER], signed=True)
