"""Which key comes next: the distributions of YCSB, with fixed seeds.

A chooser draws numbers of records, 0 to count - 1. A number becomes a key by ``Content.key``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from random import Random
from typing import Literal

Distribution = Literal["uniform", "zipfian", "latest", "hot"]

ZIPFIAN_CONSTANT = 0.99
"""YCSB's skew: of 100,000 records the most popular one gets one request in 12."""

HOT_SHARE = 0.01
"""Part of the records that the distribution ``hot`` draws from."""

_EXACT_TERMS = 1_000
_STRIDE = 2_654_435_761  # a prime: ranks are spread over the records without two meeting


class Chooser(ABC):
    """Draws one record after the other."""

    @abstractmethod
    def draw(self, count: int) -> int:
        """Return the number of one of ``count`` records, from 0."""


class Uniform(Chooser):
    """Each record is as likely as the others."""

    def __init__(self, random: Random) -> None:
        self._random = random.random

    def draw(self, count: int) -> int:
        return int(self._random() * count)


class Hot(Chooser):
    """One record in a hundred, spread over the whole range of keys, gets all requests."""

    def __init__(self, random: Random) -> None:
        self._random = random.random

    def draw(self, count: int) -> int:
        return scattered(int(self._random() * max(1, int(count * HOT_SHARE))), count)


def zeta(count: int, constant: float = ZIPFIAN_CONSTANT) -> float:
    """Return the sum of ``1 / i ** constant`` for i from 1 to ``count``.

    The terms after the first thousand are summed by the Euler-Maclaurin formula, whose error is below 1e-9.
    """
    exact = min(count, _EXACT_TERMS)
    total = math.fsum(1 / i**constant for i in range(1, exact + 1))
    if count > exact:
        power = 1 - constant
        total += (count**power - exact**power) / power + (count**-constant - exact**-constant) / 2
        total += constant * (exact ** (-constant - 1) - count ** (-constant - 1)) / 12
    return total


class Ranks:
    """Zipfian ranks: 0 is drawn most often. The algorithm of Gray et al. (SIGMOD 1994), as YCSB uses it."""

    def __init__(self, random: Random, constant: float = ZIPFIAN_CONSTANT) -> None:
        self._random = random.random
        self._constant = constant
        self._second = 1 + 0.5**constant
        self._count = 0

    def _prepare(self, count: int) -> None:
        self._count = count
        self._zeta = zeta(count, self._constant)
        self._alpha = 1 / (1 - self._constant)
        share = 1 - zeta(2, self._constant) / self._zeta
        self._eta = (1 - (2 / count) ** (1 - self._constant)) / share if share else 1.0

    def draw(self, count: int) -> int:
        # A count that grows by inserts changes the sum by little: it is made anew at every hundredth more.
        if count < self._count or count > self._count * 1.01:
            self._prepare(count)
        chance = self._random()
        scaled = chance * self._zeta
        if scaled < 1:
            return 0
        if scaled < self._second:
            return min(1, count - 1)
        return min(count - 1, int(self._count * (self._eta * chance - self._eta + 1) ** self._alpha))


class Zipfian(Chooser):
    """Few records get most requests; they are spread over the whole range of keys."""

    def __init__(self, random: Random) -> None:
        self._ranks = Ranks(random)

    def draw(self, count: int) -> int:
        return scattered(self._ranks.draw(count), count)


class Latest(Chooser):
    """The records that were inserted last get most requests."""

    def __init__(self, random: Random) -> None:
        self._ranks = Ranks(random)

    def draw(self, count: int) -> int:
        return count - 1 - self._ranks.draw(count)


def scattered(rank: int, count: int) -> int:
    """Return the record of ``rank``: another one for each rank, neighbours far from each other."""
    stride = _STRIDE
    while math.gcd(stride, count) != 1:
        stride += 2
    return rank * stride % count


CHOOSERS: dict[Distribution, type[Uniform] | type[Hot] | type[Zipfian] | type[Latest]] = {
    "uniform": Uniform,
    "hot": Hot,
    "zipfian": Zipfian,
    "latest": Latest,
}
