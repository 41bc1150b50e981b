"""Windowed entities: their windows, their source, and the aggregate that makes each field.

A windowed entity with a source is computed here from the source's records. One without a source mirrors bars
that others publish. Docs: ``docs/entities.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from statestore.errors import ConfigError
from statestore.expressions.aggregates import Aggregate, aggregate_type
from statestore.fields.types import Field, FieldType, Nullable, RecordType, Scalar, type_name
from statestore.fields.windows import Window, WindowSpec, read_windows
from statestore.naming import check_topic_name, did_you_mean

DEFAULT_GRACE = timedelta(seconds=3)


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

    def topics(self, topic: str) -> list[str]:
        """Return the names of the topics that are derived from ``topic``, that of the entity."""
        of_windows = [
            f"{topic}_{one.label}_{purpose}" for one in self.windows for purpose in ("final", "corrections")
        ]
        if self.source is None:
            return [name for name in of_windows if name.endswith("_final")]
        return [
            *of_windows, f"{topic}_state", f"{topic}_late", f"{topic}_repartition", f"{topic}-heartbeat"
        ]  # fmt: skip


def read_windowing(
    record_type: RecordType,
    windows: Sequence[WindowSpec] | None,
    source: type | str | None,
    grace: timedelta | float | None,
    faults: list[str],
) -> Windowing | None:
    """Return the windowing of a declaration, ``None`` if it has no windows. Append each fault to ``faults``.

    :func:`check_bars` compares the fields with those of the source, once the source is known.
    """
    where = record_type.cls.__name__
    found: list[str] = []
    aggregates = _aggregates(record_type, found)
    if windows is None:
        if source is not None or grace is not None:
            given = "source" if source is not None else "grace"
            found.append(f"{given}= requires windows=[…]")
        found += [
            f"{one.name}: {one.window.__name__} requires windows=[…]"
            for one in record_type.fields
            if one.window
        ]
        found += [
            f"{name}: {aggregate!r} requires source=… and windows=[…]"
            for name, aggregate in aggregates.items()
        ]
    elif source is None:
        found += [f"{name}: {one!r} requires source=…" for name, one in aggregates.items()]
    faults += [f"{where}: {fault}" for fault in found]
    if windows is None:
        return None
    wrong: list[str] = []
    read = read_windows(windows, wrong)
    if isinstance(source, str):
        wrong += _topic_faults(source)
    if not any(one.is_key for one in record_type.fields):
        wrong.append("an entity with windows needs a key field: mark one with Annotated[…, Key]")
    faults += [f"{where}: {fault}" for fault in wrong]
    lasting = DEFAULT_GRACE if grace is None else grace
    if not isinstance(lasting, timedelta):
        lasting = timedelta(seconds=lasting)
    return Windowing(read, source, lasting, {} if source is None else aggregates)


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
            if given is not None and (fault := _type_mismatch(bar.type, given)):
                found.append(f"{aggregate!r} returns {type_name(given)}: {fault}")
            faults += [f"{where}.{bar.name}: {fault}" for fault in found]
        elif bar.window is None:
            faults.append(
                f"{where}.{bar.name}: no aggregate makes this field: add one, as in "
                f"Annotated[{type_name(bar.type)}, "
                f"agg.last(F.{bar.name})]"
            )


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


def _topic_faults(topic: str) -> Sequence[str]:
    try:
        check_topic_name(topic)
    except ConfigError as error:
        return [f"source: {fault}" for fault in error.faults]
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
