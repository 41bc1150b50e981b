"""Key formats and value formats: what they are, and how the formats of a class are found by name.

A format is a function that makes the codec of a class, ``codec(model, context)``. It is registered under its
name as an entry point of the group ``statestore.key_formats`` or ``statestore.value_formats``; ours are in
``runtime/plugins.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol, cast, runtime_checkable

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.runtime.plugins import KEY_FORMATS, VALUE_FORMATS, find, installed
from statestore.runtime.text import typed_repr
from statestore.settings import RegistrySettings


class Absent:
    """The type of :data:`ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""Stands for a field that the payload does not have."""


class RegistryAccess(threading.local):
    """Whether codecs may ask the schema registry on this thread."""

    allowed = True
    """False: a codec that would have to ask, and wait, raises ``UnreachableRegistryError`` at once."""


REGISTRY_ACCESS: Final = RegistryAccess()


PairFilter = Callable[[Iterable[tuple[bytes, bytes]], bool, int], Iterator[tuple[bytes, bytes]]]
"""Gives those of a scan's stored pairs that count, in the order of the keys' values.

It is given the pairs, whether they come in reverse, and how many bytes are in front of each key.
"""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """How to find the rows of a range of keys."""

    ranges: Sequence[tuple[bytes | None, bytes | None, bytes | None]]
    """``(start, stop, prefix)`` of each scan of the store, in the order of the keys' values."""
    accepts: Callable[[tuple[Any, ...]], bool] | None
    """Whether a decoded key of these scans is in the range; the reader then also sorts the keys and looks for
    values stored under several keys. ``None``: all keys are in the range, in the order of their values, and
    each is stored once."""
    note: str
    """The text of ``explain``: how the rows are found, and in which order."""
    filters: Sequence[PairFilter] = ()
    """What each scan goes through, where ``accepts`` is ``None``; empty: nothing."""

    @property
    def sorts_as_bytes(self) -> bool:
        """Whether keys sort by their bytes as by their values; told by the plan of all keys."""
        return self.accepts is None and len(self.ranges) == 1 and not self.filters


class KeyCodec(Protocol):
    """Turns keys of one entity class into bytes, and back. Any number of threads may share one.

    The ``values`` of a key are those of the key fields, in the class's order.
    """

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the bytes of a key. Raises ``EncodeError``."""
        ...

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values of a key. Raises ``DecodeError``."""
        ...

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values as they are after ``encode`` and ``decode``. Raises ``EncodeError``."""
        ...

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return all bytes under which a store may have the row of ``values``; in most formats one."""
        ...

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        """Return how to find rows from ``start`` (included) to ``stop`` (excluded) with the ``prefix``.

        Each bound has the values of the leading key fields. Raises ``EncodeError``.
        """
        ...


class ValueCodec(Protocol):
    """Turns value fields of one entity class into bytes, and back. Any number of threads may share one."""

    def encode(self, entity: Any) -> bytes:
        """Return the payload. Raises ``FieldValueError`` with the path of the field that does not fit."""
        ...

    def decode(self, payload: bytes) -> list[Any]:
        """Return the value of each field of the model's record, in order.

        A key field is :data:`ABSENT` if the payload does not have it, and so are fields that a window fills.
        The event time may be: it is then the record's timestamp. The value of an ``Extra`` field is the last.
        Raises ``FieldValueError`` with the path of the field at fault, or ``DecodeError``.
        """
        ...

    def normalise(self, entity: Any) -> list[Any]:
        """Return the values as after ``encode`` and ``decode``; for fields not in the payload anything.

        The value of an ``Extra`` field is the last.

        Raises ``FieldValueError`` as ``encode`` does.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A codec whose first ``encode`` would wait for another service, such as a schema registry."""

    def prepare(self) -> None:
        """Ask the service now, so that ``encode`` does not wait.

        May take long, and is called on any thread. Raises the same errors as ``encode``.
        """
        ...


@dataclass(frozen=True, slots=True)
class FormatContext:
    """What a format gets besides the model: settings of the manager."""

    registry: RegistrySettings | None = None
    """The settings of the schema registry; ``None`` without a manager, where there is no data either."""


class CodecFactory(Protocol):
    """Makes the codec of one class. Raises ``ConfigError`` for a class that the format cannot represent."""

    def __call__(self, model: EntityModel, context: FormatContext, /) -> Any: ...


def key_codec(model: EntityModel, context: FormatContext) -> KeyCodec:
    """Return the codec of the model's key format. Raises ``ConfigError``, also for an unknown format."""
    return cast("KeyCodec", _factory(KEY_FORMATS, model.key_format, model)(model, context))


def value_codec(model: EntityModel, context: FormatContext) -> ValueCodec:
    """Return the codec of the model's value format. Raises ``ConfigError``, also for an unknown format."""
    return cast("ValueCodec", _factory(VALUE_FORMATS, model.value_format, model)(model, context))


def _factory(group: str, name: str, model: EntityModel) -> CodecFactory:
    found = find(group, name)
    if found is None:
        kind = "key_format" if group == KEY_FORMATS else "value_format"
        raise ConfigError(
            f"{model.name}: {kind}={name!r} is not known; installed: {', '.join(installed(group))}"
        )
    return cast("CodecFactory", found.load())


def digest_of(data: bytes) -> bytes:
    """Return 16 bytes that stand for ``data``."""
    return blake2b(data, digest_size=16).digest()


class FieldValueError(ValueError):
    """A value that does not fit its declared type. ``path`` leads from the outermost value to it."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.path = path

    def within(self, step: str) -> FieldValueError:
        self.path = step + self.path
        return self


def expected(what: str, value: object) -> FieldValueError:
    """Return the error for ``value`` where ``what`` is expected."""
    return FieldValueError(f"expected {what}, got {typed_repr(value)}")
