"""Windowed entities: their windows, their source, and the aggregate that makes each field.

A windowed entity with a source is computed here from the source's records. One without a source mirrors bars
that others publish. Docs: ``docs/entities.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from datetime import date, datetime, timedelta
from types import EllipsisType

from statestore.entity.arguments import (
    EntityArguments,
    GapKeys,
    GapPolicy,
    WatermarkScope,
    WindowLayout,
    as_timedelta,
)
from statestore.errors import ConfigError
from statestore.expressions.aggregates import LISTS, OHLC, Aggregate, aggregate_type
from statestore.fields.types import Field, FieldType, Nullable, RecordType, Scalar, type_name
from statestore.fields.windows import Window, find_window, length_of, read_windows
from statestore.naming import check_topic_name, did_you_mean
from statestore.runtime.text import bounded_repr

DEFAULT_GRACE = timedelta(seconds=3)
DEFAULT_RETENTION = timedelta(hours=168)
DEFAULT_MAX_FUTURE = timedelta(hours=1)
_LONGEST_BAR = timedelta(days=366)
"""The longest window that is computed here, and its grace: event times are of the years 2 to 9998."""
_OF_MIRRORS = ("window_layout", "window_topics")
"""Arguments that a class with a source cannot have."""
_OF_WINDOWS = ("source", "grace", "scope", "max_future", "gap", "gap_horizon", "gap_keys", *_OF_MIRRORS)
"""Arguments that a class without windows cannot have."""
_OF_BARS = ("scope", "max_future", "gap", "gap_horizon", "gap_keys")
"""Arguments that a class without a source cannot have."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """The windows of an entity. Immutable."""

    windows: tuple[Window, ...]
    """By size, the smallest first."""
    source: type | str | None
    """The entity class, or the topic, whose records make the bars; ``None``: others publish the bars."""
    grace: timedelta
    """How long after its end a window still accepts records."""
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    """The aggregate of each field, by the field's name; empty without a source."""
    scope: WatermarkScope = "partition"
    """Whose greatest event time closes windows."""
    retention: timedelta = DEFAULT_RETENTION
    """How long windows are kept, by event time."""
    max_future: timedelta = DEFAULT_MAX_FUTURE
    """How far an event time may be after its record's timestamp."""
    gap: GapPolicy = "skip"
    """What a key has for a window without records."""
    gap_keys: GapKeys = ()
    """Keys that have gap bars, seen or not; or the function that gives them."""
    layout: WindowLayout = "final"
    """How others write the topics of its windows."""
    _topics: Mapping[Window, str] = field(default_factory=dict)
    _gap_horizon: timedelta | EllipsisType | None = ...

    def gap_horizon(self, window: Window) -> timedelta | None:
        """Return how long after its last record a key has gap bars of ``window``; ``None``: for ever."""
        if self._gap_horizon is ...:
            return max(timedelta(hours=1), 10 * window.size)
        return self._gap_horizon

    def topic_of(self, window: Window, topic: str) -> str:
        """Return the name of the topic with the rows of ``window``; ``topic`` is that of the entity."""
        named = self._topics.get(window)
        return named or (f"{topic}_{window.label}_final" if self.layout == "final" else topic)

    @property
    def named_topics(self) -> frozenset[str]:
        """The topics that the declaration itself names."""
        return frozenset(self._topics.values())

    def topics(self, topic: str) -> list[str]:
        """Return the names of the topics that are derived from ``topic``, that of the entity."""
        if self.source is None:
            return [self.topic_of(one, topic) for one in self.windows]
        of_windows = [
            f"{topic}_{one.label}_{purpose}" for one in self.windows for purpose in ("final", "corrections")
        ]
        return [
            *of_windows, f"{topic}_state", f"{topic}_late", f"{topic}_repartition", f"{topic}-heartbeat"
        ]  # fmt: skip


def read_windowing(
    record_type: RecordType, arguments: EntityArguments, faults: list[str]
) -> Windowing | None:
    """Return the windowing of a declaration, ``None`` if it has no windows. Append each fault to ``faults``.

    :func:`check_bars` compares the fields with those of the source, once the source is known.
    """
    where = record_type.cls.__name__
    found: list[str] = []
    aggregates = _aggregates(record_type, found)
    windows, source = arguments.get("windows"), arguments.get("source")
    found += _misplaced(record_type, arguments, aggregates)
    windowing = None
    if windows is not None:
        read = read_windows(windows, found)
        topics = _named_topics(arguments, read, found) if source is None else {}
        found += _source_faults(source, read)
        if not any(one.is_key for one in record_type.fields):
            found.append("an entity with windows needs a key field: mark one with Annotated[…, Key]")
        found += _gap_keys_faults(arguments)
        grace, retention = _times_kept(arguments, found)
        horizon = arguments.get("gap_horizon", ...)
        windowing = Windowing(
            read,
            source,
            grace,
            {} if source is None else aggregates,
            arguments.get("scope", "partition"),
            retention,
            as_timedelta(arguments.get("max_future", DEFAULT_MAX_FUTURE)),
            arguments.get("gap", "skip"),
            arguments.get("gap_keys", ()),
            arguments.get("window_layout", "final"),
            topics,
            as_timedelta(horizon) if isinstance(horizon, timedelta | int | float) else horizon,
        )
    faults += [f"{where}: {fault}" for fault in found]
    return windowing


def _misplaced(
    record_type: RecordType, arguments: EntityArguments, aggregates: Mapping[str, Aggregate]
) -> list[str]:
    """Return the faults of what a class without windows, or without a source, or with one, cannot have."""
    if "windows" not in arguments:
        of_windows = [f"{name}= requires windows=[…]" for name in _OF_WINDOWS if name in arguments][:1]
        if isinstance(kept := arguments.get("retention"), str):
            of_windows.append(
                f"retention={bounded_repr(kept)}: without windows=[…] it is the topic's: give seconds or a "
                "timedelta"
            )
        of_fields = [
            f"{one.name}: {'Gap' if one.window is None else one.window.__name__} requires windows=[…]"
            for one in record_type.fields
            if one.window or one.is_gap
        ]
        return [
            *of_windows,
            *of_fields,
            *(f"{name}: {one!r} requires source=… and windows=[…]" for name, one in aggregates.items()),
        ]
    if "source" not in arguments:
        return [
            *(f"{name}: {one!r} requires source=…" for name, one in aggregates.items()),
            *(f"{name}= requires source=…" for name in _OF_BARS if name in arguments),
        ]
    return [
        f"{name}= is for a class without source=, whose rows others publish: remove one of them"
        for name in _OF_MIRRORS
        if name in arguments
    ]


def _source_faults(source: type | str | None, windows: Sequence[Window]) -> list[str]:
    if source is None:
        return []
    found = [
        f"windows: {'sessions are' if one.is_session else f'Hopping windows ({one.label}) are'} not "
        "computed here: leave source= out and mirror the topic of a program that computes them, such as "
        "Kafka Streams or ksqlDB"
        for one in windows
        if one.is_session or one.advance is not None
    ]
    found += [
        f"windows: {one.label}: a window that is computed here has {_LONGEST_BAR.days} days at most: bars of "
        "this one could end after the year 9999"
        for one in windows
        if one.size > _LONGEST_BAR
    ]
    return [*found, *_topic_faults(source)] if isinstance(source, str) else found


def _gap_keys_faults(arguments: EntityArguments) -> list[str]:
    found = []
    keys: object = arguments.get("gap_keys", ())
    if isinstance(keys, str | bytes | Iterator) or not (callable(keys) or isinstance(keys, Iterable)):
        found.append(f"gap_keys={bounded_repr(keys)}: give a list of keys, or a function that returns them")
    of_gaps = [name for name in ("gap_keys", "gap_horizon") if name in arguments]
    if of_gaps and arguments.get("gap", "skip") == "skip":
        found.append(f"{of_gaps[0]}= requires gap='empty' or gap='carry'")
    return found


def _times_kept(arguments: EntityArguments, faults: list[str]) -> tuple[timedelta, timedelta]:
    """Return how long windows accept records, and how long they are kept."""
    grace = as_timedelta(arguments.get("grace", DEFAULT_GRACE))
    try:
        retention = kept_for(arguments.get("retention", DEFAULT_RETENTION))
    except ConfigError as error:
        faults += error.faults
        return grace, max(grace, DEFAULT_RETENTION)
    if "source" in arguments and grace > _LONGEST_BAR:
        faults.append(f"grace={grace}: {_LONGEST_BAR.days} days at most: windows would close after all times")
    if grace > retention:
        faults.append(
            f"grace={grace} is longer than the retention of windows, {retention}: windows would end before "
            "they close"
        )
    return grace, retention


def kept_for(given: timedelta | float | str) -> timedelta:
    """Return the retention of windows, given as a window's size is. Raises ``ConfigError`` for others.

    A ``timedelta`` may be any, as that of ``grace`` may.
    """
    return given if isinstance(given, timedelta) else length_of(given, "retention")  # type: ignore[arg-type]


def check_bars(record_type: RecordType, windowing: Windowing, source: RecordType, faults: list[str]) -> None:
    """Append to ``faults`` what of the bar class ``record_type`` records of ``source`` cannot make."""
    where, origin = record_type.cls.__name__, source.cls.__name__
    inputs = {one.name: one for one in source.fields}
    for bar in record_type.fields:
        aggregate = windowing.aggregates.get(bar.name)
        if bar.is_key:
            faults += [f"{where}.{bar.name}: {fault}" for fault in _key_faults(bar, inputs, origin)]
        elif aggregate is not None:
            found: list[str] = []
            given = aggregate_type(aggregate, found, source)
            if aggregate.function in LISTS:
                found.append(f"{aggregate!r} makes a list of a query's rows, and no field of a bar")
            elif given is not None and aggregate.function == "ohlc":
                found += _ohlc_faults(bar.type, given)
            elif given is not None and (fault := _type_mismatch(bar.type, given)):
                found.append(f"{aggregate!r} returns {type_name(given)}: {fault}")
            if not found and (fault := _gap_fault(bar, aggregate, windowing)):
                found.append(fault)
            faults += [f"{where}.{bar.name}: {fault}" for fault in found]
        elif bar.window is None and not bar.is_gap:
            faults.append(
                f"{where}.{bar.name}: no aggregate makes this field: add one, as in "
                f"Annotated[{type_name(bar.type)}, "
                f"agg.last(F.{bar.name})]"
            )

    if isinstance(windowing.gap_keys, list | tuple | set | frozenset):
        keys = [one for one in record_type.fields if one.is_key]
        wrong = (gap_key_fault(key, keys) for key in windowing.gap_keys)
        faults += [f"{where}: {fault}" for fault in wrong if fault][:1]


def gap_key_fault(key: object, fields: Sequence[Field]) -> str | None:
    """Return the fault of one of ``gap_keys`` for a class with these key fields, otherwise ``None``."""
    types = [one.type.type if isinstance(one.type, Scalar) else object for one in fields]
    parts = key if len(types) > 1 else (key,)
    if isinstance(parts, tuple) and len(parts) == len(types):
        # A bool is no int here, and a datetime no date.
        exact = {int: bool, date: datetime}
        if all(
            isinstance(part, type_) and not (type_ in exact and isinstance(part, exact[type_]))
            for part, type_ in zip(parts, types, strict=True)
        ):
            return None
    names = ", ".join(f"{one.name}: {type_name(one.type)}" for one in fields)
    what = "a tuple" if len(types) > 1 else "a value"
    return f"gap_keys has {bounded_repr(key)}: each key must be {what} of ({names})"


def retention_warnings(where: str, windowing: Windowing) -> list[str]:
    """Return a warning about windows that are as long as they are kept, or longer."""
    kept = windowing.retention
    long = [one.label for one in windowing.windows if not one.is_session and one.size >= kept]
    if not long:
        return []
    labels = ", ".join(long)
    return [
        f"{where}: rows are visible until one starts retention={kept} later, and a window of {labels} is as "
        "long: the next one hides it. Give a longer retention="
    ]


def bar_warnings(record_type: RecordType, windowing: Windowing, source: RecordType) -> list[str]:
    """Return warnings about the bar class ``record_type``."""
    keys, of_source = ([one.name for one in each.fields if one.is_key] for each in (record_type, source))
    by_offset = [name for name, one in windowing.aggregates.items() if one.function in ("first", "last")]
    by_offset = [name for name in by_offset if windowing.aggregates[name].by == "offset"]
    if keys == of_source or not by_offset:
        return []
    return [
        f"{record_type.cls.__name__}: its key ({', '.join(keys)}) differs from that of {source.cls.__name__} "
        f"({', '.join(of_source) or 'none'}), so records pass through a repartition topic, whose order "
        f"decides {', '.join(by_offset)}: write by='event_time'"
    ]


def _aggregates(record_type: RecordType, faults: list[str]) -> dict[str, Aggregate]:
    found = {}
    for one in record_type.fields:
        aggregates = [mark for mark in one.metadata if isinstance(mark, Aggregate)]
        if len(aggregates) > 1:
            faults.append(
                f"{one.name}: several aggregates are given, {', '.join(map(repr, aggregates))}: keep one"
            )
        if aggregates and (one.is_key or one.window):
            part = one.window.__name__ if one.window else "Key"
            faults.append(f"{one.name}: a {part} has no aggregate: remove {aggregates[0]!r}")
        elif aggregates:
            found[one.name] = aggregates[0]
    return found


def _ohlc_faults(wanted: FieldType, given: FieldType) -> list[str]:
    """Return the faults of a field of type ``wanted`` for ``ohlc`` of values of type ``given``."""
    record = wanted.item if isinstance(wanted, Nullable) else wanted
    names = [one.name for one in record.fields] if isinstance(record, RecordType) else []
    if not isinstance(record, RecordType) or sorted(names) != sorted(OHLC):
        return [
            f"agg.ohlc makes a dataclass with the fields {', '.join(OHLC)}: annotate the field as one, not "
            f"{type_name(wanted)}"
        ]
    found = [(one.name, _type_mismatch(one.type, given)) for one in record.fields]
    return [f"{record.cls.__name__}.{name}: {fault}" for name, fault in found if fault]


def _gap_fault(bar: Field, aggregate: Aggregate, windowing: Windowing) -> str | None:
    """Return what a bar without records cannot have in this field, otherwise ``None``."""
    allows_none = isinstance(bar.type, Nullable) or has_default(bar) or allows_no_prices(bar.type)
    if windowing.gap == "skip" or aggregate.function in ("count", "sum") or allows_none:
        return None
    if aggregate.function == "reduce":
        makes_none = aggregate.reducer is not None and aggregate.reducer.initial is None
        return f"{aggregate!r} has no initial state, {_NO_RECORD}" if makes_none else None
    if windowing.gap == "carry" and windowing.gap_keys == () and carries(aggregate, windowing.aggregates):
        return None
    return f"{aggregate!r} has no value {_NO_RECORD}"


_NO_RECORD = (
    "in a bar without a record, which the gap policy makes: let the field be None, give it a default, or "
    "write gap='skip'"
)


def allows_no_prices(type_: FieldType) -> bool:
    """Whether this is a dataclass each field of which may be ``None``, as those of ``ohlc`` can be."""
    return isinstance(type_, RecordType) and all(isinstance(one.type, Nullable) for one in type_.fields)


def has_default(bar: Field) -> bool:
    """Whether the class gives a default for the field."""
    return bar.default is not MISSING or bar.default_factory is not MISSING


def carries(aggregate: Aggregate, aggregates: Mapping[str, Aggregate]) -> bool:
    """Whether ``gap="carry"`` fills the field with the last close: of prices with a ``last``."""
    if aggregate.function == "ohlc":
        return True
    of_prices = aggregate.function in ("first", "max", "min", "last")
    return of_prices and any(one.function == "last" and one.of == aggregate.of for one in aggregates.values())


def _named_topics(
    arguments: EntityArguments, windows: Sequence[Window], faults: list[str]
) -> dict[Window, str]:
    """Return the topics of windows that the declaration names."""
    given: object = arguments.get("window_topics", {})
    if not isinstance(given, Mapping):
        faults.append(
            f"window_topics={bounded_repr(given)}: give a topic for each window, as in {{5: 'counts-5min'}}"
        )
        return {}
    found: dict[Window, str] = {}
    labels = ", ".join(one.label for one in windows)
    for spec, topic in given.items():
        window = find_window(spec, windows)
        if window is None:
            faults.append(f"window_topics: {bounded_repr(spec)} is not one of the windows: {labels}")
        elif window in found:
            faults.append(f"window_topics: {window.label} is given twice: keep one")
        else:
            faults += _topic_faults(topic, "window_topics")
            found[window] = topic
    layout = arguments.get("window_layout", "final")
    if layout != "final" and len(windows) > 1 and len(found) < len(windows):
        missing = ", ".join(one.label for one in windows if one not in found)
        faults.append(
            f"window_layout={layout!r}: each of several windows has a topic of its own: name those of "
            f"{missing} in window_topics="
        )
    topics = list(found.values())
    faults += [
        f"window_topics: {topic!r} is the topic of several windows: each has its own"
        for topic in dict.fromkeys(topics)
        if topics.count(topic) > 1
    ]
    return found


def _topic_faults(topic: object, what: str = "source") -> Sequence[str]:
    try:
        check_topic_name(topic)
    except ConfigError as error:
        return [f"{what}: {fault}" for fault in error.faults]
    return ()


def _key_faults(bar: Field, inputs: Mapping[str, Field], origin: str) -> list[str]:
    if bar.name not in inputs:
        like = did_you_mean(bar.name, inputs)
        return [f"{origin} has no field {bar.name!r} to group by{like}; its fields: {', '.join(inputs)}"]
    type_ = inputs[bar.name].type
    if isinstance(type_, Nullable):
        return [f"{origin}.{bar.name} can be None, and a key is never None: group by another field"]
    fault = _type_mismatch(bar.type, type_)
    return [f"the key groups by {origin}.{bar.name}, of type {type_name(type_)}: {fault}"] if fault else []


def _type_mismatch(wanted: FieldType, given: FieldType) -> str | None:
    """Return the remedy if a field of type ``wanted`` cannot hold values of ``given``, otherwise ``None``."""
    if isinstance(given, Nullable) and not isinstance(wanted, Nullable):
        return f"annotate the field as {type_name(given)}, since a window may have no value"
    one, other = (type_.item if isinstance(type_, Nullable) else type_ for type_ in (wanted, given))
    # What narrows a scalar is the field's own affair.
    same = one.type is other.type if isinstance(one, Scalar) and isinstance(other, Scalar) else one == other
    return None if same else f"annotate the field as {type_name(given)}, not {type_name(wanted)}"
