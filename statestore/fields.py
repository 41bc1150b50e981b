"""What a dataclass says about its fields: names, types, defaults, keys.

:func:`read_record` turns a dataclass into a :class:`Record`, which every format (msgpack, later others) is
derived from. It knows no topic and no format.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin
from uuid import UUID

from statestore.attributes import (
    Alias,
    Attribute,
    EventTime,
    Float32,
    Format,
    Ignored,
    Index,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowSize,
    WindowStart,
)

A = TypeVar("A", bound=Attribute)
WindowPart = type[WindowStart] | type[WindowEnd] | type[WindowSize]

KEY_TYPES: tuple[type, ...] = (int, str, bytes, UUID, datetime, date)
"""What a key field, and the key of a dict, can be."""
SCALAR_TYPES: tuple[type, ...] = (bool, int, float, Decimal, str, bytes, datetime, date, UUID)
"""What any other field can be, besides ``None``, lists, dicts and dataclasses of them."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of ``SCALAR_TYPES``, as its attributes narrow it."""

    type: type
    is_32_bits: bool = False
    """Whether an ``int`` or ``float`` is of 32 bits, not 64."""
    precision: Precision | None = None
    """Of a ``Decimal``; ``None``: any number of digits."""
    format: str | None = None
    """The pattern of a ``datetime`` in formats that are text; ``None``: ISO 8601."""
    max_length: int | None = None
    """The most characters or bytes that are written; ``None``: any number."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """``item | None``."""

    item: FieldType


@dataclass(frozen=True, slots=True)
class ListOf:
    """``list[item]``."""

    item: FieldType


@dataclass(frozen=True, slots=True)
class DictOf:
    """``dict[key, item]``; keys are of ``KEY_TYPES``."""

    key: Scalar
    item: FieldType


@dataclass(frozen=True, slots=True)
class Field:
    """One stored field of a dataclass."""

    name: str
    type: FieldType
    is_key: bool
    default: Any
    """Its default, ``dataclasses.MISSING`` if it has none."""
    default_factory: Any
    """What makes its default, ``dataclasses.MISSING`` likewise."""
    wire_name: str
    """Its name in records."""
    aliases: tuple[str, ...] = ()
    """Its names in older records."""
    is_event_time: bool = False
    is_indexed: bool = False
    window: WindowPart | None = None
    """What of its row's window it is filled with; ``None``: it is stored like any other field."""


@dataclass(frozen=True, slots=True)
class Record:
    """A dataclass and its stored fields, in the order of their definition.

    ``Ignored`` and ``init=False`` fields, ``InitVar`` and ``ClassVar`` are not stored. If ``positional``, the
    constructor may be called with the fields by position, which is faster; by name otherwise (``kw_only``).
    """

    cls: type
    fields: tuple[Field, ...]
    positional: bool


FieldType = Scalar | Nullable | ListOf | DictOf | Record


def type_name(type_: FieldType) -> str:
    """Return ``type_`` as a user writes it: ``list[int] | None``."""
    match type_:
        case Scalar(cls) | Record(cls):
            return cls.__name__
        case Nullable(item):
            return f"{type_name(item)} | None"
        case ListOf(item):
            return f"list[{type_name(item)}]"
        case DictOf(key, item):
            return f"dict[{type_name(key)}, {type_name(item)}]"


def read_record(cls: type, faults: list[str]) -> Record:
    """Return what the dataclass ``cls`` says, appending to ``faults`` each thing that cannot be stored.

    Where there is a fault the record is of no use.
    """
    return _record(cls, faults, ())


_FAULTY = Scalar(object)
_UNSUPPORTED = (
    "is not a type that can be stored: use "
    + ", ".join(scalar.__name__ for scalar in SCALAR_TYPES)
    + ", a dataclass, list[T] or dict[K, T] of them, or T | None"
)


def _record(cls: type, faults: list[str], outer: tuple[type, ...]) -> Record:
    hints = _hints(cls, faults)
    if hints is None:
        return Record(cls, (), positional=False)
    fields = []
    for field in dataclasses.fields(cls):
        where = f"{cls.__name__}.{field.name}"
        annotation, marks = _split(hints[field.name])
        is_key = _mark(marks, Key) is not None
        if not field.init:
            if is_key:
                faults.append(f"{where}: a key field must be an argument of the constructor: drop init=False")
        elif _mark(marks, Ignored) is None:
            type_ = _type(annotation, marks, where, faults, (*outer, cls), is_key=is_key)
            fields.append(_field(field, type_, marks))
    return Record(cls, tuple(fields), _takes_in_order(cls, fields, faults))


def _field(field: dataclasses.Field[Any], type_: FieldType, marks: list[Attribute]) -> Field:
    name, alias = _mark(marks, Name), _mark(marks, Alias)
    window = next((kind for kind in (WindowStart, WindowEnd, WindowSize) if _mark(marks, kind)), None)
    return Field(
        field.name,
        type_,
        _mark(marks, Key) is not None,
        field.default,
        field.default_factory,
        field.name if name is None else name.name,
        () if alias is None else alias.names,
        _mark(marks, EventTime) is not None,
        _mark(marks, Index) is not None,
        window,
    )


def _hints(cls: type, faults: list[str]) -> dict[str, Any] | None:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        faults.append(
            f"{cls.__name__}: the annotation {error.name!r} is not known in module {cls.__module__}: import "
            "or define it at module level (not under TYPE_CHECKING) or, if it must be local to a function, "
            "remove 'from __future__ import annotations'"
        )
    except (TypeError, SyntaxError, AttributeError) as error:
        faults.append(f"{cls.__name__}: an annotation cannot be evaluated: {error}")
    return None


def _takes_in_order(cls: type, fields: Sequence[Field], faults: list[str]) -> bool:
    """Whether the constructor takes ``fields`` by position; a fault if it cannot be called with them."""
    parameters = inspect.signature(cls).parameters
    names = [field.name for field in fields]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in parameters.values():
        required = parameter.default is parameter.empty and parameter.kind not in variadic
        if required and parameter.name not in names:
            faults.append(
                f"{cls.__name__}.{parameter.name}: the constructor requires it but no field stores it "
                "(an InitVar is not stored): give it a default"
            )
    faults += [
        f"{cls.__name__}.{name}: the class's own __init__ does not take this field"
        for name in names
        if name not in parameters
    ]
    leading = list(parameters.values())[: len(names)]
    return [(parameter.name, parameter.kind) for parameter in leading] == [
        (name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names
    ]


def _split(annotation: Any) -> tuple[Any, list[Attribute]]:
    """Return ``annotation`` without its ``Annotated`` layers, and what of them is ours, outermost last."""
    marks: list[Attribute] = []
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        made = [mark() if mark in _WITHOUT_ARGUMENTS else mark for mark in metadata]
        marks = [mark for mark in made if isinstance(mark, Attribute)] + marks
    return annotation, marks


_WITHOUT_ARGUMENTS = (Key, EventTime, Ignored, Int32, Float32, Index, WindowStart, WindowEnd, WindowSize)


def _mark(marks: list[Attribute], kind: type[A]) -> A | None:
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _scalar(type_: type, marks: list[Attribute]) -> Scalar:
    format_, length = _mark(marks, Format), _mark(marks, MaxLength)
    return Scalar(
        type_,
        _mark(marks, Int32) is not None or _mark(marks, Float32) is not None,
        _mark(marks, Precision),
        None if format_ is None else format_.pattern,
        None if length is None else length.length,
    )


def _key_type(annotation: Any, marks: list[Attribute], where: str, faults: list[str]) -> Scalar:
    if annotation in KEY_TYPES:
        return _scalar(annotation, marks)
    names = ", ".join(key.__name__ for key in KEY_TYPES)
    shown = _show(annotation)
    optional = type(None) in get_args(annotation)
    remedy = "a key is never None; make it one of" if optional else "it must be one of"
    faults.append(f"{where}: {shown} cannot be a key: {remedy} {names}")
    return _FAULTY


def _type(
    annotation: Any,
    marks: list[Attribute],
    where: str,
    faults: list[str],
    outer: tuple[type, ...],
    *,
    is_key: bool = False,
) -> FieldType:
    """Return the type of a field, or of a part of one; ``outer`` are the dataclasses around it."""
    if is_key:
        return _key_type(annotation, marks, where, faults)
    annotation, inner = _split(annotation)
    marks = [*inner, *marks]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _mark(inner, Key):
        faults.append(f"{where}: Key must be outermost, as in Annotated[int, Key], and a key is never None")
    elif annotation in SCALAR_TYPES:
        return _scalar(annotation, marks)
    elif annotation in outer:
        chain = " in ".join(cls.__name__ for cls in (annotation, *reversed(outer[outer.index(annotation) :])))
        faults.append(
            f"{where}: a dataclass cannot contain itself ({chain}): store the key of the other instead"
        )
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and origin is None:
        return _record(annotation, faults, outer)
    elif origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (item,) = (argument for argument in arguments if argument is not type(None))
        return Nullable(_type(item, marks, where, faults, outer))
    elif origin is list and len(arguments) == 1:
        return ListOf(_type(arguments[0], [], where, faults, outer))
    elif origin is dict and len(arguments) == 2:
        return DictOf(
            _key_type(*_split(arguments[0]), f"{where} (key of the dict)", faults),
            _type(arguments[1], [], where, faults, outer),
        )
    else:
        faults.append(f"{where}: {_show(annotation)} {_UNSUPPORTED}")
    return _FAULTY


def _show(annotation: Any) -> str:
    return (
        annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    )
