"""How a format represents the fields of a dataclass: a :class:`FieldCodec` for each, by the format's mapping.

Each format has one :class:`TypeMapping`: how it represents scalars and which names fields have in records.
From the mapping follow the codecs of lists, dicts and dataclasses (:class:`RecordCodec`). Reading goes
through ``msgspec``: it checks types and ranges while it decodes into a ``Struct`` that mirrors the dataclass.
A value for which the format has no type of its own is converted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import MISSING
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from statestore.errors import ConfigError
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import ABSENT, FieldValueError, expected
from statestore.serde.scalars import decimals, float32, normaliser, utc, without_negative_zero

Convert = Callable[[Any], Any]

ABSENT_WITHOUT_DEFAULT = "missing in the value, and the class has no default for this field"


class FieldCodec(NamedTuple):
    """How the values of one field's type are written, read and normalised."""

    type: Any
    """The type that ``msgspec`` decodes."""
    normalise: Convert
    """Checks a value and returns what it is after writing and reading. Raises ``FieldValueError``."""
    write: Convert
    """Checks a value and returns what the format's encoder takes. Raises ``FieldValueError``."""
    read: Convert | None = None
    """Returns the value of what ``msgspec`` decoded; ``None`` if that is the value already."""


def scalar_codec(type_: Any, normalise: Convert, to: Convert, read: Convert | None = None) -> FieldCodec:
    """Return the codec of a scalar. ``to`` turns a normalised value into what the format's encoder takes."""
    return FieldCodec(type_, normalise, lambda value: to(normalise(value)), read)


class TypeMapping(NamedTuple):
    """How a format represents scalars, and which names it gives to fields."""

    scalar: Callable[[Scalar], FieldCodec]
    key: Callable[[Scalar], FieldCodec]
    """The same for the keys of dicts."""
    variants: Callable[[str], Iterable[str]] = lambda _name: ()
    """Other forms of a field's name, under which the field is read, too."""

    def codec(self, type_: FieldType) -> FieldCodec:
        """Return the codec of a field of ``type_``."""
        match type_:
            case Scalar():
                return self.scalar(type_)
            case Nullable(item):
                return _nullable(self.codec(item))
            case ListOf(item):
                return _list(self.codec(item))
            case DictOf(key, item):
                return _dict(self.key(key), self.codec(item))
            case RecordType():
                return _nested(RecordCodec(type_, self))

    def names(self, record_type: RecordType) -> list[list[str]]:
        """Return each field's names in records: first the one that is written, then those only read.

        A field that a window fills has none.
        """
        taken = {name: field.name for field in record_type.fields for name in _declared_names(field)}
        found: list[list[str]] = []
        for field in record_type.fields:
            names = [one for name in _declared_names(field) for one in (name, *self.variants(name))]
            found.append(
                [one for one in dict.fromkeys(names) if taken.setdefault(one, field.name) == field.name]
            )
        return found


class RecordCodec:
    """A dataclass as a map by field name.

    Fields named in ``outside`` are not written, unless ``writes_all``; where a map has them, they are read as
    ``msgspec.Raw``. Fields that a window fills are in no map. Both, and the field ``event_time``, may be
    ``ABSENT`` among the values of the fields.

    Raises ``ConfigError`` for a default that its field's type does not allow.
    """

    def __init__(
        self,
        record_type: RecordType,
        mapping: TypeMapping,
        outside: Collection[str] = (),
        event_time: str | None = None,
        *,
        writes_all: bool = False,
    ) -> None:
        self.record_type = record_type
        self.codecs = [mapping.codec(field.type) for field in record_type.fields]
        self._field_names = [field.name for field in record_type.fields]
        self._normalisers = [
            (name, codec.normalise) for name, codec in zip(self._field_names, self.codecs, strict=True)
        ]
        self.names = mapping.names(record_type)
        """Each field's names in the map: see :meth:`TypeMapping.names`."""
        self._writers = [
            (field.name, names[0], codec.write)
            for field, names, codec in zip(record_type.fields, self.names, self.codecs, strict=True)
            if names and (writes_all or field.name not in outside)
        ]
        self._readers: list[tuple[int, Convert]] = []
        self._fillers: list[tuple[int, Callable[[], Any]]] = []
        self._windowed = [index for index, names in enumerate(self.names) if not names]
        members: list[tuple[str, Any, Any]] = []
        # Members by the names that are only read; of one field the newest name first.
        others: list[tuple[str, Any, Any]] = []
        self._others: list[int] = []
        for index, (field, codec, names) in enumerate(
            zip(record_type.fields, self.codecs, self.names, strict=True)
        ):
            if not names:
                continue
            type_, default, fill = msgspec.Raw, ABSENT, None
            if field.name not in outside:
                type_ = codec.type
                default, fill = _default(record_type, field, codec, is_alone=len(names) == 1)
                if field.name == event_time:  # the record's timestamp is there where a map has none
                    default, fill = ABSENT, None
                self._readers += [] if codec.read is None else [(index, codec.read)]
                self._fillers += [] if fill is None else [(index, fill)]
            members.append((names[0], type_, default))
            others += [(name, type_, ABSENT) for name in names[1:]]
            self._others += [index] * len(names[1:])
        self._count = len(members)
        self._no_others = (ABSENT,) * len(others)
        members += others
        self.struct = msgspec.defstruct(
            record_type.cls.__name__,
            [(f"member{place}", type_, default) for place, (_, type_, default) in enumerate(members)],
            rename={f"member{place}": name for place, (name, _, _) in enumerate(members)},
            kw_only=True,
            gc=False,
        )
        """The class that ``msgspec`` decodes the map into."""

    def write(self, value: Any) -> dict[str, Any]:
        """Return the map of ``value``. Raises ``FieldValueError``."""
        self._check(value)
        written = {}
        for field_name, name, write in self._writers:
            try:
                written[name] = write(getattr(value, field_name))
            except FieldValueError as fault:
                raise fault.within(f".{field_name}") from None
        return written

    def normalise(self, value: Any) -> list[Any]:
        """Return the normalised values of all fields, in their order. Raises ``FieldValueError``."""
        self._check(value)
        values = []
        for name, convert in self._normalisers:
            try:
                values.append(convert(getattr(value, name)))
            except FieldValueError as fault:
                raise fault.within(f".{name}") from None
        return values

    def values(self, struct: msgspec.Struct) -> list[Any]:
        """Return the values of all fields, in their order. Raises ``FieldValueError``."""
        found = astuple(struct)
        values = list(found[: self._count])
        for index in self._windowed:
            values.insert(index, ABSENT)
        if found[self._count :] != self._no_others:
            for index, value in zip(self._others, found[self._count :], strict=True):
                if values[index] is ABSENT:
                    values[index] = value
        index = 0
        try:
            for index, read in self._readers:
                if values[index] is not ABSENT:
                    values[index] = read(values[index])
            for index, fill in self._fillers:
                if values[index] is ABSENT:
                    values[index] = fill()
        except FieldValueError as fault:
            raise fault.within(f".{self._field_names[index]}") from None
        return values

    def _check(self, value: Any) -> None:
        if type(value) is not self.record_type.cls:  # an instance of a subclass would be read as its base
            raise expected(self.record_type.cls.__name__, value)


def builder(record_type: RecordType) -> Callable[[list[Any]], Any]:
    """Return the function that makes the dataclass from the values of all its fields, in their order.

    The value of its ``Extra`` field, if it has one, is the last.
    """
    cls = record_type.cls
    names = [field.name for field in record_type.fields]
    if record_type.extra is not None:
        names.append(record_type.extra)
    elif record_type.positional:
        return lambda values: cls(*values)
    return lambda values: cls(**dict(zip(names, values, strict=True)))


def _declared_names(field: Field) -> tuple[str, ...]:
    return () if field.window else (field.wire_name, *field.aliases)


def _default(
    record_type: RecordType, field: Field, codec: FieldCodec, *, is_alone: bool
) -> tuple[Any, Callable[[], Any] | None]:
    """Return the default of the struct's member for ``field``, and what fills the field if it is ``ABSENT``.

    ``is_alone``: the struct has no other member for the same field.
    """
    if field.default_factory is not MISSING:
        return ABSENT, field.default_factory
    if field.default is MISSING:
        return (msgspec.NODEFAULT, None) if is_alone else (ABSENT, _refuse)
    try:
        codec.normalise(field.default)
    except FieldValueError as fault:
        raise ConfigError(_default_fault(record_type, field, fault)) from None
    if codec.read is None and is_alone:
        return field.default, None
    return ABSENT, lambda: field.default


def _refuse() -> Any:
    raise FieldValueError(ABSENT_WITHOUT_DEFAULT)


# Types with parts


def _nullable(item: FieldCodec) -> FieldCodec:
    def or_none(convert: Convert) -> Convert:
        return lambda value: None if value is None else convert(value)

    return FieldCodec(
        item.type | None, or_none(item.normalise), or_none(item.write), item.read and or_none(item.read)
    )


def _list(item: FieldCodec) -> FieldCodec:
    def each(convert: Convert) -> Convert:
        def converted(values: Any) -> list[Any]:
            if not isinstance(values, list):
                raise expected("list", values)
            made: list[Any] = []
            for value in values:
                try:
                    made.append(convert(value))
                except FieldValueError as fault:
                    raise fault.within(f"[{len(made)}]") from None
            return made

        return converted

    return FieldCodec(
        list[item.type],  # type: ignore[name-defined]
        each(item.normalise),
        each(item.write),
        item.read and each(item.read),
    )


def _dict(key: FieldCodec, item: FieldCodec) -> FieldCodec:
    def each(convert_key: Convert, convert: Convert) -> Convert:
        def converted(values: Any) -> dict[Any, Any]:
            if not isinstance(values, dict):
                raise expected("dict", values)
            made = {}
            for name, value in values.items():
                try:
                    made[convert_key(name)] = convert(value)
                except FieldValueError as fault:
                    raise fault.within(f"[{bounded_repr(name)}]") from None
            if len(made) < len(values):
                raise FieldValueError(f"two keys of {bounded_repr(values)} are the same when stored")
            return made

        return converted

    is_read_as_it_is = key.read is None and item.read is None
    return FieldCodec(
        dict[key.type, item.type],  # type: ignore[name-defined]
        each(key.normalise, item.normalise),
        each(key.write, item.write),
        None if is_read_as_it_is else each(key.read or _same, item.read or _same),
    )


def _nested(record: RecordCodec) -> FieldCodec:
    build = builder(record.record_type)
    return FieldCodec(
        record.struct,
        lambda value: build(record.normalise(value)),
        record.write,
        lambda struct: build(record.values(struct)),
    )


def _same(value: Any) -> Any:
    return value


# Scalars that msgspec represents

_TYPES: dict[type, Any] = {
    bool: bool,
    int: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    float: float,
    Decimal: Decimal,
    str: str,
    bytes: bytes,
    datetime: Annotated[datetime, Meta(tz=True)],
    date: date,
    UUID: UUID,
}
_INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_INT16 = Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]


def msgspec_codec(scalar: Scalar) -> FieldCodec:
    """Return the codec of a scalar as ``msgspec`` represents it, or as the format takes the value itself."""
    normalise = normaliser(scalar)
    read: Convert | None = None
    if scalar.type is datetime:
        read = utc
    elif scalar.precision is not None:
        read = decimals(scalar.precision)
    elif scalar.type is Decimal:
        read = without_negative_zero
    elif scalar.type is float and scalar.is_32_bits:
        read = float32
    narrow = (
        None
        if scalar.type is not int
        else _INT16
        if scalar.is_16_bits
        else _INT32
        if scalar.is_32_bits
        else None
    )
    return FieldCodec(narrow or _TYPES[scalar.type], normalise, normalise, read)


# All faulty defaults of a class at once


def default_faults(record_type: RecordType) -> list[str]:
    """Return a fault for each default that its field's type does not allow, in nested dataclasses, too.

    A default that a ``default_factory`` makes is checked when it is written: calling the factory here could
    have effects.
    """
    nested = [inner for field in record_type.fields for inner in _record_types(field.type)]
    faults = [fault for inner in nested for fault in default_faults(inner)]
    mapping = TypeMapping(_normalising, _normalising)
    for field in record_type.fields:
        if field.default is MISSING:
            continue
        try:
            mapping.codec(field.type).normalise(field.default)
        except FieldValueError as fault:
            faults.append(_default_fault(record_type, field, fault))
        except ConfigError as error:  # a default of a nested dataclass, which is among the faults already
            faults += error.faults
    return list(dict.fromkeys(faults))


def _default_fault(record_type: RecordType, field: Field, fault: FieldValueError) -> str:
    return f"{record_type.cls.__name__}.{field.name}{fault.path}: its default: {fault}"


def _normalising(scalar: Scalar) -> FieldCodec:
    return FieldCodec(Any, normaliser(scalar), normaliser(scalar))


def _record_types(type_: FieldType) -> Iterator[RecordType]:
    match type_:
        case RecordType():
            yield type_
        case Nullable(item) | ListOf(item) | DictOf(_, item):
            yield from _record_types(item)
