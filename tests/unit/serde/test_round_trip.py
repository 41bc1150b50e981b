"""What comes back of random entities of random classes, in every format: ``normalise``, and nothing else."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore import Key, entity, normalise
from statestore.entity import model_of
from statestore.fields.attributes import Alias, Float32, Format, Int32, MaxLength, Name, Precision
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings

FORMATS: dict[str, dict[str, Any]] = {
    "msgpack": {"value_format": "msgpack"},
    "json": {"value_format": "json"},
    "avro": {"value_format": "avro", "key_format": "avro"},
    "json for ksqlDB": {"value_format": "json", "ksql": True},
    "avro for ksqlDB": {"value_format": "avro", "ksql": True},
}
"""What ``entity`` is called with."""
CONTEXT = FormatContext(RegistrySettings(url="mock://round-trip"))


class Kind(NamedTuple):
    """A type of field: its annotation, its values, and what is kept of one in a format."""

    annotation: Any
    values: st.SearchStrategy[Any]
    kept: Callable[[Any, str], Any]


def as_it_is(value: Any, _: str) -> Any:
    return value


def in_utc(value: datetime, _: str) -> datetime:
    return value.astimezone(UTC).replace(fold=0)


def of_field(value: datetime, form: str) -> datetime:
    """A ``datetime`` without a pattern: ksqlDB has milliseconds."""
    return of_unit(timedelta(milliseconds=1), value) if form.endswith("ksqlDB") else in_utc(value, form)


def of_unit(unit: timedelta, value: datetime) -> datetime:
    since = in_utc(value, "") - datetime(1970, 1, 1, tzinfo=UTC)
    return datetime(1970, 1, 1, tzinfo=UTC) + since // unit * unit


def of_text(unit: timedelta, value: datetime, form: str) -> datetime:
    return of_unit(unit, value) if form.startswith("json") else of_field(value, form)


def rounded(value: float, _: str) -> float:
    return ctypes.c_float(value).value


ZONES = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
TIMES = st.datetimes(datetime(1000, 1, 3), datetime(9999, 12, 29), timezones=ZONES)
INTS = st.integers(-(2**63), 2**63 - 1)
KEYS = [
    Kind(int, INTS, as_it_is),
    Kind(str, st.text(max_size=9), as_it_is),
    Kind(bytes, st.binary(max_size=9), as_it_is),
    Kind(UUID, st.uuids(), as_it_is),
    Kind(datetime, TIMES, in_utc),
    Kind(date, st.dates(), as_it_is),
]
SCALARS = [
    *(kind for kind in KEYS if kind.annotation is not datetime),
    Kind(datetime, TIMES, of_field),
    Kind(Annotated[datetime, Format("epoch_s")], TIMES, partial(of_text, timedelta(seconds=1))),
    Kind(Annotated[datetime, Format("%Y-%m-%dT%H:%M")], TIMES, partial(of_text, timedelta(minutes=1))),
    Kind(Annotated[date, Format("epoch_days")], st.dates(), as_it_is),
    Kind(Annotated[date, Format("%d.%m.%Y")], st.dates(date(1000, 1, 1)), as_it_is),
    Kind(bool, st.booleans(), as_it_is),
    Kind(Annotated[int, Int32], st.integers(-(2**31), 2**31 - 1), as_it_is),
    Kind(float, st.floats(allow_nan=False, allow_infinity=False), as_it_is),
    Kind(Annotated[float, Float32], st.floats(-1e38, 1e38), rounded),
    Kind(
        Annotated[Decimal, Precision(12, 3)],
        st.decimals(-999_999_999, 999_999_999, places=3).map(lambda value: value.normalize() + 0),
        lambda value, _: value.quantize(Decimal("0.001")),
    ),
    Kind(Annotated[str, MaxLength(5)], st.text(max_size=5), as_it_is),
]
FREE_DECIMAL = Kind(
    Decimal, st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: value + 0), as_it_is
)
NUMBERS = count()


def optional(kind: Kind) -> Kind:
    return Kind(
        kind.annotation | None,
        st.none() | kind.values,
        lambda value, form: None if value is None else kind.kept(value, form),
    )


def listed(kind: Kind) -> Kind:
    return Kind(
        list[kind.annotation],  # type: ignore[name-defined]
        st.lists(kind.values, max_size=3),
        lambda values, form: [kind.kept(value, form) for value in values],
    )


def mapped(key: Kind, kind: Kind) -> Kind:
    return Kind(
        dict[key.annotation, kind.annotation],  # type: ignore[name-defined]
        st.dictionaries(key.values, kind.values, max_size=3),
        lambda values, form: {key.kept(k, form): kind.kept(value, form) for k, value in values.items()},
    )


def nested(kinds: list[Kind]) -> Kind:
    names = [f"n{i}" for i in range(len(kinds))]
    cls = make_dataclass(
        f"Inner{next(NUMBERS)}", [(n, kind.annotation) for n, kind in zip(names, kinds, strict=True)]
    )
    return Kind(
        cls,
        st.tuples(*(kind.values for kind in kinds)).map(lambda values: cls(*values)),
        lambda value, form: cls(
            *(kind.kept(getattr(value, name), form) for name, kind in zip(names, kinds, strict=True))
        ),
    )


def composed(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        inner.map(optional),
        inner.map(listed),
        st.builds(mapped, st.sampled_from(KEYS), inner),
        st.lists(inner, min_size=1, max_size=3).map(nested),
    )


# Avro and ksqlDB have decimals of a declared precision only.
KINDS = {
    form: st.recursive(
        st.sampled_from([*SCALARS, FREE_DECIMAL] if form in ("msgpack", "json") else SCALARS),
        composed,
        max_leaves=4,
    )
    for form in FORMATS
}


class Drawn(NamedTuple):
    """An entity, what is to be kept of it, and its class's fields by name."""

    made: Any
    kept: Any
    kinds: dict[str, Kind]


@st.composite
def entities(draw: st.DrawFn, form: str) -> Drawn:
    kinds = {
        f"k{i}": kind for i, kind in enumerate(draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2)))
    }
    keys = set(kinds)
    kinds |= {f"v{i}": kind for i, kind in enumerate(draw(st.lists(KINDS[form], max_size=4)))}
    renamed = draw(st.sets(st.sampled_from(sorted(kinds))))
    annotations = []
    for name, kind in kinds.items():
        marks = [*([Key] if name in keys else []), *([Name(f"Wire_{name}")] if name in renamed else [])]
        annotations.append((name, Annotated[(kind.annotation, *marks)] if marks else kind.annotation))
    cls: Any = entity(
        make_dataclass("Drawn", draw(st.permutations(annotations))),
        topic=f"drawn{next(NUMBERS)}",
        **FORMATS[form],
    )
    values = {name: draw(kind.values) for name, kind in kinds.items()}
    kept = {name: kind.kept(values[name], form) for name, kind in kinds.items()}
    return Drawn(cls(**values), cls(**kept), kinds)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # classes are made while drawing
@given(st.data())
def test_what_comes_back_is_the_normal_entity(form: str, data: st.DataObject) -> None:
    drawn = data.draw(entities(form))
    codec: EntityCodec[Any] = EntityCodec(model_of(type(drawn.made)), CONTEXT)
    key, payload = codec.encode(drawn.made)
    normal = normalise(drawn.made)
    assert repr(normal) == repr(drawn.kept)
    assert codec.decode(key, payload) == normal
    assert repr(codec.decode(key, payload)) == repr(normal)
    assert repr(normalise(normal)) == repr(normal)
    assert codec.encode(normal) == (key, payload)
    assert (codec.key_mismatches, codec.overlong) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_bytes_of_the_class_as_it_was(form: str, data: st.DataObject) -> None:
    """One field is gone, another has a new name, a third is new."""
    drawn = data.draw(entities(form).filter(lambda drawn: "v1" in drawn.kinds))
    old = type(drawn.made)
    hints = {declared.name: declared.type for declared in fields(old)}
    wire_names = {one.name: one.wire_name for one in model_of(old).record_type.fields}
    gone, renamed = data.draw(st.permutations([name for name in hints if name.startswith("v")]))[:2]
    declared: list[Any] = [item for item in hints.items() if item[0] not in (gone, renamed)]
    old_names = Alias("never_there", wire_names[renamed])
    declared.append(("fresh_name", Annotated[drawn.kinds[renamed].annotation, old_names, Name("Fresh")]))
    declared.append(("added", list[int] | None, field(default_factory=lambda: [1])))
    now: Any = entity(make_dataclass("Drawn", declared, kw_only=True), topic="drawn", **FORMATS[form])
    codec: EntityCodec[Any] = EntityCodec(model_of(now), CONTEXT)
    found = codec.decode(*EntityCodec(model_of(old), CONTEXT).encode(drawn.made))
    kept = {name: getattr(drawn.kept, name) for name in hints if name not in (gone, renamed)}
    assert repr(found) == repr(now(**kept, fresh_name=getattr(drawn.kept, renamed), added=[1]))
    assert repr(codec.decode(*codec.encode(found))) == repr(found)
