"""Sorting that may be paused: as ``sorted``, in parts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from statestore.runtime.slices import in_slices, pause_point, with_pauses

T = TypeVar("T")

PART = 2048
"""About so many items are sorted at a time."""
_SAMPLE = 8
"""Items of a sample for each part, so that parts are of about the same size."""


def sort(items: Iterable[T], key: Callable[[T], Any], *, reverse: bool = False) -> list[T]:
    """Return what ``sorted`` does; work in slices pauses meanwhile. Of keys only ``<`` is asked."""
    if not in_slices():
        return sorted(items, key=key, reverse=reverse)
    rows: list[T] = []
    keys: list[Any] = []
    for row in with_pauses(items):
        rows.append(row)
        keys.append(key(row))
    order: list[T] = []
    for part in _parts(keys, reverse=reverse):
        pause_point()
        order += [rows[place] for place in part]
    release(rows)
    release(keys)
    return order


def release(items: list[Any]) -> None:
    """Take all items out of a list; work in slices pauses meanwhile, since memory is given back then."""
    while items:
        pause_point()
        del items[-PART:]


def _parts(keys: list[Any], *, reverse: bool) -> Iterable[list[int]]:
    """Give the places of ``keys`` in the order of the keys, in parts."""
    step = max(1, PART // _SAMPLE)
    sample = sorted(keys[step // 2 :: step])
    bounds: list[Any] = []
    for bound in sample[_SAMPLE::_SAMPLE]:
        if not bounds or bounds[-1] < bound:
            bounds.append(bound)
    between: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    equal: list[list[int]] = [[] for _ in bounds]  # to a bound: a value of many rows is one
    for place, key in enumerate(with_pauses(keys)):
        at = bisect_right(bounds, key)
        (equal[at - 1] if at and not bounds[at - 1] < key else between[at]).append(place)
    turned = -1 if reverse else 1
    for number in range(len(between))[::turned]:
        pause_point()
        between[number].sort(key=keys.__getitem__, reverse=reverse)
        beside = equal[number - 1 : number] if number else []
        for part in [*beside, between[number]][::turned]:
            for start in range(0, len(part), PART):
                yield part[start : start + PART]
            release(part)
