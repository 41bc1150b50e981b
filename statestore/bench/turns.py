"""Whose turn it is: what is compared takes turns, forwards and backwards, A B B A A B …

What slows the machine down for a while so slows each side down, and what a turn leaves behind meets another
side first. The bench's candidates and the two sides of each row of ``make bench`` take turns by this.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

_Side = TypeVar("_Side")
_Found = TypeVar("_Found")


def in_turns(sides: Sequence[_Side], rounds: int) -> Iterator[tuple[int, _Side]]:
    """Give each of ``sides`` once in each round, with the number of the round, from 0."""
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            yield number, side


def in_pairs(
    ours: Callable[[], _Found], theirs: Callable[[], _Found], count: int
) -> list[tuple[_Found, _Found]]:
    """Call both in turns, and return what they returned, pair by pair."""
    calls = ours, theirs
    found: tuple[list[_Found], list[_Found]] = [], []
    for _, side in in_turns((0, 1), count):
        found[side].append(calls[side]())
    return list(zip(*found, strict=True))


def nothing(*_: Any) -> None:
    """Prepare and finish nothing, for work that needs neither."""


@dataclass(frozen=True, slots=True)
class Work:
    """One side of a comparison. Only ``run`` is timed; it and ``finish`` get the result of ``prepare``."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = nothing
    finish: Callable[[Any], object] = nothing

    @classmethod
    def of(cls, call: Callable[[], object]) -> Self:
        """Return work without preparation and clean-up."""
        return cls(lambda _: call())

    def seconds(self) -> float:
        """Do the work once, with garbage collection turned off, and return the seconds."""
        state = self.prepare()
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            self.run(state)
            return time.perf_counter() - start
        finally:
            gc.enable()
            self.finish(state)


def seconds_in_pairs(ours: Work, theirs: Work, count: int) -> list[tuple[float, float]]:
    """Return the seconds of both sides, pair by pair. One turn of each comes first and does not count."""
    theirs.seconds()
    ours.seconds()
    return in_pairs(ours.seconds, theirs.seconds, count)
