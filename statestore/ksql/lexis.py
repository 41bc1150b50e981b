"""Names and literals of KSQL: whatever they contain, no statement can be broken by one.

Each function raises :class:`KsqlError` for what KSQL cannot have at all, naming the value and the remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from statestore.errors import KsqlError
from statestore.naming import KSQL_RESERVED
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import days, milliseconds

FREE_KEYWORDS: Final = frozenset(
    re.findall(
        "[A-Z]+",
        """
        STRING EMIT CHANGES FINAL ESCAPE INTEGER DATE TIME TIMESTAMP INTERVAL YEAR MONTH DAY HOUR MINUTE
        SECOND ZONE GRACE PERIOD PARTITION STRUCT EXPLAIN ANALYZE TYPE TYPES SHOW TABLES COLUMNS COLUMN
        PARTITIONS FUNCTIONS FUNCTION ARRAY MAP SET DEFINE UNDEFINE RESET SESSION KEY SINK SOURCE PRIMARY
        REPLACE ASSERT ADD ALTER VARIABLES PLUGINS HEADERS HEADER SYSTEM TIMEOUT SCHEMA SUBJECT ID IF
        PAUSE RESUME
        """,
    )
)
"""Keywords that some servers take as names, and older or newer ones do not: they are quoted, too."""
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
"""The range of BIGINT."""

_BARE = re.compile(r"[A-Z_][A-Z0-9_]*")
_SOURCE = re.compile(r"[A-Za-z0-9_-]+")
_KEYWORDS = KSQL_RESERVED | FREE_KEYWORDS
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE = "${"


def quoted(name: str) -> str:
    """Return ``name`` as an identifier, between backticks unless KSQL reads it as it is."""
    if not name:
        raise KsqlError("'' is no name of KSQL: give it at least one character")
    if _BARE.fullmatch(name) and name not in _KEYWORDS:
        return name
    if _VARIABLE in name:
        raise KsqlError(
            f"the name {bounded_repr(name)} has {_VARIABLE!r} in it, which ksqlDB takes for a variable: name "
            "the field otherwise, as with Name('…')"
        )
    _check_characters(name, "the name")
    return "`" + name.replace("`", "``") + "`"


def source_name(name: str) -> str:
    """Return ``name`` as that of a stream or table, or of an alias."""
    if not _SOURCE.fullmatch(name):
        raise KsqlError(
            f"{bounded_repr(name)} cannot name a stream or table of ksqlDB: use letters, digits, _ and - only"
        )
    return quoted(name)


def string(text: str) -> str:
    """Return a string literal. A backslash is a plain character in it."""
    if _VARIABLE in text:
        raise KsqlError(
            f"the text {bounded_repr(text)} has {_VARIABLE!r} in it, which ksqlDB takes for a variable: "
            "choose another text"
        )
    _check_characters(text, "the text")
    return "'" + text.replace("'", "''") + "'"


def _check_characters(text: str, what: str) -> None:
    if found := _SURROGATE.search(text):
        raise KsqlError(
            f"{what} {bounded_repr(text)} has half a surrogate pair ({found[0]!r}), which no UTF-8 can hold: "
            "leave it out"
        )


def literal(value: Any) -> str:
    """Return a constant of an expression, of one of the types that a field can have; it stands for itself
    beside every operator.

    A ``datetime`` has whole milliseconds. A type without literals is a function's call.
    """
    return _LITERALS[type(value)](value)


def _text(value: str) -> str:
    """Return a text; one with what looks like a variable in parts, none of which does."""
    if _VARIABLE not in value:
        return string(value)
    first, *others = value.split(_VARIABLE)
    parts = [f"{first}$", *["{" + one + "$" for one in others[:-1]], "{" + others[-1]]
    return f"CONCAT({', '.join(map(string, parts))})"


def _bool(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _int(value: int) -> str:
    if not INT_MIN <= value <= INT_MAX:
        raise KsqlError(
            f"{bounded_repr(value)} is beyond the 64 bits of ksqlDB's BIGINT: no field holds such a value, "
            "so leave the comparison out"
        )
    return signed(str(value))


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise KsqlError(f"{value!r} has no literal in KSQL: compare with a finite number")
    # The exponent makes it a DOUBLE; with a point alone it would be a DECIMAL.
    mantissa, _, exponent = repr(value).partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return signed(f"{mantissa}E{int(exponent or 0)}")


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise KsqlError(f"{value!r} has no literal in KSQL: compare with a finite number")
    digits, scale = decimal_digits(value)
    if digits > MOST_DIGITS:
        raise KsqlError(
            f"{bounded_repr(value)} needs {digits} digits, and a DECIMAL has at most {MOST_DIGITS} on both "
            "sides: write fewer digits"
        )
    text = f"{value:f}"
    if value.adjusted() < _SMALLEST_PLAIN or not scale:
        # ksqlDB writes a statement anew before it keeps it, this one with an exponent: then a DOUBLE.
        return f"CAST({string(text)} AS DECIMAL({digits}, {scale}))"
    return signed(text if "." in text else f"{text}.0")


MOST_DIGITS: Final = 38
"""The most digits of a DECIMAL."""
_SMALLEST_PLAIN = -6
"""The place of the first digit from which on ksqlDB writes a DECIMAL without an exponent."""


def decimal_digits(value: Decimal) -> tuple[int, int]:
    """Return the number of digits and the scale of the DECIMAL that :func:`literal` makes of ``value``."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    whole = max(len(digits) + exponent, 1)
    # Without a decimal place it would be an INT; with one, of 38 digits, a place too long.
    scale = max(-exponent, int(whole < MOST_DIGITS), 0)
    return whole + scale, scale


def unscaled(value: Decimal, scale: int) -> int:
    """Return ``value`` in units of the last of ``scale`` decimal places, of which it needs no more."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    number: int = int("".join(map(str, digits))) * 10 ** (scale + exponent)
    return -number if sign else number


def _bytes(value: bytes) -> str:
    return f"TO_BYTES('{value.hex().upper()}', 'hex')"


def _datetime(value: datetime) -> str:
    return f"FROM_UNIXTIME({milliseconds(value)})"


def _date(value: date) -> str:
    return f"FROM_DAYS({days(value)})"


def signed(number: str) -> str:
    """Return a number, a negative one in parentheses: two minus signs in a row would begin a comment."""
    return f"({number})" if number[0] == "-" else number


_LITERALS: dict[type, Callable[[Any], str]] = {
    bool: _bool,
    int: _int,
    float: _float,
    Decimal: _decimal,
    str: _text,
    bytes: _bytes,
    datetime: _datetime,
    date: _date,
    UUID: lambda value: string(str(value)),
}
