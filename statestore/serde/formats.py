"""What a format of keys or values is, and where formats are found.

A format is a function of a model: ``codec(model, context)``, registered under the format's name as an entry
point of the group ``statestore.key_formats`` or ``statestore.value_formats``. Ours are registered there, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol, cast, runtime_checkable

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.settings import RegistrySettings

KEYS: Final = "statestore.key_formats"
VALUES: Final = "statestore.value_formats"


class Absent:
    """The type of :data:`ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""Stands for a field that a value does not carry."""


class Asking(threading.local):
    """What a codec may do on this thread."""

    allowed = True
    """Whether it may ask a schema registry, and wait; otherwise ``UnreachableRegistryError`` at once."""


ASKING: Final = Asking()


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """How the rows of a range of keys are found."""

    ranges: Sequence[tuple[bytes | None, bytes | None, bytes | None]]
    """``(start, stop, prefix)`` of each scan of the store, in the order of the keys' values."""
    accepts: Callable[[tuple[Any, ...]], bool] | None
    """Whether a decoded key found there is of the range. ``None``: all are, in the order of their values, and
    no values are stored under two keys; otherwise whoever reads them sorts them and looks for such."""
    note: str
    """What ``explain`` says: how it is found, and in which order."""


class KeyCodec(Protocol):
    """Keys of one entity class as bytes. Any number of threads may share one.

    A key's ``values`` are those of the key fields, in the class's order.
    """

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the key that is written. Raises ``EncodeError``."""
        ...

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values of a key. Raises ``DecodeError``."""
        ...

    def normal(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what ``decode`` gives of what ``encode`` gives. Raises ``EncodeError``."""
        ...

    def spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return every key under which a store may have the row of ``values``; most formats have one."""
        ...

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        """Return how to find the rows from ``start`` (included) to ``stop`` (excluded) that begin with
        ``prefix``; each is the values of the leading key fields. Raises ``EncodeError``."""
        ...


class ValueCodec(Protocol):
    """The other fields of one entity class as bytes. Any number of threads may share one."""

    def encode(self, entity: Any) -> bytes:
        """Return the payload. Raises ``MisfitError`` with the path of the field that does not fit."""
        ...

    def decode(self, payload: bytes) -> list[Any]:
        """Return the value of each field of the model's record, in order.

        A key field is :data:`ABSENT` where the payload does not carry it, and so are fields that a window
        fills. Raises ``MisfitError`` with the path of the field at fault, or ``DecodeError``.
        """
        ...

    def normal(self, entity: Any) -> list[Any]:
        """Return what ``decode`` gives of what ``encode`` gives, and anything for fields that are not in it.

        Raises ``MisfitError`` as ``encode`` does.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """What a codec of keys or values is, too, if its encoding waits for others, such as a schema registry."""

    def prepare(self) -> None:
        """Ask what has to be known before the first ``encode``, which then waits no more.

        May take long, and is called on any thread. Raises what ``encode`` would.
        """
        ...


@dataclass(frozen=True, slots=True)
class FormatContext:
    """What a format gets beside the model: settings of the manager that it may need."""

    registry: RegistrySettings | None = None
    """Where the schema registry is; ``None`` where there are no settings, and no data either."""


class Format(Protocol):
    """Makes the codec of one class. Raises ``ConfigError`` for a class that the format cannot hold."""

    def __call__(self, model: EntityModel, context: FormatContext, /) -> Any: ...


def key_codec(model: EntityModel, context: FormatContext) -> KeyCodec:
    """Return the codec of the model's key format. Raises ``ConfigError``, also for an unknown format."""
    return cast("KeyCodec", _found(KEYS, model.key_format, model)(model, context))


def value_codec(model: EntityModel, context: FormatContext) -> ValueCodec:
    """Return the codec of the model's value format. Raises ``ConfigError``, also for an unknown format."""
    return cast("ValueCodec", _found(VALUES, model.value_format, model)(model, context))


def _found(group: str, name: str, model: EntityModel) -> Format:
    known = _known(group)
    if name not in known:
        kind = "key_format" if group == KEYS else "value_format"
        raise ConfigError(
            f"{model.name}: {kind}={name!r} is not known; installed: {', '.join(sorted(known))}"
        )
    return cast("Format", known[name].load())


@cache
def _known(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}
