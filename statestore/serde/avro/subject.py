"""A subject of the registry: data is written under our schema, and read under its writer's schema."""

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
from statestore.runtime.interrupts import pass_on
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import FieldValueError, FormatContext
from statestore.serde.registry import Registered, Registry, registry_of

__all__ = ["Subject", "Version", "decoded", "encoded"]

_MAGIC = b"\x00"
_HEADER = 5
# More than any number has: fastavro silently rounds a decimal to the precision in the writer's schema.
_ANY_PRECISION = 10**9
_MOST_REMEMBERED = 10_000
_REMEMBERED = 30.0  # seconds for which the registry is not asked again for a schema that it lacks


class Version(NamedTuple):
    """One schema of a subject."""

    id: int
    schema: Any
    """As parsed by ``fastavro``."""
    is_ours: bool


class Subject:
    """One subject, with ``schema`` as ours. Any number of threads may use one.

    The registry is asked when something is first written or read. Raises ``ConfigError`` if the
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
        """When the registry answered that it has no such schema."""

    def encode(self, value: Any) -> bytes:
        """Return ``value`` as bytes under our schema. The first call asks for the schema's id.

        Raises ``RegistryError``.
        """
        return encoded(self.own_id(), self._parsed, value)

    def own_id(self) -> int:
        """Return the id of our schema. The registry is asked once. Raises ``RegistryError``."""
        if self._id is None:
            self._id = self._known_registry().id_for_writing(self.name, self.text)
        return self._id

    def decode(self, data: bytes) -> Any:
        """Return the value in ``data``, as ``fastavro`` reads it.

        Raises ``FieldValueError`` for bytes that are not data of a known schema. Raises
        ``UnreachableRegistryError`` if their schema is not known yet and the registry does not answer.
        """
        if len(data) < _HEADER or not data.startswith(_MAGIC):
            raise FieldValueError(
                f"not in Confluent's wire format (zero byte, schema id, Avro): {bounded_repr(data)}"
            )
        schema_id = int.from_bytes(data[1:_HEADER], "big")
        return decoded(schema_id, self._writers_schema(schema_id), data)

    def versions(self) -> list[Version]:
        """Return the usable schemas of the subject: ours first, then the others from the oldest.

        :meth:`Registry.versions` says how recent they are.
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
            with contextlib.suppress(FieldValueError):  # of another kind, or unknown to fastavro
                yield Version(schema_id, _parsed(schema_id, text), json.loads(text) == self._schema)

    def _load(self, schema_id: int) -> Any:
        missing = f"the schema registry has no schema {schema_id}"
        if time.monotonic() - self._missing.get(schema_id, -math.inf) < _REMEMBERED:
            raise FieldValueError(missing)
        try:
            text = self._known_registry().schema(schema_id, self.name)
        except UnreachableRegistryError:
            raise
        except RegistryError as error:  # the registry refuses the id, so the data is not ours
            raise FieldValueError(str(error)) from None
        if text is None:
            if len(self._missing) >= _MOST_REMEMBERED:  # bytes that are not Avro may each have another id
                self._missing.clear()
            self._missing[schema_id] = time.monotonic()
            raise FieldValueError(missing)
        return _parsed(schema_id, text)

    def _known_registry(self) -> Registry:
        if self._registry is None:
            raise ConfigError(
                f"subject {self.name}: the schema registry is not known: set schema_registry.url"
            )
        return self._registry


def encoded(schema_id: int, schema: Any, value: Any) -> bytes:
    """Return ``value`` as bytes with the id of its schema in front; raises whatever ``fastavro`` does."""
    stream = io.BytesIO()
    stream.write(_MAGIC + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(stream, schema, value)
    return stream.getvalue()


def decoded(schema_id: int, schema: Any, data: bytes) -> Any:
    """Return the value after the id in ``data``. Raises ``FieldValueError``."""
    stream = io.BytesIO(data)
    stream.seek(_HEADER)
    try:
        value = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # noqa: BLE001 - whatever fastavro raises for bytes that are not Avro
        pass_on(error)
        raise FieldValueError(f"not data of schema {schema_id}: {type(error).__name__}: {error}") from None
    if stream.tell() != len(data):
        raise FieldValueError(f"not data of schema {schema_id}: {len(data) - stream.tell()} bytes too many")
    return value


def _parsed(schema_id: int, text: str) -> Any:
    try:
        return _exact(fastavro.parse_schema(json.loads(text)))
    except Exception as error:  # noqa: BLE001 - fastavro has no common class for faults of a schema
        pass_on(error)
        raise FieldValueError(f"schema {schema_id} cannot be used: {type(error).__name__}: {error}") from None


def _exact(schema: Any) -> Any:
    """Return the parsed schema, changed to allow decimals of any precision."""
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
