"""How each field type looks in a msgpack payload: the table in ``docs/types.md``.

A dataclass is a map by field name. Reading goes through ``msgspec``, which checks types and ranges while it
decodes into a ``Struct`` that mirrors the dataclass; what msgpack has no type for is converted afterwards.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection
from dataclasses import MISSING
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from statestore.errors import ConfigError
from statestore.fields import DictOf, Field, FieldType, ListOf, Nullable, Record, Scalar

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MIN_DATETIME = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MAX_DATETIME = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# Decimal("x") obeys the thread's context, in which it may give NaN instead of an error; here it may not.
DECIMAL_CONTEXT = Context(traps=[InvalidOperation])


class MisfitError(ValueError):
    """A value that does not fit its declared type; ``path`` says where within the outermost value it is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path = ""

    def within(self, step: str) -> MisfitError:
        self.path = step + self.path
        return self


class Wire(NamedTuple):
    """How values of one type are written and read."""

    type: Any
    """What ``msgspec`` decodes."""
    write: Callable[[Any], Any]
    """Checks a value and turns it into what msgpack holds. Raises ``MisfitError``."""
    read: Callable[[Any], Any] | None = None
    """Turns what ``msgspec`` decoded into the value; ``None`` if it is the value already."""


def wire(type_: FieldType) -> Wire:
    """Return how values of ``type_`` are written and read."""
    match type_:
        case Scalar(scalar):
            return _SCALARS[scalar]
        case Nullable(item):
            return _nullable(wire(item))
        case ListOf(item):
            return _list(wire(item))
        case DictOf(key, item):
            return _dict(wire(key), wire(item))
        case Record():
            codec = RecordCodec(type_)
            return Wire(codec.struct, codec.write, lambda struct: codec.build(codec.values(struct)))


class RecordCodec:
    """A dataclass as a map by field name, all but the fields named in ``outside``."""

    def __init__(self, record: Record, outside: Collection[str] = ()) -> None:
        wires = {field.name: wire(field.type) for field in record.fields}
        self._record = record
        self._names = tuple(wires)
        self._writers = [(name, wire.write) for name, wire in wires.items() if name not in outside]
        self._readers: list[tuple[int, Callable[[Any], Any]]] = []
        members: list[tuple[str, Any, Any]] = []
        for index, field in enumerate(record.fields):
            if field.name in outside:
                members.append((field.name, msgspec.Raw, None))
                continue
            default, read = _with_default(record, field, wires[field.name])
            members.append((field.name, wires[field.name].type, default))
            if read:
                self._readers.append((index, read))
        self.struct = msgspec.defstruct(record.cls.__name__, members, kw_only=True, gc=False)
        """What ``msgspec`` decodes the map into. A field of ``outside`` is ``Raw``, ``None`` if not there."""

    def write(self, value: Any) -> dict[str, Any]:
        """Return the map of ``value``. Raises ``MisfitError``."""
        if type(value) is not self._record.cls:  # a subclass would not come back as what it was
            raise expected(self._record.cls.__name__, value)
        written = {}
        for name, write in self._writers:
            try:
                written[name] = write(getattr(value, name))
            except MisfitError as misfit:
                raise misfit.within(f".{name}") from None
        return written

    def values(self, struct: msgspec.Struct) -> list[Any]:
        """Return the values of all fields, in their order. Raises ``MisfitError``."""
        values = list(astuple(struct))
        for index, read in self._readers:
            try:
                values[index] = read(values[index])
            except MisfitError as misfit:
                raise misfit.within(f".{self._names[index]}") from None
        return values

    def build(self, values: list[Any]) -> Any:
        """Return the dataclass with ``values`` in its fields."""
        if self._record.positional:
            return self._record.cls(*values)
        return self._record.cls(**dict(zip(self._names, values, strict=True)))


def _with_default(record: Record, field: Field, wire: Wire) -> tuple[Any, Callable[[Any], Any] | None]:
    """Return the default of a struct's member, and what makes the field's value of the member's."""
    if field.default_factory is not MISSING:
        make = field.default_factory
    elif field.default is MISSING:
        return msgspec.NODEFAULT, wire.read
    else:
        try:
            wire.write(field.default)
        except MisfitError as misfit:
            raise ConfigError(
                f"{record.cls.__name__}.{field.name}{misfit.path}: its default: {misfit}"
            ) from None
        if wire.read is None:
            return field.default, None

        def make() -> Any:
            return field.default

    read = wire.read or _same
    return MISSING, lambda value: make() if value is MISSING else read(value)


def expected(what: str, value: object) -> MisfitError:
    """Return the fault of ``value`` where ``what`` is wanted."""
    return MisfitError(f"expected {what}, got {type(value).__name__} {show(value)}")


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120


def show(value: object) -> str:
    """Return a ``repr`` of bounded length."""
    # Python refuses to print an int of more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    return _repr.repr(value)


def _write_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise expected("bool", value)
    return value


def _write_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise expected("int", value)
    if not _MIN_INT <= value <= _MAX_INT:
        raise expected("int of 64 bits", value)
    return int(value)


def _write_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected("float", value)
    if isinstance(value, int) and not -(2**53) <= value <= 2**53:
        raise expected("float (an int beyond ±2⁵³ may not be one exactly)", value)
    return float(value)


def _write_decimal(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise expected("Decimal", value)
    return str(value)


def _read_decimal(text: str) -> Decimal:
    try:
        return Decimal(text, DECIMAL_CONTEXT)
    except InvalidOperation:
        raise MisfitError(f"expected the text of a Decimal, got str {show(text)}") from None


def _write_str(value: Any) -> str:
    if not isinstance(value, str):
        raise expected("str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise expected("str without lone surrogates, which UTF-8 cannot hold", value) from None
    return str.__str__(value)


def _write_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise expected("bytes", value)
    return bytes(value)


def _write_datetime(value: Any) -> int:
    if not isinstance(value, datetime):
        raise expected("datetime", value)
    if value.utcoffset() is None:
        raise expected("datetime with a time zone, such as datetime.now(UTC)", value)
    try:
        return (value.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except OverflowError:
        raise expected("datetime within the years 1 to 9999 in UTC", value) from None


def _read_datetime(microseconds: int) -> datetime:
    return _EPOCH + _MICROSECOND * microseconds  # a third faster than timedelta(microseconds=…)


def _write_date(value: Any) -> int:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise expected("date", value)
    return value.toordinal() - _EPOCH_DAY


def _read_date(days: int) -> date:
    return date.fromordinal(days + _EPOCH_DAY)


def _write_uuid(value: Any) -> UUID:
    if not isinstance(value, UUID):
        raise expected("UUID", value)
    return value


_INT = Annotated[int, Meta(ge=_MIN_INT, le=_MAX_INT)]
_DATETIME = Annotated[int, Meta(ge=_MIN_DATETIME, le=_MAX_DATETIME)]
_DATE = Annotated[int, Meta(ge=1 - _EPOCH_DAY, le=date.max.toordinal() - _EPOCH_DAY)]

_SCALARS: dict[type, Wire] = {
    bool: Wire(bool, _write_bool),
    int: Wire(_INT, _write_int),
    float: Wire(float, _write_float),
    Decimal: Wire(str, _write_decimal, _read_decimal),
    str: Wire(str, _write_str),
    bytes: Wire(bytes, _write_bytes),
    datetime: Wire(_DATETIME, _write_datetime, _read_datetime),
    date: Wire(_DATE, _write_date, _read_date),
    UUID: Wire(UUID, _write_uuid),
}


def _nullable(item: Wire) -> Wire:
    read = item.read
    return Wire(
        item.type | None,
        lambda value: None if value is None else item.write(value),
        read and (lambda value: None if value is None else read(value)),
    )


def _list(item: Wire) -> Wire:
    def convert(values: list[Any], one: Callable[[Any], Any]) -> list[Any]:
        converted: list[Any] = []
        for value in values:
            try:
                converted.append(one(value))
            except MisfitError as misfit:
                raise misfit.within(f"[{len(converted)}]") from None
        return converted

    def write(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise expected("list", value)
        return convert(value, item.write)

    read = item.read
    return Wire(list[item.type], write, read and (lambda values: convert(values, read)))  # type: ignore[name-defined]


def _dict(key: Wire, item: Wire) -> Wire:
    def convert(
        values: dict[Any, Any], one_key: Callable[[Any], Any], one: Callable[[Any], Any]
    ) -> dict[Any, Any]:
        converted = {}
        for name, value in values.items():
            try:
                converted[one_key(name)] = one(value)
            except MisfitError as misfit:
                raise misfit.within(f"[{show(name)}]") from None
        return converted

    def write(value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise expected("dict", value)
        return convert(value, key.write, item.write)

    def read(values: dict[Any, Any]) -> dict[Any, Any]:
        return convert(values, key.read or _same, item.read or _same)

    plain = key.read is None and item.read is None
    return Wire(dict[key.type, item.type], write, None if plain else read)  # type: ignore[name-defined]


def _same(value: Any) -> Any:
    return value
