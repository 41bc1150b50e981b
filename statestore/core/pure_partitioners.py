"""Partitioners in Python: what ``_native/partitioners.pxi`` must do."""

from __future__ import annotations

import zlib

_MURMUR_FACTOR = 0x5BD1E995
_32_BITS = 0xFFFFFFFF
_CUTS = (0, 0, 0, 8, 12, 16)
"""Bytes at the end of a key, by partitioner, that say nothing of its partition."""


def place_of(partitioner: int, key: bytes, partitions: int) -> int:
    """Return the partition, of ``partitions``, that ``PARTITIONERS[partitioner]`` puts ``key`` into.

    -1 for a key that is not of its kind: too short to end with a window.
    """
    if not 0 <= partitioner < len(_CUTS) or partitions < 1:
        raise ValueError(f"no partitioner {partitioner}, or no partition of {partitions}")
    cut = _CUTS[partitioner]
    if len(key) < cut:
        return -1
    if partitioner == 1:
        return zlib.crc32(key) % partitions
    if partitioner == 2:
        digest = _fnv1a(key)
        return (digest if digest < 1 << 31 else (1 << 32) - digest) % partitions
    return (_murmur2(key[: len(key) - cut]) & 0x7FFFFFFF) % partitions


def conforming(candidates: int, key: bytes, partition: int, partitions: int) -> int:
    """Return those of ``candidates`` that put the key into ``partition``; 0: none of them."""
    found = 0
    for number in range(len(_CUTS)):
        if candidates >> number & 1 and place_of(number, key, partitions) == partition:
            found |= 1 << number
    return found


def _murmur2(data: bytes) -> int:
    hashed = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MURMUR_FACTOR & _32_BITS
        word = (word ^ word >> 24) * _MURMUR_FACTOR & _32_BITS
        hashed = (hashed * _MURMUR_FACTOR & _32_BITS) ^ word
    if len(data) > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _MURMUR_FACTOR & _32_BITS
    hashed = (hashed ^ hashed >> 13) * _MURMUR_FACTOR & _32_BITS
    return hashed ^ hashed >> 15


def _fnv1a(data: bytes) -> int:
    hashed = 0x811C9DC5
    for byte in data:
        hashed = (hashed ^ byte) * 0x01000193 & _32_BITS
    return hashed
