"""The walk over a dataclass and its lists, dicts and dataclasses, by which values are written and read.

A format says by a :class:`Wiring` how it holds scalars. Reading goes through ``msgspec``, which checks types
and ranges while it decodes into a ``Struct`` that mirrors the dataclass; what the format has no type for is
converted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import MISSING
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from statestore.errors import ConfigError
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, Record, Scalar
from statestore.serde.formats import ABSENT
from statestore.serde.misfit import MisfitError, expected, show

Convert = Callable[[Any], Any]

ABSENT_WITHOUT_DEFAULT = "missing in the value, and the class has no default for it"


class Wire(NamedTuple):
    """How values of one type are written, read and normalised."""

    type: Any
    """What ``msgspec`` decodes."""
    normal: Convert
    """Checks a value, and gives what ``read`` gives of what ``write`` gives. Raises ``MisfitError``."""
    write: Convert
    """Checks a value, and turns it into what the format holds. Raises ``MisfitError``."""
    read: Convert | None = None
    """Turns what ``msgspec`` decoded into the value; ``None`` if it is the value already."""


def made_of(type_: Any, normal: Convert, to: Convert, read: Convert | None = None) -> Wire:
    """Return the wire of a scalar whose normal value ``to`` turns into what the format holds."""
    return Wire(type_, normal, lambda value: to(normal(value)), read)


class Wiring(NamedTuple):
    """How a format holds scalars, and how it names fields."""

    scalar: Callable[[Scalar], Wire]
    key: Callable[[Scalar], Wire]
    """The same for the keys of dicts."""
    variants: Callable[[str], Iterable[str]] = lambda _name: ()
    """Other forms of a field's name, under which it is read too."""

    def wire(self, type_: FieldType) -> Wire:
        """Return how values of ``type_`` are held."""
        match type_:
            case Scalar():
                return self.scalar(type_)
            case Nullable(item):
                return _nullable(self.wire(item))
            case ListOf(item):
                return _list(self.wire(item))
            case DictOf(key, item):
                return _dict(self.key(key), self.wire(item))
            case Record():
                return _record(RecordWalk(type_, self))

    def spellings(self, record: Record) -> list[list[str]]:
        """Return the names of each field in records, the one that is written first; none for a window's."""
        taken = {name: field.name for field in record.fields for name in _declared_names(field)}
        spelt: list[list[str]] = []
        for field in record.fields:
            names = [one for name in _declared_names(field) for one in (name, *self.variants(name))]
            spelt.append(
                [one for one in dict.fromkeys(names) if taken.setdefault(one, field.name) == field.name]
            )
        return spelt


class RecordWalk:
    """A dataclass as a map by name.

    Fields named in ``outside`` are not written; they are read as ``msgspec.Raw`` where they are there. Fields
    that a window fills are in no map. Both may be ``ABSENT`` among the values of the fields.

    Raises ``ConfigError`` for a default that its field's type does not allow.
    """

    def __init__(self, record: Record, wiring: Wiring, outside: Collection[str] = ()) -> None:
        self.record = record
        self.wires = [wiring.wire(field.type) for field in record.fields]
        self._names = [field.name for field in record.fields]
        self._normals = [(name, wire.normal) for name, wire in zip(self._names, self.wires, strict=True)]
        self.spellings = wiring.spellings(record)
        """The names of each field in the map, the one that is written first; none for a window's."""
        self._writers = [
            (field.name, spelt[0], wire.write)
            for field, spelt, wire in zip(record.fields, self.spellings, self.wires, strict=True)
            if spelt and field.name not in outside
        ]
        self._readers: list[tuple[int, Convert]] = []
        self._fillers: list[tuple[int, Callable[[], Any]]] = []
        self._windowed = [index for index, spelt in enumerate(self.spellings) if not spelt]
        members: list[tuple[str, Any, Any]] = []
        others: list[
            tuple[str, Any, Any]
        ] = []  # by the names that are only read, the newest of a field first
        self._others: list[int] = []
        for index, (field, wire, spelt) in enumerate(
            zip(record.fields, self.wires, self.spellings, strict=True)
        ):
            if not spelt:
                continue
            type_, default, fill = msgspec.Raw, ABSENT, None
            if field.name not in outside:
                type_ = wire.type
                default, fill = _default(record, field, wire, is_alone=len(spelt) == 1)
                self._readers += [] if wire.read is None else [(index, wire.read)]
                self._fillers += [] if fill is None else [(index, fill)]
            members.append((spelt[0], type_, default))
            others += [(spelling, type_, ABSENT) for spelling in spelt[1:]]
            self._others += [index] * len(spelt[1:])
        self._count = len(members)
        self._no_others = (ABSENT,) * len(others)
        members += others
        self.struct = msgspec.defstruct(
            record.cls.__name__,
            [(f"member{place}", type_, default) for place, (_, type_, default) in enumerate(members)],
            rename={f"member{place}": spelling for place, (spelling, _, _) in enumerate(members)},
            kw_only=True,
            gc=False,
        )
        """What ``msgspec`` decodes the map into."""

    def write(self, value: Any) -> dict[str, Any]:
        """Return the map of ``value``. Raises ``MisfitError``."""
        self._check(value)
        written = {}
        for name, spelling, write in self._writers:
            try:
                written[spelling] = write(getattr(value, name))
            except MisfitError as misfit:
                raise misfit.within(f".{name}") from None
        return written

    def normal(self, value: Any) -> list[Any]:
        """Return the normal values of all fields, in their order. Raises ``MisfitError``."""
        self._check(value)
        values = []
        for name, convert in self._normals:
            try:
                values.append(convert(getattr(value, name)))
            except MisfitError as misfit:
                raise misfit.within(f".{name}") from None
        return values

    def values(self, struct: msgspec.Struct) -> list[Any]:
        """Return the values of all fields, in their order. Raises ``MisfitError``."""
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
        except MisfitError as misfit:
            raise misfit.within(f".{self._names[index]}") from None
        return values

    def _check(self, value: Any) -> None:
        if type(value) is not self.record.cls:  # a subclass would not come back as what it was
            raise expected(self.record.cls.__name__, value)


def builder(record: Record) -> Callable[[list[Any]], Any]:
    """Return what makes the dataclass of the values of all its fields, in their order."""
    cls = record.cls
    if record.positional:
        return lambda values: cls(*values)
    names = [field.name for field in record.fields]
    return lambda values: cls(**dict(zip(names, values, strict=True)))


def _declared_names(field: Field) -> tuple[str, ...]:
    return () if field.window else (field.wire_name, *field.aliases)


def _default(
    record: Record, field: Field, wire: Wire, *, is_alone: bool
) -> tuple[Any, Callable[[], Any] | None]:
    """Return the default of the struct's member that is ``field``, and what fills it where it is ``ABSENT``.

    If the member ``is_alone``, there are no others for the same field.
    """
    if field.default_factory is not MISSING:
        return ABSENT, field.default_factory
    if field.default is MISSING:
        return (msgspec.NODEFAULT, None) if is_alone else (ABSENT, _refuse)
    try:
        wire.normal(field.default)
    except MisfitError as misfit:
        raise ConfigError(f"{record.cls.__name__}.{field.name}{misfit.path}: its default: {misfit}") from None
    if wire.read is None and is_alone:
        return field.default, None
    return ABSENT, lambda: field.default


def _refuse() -> Any:
    raise MisfitError(ABSENT_WITHOUT_DEFAULT)


def _nullable(item: Wire) -> Wire:
    def or_none(convert: Convert) -> Convert:
        return lambda value: None if value is None else convert(value)

    return Wire(item.type | None, or_none(item.normal), or_none(item.write), item.read and or_none(item.read))


def _list(item: Wire) -> Wire:
    def each(convert: Convert) -> Convert:
        def converted(values: Any) -> list[Any]:
            if not isinstance(values, list):
                raise expected("list", values)
            made: list[Any] = []
            for value in values:
                try:
                    made.append(convert(value))
                except MisfitError as misfit:
                    raise misfit.within(f"[{len(made)}]") from None
            return made

        return converted

    return Wire(list[item.type], each(item.normal), each(item.write), item.read and each(item.read))  # type: ignore[name-defined]


def _dict(key: Wire, item: Wire) -> Wire:
    def each(convert_key: Convert, convert: Convert) -> Convert:
        def converted(values: Any) -> dict[Any, Any]:
            if not isinstance(values, dict):
                raise expected("dict", values)
            made = {}
            for name, value in values.items():
                try:
                    made[convert_key(name)] = convert(value)
                except MisfitError as misfit:
                    raise misfit.within(f"[{show(name)}]") from None
            if len(made) < len(values):
                raise MisfitError(f"two keys of {show(values)} are one in the form that is stored")
            return made

        return converted

    plain = key.read is None and item.read is None
    return Wire(
        dict[key.type, item.type],  # type: ignore[name-defined]
        each(key.normal, item.normal),
        each(key.write, item.write),
        None if plain else each(key.read or _same, item.read or _same),
    )


def _record(walk: RecordWalk) -> Wire:
    build = builder(walk.record)
    return Wire(
        walk.struct,
        lambda value: build(walk.normal(value)),
        walk.write,
        lambda struct: build(walk.values(struct)),
    )


def _same(value: Any) -> Any:
    return value
