"""A subject of the registry: data written under our schema, and read under that of whoever wrote it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import fastavro

from statestore.errors import ConfigError, RegistryError, UnreachableRegistryError
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import FieldValueError, FormatContext
from statestore.serde.registry import Registered, Registry, registry_of

__all__ = ["Subject", "Version", "decoded", "encoded"]

_MAGIC = b"\x00"
_HEADER = 5
# More than any number has: fastavro rounds a decimal to the precision of its writer's schema without a word.
_ANY_PRECISION = 10**9
_MOST_REMEMBERED = 10_000
_REMEMBERED = 30.0  # seconds that the registry is not asked again for a schema it does not have


class Version(NamedTuple):
    """A schema that a subject has."""

    id: int
    schema: Any
    """As ``fastavro`` has parsed it."""
    is_ours: bool


class Subject:
    """One subject, with ``schema`` as ours. Any number of threads may use one.

    Nothing is asked of the registry before something is written or read. Raises ``ConfigError`` if the
    settings name no registry.
    """

    def __init__(self, name: str, schema: Any, context: FormatContext) -> None:
        self.name = name
        self.text = json.dumps(schema, separators=(",", ":"))
        """Our schema, as it is registered."""
        self._schema = schema
        self._parsed = fastavro.parse_schema(schema)
        self._registry = None if context.registry is None else registry_of(context.registry)
        self._id: int | None = None
        size = 0 if context.registry is None else context.registry.cache_size
        self._writers_schema = lru_cache(maxsize=size)(self._load)
        self._versions: tuple[Sequence[Registered], list[Version]] = ((), [])
        self._missing: dict[int, float] = {}
        """When the registry said that it has no such schema."""

    def encode(self, value: Any) -> bytes:
        """Return ``value``, which is of our schema, as bytes. The first time the schema gets its id.

        Raises ``RegistryError``.
        """
        return encoded(self.own_id(), self._parsed, value)

    def own_id(self) -> int:
        """Return the id of our schema, for which the registry is asked once. Raises ``RegistryError``."""
        if self._id is None:
            self._id = self._known_registry().id_for_writing(self.name, self.text)
        return self._id

    def decode(self, data: bytes) -> Any:
        """Return what ``data`` holds, as ``fastavro`` gives it.

        Raises ``FieldValueError`` for bytes that are not data of a known schema. Raises
        ``UnreachableRegistryError`` if their schema is not known yet and the registry does not answer.
        """
        if len(data) < _HEADER or not data.startswith(_MAGIC):
            raise FieldValueError(f"not Avro with a schema id of a registry in front: {bounded_repr(data)}")
        schema_id = int.from_bytes(data[1:_HEADER], "big")
        return decoded(schema_id, self._writers_schema(schema_id), data)

    def versions(self) -> list[Version]:
        """Return the schemas of the subject that can be used, ours first, then the oldest.

        They are those of the last seconds; see :meth:`Registry.versions`.
        """
        registered = self._known_registry().versions(self.name)
        seen, known = self._versions
        if seen is not registered:
            known = list(self._usable(registered))
            known.sort(key=lambda version: not version.is_ours)
            self._versions = registered, known
        return known

    def _usable(self, registered: Sequence[Registered]) -> Iterator[Version]:
        for schema_id, text in registered:
            with contextlib.suppress(FieldValueError):  # one of another kind, or that fastavro does not know
                yield Version(schema_id, _parsed(schema_id, text), json.loads(text) == self._schema)

    def _load(self, schema_id: int) -> Any:
        missing = f"the schema registry has no schema {schema_id}"
        if time.monotonic() - self._missing.get(schema_id, -math.inf) < _REMEMBERED:
            raise FieldValueError(missing)
        try:
            text = self._known_registry().schema(schema_id, self.name)
        except UnreachableRegistryError:
            raise
        except RegistryError as error:  # it says that this is no data of ours
            raise FieldValueError(str(error)) from None
        if text is None:
            if len(self._missing) >= _MOST_REMEMBERED:  # bytes that are no Avro have an id of their own each
                self._missing.clear()
            self._missing[schema_id] = time.monotonic()
            raise FieldValueError(missing)
        return _parsed(schema_id, text)

    def _known_registry(self) -> Registry:
        if self._registry is None:
            raise ConfigError(f"subject {self.name}: no settings say where the schema registry is")
        return self._registry


def encoded(schema_id: int, schema: Any, value: Any) -> bytes:
    """Return ``value`` as bytes with the id of its schema in front; raises whatever ``fastavro`` does."""
    stream = io.BytesIO()
    stream.write(_MAGIC + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(stream, schema, value)
    return stream.getvalue()


def decoded(schema_id: int, schema: Any, data: bytes) -> Any:
    """Return the value behind the id in ``data``. Raises ``FieldValueError``."""
    stream = io.BytesIO(data)
    stream.seek(_HEADER)
    try:
        value = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # noqa: BLE001 - whatever it meets in bytes that are something else
        raise FieldValueError(f"not data of schema {schema_id}: {type(error).__name__}: {error}") from None
    if stream.tell() != len(data):
        raise FieldValueError(f"not data of schema {schema_id}: {len(data) - stream.tell()} bytes too many")
    return value


def _parsed(schema_id: int, text: str) -> Any:
    try:
        return _exact(fastavro.parse_schema(json.loads(text)))
    except Exception as error:  # noqa: BLE001 - it has no common class for what is wrong with a schema
        raise FieldValueError(f"schema {schema_id} is of no use: {type(error).__name__}: {error}") from None


def _exact(schema: Any) -> Any:
    """Let the decimals of a parsed schema have any precision, and return it."""
    if isinstance(schema, list):
        for branch in schema:
            _exact(branch)
    elif isinstance(schema, dict):
        if schema.get("logicalType") == "decimal":
            schema["precision"] = _ANY_PRECISION
        for name in _INNER & schema.keys():
            _exact(schema[name])
        for named in schema.get("__named_schemas", {}).values():
            _exact(named)
    return schema


_INNER = frozenset({"type", "items", "values", "fields"})
