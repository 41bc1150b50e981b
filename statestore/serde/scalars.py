"""One value of a scalar field: checked and normalised, in the same way for every format.

Checking compares a value with the field's type and attributes. Normalising gives the value that is read back
after writing: a time in UTC, a decimal padded to its declared scale, a ``Float32`` rounded, an instance of a
subclass as its base. A format refuses by itself the values that it cannot represent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from math import isfinite
from typing import Any
from uuid import UUID

from statestore.fields.attributes import Precision
from statestore.fields.types import Scalar
from statestore.runtime.plain import NotPlainError, plain
from statestore.runtime.text import typed_repr
from statestore.runtime.times import microseconds, time_at
from statestore.serde.formats import FieldValueError, expected

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_MIN_INT32, _MAX_INT32 = -(2**31), 2**31 - 1
# In the thread's context, Decimal("x") may give NaN instead of an error. In this one it raises.
DECIMAL_CONTEXT = Context(traps=[InvalidOperation])


def normaliser(scalar: Scalar) -> Callable[[Any], Any]:
    """Return the function that checks and normalises the values of a field of type ``scalar``.

    That function raises ``FieldValueError``.
    """
    if scalar.max_length is not None:
        return _bounded(_TYPES[scalar.type], scalar.max_length)
    if scalar.precision is not None:
        return decimals(scalar.precision)
    if scalar.is_16_bits:
        return _int16
    if scalar.is_32_bits:
        return {int: _int32, float: float32}[scalar.type]
    return _TYPES[scalar.type]


def decimals(precision: Precision) -> Callable[[Any], Decimal]:
    """Return the function that checks and pads the decimals of a field of ``precision``.

    That function raises ``FieldValueError``.
    """
    digits, scale = precision.digits, precision.scale
    context = Context(prec=digits, traps=[InvalidOperation, Inexact])
    unit = Decimal((0, (1,), -scale))

    def convert(value: Any) -> Decimal:
        number = _plain_decimal(value)
        try:
            if number.is_finite():
                return without_negative_zero(number.quantize(unit, context=context))
        except (InvalidOperation, Inexact):
            pass
        raise expected(
            f"at most {digits} digits with {scale} decimal places (Precision({digits}, {scale}))", value
        )

    return convert


def without_negative_zero(number: Decimal) -> Decimal:
    """Return ``number``, a negative zero as zero: Avro has none, so no format writes one, or gives one."""
    return number or number.copy_abs()


def finite(convert: Callable[[Any], Any], form: str) -> Callable[[Any], Any]:
    """Return ``convert`` with a check: the format named ``form`` represents finite numbers only."""

    def checked(value: Any) -> Any:
        normal = convert(value)
        if not (normal.is_finite() if isinstance(normal, Decimal) else isfinite(normal)):
            raise expected(f"a finite number ({form} has no other)", value)
        return normal

    return checked


def utc(value: datetime) -> datetime:
    """Return a time with a zone as the same time in UTC.

    Raises ``FieldValueError`` if that is before year 1 or after year 9999.
    """
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise expected("datetime within the years 1 to 9999 in UTC", value) from None


def float32(value: Any) -> float:
    """Return the number of single precision next to ``value``. Raises ``FieldValueError``."""
    number = _float(value)
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        raise expected("float of 32 bits", value) from None
    return float(rounded)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise expected("bool", value)
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise expected("int", value)
    number: int = value if type(value) is int else _plain(value, int)
    if not _MIN_INT <= number <= _MAX_INT:
        raise expected("int of 64 bits", value)
    return number


def _int32(value: Any) -> int:
    number = _int(value)
    if not _MIN_INT32 <= number <= _MAX_INT32:
        raise expected("int of 32 bits", value)
    return number


def _int16(value: Any) -> int:
    number = _int(value)
    if not -(2**15) <= number < 2**15:
        raise expected("int of 16 bits", value)
    return number


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, float):
        number: float = _plain(value, float)
        return number
    if isinstance(value, bool) or not isinstance(value, int):
        raise expected("float", value)
    whole: int = value if type(value) is int else _plain(value, int)
    if not -(2**53) <= whole <= 2**53:
        raise expected("float (an int beyond ±2⁵³ is not exact as a float)", value)
    return float(whole)


def _decimal(value: Any) -> Decimal:
    return without_negative_zero(_plain_decimal(value))


def _plain_decimal(value: Any) -> Decimal:
    if type(value) is Decimal:
        return value
    if not isinstance(value, Decimal):
        raise expected("Decimal", value)
    number: Decimal = _plain(value, Decimal)
    return number


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise expected("str", value)
    text: str = value if type(value) is str else _plain(value, str)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise expected("str without lone surrogates, which UTF-8 cannot encode", value) from None
    return text


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise expected("bytes", value)
    data: bytes = value if type(value) is bytes else _plain(value, bytes)
    return data


def _datetime(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise expected("datetime", value)
    time: datetime = value if type(value) is datetime else _plain(value, datetime)
    if time.utcoffset() is None:
        raise expected("datetime with a time zone, such as datetime.now(UTC)", value)
    there = utc(time)
    return time_at(microseconds(there)) if there.fold else there  # fold marks an hour that occurs twice


def _date(value: Any) -> date:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise expected("date", value)
    day: date = value if type(value) is date else _plain(value, date)
    return day


def _uuid(value: Any) -> UUID:
    if not isinstance(value, UUID):
        raise expected("UUID", value)
    identity: UUID = value if type(value) is UUID else _plain(value, UUID)
    return identity


def _plain(value: Any, base: type) -> Any:
    """Return an instance of a subclass as its ``base``. Raises ``FieldValueError`` if that loses anything."""
    try:
        return plain(value, base)
    except NotPlainError as error:
        raise FieldValueError(f"expected {base.__name__}, got {typed_repr(value)}, which {error}") from None


_TYPES: dict[type, Callable[[Any], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    Decimal: _decimal,
    str: _str,
    bytes: _bytes,
    datetime: _datetime,
    date: _date,
    UUID: _uuid,
}


def _bounded(unbounded: Callable[[Any], Any], most: int) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        normal = unbounded(value)
        if len(normal) > most:
            what = "bytes" if isinstance(normal, bytes) else "characters"
            raise FieldValueError(f"has {len(normal)} {what}, but MaxLength allows {most}")
        return normal

    return convert
