"""The aggregate of a bar class: records in, closed bars out. A plain value without Kafka, threads or clocks.

Event time, lateness and closing are decided record by record, in the order in which records come, and never
for a batch of them: the same records give the same bars however they are cut into batches. The decisions are
written down in ``docs/bars.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Generic, NoReturn, TypeVar

from statestore.core import OpenWindows, WindowFold, common
from statestore.core.common import BEFORE_ALL, FoldShape
from statestore.entity import EntityModel, model_of
from statestore.errors import ConfigError
from statestore.fields.types import scalar_type
from statestore.runtime import times
from statestore.tables.timestamps import Record
from statestore.windowing.closing import Closing
from statestore.windowing.gaps import Gaps
from statestore.windowing.parts import Parts
from statestore.windowing.saved import Saved
from statestore.windowing.scopes import KeyScopes, PartitionScopes, Scopes
from statestore.windowing.values import Closed, WindowCounts

B = TypeVar("B")

_MILLISECOND = timedelta(milliseconds=1)


class WindowAggregate(Generic[B]):
    """Makes the bars of ``cls``, an entity with a source, windows and aggregates, of records of its source.

    ``state``: what :meth:`state` of another one returned, of the same class; this one goes on from there. Not
    for several threads at a time.

    Raises ``ConfigError`` for a class without bars to make, and for the state of another declaration.
    """

    def __init__(self, cls: type[B], *, state: bytes | None = None) -> None:
        self._cls = cls
        self._model, self._source = model, source = _models(cls)
        windowing = model.windowing
        assert windowing is not None
        parts = Parts(model, source, windowing.aggregates)
        windows = windowing.windows
        gaps = None if windowing.gap == "skip" else Gaps(model, windowing, parts)
        self._closing: Closing[B] = Closing(model, windows, _ms(windowing.grace), parts, gaps)
        make = self._closing.opened
        self._scopes: Scopes = (
            PartitionScopes(make)
            if windowing.scope == "partition"
            else KeyScopes(windows, _ms(windowing.retention), make, self._closed_by_partition)
        )
        event_time = source.event_time
        shape = FoldShape(
            keys=tuple(field.name for field in model.key_fields),
            time=None if event_time is None else event_time.name,
            inputs=tuple(parts.inputs),
            parts=tuple(parts.parts),
            start=tuple(parts.start),
            acyclic=all(one is not None and scalar_type(one) is not None for one in parts.types),
            windows=tuple((one.size_ms, one.origin_ms, _ms(windowing.grace)) for one in windows),
            max_future=_ms(windowing.max_future),
            per_partition=windowing.scope == "partition",
            record=Record,
            without_time=lambda value: _without_time(model, source, value),
        )
        self._read = {*shape.keys, shape.time, *shape.inputs}
        """The fields of a record that it reads."""
        self._fold = WindowFold(shape, self._scopes.of_record, self._scopes.entered, self._closing.close)
        self._take = self._fold.take
        self._windows, self._grace = windows, _ms(windowing.grace)
        self._saved = Saved(model, source, parts)
        if state is not None:
            self._load(state)

    def update(
        self, record: Record[Any] | Any, timestamp: datetime | int | None = None, partition: int = 0
    ) -> list[Closed[B]]:
        """Take one record; return the bars that it closed, the earliest window first.

        ``record`` is an entity of the source, or a ``Record`` with its own timestamp and partition. ``None``
        in the entity's place is a tombstone, which is counted and in no window. ``timestamp`` (UTC, or
        milliseconds since 1970) is the event's time where the source has no ``EventTime`` field, otherwise
        what that is compared with (``max_future``).

        Raises ``ValueError`` for a record without a time, with one that has no zone, or is outside of the
        years 2 to 9998, ``TypeError`` for what is no time and for an entity of another class, and what a
        reducer, the bar class or ``gap_keys`` raises; the record then is in no window.
        """
        try:
            closed: list[Closed[B]] = self._take(record, timestamp, partition)
        except AttributeError as error:
            raise self._explained(error) from None
        return closed

    def update_all(self, records: Iterable[Record[Any] | Any], *, partition: int = 0) -> list[Closed[B]]:
        """Take records in order; return the bars that they closed: the same as :meth:`update` of each.

        After an exception, the records before the one that failed are taken, and the bars that they closed
        are returned by the next call.
        """
        try:
            closed: list[Closed[B]] = self._fold.take_all(records, partition)
        except AttributeError as error:
            raise self._explained(error) from None
        return closed

    def advance(self, time: datetime | int, *, partition: int | None = None) -> list[Closed[B]]:
        """Let the event time be ``time`` where it is earlier; return the bars that that closed.

        ``time`` has a zone, or is in milliseconds since 1970. It counts for each partition of which there was
        a record, or only for ``partition``. Raises ``ValueError`` for a time outside of the years 2 to 9998.
        """
        instant = common.event_milliseconds(time)
        if not common.EARLIEST <= instant <= common.LATEST:
            raise common.event_time_unfit(instant)
        self._fold.check_free()
        for scope in self._scopes.advanced(instant, partition):
            if instant >= scope.closes_at:
                self._fold.closed += self._closing.close(scope, instant)
            else:
                scope.event_time = max(scope.event_time, instant)
        closed: list[Closed[B]] = self._fold.fetch()
        return closed

    def state(self) -> bytes:
        """Return all that it knows, as bytes (msgpack): another one goes on from there with equal bars.

        Bars that a failed call closed are not in it: fetch them first, by any other call.
        """
        fold = self._fold
        counts = {"late": fold.late, "ahead": fold.ahead, "skipped": fold.skipped}
        return self._saved.dump(counts, self._scopes.event_times(), self._scopes.saved())

    @property
    def counts(self) -> WindowCounts:
        """The records that are in no window, and how many windows are open."""
        fold = self._fold
        late = {window.label: count for window, count in zip(self._windows, fold.late, strict=True)}
        keys = (len(states) for scope in self._scopes for one in scope.buckets for states in one.values())
        return WindowCounts(late, fold.ahead, fold.skipped, sum(keys))

    def event_time(self, partition: int = 0) -> datetime | None:
        """Return the greatest event time of the partition, in UTC; ``None`` before its first record."""
        found = self._scopes.event_time(partition)
        return None if found == BEFORE_ALL else times.time_at(found * 1000)

    @property
    def open_until(self) -> datetime | None:
        """The event time from which on no window with a record is open, in UTC; ``None``: none is open."""
        ends = [
            start + window.size_ms + self._grace
            for scope in self._scopes
            for window, buckets in zip(self._windows, scope.buckets, strict=True)
            for start in buckets
        ]
        return times.time_at(max(ends) * 1000) if ends else None

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError(
            f"a WindowAggregate is not copied and not pickled: save its state(), and make another one with "
            f"WindowAggregate({self._cls.__name__}, state=…)"
        )

    def _explained(self, error: AttributeError) -> Exception:
        """Return what is wrong with a record that lacks a field; a reducer's own errors are the user's."""
        is_ours = error.name in self._read and not isinstance(error.obj, self._source.cls)
        return _of_another_class(self._model, self._source, error.obj) if is_ours else error

    def _load(self, state: bytes) -> None:
        opened = self._closing.opened
        counts, event_times, saved = self._saved.load(state, lambda partition: opened(partition, 0))
        for _, scope in saved:
            self._closing.expect(scope)
        self._scopes.load(event_times, saved)
        fold = self._fold
        fold.late, fold.ahead, fold.skipped = counts["late"], counts["ahead"], counts["skipped"]

    def _closed_by_partition(self, scope: OpenWindows, time: int) -> None:
        self._fold.closed += self._closing.close(scope, time)


def _models(cls: type) -> tuple[EntityModel, EntityModel]:
    model = model_of(cls)
    if model.windowing is None or model.windowing.source is None:
        raise ConfigError(
            f"{cls.__name__} has no bars to make: give it its source and its windows, as in "
            "@entity(source=Trade, windows=[1, 5])"
        )
    source = model.windowing.source
    if isinstance(source, str):
        raise ConfigError(
            f"{cls.__name__}: source={source!r} is the name of a topic: give the entity class of its records"
        )
    return model, model_of(source)


def _of_another_class(model: EntityModel, source: EntityModel, value: Any) -> TypeError:
    return TypeError(
        f"{model.name} is made of {source.name}, not of {type(value).__name__}: give its records"
    )


def _without_time(model: EntityModel, source: EntityModel, value: Any) -> Exception:
    if not isinstance(value, source.cls):
        return _of_another_class(model, source, value)
    if source.event_time is not None:
        return ValueError(
            f"this {source.name} has no time: its {source.event_time.name} is None: give it one"
        )
    return ValueError(
        f"this {source.name} has no time: {source.name} has no EventTime field, so the record's timestamp is "
        "its time: give update(…, timestamp=…), or a Record with one"
    )


def _ms(duration: timedelta) -> int:
    return duration // _MILLISECOND
