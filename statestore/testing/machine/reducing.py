"""Lists with as few items as still fail: :func:`reduced`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def reduced(items: Sequence[Item], fails: Callable[[list[Item]], bool]) -> list[Item]:
    """Return the fewest of ``items``, which fail, that still do: without any single one they would not.

    This is delta debugging: halves are left out, then quarters, at last single items, the latest first.
    ``fails`` may give up by returning ``False``: then there are more items than need be.
    """
    kept, size = list(items), len(items)
    while size > 0:
        size = min(size, len(kept))
        fewer = _without_parts(kept, size, fails)
        if size > 1 or len(fewer) == len(kept):  # what is left may need less than the whole did
            size //= 2
        kept = fewer
    return kept


def _without_parts(kept: list[Item], size: int, fails: Callable[[list[Item]], bool]) -> list[Item]:
    for start in range((len(kept) - 1) // size * size, -1, -size) if kept else ():
        fewer = kept[:start] + kept[start + size :]
        if fails(fewer):
            kept = fewer
    return kept
