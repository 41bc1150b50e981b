"""The content of stores and topics: keys of 16 bytes, values of 100 that compress by half. No run differs."""

from __future__ import annotations

import random
from collections.abc import Iterator

VALUE_SIZE = 100

Pairs = list[tuple[bytes, bytes]]


def key(number: int) -> bytes:
    """Return a key of 16 bytes."""
    return b"key-%012d" % number


def values(seed: int = 13) -> list[bytes]:
    """Return values to take in turns: a prime number, so that a key written again gets another one."""
    chance = random.Random(seed)
    return [chance.randbytes(VALUE_SIZE // 2).hex().encode() for _ in range(9973)]


def records(count: int, keys: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield ``count`` records that write ``keys`` keys again and again, never in key order."""
    pool = values()
    step = _step(keys)
    for number in range(count):
        turn, place = divmod(number, keys)
        yield key((place * step + turn) % keys), pool[number % len(pool)]


def _step(keys: int) -> int:
    """Return a step without a common factor with ``keys``: steps of this size visit each key once."""
    return next(step for step in (7_919, 7_907, 7_901) if keys % step)


def pairs(count: int) -> Pairs:
    """Return ``count`` pairs in the order of their keys."""
    return sorted(records(count, count))


def some_keys(count: int, among: int, seed: int = 17) -> list[bytes]:
    """Return ``count`` random keys with numbers below ``among``."""
    chance = random.Random(seed)
    return [key(chance.randrange(among)) for _ in range(count)]
