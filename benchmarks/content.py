"""What stores and topics hold: keys of 16 bytes, values of 100 that compress by half; always the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

VALUE_SIZE = 100

Pairs = list[tuple[bytes, bytes]]


def key(number: int) -> bytes:
    """Return a key of 16 bytes."""
    return b"key-%012d" % number


def values(seed: int = 13) -> list[bytes]:
    """Return values to take in turns; a prime number of them, so that a key written again gets another."""
    chance = random.Random(seed)
    return [chance.randbytes(VALUE_SIZE // 2).hex().encode() for _ in range(9973)]


def records(count: int, keys: int) -> Iterator[tuple[bytes, bytes]]:
    """Give ``count`` records that write ``keys`` keys over and over, never in their order."""
    pool = values()
    step = _step(keys)
    for number in range(count):
        turn, place = divmod(number, keys)
        yield key((place * step + turn) % keys), pool[number % len(pool)]


def _step(keys: int) -> int:
    """Return a step that shares no factor with ``keys``, so that it visits each of them once."""
    return next(step for step in (7_919, 7_907, 7_901) if keys % step)


def pairs(count: int) -> Pairs:
    """Return ``count`` pairs in the order of their keys."""
    return sorted(records(count, count))


def some_keys(count: int, among: int, seed: int = 17) -> list[bytes]:
    """Return ``count`` keys of those below ``among``, any of them equally often."""
    chance = random.Random(seed)
    return [key(chance.randrange(among)) for _ in range(count)]
