"""Strategies of entities, of keys and of times: by the annotations of a class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.fields.attributes import DAYS, EPOCHS, Precision
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.runtime.times import microseconds, time_at
from statestore.testing.driver.driver import START

T = TypeVar("T")
Values = st.SearchStrategy[Any]

_FIRST, _LAST = datetime(1000, 1, 1), datetime(9999, 12, 31)
_FIRST_EVENT, _LAST_EVENT = datetime(1970, 1, 2), datetime(2100, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_GAPS = st.one_of(st.just(0), st.integers(1, 1000), st.integers(0, 100 * 86_400_000))
"""Milliseconds from one instant to the next."""
_SEPARATORS = st.shared(st.sampled_from(["", "|", ":", "-", "_", "/", ""]), key="statestore.keys")
"""What is in the texts of keys; ``""``: anything."""
_NOTHING = ("None", "null", "")
"""Texts that are taken for no text."""


def entities(cls: type[T], **given: Values) -> st.SearchStrategy[T]:
    """Draw entities of ``cls`` as it declares its fields: precision, lengths, formats, ``None``, nested ones.

    What is drawn is what is read back: times are in UTC, and as exact as the field's ``Format``. ``given``
    are strategies of single fields, by name; fields that a window fills must be among them. Raises
    ``ConfigError`` for a field that the class does not have, or that must be given.
    """
    model = model_of(cls)
    unknown = sorted(given.keys() - {one.name for one in model.record_type.fields})
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise ConfigError(f"entities({model.name}, …): the class has no stored field {listed}")
    return _built(model.record_type, given)


def keys(cls: type[Any], **given: Values) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw the values of the key fields of ``cls``, as ``table.get(*key)`` takes them; ``given`` as above.

    Where several fields are texts, they often are such that two keys look the same when they are joined.
    """
    fields = model_of(cls).key_fields
    if not fields:
        raise ConfigError(f"keys({cls.__name__}): the class has no key fields")
    values = {one.name: _values_of(one) for one in fields if one.name not in given}
    texts = [
        one for one in fields if one.name in values and isinstance(one.type, Scalar) and one.type.type is str
    ]
    if len(texts) > 1:
        values.update({one.name: _joinable(values[one.name], one.type) for one in texts})
    return st.tuples(*(values.get(one.name, given.get(one.name)) for one in fields))


def _joinable(otherwise: Values, type_: FieldType) -> Values:
    """Draw texts of a separator and one letter; the separator is the same in all keys of an example."""
    assert isinstance(type_, Scalar)
    most = min(2, type_.max_length or 2)
    return _SEPARATORS.flatmap(lambda one: st.text([one, one, "a"], max_size=most) if one else otherwise)


def clocks(start: datetime = START, *, most: int = 10) -> st.SearchStrategy[list[datetime]]:
    """Draw up to ``most`` instants from ``start`` on, none before the one before it: what a clock shows.

    The gaps are from nothing to months, in whole milliseconds: ``driver.advance(instant - driver.now)``.
    """

    @st.composite  # so that Hypothesis prints the instants, and not the gaps
    def instants(draw: st.DrawFn) -> list[datetime]:
        found = [start]
        for gap in draw(st.lists(_GAPS, max_size=most - 1)):
            found.append(found[-1] + gap * _MILLISECOND)
        return found

    return instants()


# Histories


def values_of(field: Field, given: Mapping[str, Values]) -> Values:
    """Return the strategy of a field: the given one, or one by its annotation."""
    return given[field.name] if field.name in given else _values_of(field)


def _built(shape: RecordType, given: Mapping[str, Values]) -> st.SearchStrategy[Any]:
    values = {one.name: values_of(one, given) for one in shape.fields}
    return st.builds(shape.cls, **values)


def _values_of(field: Field) -> Values:
    if field.window is not None:
        raise ConfigError(
            f"the window of a row fills the field {field.name!r}: give its values, as in "
            f"entities(…, {field.name}=st.just(…))"
        )
    values = _of_type(field.type)
    if not field.is_event_time:
        return values
    bare = field.type.item if isinstance(field.type, Nullable) else field.type
    assert isinstance(bare, Scalar)
    if bare.type is int:
        first, last = (int(at.replace(tzinfo=UTC).timestamp() * 1000) for at in (_FIRST_EVENT, _LAST_EVENT))
        return st.integers(first, last)
    return _times(bare, _FIRST_EVENT, _LAST_EVENT)


def _of_type(type_: FieldType) -> Values:
    match type_:
        case Nullable(item):
            values = st.none() | _of_type(item)
            if isinstance(item, Scalar) and item.type is str:
                most = math.inf if item.max_length is None else item.max_length
                values |= st.sampled_from([one for one in _NOTHING if len(one) <= most])
            return values
        case ListOf(item):
            return st.lists(_of_type(item), max_size=3)
        case DictOf(key, item):
            return st.dictionaries(_of_scalar(key), _of_type(item), max_size=3)
        case RecordType():
            return _built(type_, {})
        case Scalar():
            return _of_scalar(type_)


def _of_scalar(scalar: Scalar) -> Values:
    bits = 16 if scalar.is_16_bits else 32 if scalar.is_32_bits else 64
    if scalar.type is int:
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if scalar.type is float:
        width: Any = bits
        return st.floats(width=width, allow_nan=False, allow_infinity=False)
    if scalar.type is Decimal:
        return _decimals(scalar.precision)
    if scalar.type is datetime:
        return _times(scalar, _FIRST, _LAST)
    if scalar.type is date:
        return _dates(scalar.format)
    plain: dict[type, Values] = {bool: st.booleans(), UUID: st.uuids()}
    if scalar.type in plain:
        return plain[scalar.type]
    return (st.text if scalar.type is str else st.binary)(max_size=scalar.max_length)


def _decimals(precision: Precision | None) -> Values:
    if precision is None:
        return st.builds(lambda digits, scale: Decimal(digits).scaleb(-scale), _digits(18), st.integers(0, 6))
    return _digits(precision.digits).map(lambda digits: Decimal(digits).scaleb(-precision.scale))


def _digits(most: int) -> st.SearchStrategy[int]:
    return st.integers(-(10**most) + 1, 10**most - 1)


def _times(scalar: Scalar, first: datetime, last: datetime) -> Values:
    times = st.datetimes(first, last, timezones=st.just(UTC))
    form = scalar.format
    if form is None:
        return times
    if form in EPOCHS:
        unit = EPOCHS[form]
        return times.map(lambda time: time_at(microseconds(time) // unit * unit))
    return times.map(lambda time: _utc(datetime.strptime(time.strftime(form), form)))


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _dates(form: str | None) -> Values:
    dates = st.dates(_FIRST.date(), _LAST.date())
    if form is None or form == DAYS:
        return dates
    return dates.map(lambda day: datetime.strptime(day.strftime(form), form).date())
