"""``value_format="kafka"``: one field as the value, as the serializers of Kafka's Java client write it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.fields.types import Nullable, Scalar, serializer_of, type_name
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import ABSENT, FieldValueError, FormatContext, expected
from statestore.serde.scalars import normaliser

_FORMAT = 'value_format="kafka"'
_NAN = {"DoubleSerializer": bytes.fromhex("7ff8000000000000"), "FloatSerializer": bytes.fromhex("7fc00000")}
"""Java writes every NaN as this one."""
_NUMBERS = {
    "LongSerializer": struct.Struct(">q"),
    "IntegerSerializer": struct.Struct(">i"),
    "ShortSerializer": struct.Struct(">h"),
    "DoubleSerializer": struct.Struct(">d"),
    "FloatSerializer": struct.Struct(">f"),
}


class _Serializer(NamedTuple):
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]
    """Raises ``FieldValueError``."""


class KafkaValues:
    """The codec of ``value_format="kafka"``: the payload is the one field besides the key."""

    def __init__(self, model: EntityModel, _context: FormatContext) -> None:
        """Raise ``ConfigError`` for a class with other value fields, or a type without a serializer."""
        fields = model.value_fields
        if len(fields) != 1:
            described = ", ".join(f"{field.name}: {type_name(field.type)}" for field in fields) or "none"
            raise ConfigError(
                f"{model.name}: {_FORMAT} writes one field besides the key, as Java's serializers do; the "
                f'class has ({described}): use value_format="json", or "avro" if Java programs read it'
            )
        field = fields[0]
        type_ = field.type
        name = serializer_of(type_)
        if name is None or not isinstance(type_, Scalar):
            why = (
                "None would be a tombstone: declare the type without None"
                if isinstance(type_, Nullable)
                else "Kafka has no serializer for it: declare it as the topic's producer writes it (such as "
                'an int of milliseconds since 1970), or use value_format="json"'
            )
            raise ConfigError(f"{model.name}.{field.name}: {_FORMAT} cannot write {type_name(type_)}: {why}")
        self._name = field.name
        self._names = [field.name for field in model.record_type.fields]
        self._cls = model.cls
        self._normalise = normaliser(type_)
        self._write, self._read = _serializer(name)

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``FieldValueError``."""
        return self._write(self._value(entity))

    def normalise(self, entity: Any) -> list[Any]:
        """Return the normalised values of all fields. Raises ``FieldValueError``."""
        value = self._value(entity)
        return [value if name == self._name else getattr(entity, name) for name in self._names]

    def decode(self, payload: bytes) -> list[Any]:
        """Return the value of the one field, ``ABSENT`` for the others. Raises ``FieldValueError``."""
        try:
            value = self._read(payload)
        except FieldValueError as fault:
            raise fault.within(f".{self._name}") from None
        return [value if name == self._name else ABSENT for name in self._names]

    def _value(self, entity: Any) -> Any:
        if type(entity) is not self._cls:
            raise expected(self._cls.__name__, entity)
        try:
            return self._normalise(getattr(entity, self._name))
        except FieldValueError as fault:
            raise fault.within(f".{self._name}") from None


def _serializer(name: str) -> _Serializer:
    numbers = _NUMBERS.get(name)
    if numbers is not None:
        return _Serializer(_number_writer(numbers, _NAN.get(name)), _number_reader(numbers, name))
    return {
        "StringSerializer": _Serializer(str.encode, _text),
        "UUIDSerializer": _Serializer(lambda value: str(value).encode(), _uuid),
        "ByteArraySerializer": _Serializer(bytes, bytes),
    }[name]


def _number_writer(numbers: struct.Struct, nan: bytes | None) -> Callable[[Any], bytes]:
    if nan is None:
        return numbers.pack
    return lambda value: numbers.pack(value) if value == value else nan


def _number_reader(numbers: struct.Struct, name: str) -> Callable[[bytes], Any]:
    def read(payload: bytes) -> Any:
        if len(payload) != numbers.size:
            raise FieldValueError(
                f"{name} writes {numbers.size} bytes, the value has {len(payload)}: {bounded_repr(payload)}"
            )
        return numbers.unpack(payload)[0]

    return read


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise FieldValueError(f"not UTF-8, as StringSerializer writes it: {bounded_repr(payload)}") from None


def _uuid(payload: bytes) -> UUID:
    try:
        if len(payload) == 36:
            return UUID(payload.decode())
    except ValueError:
        pass
    raise FieldValueError(
        f"expected a UUID of 36 characters, as UUIDSerializer writes it: {bounded_repr(payload)}"
    )
