"""What ``Annotated`` says about a field beside its type.

::

    symbol: Annotated[str, Key, Name("SYMBOL"), MaxLength(12)]
    price: Annotated[Decimal, Precision(18, 4)]
    at: Annotated[datetime, EventTime]

A mark without arguments may stand as the class or as an instance (``Key`` or ``Key()``). Each is immutable.
Docs: ``docs/entities.md``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """A key field. Several form one key, in the order of their definition."""


@dataclass(frozen=True, slots=True)
class EventTime:
    """When the event happened: a ``datetime``, or an ``int`` of milliseconds since 1970 UTC.

    One field of an entity at most; without one an event's time is its record's timestamp.
    """


@dataclass(frozen=True, slots=True)
class Ignored:
    """Not stored. The field takes its default when an entity is read, so it must have one."""

    reason: str = ""
    """For those who read the class."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A ``Decimal`` of at most ``digits`` digits, ``scale`` of them behind the point."""

    digits: int
    scale: int


@dataclass(frozen=True, slots=True)
class Int32:
    """An ``int`` of 32 bits instead of 64."""


@dataclass(frozen=True, slots=True)
class Float32:
    """A ``float`` of single precision."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a ``datetime`` is written in formats that are text: a pattern as for ``datetime.strftime``, or one
    of :data:`EPOCHS`. What the pattern does not tell is not stored; a time without a zone is UTC."""

    pattern: str


EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""For :class:`Format`: a whole number of seconds, milliseconds or microseconds since 1970 UTC, rounded down.
Each with its microseconds."""


@dataclass(frozen=True, slots=True)
class MaxLength:
    """The most characters of a ``str``, or bytes of a ``bytes``, to write. More are read, and counted."""

    length: int


@dataclass(frozen=True, slots=True, init=False)
class Alias:
    """Names under which older records have the field: ``Alias("qty", "amount")``. They are read only."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True, slots=True)
class Name:
    """The field's name in records, where it is not the one in the class."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """A field that rows are looked up by."""


@dataclass(frozen=True, slots=True)
class WindowStart:
    """Filled with the start of the row's window; not stored in the value."""


@dataclass(frozen=True, slots=True)
class WindowEnd:
    """Filled with the end of the row's window; not stored in the value."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """Filled with the size of the row's window; not stored in the value."""


Attribute = (
    Key
    | EventTime
    | Ignored
    | Precision
    | Int32
    | Float32
    | Format
    | MaxLength
    | Alias
    | Name
    | Index
    | WindowStart
    | WindowEnd
    | WindowSize
)
