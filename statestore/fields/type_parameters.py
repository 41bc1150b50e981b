"""Type parameters of generic base classes, and names that stand for types: ``NewType``, ``type`` aliases."""

from __future__ import annotations

import inspect
import typing
from typing import Any, NewType, TypeVar, get_args, get_origin

Bindings = dict[Any, Any]

_ALIAS: Any = getattr(typing, "TypeAliasType", ())  # of the statement ``type``, since Python 3.12


def named_type(annotation: Any) -> Any:
    """Return the type for which a ``NewType``, or the name of a ``type`` statement, stands."""
    while True:
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif _ALIAS and isinstance(annotation, _ALIAS):
            annotation = annotation.__value__
        else:
            return annotation


def bound_hints(cls: type, hints: dict[str, Any]) -> dict[str, Any]:
    """Return ``hints`` with the type variables of generic bases replaced: ``class Row(Base[int])``."""
    bindings = _bindings(cls, {})
    if not bindings:
        return hints
    return {name: _replaced(hint, bindings.get(_owner(cls, name), {})) for name, hint in hints.items()}


def _bindings(cls: Any, outer: Bindings) -> dict[Any, Bindings]:
    """Return what the type variables of each generic base of ``cls`` stand for."""
    found: dict[Any, Bindings] = {}
    bases: tuple[Any, ...] = cls.__dict__.get("__orig_bases__", cls.__bases__)
    for base in bases:
        origin = get_origin(base)
        if origin is None:
            if isinstance(base, type) and base is not object:
                found |= _bindings(base, {})
            continue
        arguments = [_replaced(argument, outer) for argument in get_args(base)]
        parameters = getattr(origin, "__parameters__", ())
        if len(parameters) == len(arguments):
            found[origin] = dict(zip(parameters, arguments, strict=True))
            found |= _bindings(origin, found[origin])
    return found


def _owner(cls: type, name: str) -> type:
    """Return the class whose annotation of the field counts."""
    return next((one for one in cls.__mro__ if name in inspect.get_annotations(one)), cls)


def _replaced(annotation: Any, bindings: Bindings) -> Any:
    if isinstance(annotation, TypeVar):
        return bindings.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not bindings or not parameters or isinstance(annotation, type):
        return annotation
    return annotation[tuple(bindings.get(parameter, parameter) for parameter in parameters)]
