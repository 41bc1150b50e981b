"""Instances of subclasses as instances of their base: what is stored of them, if that loses nothing.

A subclass may hold more than its base: the nanoseconds of a ``pandas.Timestamp``, or that it is no time at
all (``NaT``). What would be stored must be equal to what was given. The base's own methods read the value,
since a subclass may replace them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from statestore.runtime.interrupts import pass_on
from statestore.runtime.text import bounded_repr


class NotPlainError(ValueError):
    """An instance of a subclass is not equal to what its base holds of it."""


def plain(value: Any, base: type) -> Any:
    """Return ``value``, an instance of a subclass of ``base``, as a ``base``. Raises ``NotPlainError``."""
    try:
        converted = _CONVERT[base](value)
        equal = _is_same(converted, value)
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        pass_on(error)
        raise NotPlainError(f"cannot be read as a {base.__name__}: {type(error).__name__}: {error}") from None
    if not equal:
        raise NotPlainError(
            f"is not equal to the {base.__name__} that would be stored, {bounded_repr(converted)}: convert it"
        )
    return converted


def _is_same(converted: Any, value: Any) -> bool:
    return bool(converted == value) or bool(converted != converted and value != value)  # NaN


def _datetime(value: datetime) -> datetime:
    year, month, day, hour, minute, second, microsecond, zone, fold = (
        attribute.__get__(value) for attribute in _OF_DATETIMES
    )
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


_OF_DATETIMES: tuple[Any, ...] = (
    date.year,
    date.month,
    date.day,
    datetime.hour,
    datetime.minute,
    datetime.second,
    datetime.microsecond,
    datetime.tzinfo,
    datetime.fold,
)

_CONVERT: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    Decimal: Decimal,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    datetime: _datetime,
    date: lambda value: date.fromordinal(date.toordinal(value)),
    UUID: lambda value: UUID(int=value.int),
}
