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
from statestore.runtime.text import typed_repr
from statestore.settings import RegistrySettings

KEYS: Final = "statestore.key_formats"
VALUES: Final = "statestore.value_formats"


class Absent:
    """The type of :data:`ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""Stands for a field that a value does not carry."""


class RegistryAccess(threading.local):
    """What a codec may do on this thread."""

    allowed = True
    """Whether it may ask a schema registry, and wait; otherwise ``UnreachableRegistryError`` at once."""


REGISTRY_ACCESS: Final = RegistryAccess()


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

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what ``decode`` gives of what ``encode`` gives. Raises ``EncodeError``."""
        ...

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
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
        """Return the payload. Raises ``FieldValueError`` with the path of the field that does not fit."""
        ...

    def decode(self, payload: bytes) -> list[Any]:
        """Return the value of each field of the model's record, in order.

        A key field is :data:`ABSENT` where the payload does not carry it, and so are fields that a window
        fills. Raises ``FieldValueError`` with the path of the field at fault, or ``DecodeError``.
        """
        ...

    def normalise(self, entity: Any) -> list[Any]:
        """Return what ``decode`` gives of what ``encode`` gives, and anything for fields that are not in it.

        Raises ``FieldValueError`` as ``encode`` does.
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


class CodecFactory(Protocol):
    """Makes the codec of one class. Raises ``ConfigError`` for a class that the format cannot hold."""

    def __call__(self, model: EntityModel, context: FormatContext, /) -> Any: ...


def key_codec(model: EntityModel, context: FormatContext) -> KeyCodec:
    """Return the codec of the model's key format. Raises ``ConfigError``, also for an unknown format."""
    return cast("KeyCodec", _factory(KEYS, model.key_format, model)(model, context))


def value_codec(model: EntityModel, context: FormatContext) -> ValueCodec:
    """Return the codec of the model's value format. Raises ``ConfigError``, also for an unknown format."""
    return cast("ValueCodec", _factory(VALUES, model.value_format, model)(model, context))


def _factory(group: str, name: str, model: EntityModel) -> CodecFactory:
    known = _installed(group)
    if name not in known:
        kind = "key_format" if group == KEYS else "value_format"
        raise ConfigError(
            f"{model.name}: {kind}={name!r} is not known; installed: {', '.join(sorted(known))}"
        )
    return cast("CodecFactory", known[name].load())


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


class FieldValueError(ValueError):
    """A value that does not fit its declared type; ``path`` says where within the outermost value it is."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.path = path

    def within(self, step: str) -> FieldValueError:
        self.path = step + self.path
        return self


def expected(what: str, value: object) -> FieldValueError:
    """Return the fault of ``value`` where ``what`` is wanted."""
    return FieldValueError(f"expected {what}, got {typed_repr(value)}")
