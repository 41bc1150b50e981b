"""The attributes that ``Annotated`` can give to a field.

::

    symbol: Annotated[str, Key, Name("SYMBOL"), MaxLength(12)]
    price: Annotated[Decimal, Precision(18, 4)]
    at: Annotated[datetime, EventTime]

An attribute without arguments may be written as the class or as an instance (``Key`` or ``Key()``). All are
immutable.
Docs: ``docs/entities.md``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """A key field. Several key fields form one key, in the order of their definition."""


@dataclass(frozen=True, slots=True)
class EventTime:
    """When the event happened: a ``datetime``, or an ``int`` of milliseconds since 1970 UTC.

    An entity has at most one such field. Without one, the event's time is the record's timestamp.
    """


@dataclass(frozen=True, slots=True)
class Ignored:
    """The field is not stored. An entity that is read has the field's default, so a default is required."""

    reason: str = ""
    """For readers of the class."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A ``Decimal`` of at most ``digits`` digits with ``scale`` decimal places."""

    digits: int
    scale: int


@dataclass(frozen=True, slots=True)
class Int32:
    """An ``int`` of 32 bits instead of 64."""


@dataclass(frozen=True, slots=True)
class Int16:
    """An ``int`` of 16 bits instead of 64, such as Java's ``short``."""


@dataclass(frozen=True, slots=True)
class Float32:
    """A ``float`` of single precision."""


@dataclass(frozen=True, slots=True)
class Format:
    """How formats that are text write a ``datetime``, a ``date`` or a ``Decimal``.

    Of a ``datetime``: a pattern for ``datetime.strftime``, or one of :data:`EPOCHS`. Parts of a time that the
    pattern leaves out are not stored. A time that is read without a zone is in UTC. Of a ``date``: a pattern,
    too, or :data:`DAYS`. Of a ``Decimal``: :data:`NUMBER`.
    """

    pattern: str


EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""For :class:`Format`: a whole number of seconds, milliseconds or microseconds since 1970 UTC, rounded down.
The value is the unit in microseconds."""


DAYS = "epoch_days"
"""For :class:`Format`: a whole number of days since 1970, of a ``date``."""


NUMBER = "number"
"""For :class:`Format`: a JSON number with all digits of the ``Decimal``, instead of their text."""


@dataclass(frozen=True, slots=True)
class Extra:
    """The field holds the members of a record that no other field declares, to be written back with it.

    The field is a ``dict[str, Any]`` of the entity itself, in JSON or msgpack. It cannot be indexed or
    queried. A JSON number with a fraction or an exponent is a ``Decimal`` in it, so that no digit is lost.
    """


@dataclass(frozen=True, slots=True)
class MaxLength:
    """The most characters of a ``str``, or bytes of a ``bytes``, that are written.

    Longer values are read, and counted in ``health()``.
    """

    length: int


@dataclass(frozen=True, slots=True, init=False)
class Alias:
    """Names that the field has in older records: ``Alias("qty", "amount")``. They are only read."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True, slots=True)
class Name:
    """The field's name in records, if it differs from the name in the class."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """A field by which rows are looked up."""


@dataclass(frozen=True, slots=True)
class WindowStart:
    """The start of the row's window fills the field. The field is not stored in the value."""


@dataclass(frozen=True, slots=True)
class WindowEnd:
    """The end of the row's window fills the field. The field is not stored in the value."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """The size of the row's window fills the field. The field is not stored in the value."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A ``bool`` of a bar: true in one that stands for a window without a record of its key."""


Attribute = (
    Key
    | EventTime
    | Ignored
    | Precision
    | Int32
    | Int16
    | Float32
    | Format
    | MaxLength
    | Alias
    | Name
    | Index
    | Extra
    | WindowStart
    | WindowEnd
    | WindowSize
    | Gap
)
