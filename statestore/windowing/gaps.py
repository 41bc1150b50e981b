"""Bars of windows in which a key has no record: which keys have one, and what is in it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from statestore.core import OpenWindows
from statestore.core.common import BEFORE_ALL
from statestore.entity import EntityModel
from statestore.entity.windowed import Windowing, gap_key_fault
from statestore.expressions.nodes import Node
from statestore.windowing.parts import Parts, State

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True)
class GapNotes:
    """What is known of the windows of one watermark."""

    next_starts: list[int]
    """For each size, the start of the first window that is not closed."""
    closes: dict[tuple[int, Any], dict[Node, Any]] = field(default_factory=dict)
    """The last closes of prices, by the place of the size and the key."""


class Gaps:
    """The gap policy of a bar class.

    When a window closes, a key has a gap bar if it has no record in it, its first record is before the end of
    the window, and its last one so far is not longer before its start than the horizon. A key that can have
    none of the windows to come is forgotten. Keys of ``gap_keys`` always have a bar; those that were never
    seen belong to partition 0.
    """

    def __init__(self, model: EntityModel, windowing: Windowing, parts: Parts) -> None:
        self._name, self._key_fields = model.name, model.key_fields
        self._parts = parts
        self.carries = windowing.gap == "carry"
        self._gap_keys = windowing.gap_keys
        horizons = [windowing.gap_horizon(window) for window in windowing.windows]
        self._horizons = [None if one is None else one // _MILLISECOND for one in horizons]

    def keys(
        self,
        scope: OpenWindows,
        place: int,
        start: int,
        end: int,
        present: Container[Any],
        given: Sequence[Any],
    ) -> list[Any]:
        """Return the keys that are not ``present`` in the window and have a bar of it."""
        horizon = self._horizons[place]
        seen = scope.seen or {}
        found = [
            key
            for key, (first, last) in seen.items()
            if first < end and (horizon is None or last >= start - horizon)
        ]
        found += given
        return [key for key in dict.fromkeys(found) if key not in present]

    def last_start(self, scope: OpenWindows, place: int, given: Sequence[Any]) -> int | None:
        """Return the last start that a window with gap bars has as of now; ``None``: they go on for ever."""
        horizon, seen = self._horizons[place], scope.seen or {}
        if horizon is None or given:
            return None
        return max((last + horizon for _, last in seen.values()), default=BEFORE_ALL)

    def values(self, scope: OpenWindows, place: int, key: Any) -> list[Any]:
        """Return the aggregated fields of a gap bar."""
        return self._parts.empty(scope.notes.closes.get((place, key), {}))

    def closed(self, scope: OpenWindows, place: int, key: Any, state: State) -> None:
        """Remember the prices of a closed window that gap bars carry on."""
        if self.carries and (found := self._parts.closes(state)):
            closes: dict[tuple[int, Any], dict[Node, Any]] = scope.notes.closes
            closes[place, key] = {**closes.get((place, key), {}), **found}

    def forgets_before(self, scope: OpenWindows) -> int:
        """Return the event time before which a key's last record gives it none of the windows to come."""
        starts: list[int] = scope.notes.next_starts
        bounds = [
            BEFORE_ALL if horizon is None else start - horizon
            for start, horizon in zip(starts, self._horizons, strict=True)
        ]
        return min(bounds)

    def forget(self, scope: OpenWindows, given: Sequence[Any]) -> None:
        """Drop what is known of keys that have no more gap bars."""
        oldest = self.forgets_before(scope)
        if scope.seen is None or oldest == BEFORE_ALL:
            return
        stays = frozenset(given)
        for key in [key for key, (_, last) in scope.seen.items() if last < oldest and key not in stays]:
            del scope.seen[key]
            for place in range(len(self._horizons)):
                scope.notes.closes.pop((place, key), None)

    def given(self, scope: OpenWindows) -> list[Any]:
        """Return the keys of ``gap_keys`` that have bars here, for all that is closed together."""
        given: Iterable[Any] = self._gap_keys() if callable(self._gap_keys) else self._gap_keys
        keys = list(given)
        for key in keys:
            if fault := gap_key_fault(key, self._key_fields):
                raise ValueError(f"{self._name}: {fault}")
        known: Mapping[Any, Any] = scope.seen or {}
        return keys if scope.partition == 0 else [key for key in keys if key in known]
