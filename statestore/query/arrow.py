"""Field types and values as Arrow has them: the one place that imports ``pyarrow``, and only when asked.

``docs/columns.md`` has the table of types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from statestore.fields.attributes import Precision
from statestore.fields.types import DictOf, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import days, microseconds
from statestore.serde.formats import FieldValueError
from statestore.serde.native_decoder import kind_name
from statestore.serde.scalars import decimals

if TYPE_CHECKING:
    import pyarrow as pa

ANY_DECIMAL = Precision(38, 18)
"""The digits of a column of decimals that declare none: an Arrow column has one scale for all its values."""
_MOST_DIGITS = 38
"""Of decimals of 128 bits."""
_MOST_DIGITS_256 = 76
_ALL_DIGITS = Context(prec=100)


def pyarrow() -> Any:
    """Return the module ``pyarrow``. Raises ``ImportError`` naming the extra."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f"columns need pyarrow ({error}): install the extra, pip install 'statestore[arrow]'"
        ) from error
    return pyarrow


def precision_of(type_: Scalar) -> Precision:
    """Return digits and scale of the column of a ``Decimal``."""
    return type_.precision or ANY_DECIMAL


def data_type(type_: FieldType) -> pa.DataType:
    """Return the type of a column of ``type_``."""
    pa = pyarrow()
    match type_:
        case Scalar():
            return _scalar_type(type_)
        case Nullable(item):
            return data_type(item)
        case ListOf(item):
            return pa.list_(field("item", item))
        case DictOf(key, item):
            return pa.map_(field("key", key), field("value", item))
        case RecordType(_, fields):
            return pa.struct([field(one.name, one.type) for one in fields])


def field(name: str, type_: FieldType) -> pa.Field:
    """Return the column ``name``. It takes nulls where ``type_`` does."""
    return pyarrow().field(name, data_type(type_), isinstance(type_, Nullable))


def _scalar_type(type_: Scalar) -> pa.DataType:
    pa = pyarrow()
    if type_.type is Decimal:
        precision = precision_of(type_)
        if precision.digits > _MOST_DIGITS_256:
            return pa.string()
        of_bits = pa.decimal128 if precision.digits <= _MOST_DIGITS else pa.decimal256
        return of_bits(precision.digits, precision.scale)
    if type_.type is int:
        return pa.int16() if type_.is_16_bits else pa.int32() if type_.is_32_bits else pa.int64()
    if type_.type is float:
        return pa.float32() if type_.is_32_bits else pa.float64()
    if type_.type is datetime:
        return pa.timestamp("us", "UTC")
    return {
        bool: pa.bool_,
        str: pa.string,
        bytes: pa.binary,
        date: pa.date32,
        UUID: pa.uuid,
    }[type_.type]()


def array(type_: FieldType, values: Sequence[Any]) -> pa.Array:
    """Return ``values``, each of ``type_`` or ``None``, as a column.

    Raises ``FieldValueError`` for one that the column cannot have.
    """
    pa = pyarrow()
    match type_:
        case Scalar():
            return _scalars(type_, values)
        case Nullable(item):
            return array(item, values)
        case ListOf(item):
            items = array(item, list(chain.from_iterable(filter(None, values))))
            return _lists(pa.ListArray, data_type(type_), values, [items])
        case DictOf(key, item):
            keys = array(key, list(chain.from_iterable(filter(None, values))))
            items = array(item, [one for value in values if value for one in value.values()])
            return _lists(pa.MapArray, data_type(type_), values, [keys, items])
        case RecordType(_, fields):
            columns = [
                array(one.type, [None if value is None else getattr(value, one.name) for value in values])
                for one in fields
            ]
            missing = pa.array([value is None for value in values], pa.bool_())
            return pa.StructArray.from_arrays(
                columns, fields=[field(one.name, one.type) for one in fields], mask=missing
            )


def _lists(cls: Any, type_: pa.DataType, values: Sequence[Any], items: list[pa.Array]) -> pa.Array:
    """Return the lists or maps that ``values`` are; ``items`` are what is in them, one after the other."""
    ends, end = [0], 0
    for value in values:
        end += 0 if value is None else len(value)
        ends.append(end)
    starts = [None if value is None else start for value, start in zip(values, ends, strict=False)]
    return cls.from_arrays(pyarrow().array([*starts, end], "int32"), *items).cast(type_)


def _scalars(type_: Scalar, values: Sequence[Any]) -> pa.Array:
    pa = pyarrow()
    if type_.type is UUID:
        stored = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(pa.uuid(), stored)
    wanted = data_type(type_)
    if type_.type is Decimal:
        if pa.types.is_string(wanted):
            return pa.array([None if value is None else str(value) for value in values], wanted)
        try:
            return pa.array(values, wanted)
        except pa.ArrowInvalid:  # also where only zeros are too many
            values = [None if value is None else _decimal(type_, value) for value in values]
    try:
        return pa.array(values, wanted)
    except pa.ArrowInvalid as error:
        raise FieldValueError(f"the column is of {wanted}: {error}") from error
    except OverflowError as error:  # of a computed int: those of fields have no more than 64 bits
        raise FieldValueError(
            f"the column is of {wanted}, and an int has more bits: compute a float, as in F.count * 1.0, "
            "or take rows, with to_dicts()"
        ) from error


def _decimal(type_: Scalar, value: Decimal) -> Decimal:
    try:
        return decimals(precision_of(type_))(value)
    except FieldValueError as error:
        if type_.precision is not None:
            raise
        raise FieldValueError(
            f"a column of decimals without Precision has {ANY_DECIMAL.digits} digits, "
            f"{ANY_DECIMAL.scale} of them decimal places, but here is {bounded_repr(value)}: "
            "declare Annotated[Decimal, Precision(digits, scale)], leave the column out, or take rows, "
            "with to_dicts()"
        ) from error


def rounded(type_: FieldType, values: Iterable[Any]) -> list[Any]:
    """Return computed values as a column has them: decimals with as many places as those of no Precision.

    A quotient has 38 digits, and an average too, which no two need to have at the same places.
    """
    scalar = type_.item if isinstance(type_, Nullable) else type_
    if not isinstance(scalar, Scalar) or scalar.type is not Decimal:
        return list(values)
    return [value if value is None else _rounded(value, precision_of(scalar)) for value in values]


def _rounded(value: Decimal, precision: Precision) -> Decimal:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, str) or exponent >= -precision.scale:
        return value
    return value.quantize(Decimal((0, (1,), -precision.scale)), context=_ALL_DIGITS)


NativeColumn = tuple[str, bool, int, int]
"""Kind, nullability, ``most`` and ``scale`` of a column, as the native ``ColumnReader`` takes them."""


def native_column(type_: FieldType) -> NativeColumn | None:
    """Return what the native core is told of a column of ``type_``; ``None``: it does not fill one."""
    scalar = type_.item if isinstance(type_, Nullable) else type_
    if not isinstance(scalar, Scalar):
        return None
    most, scale = scalar.max_length or 0, 0
    if scalar.type is Decimal:
        most, scale = precision_of(scalar).digits, precision_of(scalar).scale
        if most > _MOST_DIGITS:
            return None
    return kind_name(scalar), isinstance(type_, Nullable), most, scale


def stored(type_: FieldType) -> Callable[[Any], Any]:
    """Return the function that makes of a value what ``ColumnReader`` takes. Raises ``FieldValueError``."""
    scalar = type_.item if isinstance(type_, Nullable) else type_
    assert isinstance(scalar, Scalar)

    def decimal(value: Decimal) -> bytes:
        scaled = _decimal(scalar, value).scaleb(precision_of(scalar).scale, _ALL_DIGITS)
        return int(scaled).to_bytes(16, sys.byteorder, signed=True)

    if scalar.type is Decimal:
        return decimal
    if scalar.type is UUID:
        return attrgetter("bytes")
    if scalar.type is datetime:
        return microseconds
    if scalar.type is date:
        return days
    return lambda value: value
