"""Closing windows: which are due, in which order, and the bar of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from statestore.core import OpenWindows, acyclic
from statestore.core.common import NEVER
from statestore.entity import EntityModel
from statestore.fields.attributes import WindowSize, WindowStart
from statestore.fields.types import Field, Scalar, scalar_type
from statestore.fields.windows import Window
from statestore.runtime import times
from statestore.serde.field_codecs import builder
from statestore.serde.native_decoder import in_no_cycle, only_sets_fields
from statestore.windowing.gaps import GapNotes, Gaps
from statestore.windowing.parts import Parts
from statestore.windowing.values import Closed

B = TypeVar("B")


class Closing(Generic[B]):
    """Makes the bars of windows that are due: a window is closed when its end + grace ≤ the event time.

    ``gaps``: ``None`` if a window without a record of a key has no bar.
    """

    def __init__(
        self, model: EntityModel, windows: tuple[Window, ...], grace: int, parts: Parts, gaps: Gaps | None
    ) -> None:
        fields = model.record_type.fields
        places = {field.name: place for place, field in enumerate(fields)}
        self._make: Callable[[list[Any]], B] = builder(model.record_type)
        self._width = len(fields)
        self._keys = [places[field.name] for field in model.key_fields]
        self._has_one_key = len(self._keys) == 1
        self._of_window = [(places[field.name], field) for field in fields if field.window is not None]
        self._gap = next((places[field.name] for field in fields if field.is_gap), None)
        self._aggregated = [places[name] for name in parts.names]
        scalars = all(scalar_type(field.type) is not None for field in fields)
        self._acyclic = scalars and only_sets_fields(model.cls) and in_no_cycle(model.cls, len(fields))
        self._name = model.name
        self._windows, self._grace = windows, grace
        self._parts, self._gaps = parts, gaps

    def opened(self, partition: int, time: int) -> OpenWindows:
        """Return new windows, whose first record is at ``time``."""
        notes = None if self._gaps is None else GapNotes([one.start_of(time) for one in self._windows])
        scope = OpenWindows(partition, len(self._windows), notes)
        self.expect(scope)
        return scope

    def close(self, scope: OpenWindows, time: int) -> list[Closed[B]]:
        """Let the event time be ``time``; return the bars of all windows that it closes, earliest first."""
        given = () if self._gaps is None else self._gaps.given(scope)
        due = sorted(
            (start + window.size_ms, place, start)
            for place, window in enumerate(self._windows)
            for start in self._due(scope, place, window, time - self._grace, given)
        )
        closed: list[Closed[B]] = []
        carried = dict(scope.notes.closes) if due and self._gaps is not None and self._gaps.carries else None
        # Nothing is changed before every bar is made: a class may refuse one.
        for end, place, start in due:
            try:
                closed += self._bars(scope, place, start, end, given)
            except BaseException as error:
                if carried is not None:
                    scope.notes.closes = carried
                error.add_note(
                    f"{self._name}: a bar of the window {self._windows[place].label} of "
                    f"{times.milliseconds_text(start)} cannot be made, so the window stays open"
                )
                raise
        for _, place, start in due:
            scope.buckets[place].pop(start, None)
        scope.event_time = max(scope.event_time, time)
        if self._gaps is not None:
            watermark = scope.event_time - self._grace
            starts = zip(scope.notes.next_starts, self._windows, strict=True)
            scope.notes.next_starts = [max(start, one.start_of(watermark)) for start, one in starts]
            self._gaps.forget(scope, given)
        self.expect(scope)
        return closed

    def expect(self, scope: OpenWindows) -> None:
        """Set the event times that the next record is compared with."""
        scope.closes_at = self._closes_at(scope)
        if self._gaps is not None:
            scope.forgets_before = self._gaps.forgets_before(scope)

    def _closes_at(self, scope: OpenWindows) -> int:
        found = []
        for place, window in enumerate(self._windows):
            starts = [*scope.buckets[place]]
            if self._gaps is not None:
                starts.append(scope.notes.next_starts[place])
            found += [min(starts) + window.size_ms + self._grace] if starts else []
        return min(found, default=NEVER)

    def _due(
        self, scope: OpenWindows, place: int, window: Window, watermark: int, given: Sequence[Any]
    ) -> set[int]:
        """Return the starts of the windows of one size that end at the watermark or before."""
        size = window.size_ms
        due = {start for start in scope.buckets[place] if start + size <= watermark}
        if self._gaps is not None:
            stop = window.start_of(watermark)
            last = self._gaps.last_start(scope, place, given)
            if last is not None:
                stop = min(stop, last + 1)
            due.update(range(scope.notes.next_starts[place], stop, size))
        return due

    def _bars(
        self, scope: OpenWindows, place: int, start: int, end: int, given: Sequence[Any]
    ) -> list[Closed[B]]:
        window = self._windows[place]
        at = times.time_at(start * 1000)
        row = self._row(window, start, end)
        states = scope.buckets[place].get(start, {})
        values_of = self._parts.values
        bars = [
            self._closed(self._bar(row, key, values_of(state)), window, at, scope.partition, False)
            for key, state in states.items()
        ]
        if self._gaps is None:
            return bars
        if self._gap is not None:
            row[self._gap] = True
        for key in self._gaps.keys(scope, place, start, end, states, given):
            bar = self._bar(row, key, self._gaps.values(scope, place, key))
            bars.append(self._closed(bar, window, at, scope.partition, True))
        for key, state in states.items():
            self._gaps.closed(scope, place, key, state)
        return bars

    def _closed(self, bar: B, window: Window, start: datetime, partition: int, is_gap: bool) -> Closed[B]:
        closed = Closed(bar, window, start, partition, is_gap)
        return acyclic(closed) if self._acyclic else closed

    def _row(self, window: Window, start: int, end: int) -> list[Any]:
        """Return a bar's fields in the class's order, with what all bars of the window have."""
        row: list[Any] = [None] * self._width
        for place, field in self._of_window:
            row[place] = window.size_ms
            if field.window is not WindowSize:
                row[place] = _instant(field, start if field.window is WindowStart else end)
        if self._gap is not None:
            row[self._gap] = False
        return row

    def _bar(self, row: list[Any], key: Any, values: Sequence[Any]) -> B:
        if self._has_one_key:
            row[self._keys[0]] = key
        else:
            for place, part in zip(self._keys, key, strict=True):
                row[place] = part
        for place, value in zip(self._aggregated, values, strict=True):
            row[place] = value
        bar = self._make(row)
        return acyclic(bar) if self._acyclic else bar


def _instant(field: Field, milliseconds: int) -> datetime | int:
    is_int = isinstance(field.type, Scalar) and field.type.type is int
    return milliseconds if is_int else times.time_at(milliseconds * 1000)
