"""Entities as the keys and values of records, in the formats that their class declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from datetime import date, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from statestore.entity import EntityModel
from statestore.errors import DecodeError, EncodeError, KeyTypeError, StateStoreError
from statestore.fields.attributes import WindowEnd, WindowSize
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar, type_name
from statestore.runtime import fork
from statestore.runtime.interrupts import pass_on
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import time_at
from statestore.serde.field_codecs import ABSENT_WITHOUT_DEFAULT, builder
from statestore.serde.formats import (
    ABSENT,
    FieldValueError,
    FormatContext,
    KeyPlan,
    Prepares,
    key_codec,
    value_codec,
)
from statestore.serde.json import JsonKeys
from statestore.serde.key_misuse import converted, remedy_for
from statestore.serde.keys import NoKeys
from statestore.serde.native_decoder import native_decoder
from statestore.serde.ordered_keys import OrderedKeys
from statestore.serde.scalars import normaliser
from statestore.serde.window_keys import WindowedKeys, WindowedSpellings

T = TypeVar("T")


ReadTimestamp = Callable[[bytes], tuple[int, bytes] | None]
"""Gives ``(timestamp in ms, payload)`` of a key's record, -1 where it has none; ``None``: no record."""


def _unknown(_key: bytes) -> None:
    return None


_SOME_VALUE: dict[type, Any] = {
    int: 0,
    str: "",
    bytes: b"",
    UUID: UUID(int=0),
    datetime: time_at(0),
    date: date(1970, 1, 1),
}
"""A value of each type of key fields."""

_STEP = re.compile(r"\.(?P<name>\w+)")


class EntityCodec(Generic[T]):
    """Encodes and decodes the entities of one class. Any number of threads may share one.

    An entity is rebuilt from key *and* value. Key fields are not written into the value. If the value of a
    foreign producer has them, the key wins (see :attr:`key_mismatches`). A class without key fields is a
    stream's: keys are ignored. Raises ``ConfigError`` for a class that its formats cannot represent, or with
    a default that its field's type does not allow.
    """

    def __init__(self, model: EntityModel, context: FormatContext | None = None) -> None:
        self._name = model.name
        self.cls = model.cls
        """The entity class."""
        self._fields = {field.name: field for field in model.record_type.fields}
        self._build = builder(model.record_type)
        self._key_names = tuple(field.name for field in model.key_fields)
        context = context or FormatContext()
        of_class = model if model.window is None else model.of_class
        self._keys = key_codec(of_class, context) if self._key_names else NoKeys()
        self.window: WindowedKeys | None = None
        """The codec of the keys, where the model is that of a window."""
        of_keys = self._keys if isinstance(self._keys, JsonKeys) else None
        self.spellings: JsonKeys | WindowedSpellings | None = of_keys
        """What is known of the texts of keys, in a format that has several for one key."""
        if model.window is not None:
            self._keys = self.window = WindowedKeys(self._keys, model, model.window)
            self.spellings = of_keys and WindowedSpellings(self.window, of_keys)
        self.numbers_rows = model.window is not None and model.window.has_sequence
        """Whether there may be several rows for the values of a key, numbered in the stored keys."""
        self._most_exact = len(of_class.key_fields)
        self.key_types = {
            field.name: field.type.type for field in model.key_fields if isinstance(field.type, Scalar)
        }
        """The types of the key fields, in the class's order."""
        self._some_key = tuple(_SOME_VALUE[type_] for type_ in self.key_types.values())
        self.key_format = model.key_format
        self._values = value_codec(of_class, context)
        inner = self._keys if self.window is None else self.window.inner
        self._preparing = [one for one in (self._values, inner) if isinstance(one, Prepares)]
        self._key_indexes = [model.record_type.fields.index(field) for field in model.key_fields]
        key_types = {field.name: field.type for field in model.key_fields if isinstance(field.type, Scalar)}
        self._key_normalisers = {name: normaliser(type_) for name, type_ in key_types.items()}
        # Key formats check the type, but not the attributes that narrow it.
        self._narrowed = [name for name, type_ in key_types.items() if type_ != Scalar(type_.type)]
        numbered = list(enumerate(model.record_type.fields))
        self._size = 0 if model.window is None else model.window.window.size_ms
        self._windowed = [
            (index, field) for index, field in numbered if field.window and field not in model.key_fields
        ]
        self._fillers = [(index, _filler(field)) for index, field in self._windowed]
        self._timed = [
            (index, field) for index, field in numbered if field.is_event_time and not field.is_key
        ]
        self.fills_event_time = bool(self._timed)
        """Whether a payload may lack the event time, which is then the record's timestamp."""
        self._bounded = [(index, field.type) for index, field in numbered if _is_bounded(field.type)]
        self.decoder = (
            native_decoder(model, inner.native)
            if isinstance(inner, OrderedKeys) and model.value_format == "msgpack"
            else None
        )
        """The native decoder of payloads that ``encode`` makes; ``None`` if there is none for the class."""
        self._mutex = fork.rlock()
        self._key_mismatches = 0
        self._overlong_values = 0

    @property
    def key_mismatches(self) -> int:
        """How many key fields in decoded values differed from the key."""
        return self._key_mismatches

    @property
    def overlong(self) -> int:
        """How many decoded values were longer than their field's ``MaxLength``."""
        return self._overlong_values

    @property
    def waits(self) -> bool:
        """Whether encoding may wait for another service, such as a schema registry."""
        return bool(self._preparing)

    def prepare(self) -> None:
        """Ask the schema registry for what the first ``encode`` needs, and wait. Raises ``RegistryError``."""
        for codec in self._preparing:
            codec.prepare()

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

    def key_encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return all key bytes under which a store may have the row of ``values``. Raises ``EncodeError``."""
        try:
            return self._keys.encodings(values)
        except EncodeError as error:
            raise self._bad_key(values, error=error) from None

    def key_plan(
        self,
        start: tuple[Any, ...] | None = None,
        stop: tuple[Any, ...] | None = None,
        prefix: tuple[Any, ...] | None = None,
    ) -> KeyPlan:
        """Return how to find a range of keys. The bounds are leading values. Raises ``EncodeError``."""
        try:
            return self._keys.plan(start, stop, prefix)
        except EncodeError as error:
            raise self._bad_key(start, stop, prefix, error=error) from None

    @property
    def has_one_key(self) -> bool:
        """Whether the row of a key is stored under the bytes of ``encode_key``, and no other."""
        return not self.numbers_rows and self.key_plan().accepts is None

    def is_bound(self, leading: tuple[Any, ...]) -> bool:
        """Whether ``key_plan`` tells what is before and after these values; of a window any time will do."""
        return self.is_exact(leading[: self._most_exact])

    def is_exact(self, leading: tuple[Any, ...]) -> bool:
        """Whether a stored key can begin with these values: they are the same when they are read back."""
        whole = leading + self._some_key[len(leading) :]
        try:
            return self._keys.normalise(whole)[: len(leading)] == leading
        except EncodeError:
            return False

    def encode(self, entity: T) -> tuple[bytes, bytes]:
        """Return key and payload of ``entity``. Raises ``EncodeError`` naming the field that does not fit."""
        try:
            payload = self._values.encode(entity)
            for name in self._narrowed:
                try:
                    self._key_normalisers[name](getattr(entity, name))
                except FieldValueError as fault:
                    raise fault.within(f".{name}") from None
        except FieldValueError as fault:
            raise EncodeError(f"{self._name}{fault.path}: {fault}") from None
        return self.encode_key(tuple([getattr(entity, name) for name in self._key_names])), payload

    def decode(self, key: bytes, payload: bytes, read: ReadTimestamp = _unknown) -> T:
        """Return the entity of ``key`` and ``payload``.

        ``read`` gives the record's timestamp where the payload lacks the event time.

        A field that the payload lacks gets the class's default. Fields that the class does not have are
        ignored. Raises ``DecodeError`` naming the field, its declared type and the value found.
        """
        if self.decoder is not None:
            try:
                entity: T | None = self.decoder.decode(key, payload)
            except Exception as error:  # raised by the class itself
                pass_on(error)
                raise self._bad_payload(self._keys.decode(key), error) from error
            if entity is not None:
                return entity
        return self._decode(key, payload, read)

    def _decode(self, key: bytes, payload: bytes, read: ReadTimestamp) -> T:
        key_values = self.decode_key(key)
        try:
            values = self._values.decode(payload)
            differing: dict[int, Any] = {}
            for index, value in zip(self._key_indexes, key_values, strict=True):
                if values[index] is not ABSENT and values[index] != value:
                    differing[index] = values[index]
                values[index] = value
            if self._windowed or self._timed:
                self._fill(values, key, read)
            entity: T = self._build(values)
        except DecodeError as error:
            raise self._bad_payload(key_values, error) from error
        except StateStoreError:  # such as an unreachable registry: not a fault of the payload
            raise
        except Exception as error:  # also what __post_init__ of the class raises
            pass_on(error)
            raise self._bad_payload(key_values, error) from error
        if differing:
            mismatches = self._mismatches(entity, differing)
            with self._mutex:
                self._key_mismatches += mismatches
        if self._bounded:
            long = sum(_count_overlong(type_, values[index]) for index, type_ in self._bounded)
            with self._mutex:
                self._overlong_values += long
        return entity

    def _fill(self, values: list[Any], key: bytes, read: ReadTimestamp) -> None:
        """Set the fields that are not in the payload: those of a window, and the event time."""
        if self.window is not None and self._fillers:
            *ends, start = self.window.times_in(key)
            end = ends[0] if ends else start + self._size
            for index, fill in self._fillers:
                values[index] = fill(start, end)
        else:
            for index, field in self._windowed:
                values[index] = _of_no_window(field)
        for index, field in self._timed:
            if values[index] is ABSENT:
                found = read(key)
                values[index] = _event_time(field, -1 if found is None else found[0])

    def _mismatches(self, entity: T, carried: dict[int, Any]) -> int:
        """Return how many key fields ``carried`` by a value differ from the key in the value's format, too.

        That format may be less precise than the key: ksqlDB's TIMESTAMP has milliseconds.
        """
        try:
            normal = self._values.normalise(entity)
        except FieldValueError:  # the value's format cannot represent the key's values at all
            return len(carried)
        return sum(normal[index] != value for index, value in carried.items())

    def _bad_key(self, *bounds: tuple[Any, ...] | None, error: EncodeError) -> EncodeError:
        for values in bounds:
            if values and (remedy := remedy_for(self.cls, self._key_names, values)) is not None:
                return KeyTypeError(f"{self._name} ({', '.join(self._key_names)}): {error}; {remedy}")
        given = [pair for values in bounds if values for pair in zip(self._key_names, values, strict=False)]
        for name, value in given:
            if self._fields[name].window is not None:  # its codec takes more than the field's type
                continue
            try:
                self._key_normalisers[name](value)
            except FieldValueError as fault:
                expected = self.key_types[name]
                if isinstance(value, expected):
                    return EncodeError(f"{self._name}.{name}: {fault}")
                return KeyTypeError(f"{self._name}.{name}: {fault}{converted(expected, value)}")
        return EncodeError(f"{self._name} ({', '.join(self._key_names)}): {error}")

    def _bad_payload(self, key_values: tuple[Any, ...], error: Exception) -> DecodeError:
        path = error.path if isinstance(error, FieldValueError) else ""
        named = "" if isinstance(error, FieldValueError | DecodeError) else f"{type(error).__name__}: "
        step = _STEP.match(path)
        field = self._fields.get(step["name"]) if step else None
        declared = f"declared {type_name(field.type)}, " if field else ""
        return DecodeError(f"{self._name}{path}: {named}{error} ({declared}key {bounded_repr(key_values)})")


def _event_time(field: Field, timestamp: int) -> Any:
    """Return the event time of a value without one: the record's timestamp in ms, or the field's default."""
    if timestamp >= 0:
        is_time = isinstance(field.type, Scalar) and field.type.type is datetime
        return time_at(timestamp * 1000) if is_time else timestamp
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise FieldValueError(f"{ABSENT_WITHOUT_DEFAULT}; its record has no timestamp either", f".{field.name}")


def _filler(field: Field) -> Callable[[int, int], Any]:
    """Return what makes the value of a field that a window fills of its start and end in ms since 1970."""
    if field.window is WindowSize:
        return lambda start, end: end - start
    is_time = isinstance(field.type, Scalar) and field.type.type is datetime
    if field.window is WindowEnd:
        return (lambda _, end: time_at(end * 1000)) if is_time else (lambda _, end: end)
    return (lambda start, _: time_at(start * 1000)) if is_time else (lambda start, _: start)


def _of_no_window(field: Field) -> Any:
    """Return the default of a field that a window fills, for a row without a window."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise FieldValueError("is filled from the row's window, but this row has no window", f".{field.name}")


def _is_bounded(type_: FieldType) -> bool:
    """Whether ``type_`` or a part of it has a ``MaxLength``."""
    match type_:
        case Nullable(item) | ListOf(item):
            return _is_bounded(item)
        case DictOf(key, item):
            return _is_bounded(key) or _is_bounded(item)
        case RecordType(_, fields):
            return any(_is_bounded(field.type) for field in fields)
        case _:
            return type_.max_length is not None


def _count_overlong(type_: FieldType, value: Any) -> int:
    """Return how many values within ``value``, a value of ``type_``, exceed their ``MaxLength``."""
    match type_:
        case Nullable(item):
            return 0 if value is None else _count_overlong(item, value)
        case ListOf(item):
            return sum(_count_overlong(item, one) for one in value)
        case DictOf(key, item):
            return sum(_count_overlong(key, name) + _count_overlong(item, one) for name, one in value.items())
        case RecordType(_, fields):
            return sum(_count_overlong(field.type, getattr(value, field.name)) for field in fields)
        case _:
            return type_.max_length is not None and len(value) > type_.max_length
