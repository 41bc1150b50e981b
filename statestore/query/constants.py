"""Constants of expressions as programs (``_native/program.pxi``) take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from statestore.runtime.times import days, microseconds

_MOST_DIGITS: Final = 18
"""Digits of a decimal that a program computes with."""


class NotNativeError(Exception):
    """Why an expression, or a class, is not for programs."""


def constant(value: Any) -> tuple[str, Any]:
    """Return the kind of a constant, and it as a program takes it. Raises ``NotNativeError``."""
    kind, convert = _CONSTANTS[type(value)]
    return kind, convert(value)


def decimal_of(value: Decimal) -> tuple[int, int]:
    """Return ``(number, scale)``: ``value`` is number / 10**scale."""
    if not value.is_finite():
        raise NotNativeError(f"the constant {value} is not finite")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    while len(digits) > 1 and digits[-1] == 0 and exponent < 0:
        digits, exponent = digits[:-1], exponent + 1
    if not exponent >= -_MOST_DIGITS or len(digits) + max(0, exponent) > _MOST_DIGITS:
        raise NotNativeError(f"a constant has more than {_MOST_DIGITS} digits")
    number = int("".join(map(str, digits))) * 10 ** max(0, exponent)
    return -number if sign else number, max(0, -exponent)


def _microseconds(value: datetime) -> int:
    """Return the microseconds since 1970 of a time that equals no other than those of that instant."""
    if value.utcoffset() != value.replace(fold=not value.fold).utcoffset():
        raise NotNativeError("a constant is in an hour that its time zone has twice, or not at all")
    return microseconds(value)


def ints_equal(value: Any) -> Iterator[int]:
    """Give the int of 64 bits that equals ``value``, if there is one."""
    if isinstance(value, float | Decimal):
        if isinstance(value, Decimal) and not value.is_finite():
            return
        if isinstance(value, float) and not value.is_integer():
            return
        # The bounds first: 1E+999999999 as an int has a billion digits.
        if -(2**63) <= value < 2**63 and value == int(value):
            yield int(value)
    elif not isinstance(value, int) or -(2**63) <= value < 2**63:
        yield constant(value)[1]


def reals_equal(value: Any) -> Iterator[float]:
    """Give the float that equals ``value``, if there is one."""
    try:
        real = float(value)
    except OverflowError:
        return
    if real == value:
        yield real


def _int(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise NotNativeError("a constant has more than 64 bits")
    return value


def _text(value: str) -> bytes:
    return value.encode(errors="surrogatepass")  # with a surrogate it equals no text that is stored


_CONSTANTS: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    bool: ("bool", int),
    int: ("int", _int),
    float: ("float", float),
    Decimal: ("decimal", decimal_of),
    str: ("str", _text),
    bytes: ("bytes", bytes),
    UUID: ("uuid", attrgetter("bytes")),
    datetime: ("datetime", _microseconds),
    date: ("date", days),
}
