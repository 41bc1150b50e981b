"""Inspecting a dataclass: which fields it stores, their types, and every fault in their declaration.

:func:`read_record_type` returns the :class:`~statestore.fields.types.RecordType`, from which every format is
derived. ``annotations.py`` checks the attributes of a field.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar, Union, get_args, get_origin

from statestore.fields.annotations import FieldAttributes, scalar, split
from statestore.fields.attributes import (
    Alias,
    EventTime,
    Extra,
    Gap,
    Ignored,
    Index,
    Key,
    Name,
    WindowEnd,
    WindowSize,
    WindowStart,
)
from statestore.fields.defaults import factory_faults
from statestore.fields.type_parameters import bound_hints
from statestore.fields.types import (
    KEY_TYPES,
    SCALAR_TYPES,
    DictOf,
    Field,
    FieldType,
    ListOf,
    Nullable,
    RecordType,
    Scalar,
)

_FAULTY = Scalar(object)
_UNSUPPORTED = (
    "is not a type that can be stored: use "
    + ", ".join(scalar.__name__ for scalar in SCALAR_TYPES)
    + ", a dataclass, list[T] or dict[K, T] of them, or T | None"
)


def read_record_type(
    cls: type, faults: list[str], warnings: list[str], *, relaxed: bool = False, upper_case: bool = False
) -> RecordType:
    """Return the record type of the dataclass ``cls``, appending to ``faults`` whatever cannot be stored.

    If faults were found, the record type must not be used. With ``relaxed``, a field of an unsupported type
    that has a default is not stored, as if it were ``Ignored``; that is a warning. With ``upper_case``, names
    in records are upper case, except those that ``Name`` gives.
    """
    return _Inspector(faults, warnings, relaxed, upper_case).record(cls, ())


class _Inspector:
    def __init__(self, faults: list[str], warnings: list[str], relaxed: bool, upper_case: bool) -> None:
        self._faults = faults
        self._warnings = warnings
        self._relaxed = relaxed
        self._upper_case = upper_case

    def record(self, cls: type, outer: tuple[type, ...]) -> RecordType:
        """Return the record type of ``cls``; ``outer`` are the dataclasses that contain it."""
        hints = self._hints(cls)
        if hints is None:
            return RecordType(cls, (), positional=False)
        fields = []
        extras: list[str] = []
        for declared in dataclasses.fields(cls):
            where = f"{cls.__name__}.{declared.name}"
            annotation, attributes = split(hints[declared.name], where, self._faults)
            if not self._is_stored(declared, attributes, where):
                continue
            if attributes.has(Extra):
                self._faults += _extra_faults(annotation, attributes, where, is_inner=bool(outer))
                extras.append(declared.name)
                continue
            unsupported: list[str] = []
            type_ = self._type(annotation, attributes, where, unsupported, (*outer, cls))
            if unsupported and self._relaxed and _has_default(declared) and not attributes.has(Key):
                self._warnings += [f"{fault}; not stored (validation='relaxed')" for fault in unsupported]
                continue
            self._faults += unsupported
            field = _field(declared, type_, attributes, self._upper_case)
            fields.append(field)
            if not unsupported and not outer:
                self._faults += _misplaced(field, attributes, where)
            if not unsupported:
                self._faults += factory_faults(field, where)
        self._faults += _ambiguous(cls, fields, extras)
        names = [field.name for field in fields]
        in_order = self._takes_in_order(cls, names, extras)
        return RecordType(cls, tuple(fields), in_order, extras[0] if extras else None)

    def _hints(self, cls: type) -> dict[str, Any] | None:
        try:
            return bound_hints(cls, typing.get_type_hints(cls, include_extras=True))
        except NameError as error:
            self._faults.append(
                f"{cls.__name__}: annotation {error.name!r} cannot be resolved in module {cls.__module__}: "
                "import or define it at module level (not under TYPE_CHECKING) or, if it must be local to a "
                "function, remove 'from __future__ import annotations'"
            )
        except (TypeError, SyntaxError, AttributeError) as error:
            self._faults.append(f"{cls.__name__}: an annotation cannot be evaluated: {error}")
        return None

    def _is_stored(self, declared: dataclasses.Field[Any], attributes: FieldAttributes, where: str) -> bool:
        if declared.init and not attributes.has(Ignored):
            return True
        reason = "Ignored" if attributes.has(Ignored) else "not an argument of the constructor (init=False)"
        others = [name for name in attributes.names if name != "Ignored"]
        if attributes.has(Key) and not attributes.has(Ignored):
            self._faults.append(
                f"{where}: a key field must be an argument of the constructor: drop init=False"
            )
        elif others:
            self._faults.append(
                f"{where}: {', '.join(others)} has no effect on a field that is {reason}: remove it"
            )
        elif declared.init and not _has_default(declared):
            self._faults.append(
                f"{where}: an Ignored field needs a default, since it is not stored: give it one"
            )
        return False

    def _takes_in_order(self, cls: type, names: Sequence[str], extras: Sequence[str]) -> bool:
        """Whether the constructor takes the fields ``names`` by position. Not to take one is a fault."""
        parameters = inspect.signature(cls).parameters
        known = {field.name for field in dataclasses.fields(cls)}
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for parameter in parameters.values():
            required = parameter.default is parameter.empty and parameter.kind not in variadic
            if required and parameter.name not in known:
                self._faults.append(
                    f"{cls.__name__}.{parameter.name}: the constructor requires this argument, but no "
                    "field stores it (an InitVar is not stored): give it a default"
                )
        self._faults += [
            f"{cls.__name__}.{name}: the class's own __init__ does not take this field: add the parameter"
            for name in (*names, *extras)
            if name not in parameters
        ]
        leading = list(parameters.values())[: len(names)]
        return [(parameter.name, parameter.kind) for parameter in leading] == [
            (name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names
        ]

    def _type(
        self,
        annotation: Any,
        attributes: FieldAttributes,
        where: str,
        unsupported: list[str],
        outer: tuple[type, ...],
    ) -> FieldType:
        """Return the type of a field, appending to ``unsupported`` why the field cannot be stored."""
        if attributes.has(Key):
            return self._key_type(annotation, attributes, where, unsupported)
        if annotation in SCALAR_TYPES:
            return scalar(annotation, attributes, where, self._faults)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
            (item,) = (argument for argument in arguments if argument is not type(None))
            return Nullable(self._inner(item, attributes, where, unsupported, outer))
        self._faults += attributes.not_for(_annotation_text(annotation), where)
        if annotation in outer:
            within = (annotation, *reversed(outer[outer.index(annotation) :]))
            chain = " in ".join(cls.__name__ for cls in within)
            unsupported.append(
                f"{where}: a dataclass cannot contain itself ({chain}): store the key of the other instead"
            )
        elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and origin is None:
            return self.record(annotation, outer)
        elif origin is list and len(arguments) == 1:
            return ListOf(self._inner(arguments[0], FieldAttributes(), where, unsupported, outer))
        elif origin is dict and len(arguments) == 2:
            of_keys = f"{where} (key of the dict)"
            key, key_attributes = split(arguments[0], of_keys, self._faults)
            return DictOf(
                self._key_type(key, key_attributes, of_keys, unsupported),
                self._inner(arguments[1], FieldAttributes(), where, unsupported, outer),
            )
        elif isinstance(annotation, TypeVar):
            unsupported.append(
                f"{where}: the type variable {annotation} stands for no type here: give the generic base its "
                "types, as in class Row(Base[int])"
            )
        else:
            unsupported.append(f"{where}: {_annotation_text(annotation)} {_UNSUPPORTED}")
        return _FAULTY

    def _inner(
        self,
        annotation: Any,
        attributes: FieldAttributes,
        where: str,
        unsupported: list[str],
        outer: tuple[type, ...],
    ) -> FieldType:
        """Return the type of a part of a field. It may have attributes of its own besides ``attributes``."""
        annotation, own = split(annotation, where, self._faults)
        self._faults += own.not_inside(where)
        return self._type(annotation, own.of_values() + attributes, where, unsupported, outer)

    def _key_type(
        self, annotation: Any, attributes: FieldAttributes, where: str, unsupported: list[str]
    ) -> Scalar:
        if annotation in KEY_TYPES:
            return scalar(annotation, attributes, where, self._faults)
        names = ", ".join(key.__name__ for key in KEY_TYPES)
        optional = type(None) in get_args(annotation)
        remedy = "a key is never None; annotate it as one of" if optional else "annotate it as one of"
        unsupported.append(f"{where}: {_annotation_text(annotation)} cannot be a key: {remedy} {names}")
        return _FAULTY


_WINDOW_PARTS = (WindowStart, WindowEnd, WindowSize)


def _field(
    declared: dataclasses.Field[Any], type_: FieldType, attributes: FieldAttributes, upper_case: bool
) -> Field:
    plain_name = declared.name.upper() if upper_case else declared.name
    name, alias = attributes.find(Name), attributes.find(Alias)
    window = next((kind for kind in _WINDOW_PARTS if attributes.has(kind)), None)
    return Field(
        declared.name,
        type_,
        attributes.has(Key),
        declared.default,
        declared.default_factory,
        plain_name if name is None else name.name,
        () if alias is None else alias.names,
        attributes.has(EventTime),
        attributes.has(Index),
        window,
        attributes.has(Gap),
        attributes.others,
    )


def _has_default(declared: dataclasses.Field[Any]) -> bool:
    return declared.default is not dataclasses.MISSING or declared.default_factory is not dataclasses.MISSING


def _misplaced(field: Field, attributes: FieldAttributes, where: str) -> list[str]:
    """Return the faults of a field that is the event time or that a window fills."""
    parts = [f"the {one.__name__}" for one in _WINDOW_PARTS if attributes.has(one)]
    if len(parts) > 1:
        return [f"{where}: a field cannot be {' and '.join(parts)}: keep one"]
    faults = []
    kind = field.type.type if isinstance(field.type, Scalar) else None
    instants = "must be a datetime or an int (milliseconds since 1970 UTC), and never None"
    if field.is_event_time and kind not in (datetime, int):
        faults.append(f"{where}: an EventTime {instants}")
    if field.window in (WindowStart, WindowEnd) and kind not in (datetime, int):
        faults.append(f"{where}: a {field.window.__name__} {instants}")
    if field.window is WindowSize and kind is not int:
        faults.append(f"{where}: a WindowSize must be an int (milliseconds), and never None")
    if field.is_gap and (kind is not bool or field.is_key):
        faults.append(f"{where}: a Gap must be a bool, no Key, and never None")
    if field.window is not None and (field.is_key or field.is_event_time):
        faults.append(f"{where}: a {field.window.__name__} cannot also be a Key or EventTime")
    return faults


def _extra_faults(annotation: Any, attributes: FieldAttributes, where: str, *, is_inner: bool) -> list[str]:
    """Return the faults of a field that has ``Extra``."""
    faults = []
    if is_inner:
        faults.append(
            f"{where}: Extra is for a field of the entity itself: the members of a nested dataclass that no "
            "field declares are not kept; declare them as fields"
        )
    if get_origin(annotation) is not dict or get_args(annotation) != (str, Any):
        shown = _annotation_text(annotation)
        faults.append(f"{where}: an Extra field is a dict[str, Any], not {shown}: annotate it so")
    if others := [name for name in attributes.names if name != "Extra"]:
        faults.append(
            f"{where}: {', '.join(others)} is not possible with Extra, whose members have no declared type: "
            "declare the member as a field of its own"
        )
    return faults


def _ambiguous(cls: type, fields: Sequence[Field], extras: Sequence[str]) -> list[str]:
    """Return a fault for each name and each attribute that several fields have, but only one may have."""
    faults = []
    names = Counter(name for field in fields for name in {field.wire_name, *field.aliases})
    for name in (name for name, count in names.items() if count > 1):
        named = ", ".join(field.name for field in fields if name in (field.wire_name, *field.aliases))
        faults.append(f"{cls.__name__}: several fields have the name {name!r} in records: {named}")
    faults += [
        f"{cls.__name__}.{field.name}: Alias({field.wire_name!r}) is the field's present name: an alias is a "
        "former one"
        for field in fields
        if field.wire_name in field.aliases
    ]
    if len(extras) > 1:
        faults.append(f"{cls.__name__}: only one field can be the Extra, not several: {', '.join(extras)}")
    parts = [("EventTime", field) for field in fields if field.is_event_time]
    parts += [(field.window.__name__, field) for field in fields if field.window is not None]
    parts += [("Gap", field) for field in fields if field.is_gap]
    for part in dict.fromkeys(name for name, _ in parts):
        owners = [field.name for name, field in parts if name == part]
        if len(owners) > 1:
            faults.append(
                f"{cls.__name__}: only one field can be the {part}, not several: {', '.join(owners)}"
            )
    return faults


def _annotation_text(annotation: Any) -> str:
    return (
        annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    )
