"""The types of ksqlDB's columns: the table in ``docs/types.md``."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from statestore.fields.attributes import DAYS, EPOCHS
from statestore.fields.types import DictOf, FieldType, ListOf, Nullable, RecordType, Scalar

_MOST_DIGITS = 38
_TYPES: dict[type, str] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    str: "VARCHAR",
    bytes: "BYTES",
    datetime: "TIMESTAMP",
    date: "DATE",
    UUID: "VARCHAR",
}


def column_type(type_: FieldType, where: str, faults: list[str], *, is_json: bool) -> str:
    """Return the type of a column for values of ``type_``, appending to ``faults`` what no column can hold.

    In JSON a ``Format`` takes effect. Every column may be null. The keys of every map are text.
    """

    def of(inner: FieldType, place: str = where) -> str:
        return column_type(inner, place, faults, is_json=is_json)

    match type_:
        case Nullable(item):
            return of(item)
        case ListOf(item):
            return f"ARRAY<{of(item)}>"
        case DictOf(_, item):
            return f"MAP<VARCHAR, {of(item)}>"
        case RecordType(cls, fields):
            if not fields:
                faults.append(f"{where}: a STRUCT of ksqlDB needs a field, but {cls.__name__} has none")
            named = [(field.wire_name, of(field.type, f"{where}.{field.name}")) for field in fields]
            return f"STRUCT<{', '.join(f'{_quoted(name)} {type_}' for name, type_ in named)}>"
        case Scalar():
            return _scalar(type_, where, faults, is_json)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _scalar(scalar: Scalar, where: str, faults: list[str], is_json: bool) -> str:
    if scalar.type is Decimal:
        precision = scalar.precision
        if precision is None or precision.digits > _MOST_DIGITS:
            faults.append(
                f"{where}: a DECIMAL of ksqlDB needs a precision of at most {_MOST_DIGITS} digits: "
                "write Annotated[Decimal, Precision(digits, scale)]"
            )
            return "DECIMAL"
        return f"DECIMAL({precision.digits}, {precision.scale})"
    if scalar.type is int and (scalar.is_32_bits or scalar.is_16_bits):
        return "INT"
    if is_json and scalar.format is not None and scalar.format != DAYS:
        return "BIGINT" if scalar.format in EPOCHS else "VARCHAR"
    return _TYPES[scalar.type]
