"""The attributes that a field's ``Annotated`` gives, and the faults in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_args, get_origin

from statestore.fields.attributes import (
    DAYS,
    EPOCHS,
    NUMBER,
    Alias,
    Attribute,
    EventTime,
    Extra,
    Float32,
    Format,
    Gap,
    Ignored,
    Index,
    Int16,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowSize,
    WindowStart,
)
from statestore.fields.type_parameters import named_type
from statestore.fields.types import Scalar
from statestore.runtime.text import bounded_repr

A = TypeVar("A", bound=Attribute)

_WITHOUT_ARGUMENTS = (
    Key,
    EventTime,
    Ignored,
    Int32,
    Int16,
    Float32,
    Index,
    Extra,
    WindowStart,
    WindowEnd,
    WindowSize,
    Gap,
)
_EXAMPLES: dict[type, str] = {
    Precision: "Precision(18, 4)",
    Format: "Format('%Y-%m-%d')",
    MaxLength: "MaxLength(12)",
    Alias: "Alias('old')",
    Name: "Name('SYMBOL')",
}
_OF_VALUES: dict[type[Attribute], tuple[type, ...]] = {
    Precision: (Decimal,),
    Int32: (int,),
    Int16: (int,),
    Float32: (float,),
    Format: (datetime, date, Decimal),
    MaxLength: (str, bytes),
}
"""Attributes that narrow a type, with the types they narrow. Any other attribute is about the whole field."""


@dataclass(frozen=True, slots=True)
class FieldAttributes:
    """The attributes that ``Annotated`` gives to one field, or to a part of one."""

    ours: tuple[Attribute, ...] = ()
    others: tuple[Any, ...] = ()
    """Metadata that is not of this library's fields, such as an aggregate."""

    def __add__(self, outer: FieldAttributes) -> FieldAttributes:
        return FieldAttributes(self.ours + outer.ours, self.others + outer.others)

    @property
    def names(self) -> list[str]:
        """The names of our attributes, as a user writes them."""
        return [type(attribute).__name__ for attribute in self.ours]

    def find(self, kind: type[A]) -> A | None:
        """Return the attribute of this kind, if there is one."""
        return next((attribute for attribute in self.ours if isinstance(attribute, kind)), None)

    def has(self, kind: type[Attribute]) -> bool:
        """Whether there is an attribute of this kind."""
        return self.find(kind) is not None

    def of_values(self) -> FieldAttributes:
        """Return the attributes that narrow a type."""
        return FieldAttributes(tuple(attribute for attribute in self.ours if type(attribute) in _OF_VALUES))

    def not_for(self, shown: str, where: str) -> list[str]:
        """Return a fault for each attribute that narrows a type, since the type ``shown`` has parts."""
        return [
            f"{where}: {type(attribute).__name__} is for {_named(type(attribute))}, not for {shown}: "
            f"write it at the part, as in list[Annotated[{_OF_VALUES[type(attribute)][0].__name__}, …]]"
            for attribute in self.of_values().ours
        ]

    def not_inside(self, where: str) -> list[str]:
        """Return a fault for each attribute that is about a whole field: here it stands inside a type."""
        faults = []
        for attribute in self.ours:
            if isinstance(attribute, Key):
                faults.append(
                    f"{where}: Key must be outermost, as in Annotated[int, Key]; a key is never None"
                )
            elif type(attribute) not in _OF_VALUES:
                name = type(attribute).__name__
                faults.append(f"{where}: {name} must be outermost, as in Annotated[int | None, {name}…]")
        return faults


def split(annotation: Any, where: str, faults: list[str]) -> tuple[Any, FieldAttributes]:
    """Return ``annotation`` without its ``Annotated`` layers, and their attributes, innermost first.

    Appends to ``faults`` each fault in an attribute.
    """
    ours: list[Attribute] = []
    others: list[Any] = []
    while get_origin(annotation := named_type(annotation)) is Annotated:
        annotation, *metadata = get_args(annotation)
        for attribute in metadata:
            if isinstance(attribute, type) and attribute in _WITHOUT_ARGUMENTS:
                ours.append(attribute())
            elif isinstance(attribute, type) and attribute in _EXAMPLES:
                faults.append(
                    f"{where}: {attribute.__name__} needs its arguments, as in {_EXAMPLES[attribute]}"
                )
            elif isinstance(attribute, Attribute):
                wrong = _CHECKS.get(type(attribute), _nothing)(attribute)
                faults += [f"{where}: {fault}" for fault in wrong]
                ours += [] if wrong else [attribute]
            else:
                others.append(attribute)
    faults += [
        f"{where}: {kind.__name__} is given {'twice' if count == 2 else f'{count} times'}"
        for kind, count in Counter(map(type, ours)).items()
        if count > 1
    ]
    return annotation, FieldAttributes(tuple(ours), tuple(others))


def scalar(type_: type, attributes: FieldAttributes, where: str, faults: list[str]) -> Scalar:
    """Return the scalar ``type_`` as ``attributes`` narrow it.

    Appends to ``faults`` each attribute that is for other types.
    """
    for attribute in attributes.of_values().ours:
        kind = type(attribute)
        if type_ not in _OF_VALUES[kind]:
            faults.append(f"{where}: {kind.__name__} is for {_named(kind)}, not for {type_.__name__}")
            return Scalar(type_)
    if attributes.has(Int32) and attributes.has(Int16):
        faults.append(f"{where}: Int32 and Int16 contradict each other: keep one")
    format_, length = attributes.find(Format), attributes.find(MaxLength)
    if format_ is not None and (fault := _format_fault(type_, format_.pattern)):
        faults.append(f"{where}: {format_!r} {fault}")
    return Scalar(
        type_,
        attributes.has(Int32) or attributes.has(Float32),
        attributes.find(Precision),
        None if format_ is None else format_.pattern,
        None if length is None else length.length,
        attributes.has(Int16),
    )


_OTHERS = {NUMBER: Decimal, DAYS: date, **dict.fromkeys(EPOCHS, datetime)}
"""The formats that are no pattern, and the type that each is for."""


def _format_fault(type_: type, pattern: str) -> str:
    """Say why ``pattern``, which is one of a ``Format``, is not for values of ``type_``; empty: it is."""
    if pattern in _OTHERS:
        if _OTHERS[pattern] is type_:
            return ""
        fault = f"is for a {_OTHERS[pattern].__name__}"
    elif type_ is date:
        written = _SAMPLE.date().strftime(pattern)
        try:
            if datetime.strptime(written, pattern).time() == time.min:
                return ""
        except ValueError:
            pass
        return "has more than a date: leave out what is of a time or of a zone"
    elif type_ is datetime:
        return ""
    else:
        fault = "is for a datetime or a date"
    own = ", ".join(repr(one) for one, kind in _OTHERS.items() if kind is type_)
    give = f"Format({own})" if type_ is Decimal else f"a pattern for strftime, or one of {own}"
    return f"{fault}: the format of a {type_.__name__} is {give}"


def _named(kind: type[Attribute]) -> str:
    *others, last = [type_.__name__ for type_ in _OF_VALUES[kind]]
    return f"{', '.join(others)} and {last}" if others else last


# Faults in the arguments of an attribute


def _nothing(_: Any) -> list[str]:
    return []


def _precision(attribute: Precision) -> list[str]:
    digits, scale = attribute.digits, attribute.scale
    if type(digits) is int and type(scale) is int and digits >= 1 and 0 <= scale <= digits:
        return []
    return [f"{bounded_repr(attribute)}: digits must be an int of 1 or more, scale an int from 0 to digits"]


def _max_length(attribute: MaxLength) -> list[str]:
    if type(attribute.length) is int and attribute.length > 0:
        return []
    return [
        f"{bounded_repr(attribute)}: the length must be an int of 1 or more: characters of a str, bytes of "
        "a bytes"
    ]


def _name(attribute: Name) -> list[str]:
    return [] if _is_name(attribute.name) else [f"{bounded_repr(attribute)}: the name must be {_NAMES}"]


def _alias(attribute: Alias) -> list[str]:
    if (
        attribute.names
        and all(map(_is_name, attribute.names))
        and len(set(attribute.names)) == len(attribute.names)
    ):
        return []
    return [f"{bounded_repr(attribute)}: give one or more old names, each once; a name must be {_NAMES}"]


_NAMES = 'a non-empty str without quotes ("), backslashes, control characters and lone surrogates'
_NO_NAME = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')


def _is_name(name: object) -> bool:
    # msgspec takes no field of another name, and UTF-8 has no bytes for a lone surrogate.
    return isinstance(name, str) and bool(name) and not _NO_NAME.search(name)


_SAMPLE = datetime(2001, 2, 3, 16, 5, 6, 789_000, tzinfo=UTC)


def _format(attribute: Format) -> list[str]:
    if attribute.pattern in _OTHERS:
        return []
    try:
        read = datetime.strptime(_SAMPLE.strftime(attribute.pattern), attribute.pattern)
    except (TypeError, ValueError) as error:
        return [
            f"{bounded_repr(attribute)}: a time written with this pattern cannot be read with it: {error}"
        ]
    if read.date() != _SAMPLE.date():
        return [
            f"{bounded_repr(attribute)}: the pattern must have year, month and day; otherwise other times "
            "are read than were written"
        ]
    if read.hour not in (_SAMPLE.hour, 0):
        return [
            f"{bounded_repr(attribute)}: the pattern reads 16:00 as 04:00: use %H, or %I together with %p"
        ]
    return []


_CHECKS: dict[type[Attribute], Callable[[Any], list[str]]] = {
    Precision: _precision,
    MaxLength: _max_length,
    Name: _name,
    Alias: _alias,
    Format: _format,
}
