"""Rows that a query makes: ``Row``, and the objects of a class that ``select`` fills."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar

from statestore.fields.types import SCALAR_TYPES, FieldType, Nullable, RecordType, Scalar


class Row(tuple[Any, ...]):
    """A row of named columns: a tuple whose items are attributes, too. Pickles."""

    __slots__ = ()

    _fields: ClassVar[tuple[str, ...]] = ()
    """The names of the columns, where pandas looks for them in a tuple."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"Row({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _row, (self._fields, tuple(self))


@cache
def row_class(names: tuple[str, ...]) -> type[Row]:
    """Return the class of rows with these columns. It takes an iterable of their values."""
    columns = {name: property(itemgetter(place)) for place, name in enumerate(names)}
    return type("Row", (Row,), {"__slots__": (), "__module__": __name__, "_fields": names, **columns})


def _row(names: tuple[str, ...], values: Iterable[Any]) -> Row:
    return row_class(names)(values)


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a class that ``select`` fills."""

    name: str
    type: FieldType | None
    """``None``: of a type that is not compared with a column's."""
    has_default: bool


def parameters_of(cls: type) -> list[Parameter] | None:
    """Return the arguments of the dataclass ``cls``; ``None`` if it is no dataclass."""
    if not dataclasses.is_dataclass(cls):
        return None
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - a name that is not known here: the types are not compared
        hints = {}
    missing = dataclasses.MISSING
    return [
        Parameter(
            field.name,
            _field_type(hints.get(field.name)),
            field.default is not missing or field.default_factory is not missing,
        )
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _field_type(hint: Any) -> FieldType | None:
    if hint in SCALAR_TYPES:
        return Scalar(hint)
    if typing.get_origin(hint) in (typing.Union, UnionType):
        parts = [part for part in typing.get_args(hint) if part is not NoneType]
        if len(parts) == 1 and len(typing.get_args(hint)) > 1 and (inner := _field_type(parts[0])):
            return Nullable(inner)
    return None


def maker(
    into: type[Any] | None, names: tuple[str, ...], values_of: Sequence[Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """Return what makes of a row one with the columns ``names``, an object of ``into`` if that is given."""
    if into is None:
        cls = row_class(names)
        if len(values_of) == 1:
            (only,) = values_of
            return lambda row: cls((only(row),))
        if len(values_of) == 2:
            one, two = values_of
            return lambda row: cls((one(row), two(row)))
        return lambda row: cls([value_of(row) for value_of in values_of])
    named = tuple(zip(names, values_of, strict=True))
    return lambda row: into(**{name: value_of(row) for name, value_of in named})


def as_dict(records: Sequence[RecordType]) -> Callable[[Any], dict[str, Any]]:
    """Return what makes a dict of a row: of an entity, or of a tuple of an entity of each of ``records``."""
    if len(records) == 1:
        return _as_dict(records[0])
    makers = [(record.cls.__name__, _as_dict(record)) for record in records]
    return lambda row: {
        name: None if one is None else make(one) for (name, make), one in zip(makers, row, strict=True)
    }


def has_only_scalars(rows: Sequence[FieldType]) -> bool:
    """Whether all fields of the records are scalars, or ``None``."""
    records = map(_bare, rows)
    return all(
        isinstance(one, RecordType) and all(isinstance(_bare(field.type), Scalar) for field in one.fields)
        for one in records
    )


def _as_dict(record: RecordType) -> Callable[[Any], dict[str, Any]]:
    names = [field.name for field in record.fields]
    if has_only_scalars([record]):
        return lambda row: {name: getattr(row, name) for name in names}
    return lambda row: {name: _plain(getattr(row, name)) for name in names}


def _bare(type_: FieldType) -> FieldType:
    return type_.item if isinstance(type_, Nullable) else type_


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
