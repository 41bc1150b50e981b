"""Entities as Kafka keys and values: ordered key bytes and a msgpack map of the other fields."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from statestore.entity import EntityModel
from statestore.errors import ConfigError, DecodeError, EncodeError
from statestore.fields import type_name
from statestore.serde.decoder import native_decoder
from statestore.serde.formats import FormatContext, KeyCodec, KeyPlan, key_codec
from statestore.serde.keys.ordered import OrderedKeys
from statestore.serde.msgpack import MisfitError, RecordCodec, show, wire

T = TypeVar("T")

_MSGSPEC_MESSAGE = re.compile(r"(?P<problem>.+?)(?: - at `(?P<key>key` in `)?\$(?P<path>.*)`)?")
_MSGSPEC_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]")


class EntityCodec(Generic[T]):
    """Encodes and decodes the entities of one class. Any number of threads may share one.

    An entity is rebuilt from key *and* value: key fields are not written into the value, and where the value
    of a foreign producer has them, the key wins (see :attr:`key_mismatches`). Raises ``ConfigError`` for a
    class without key fields, with a default that its field's type does not allow, or that its formats cannot
    hold.
    """

    def __init__(self, model: EntityModel, context: FormatContext | None = None) -> None:
        self._name = model.name
        self._cls = model.cls
        self._fields = {field.name: field for field in model.record.fields}
        self._key_names = tuple(field.name for field in model.key_fields)
        if not self._key_names:
            raise ConfigError(
                f"{model.name} has no key field, so it is a stream: mark one with Annotated[…, Key]"
            )
        self._keys: KeyCodec = key_codec(model, context or FormatContext())
        self.key_format = model.key_format
        self._key_indexes = [model.record.fields.index(field) for field in model.key_fields]
        self._key_wires = {model.record.fields.index(field): wire(field.type) for field in model.key_fields}
        self._record = RecordCodec(model.record, outside=self._key_names)
        self.decoder = (
            native_decoder(model, self._keys.native) if isinstance(self._keys, OrderedKeys) else None
        )
        """Decodes the payloads that ``encode`` makes, ``None`` where there is none for the class."""
        self._pack = msgspec.msgpack.Encoder(uuid_format="bytes").encode
        self._unpack = msgspec.msgpack.Decoder(self._record.struct).decode
        self._mutex = threading.Lock()
        self._key_mismatches = 0

    @property
    def key_mismatches(self) -> int:
        """How many times a decoded value carried a key field that differed from the key."""
        return self._key_mismatches

    def encode_key(self, values: tuple[Any, ...]) -> bytes:
        """Return the key bytes of ``values``, one per key field. Raises ``EncodeError``."""
        try:
            return self._keys.encode(values)
        except EncodeError as error:
            raise self._bad_key(values, error=error) from None

    def decode_key(self, key: bytes) -> tuple[Any, ...]:
        """Return the values of a key. Raises ``DecodeError``."""
        try:
            return self._keys.decode(key)
        except DecodeError as error:
            raise DecodeError(
                f"{self._name}: not a key of ({', '.join(self._key_names)}): {error}"
            ) from error

    def key_spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return every key under which a store may have the row of ``values``. Raises ``EncodeError``."""
        try:
            return self._keys.spellings(values)
        except EncodeError as error:
            raise self._bad_key(values, error=error) from None

    def key_plan(
        self,
        start: tuple[Any, ...] | None = None,
        stop: tuple[Any, ...] | None = None,
        prefix: tuple[Any, ...] | None = None,
    ) -> KeyPlan:
        """Return how to find a range of keys, whose bounds are leading values. Raises ``EncodeError``."""
        try:
            return self._keys.plan(start, stop, prefix)
        except EncodeError as error:
            raise self._bad_key(start, stop, prefix, error=error) from None

    def encode(self, entity: T) -> tuple[bytes, bytes]:
        """Return key and payload of ``entity``. Raises ``EncodeError`` naming the field that does not fit."""
        try:
            written = self._record.write(entity)
        except MisfitError as misfit:
            raise EncodeError(f"{self._name}{misfit.path}: {misfit}") from None
        return self.encode_key(tuple([getattr(entity, name) for name in self._key_names])), self._pack(
            written
        )

    def decode(self, key: bytes, payload: bytes) -> T:
        """Return the entity of ``key`` and ``payload``.

        Raises ``DecodeError`` naming the field, what its type wants and what was found. Fields of the payload
        that the class does not have are ignored; a missing one takes the class's default.
        """
        if self.decoder is not None:
            try:
                entity: T | None = self.decoder.decode(key, payload)
            except Exception as error:  # of the class's own
                raise self._bad_payload(self._keys.decode(key), payload, error) from error
            if entity is not None:
                return entity
        return self._decode(key, payload)

    def _decode(self, key: bytes, payload: bytes) -> T:
        key_values = self.decode_key(key)
        try:
            values = self._record.values(self._unpack(payload))
            for index, value in zip(self._key_indexes, key_values, strict=True):
                if values[index] is not None:
                    self._compare(index, values[index], value)
                values[index] = value
            entity: T = self._record.build(values)
        except Exception as error:  # whatever the class's own __post_init__ raises, too
            raise self._bad_payload(key_values, payload, error) from error
        return entity

    def _compare(self, index: int, stored: msgspec.Raw, key_value: Any) -> None:
        """Count a mismatch if ``stored``, what the payload has for key field ``index``, is another value."""
        field = self._key_wires[index]
        try:
            value = msgspec.msgpack.decode(stored, type=field.type)
            if (field.read(value) if field.read else value) == key_value:
                return
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # a key field of another type differs, too
        with self._mutex:
            self._key_mismatches += 1

    def _bad_key(self, *bounds: tuple[Any, ...] | None, error: EncodeError) -> EncodeError:
        given = [pair for values in bounds if values for pair in zip(self._key_names, values, strict=False)]
        for name, value in given:
            try:
                wire(self._fields[name].type).write(value)
            except MisfitError as misfit:
                return EncodeError(f"{self._name}.{name}: {misfit}")
        return EncodeError(f"{self._name} ({', '.join(self._key_names)}): {error}")

    def _bad_payload(self, key_values: tuple[Any, ...], payload: bytes, error: Exception) -> DecodeError:
        path, problem = _explain(error, payload)
        step = _STEP.match(path)
        field = self._fields.get(step["name"]) if step else None
        declared = f"declared {type_name(field.type)}, " if field else ""
        return DecodeError(f"{self._name}{path}: {problem} ({declared}key {show(key_values)})")


def _explain(error: Exception, payload: bytes) -> tuple[str, str]:
    """Return where in ``payload`` the fault is, as ``.field[3].field``, and what it is."""
    if isinstance(error, MisfitError):
        return error.path, str(error)
    matched = _MSGSPEC_MESSAGE.fullmatch(str(error)) if isinstance(error, msgspec.ValidationError) else None
    if matched is None:
        return "", f"{type(error).__name__}: {error}"
    problem, path = matched["problem"], matched["path"] or ""
    if missing := _MSGSPEC_MISSING.fullmatch(problem):
        return f"{path}.{missing['name']}", "missing in the value, and the class has no default for it"
    if matched["key"]:
        return path, f"a key of the map: {problem}"
    return path, f"{problem}: {_found(payload, path)}"


def _found(payload: bytes, path: str) -> str:
    """Show the part of ``payload`` at ``path``, or the map around it: msgspec does not tell its keys."""
    try:
        value = msgspec.msgpack.decode(payload)
        for step in _STEP.finditer(path.partition("[...]")[0]):
            value = value[step["name"] or int(step["index"])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, LookupError):
        return f"payload {show(payload)}"
    return show(value)
