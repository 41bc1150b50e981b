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
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID


class Key:
    """Marks a key field: ``order_id: Annotated[int, Key]``. Several form one key, in their order."""


KEY_TYPES: tuple[type, ...] = (int, str, bytes, UUID, datetime, date)
"""What a key field, and the key of a dict, can be."""
SCALAR_TYPES: tuple[type, ...] = (bool, int, float, Decimal, str, bytes, datetime, date, UUID)
"""What any other field can be, besides ``None``, lists, dicts and dataclasses of them."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of ``SCALAR_TYPES``."""

    type: type


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


@dataclass(frozen=True, slots=True)
class Record:
    """A dataclass and its stored fields, in the order of their definition.

    ``init=False`` fields, ``InitVar`` and ``ClassVar`` are not stored. If ``positional``, the constructor may
    be called with the fields by position, which is faster; by name otherwise (``kw_only``).
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
        annotation, is_key = _split(hints[field.name])
        if field.init:
            type_ = (
                _key_type(annotation, where, faults)
                if is_key
                else _type(annotation, where, faults, (*outer, cls))
            )
            fields.append(Field(field.name, type_, is_key, field.default, field.default_factory))
        elif is_key:
            faults.append(f"{where}: a key field must be an argument of the constructor: drop init=False")
    return Record(cls, tuple(fields), _takes_in_order(cls, fields, faults))


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


def _split(annotation: Any) -> tuple[Any, bool]:
    """Return ``annotation`` without its ``Annotated`` layers, and whether one of them says ``Key``."""
    is_key = False
    while get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        is_key = is_key or any(mark is Key or isinstance(mark, Key) for mark in marks)
    return annotation, is_key


def _key_type(annotation: Any, where: str, faults: list[str]) -> Scalar:
    if annotation in KEY_TYPES:
        return Scalar(annotation)
    names = ", ".join(key.__name__ for key in KEY_TYPES)
    shown = _show(annotation)
    optional = type(None) in get_args(annotation)
    remedy = "a key is never None; make it one of" if optional else "it must be one of"
    faults.append(f"{where}: {shown} cannot be a key: {remedy} {names}")
    return _FAULTY


def _type(annotation: Any, where: str, faults: list[str], outer: tuple[type, ...]) -> FieldType:
    """Return the type of a field that is no key; ``outer`` are the dataclasses around it."""
    annotation, is_key = _split(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_key:
        faults.append(f"{where}: Key must be outermost, as in Annotated[int, Key], and a key is never None")
    elif annotation in SCALAR_TYPES:
        return Scalar(annotation)
    elif annotation in outer:
        chain = " in ".join(cls.__name__ for cls in (annotation, *reversed(outer[outer.index(annotation) :])))
        faults.append(
            f"{where}: a dataclass cannot contain itself ({chain}): store the key of the other instead"
        )
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and origin is None:
        return _record(annotation, faults, outer)
    elif origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (item,) = (argument for argument in arguments if argument is not type(None))
        return Nullable(_type(item, where, faults, outer))
    elif origin is list and len(arguments) == 1:
        return ListOf(_type(arguments[0], where, faults, outer))
    elif origin is dict and len(arguments) == 2:
        return DictOf(
            _key_type(_split(arguments[0])[0], f"{where} (key of the dict)", faults),
            _type(arguments[1], where, faults, outer),
        )
    else:
        faults.append(f"{where}: {_show(annotation)} {_UNSUPPORTED}")
    return _FAULTY


def _show(annotation: Any) -> str:
    return (
        annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    )
