"""``key_format="kafka"``: keys of one field, as the serializers of Kafka's Java client write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from statestore.core import KeyCodec as NativeKeys
from statestore.entity import EntityModel
from statestore.errors import ConfigError, DecodeError, EncodeError
from statestore.fields.types import Scalar, type_name
from statestore.runtime.plain import NotPlainError, plain
from statestore.runtime.text import bounded_repr
from statestore.serde.formats import FormatContext, KeyCodec, KeyPlan
from statestore.serde.ordered_keys import OrderedKeys

Range = tuple[bytes | None, bytes | None, bytes | None]

_FOUND = (
    "no seek: nothing can be there",
    "one seek, in key order",
    "2 seeks (in byte order, negative keys come last), in key order",
)
_FORMAT = 'key_format="kafka"'


def kafka_keys(model: EntityModel, _context: FormatContext) -> KeyCodec:
    """Return the codec of ``key_format="kafka"`` for a class.

    The serializers are StringSerializer, LongSerializer (IntegerSerializer for an ``Int32``, ShortSerializer
    for an ``Int16``), UUIDSerializer and ByteArraySerializer. Raises ``ConfigError`` for several key fields
    and for types without a serializer.
    """
    field, *others = model.key_fields
    if others:
        names = ", ".join(field.name for field in model.key_fields)
        raise ConfigError(
            f"{model.name}: {_FORMAT} writes a key of one field, as Java's serializers do; this class has "
            f'{names}: use key_format="ordered", or "json" or "avro" if other programs read the topic'
        )
    type_ = field.type
    match type_:
        case Scalar(type=kind) if kind is int:
            return IntegerKeys(2 if type_.is_16_bits else 4 if type_.is_32_bits else 8)
        case Scalar(type=kind) if kind in (str, bytes):
            return OrderedKeys([kind.__name__])  # for a single field, the same bytes
        case Scalar(type=kind) if kind is UUID:
            return UuidTextKeys()
    raise ConfigError(
        f"{model.name}.{field.name}: {_FORMAT} cannot write {type_name(type_)}, since Kafka has no "
        "serializer for it: declare an int as the topic's producer writes it (such as milliseconds since "
        '1970), or use key_format="ordered"'
    )


class IntegerKeys:
    """``int`` as LongSerializer (8 bytes), IntegerSerializer (4) or ShortSerializer (2) writes it.

    The bytes are big-endian two's complement, so negative numbers sort after the others.
    """

    def __init__(self, width: int) -> None:
        self._name = {8: "LongSerializer", 4: "IntegerSerializer", 2: "ShortSerializer"}[width]
        self._bytes = struct.Struct({8: ">q", 4: ">i", 2: ">h"}[width])
        self._negative = b"\x80" + bytes(width - 1)  # the first of them in the order of the bytes

    def encode(self, values: tuple[Any, ...]) -> bytes:
        if len(values) != 1:
            raise EncodeError(f"the key is (int), got {len(values)} values: {bounded_repr(values)}")
        (value,) = values
        if isinstance(value, bool) or not isinstance(value, int):
            raise EncodeError(f"the key must be int, not {type(value).__name__}: {bounded_repr(value)}")
        if type(value) is not int:
            try:
                value = plain(value, int)
            except NotPlainError as error:
                raise EncodeError(f"the key {bounded_repr(value)} {error}") from None
        try:
            return self._bytes.pack(value)
        except struct.error:
            raise EncodeError(
                f"the key does not fit {8 * self._bytes.size} bits: {bounded_repr(value)}"
            ) from None

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            return self._bytes.unpack(data)
        except struct.error:
            raise DecodeError(
                f"{self._name} writes {self._bytes.size} bytes, but the stored key has {len(data)}: "
                f"{bounded_repr(data)}"
            ) from None

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.decode(self.encode(values))

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return (self.encode(values),)

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        if stop == ():  # what all keys begin with
            return KeyPlan([], None, _FOUND[0])
        first, end, begin = (self.encode(one) if one else None for one in (start, stop, prefix))
        negative, zero = self._negative, bytes(self._bytes.size)
        ranges: list[Range] = []
        if first is None or first >= negative:
            ranges.append((first or negative, end if end is not None and end >= negative else None, begin))
        if end is None or zero < end < negative:
            ranges.append((None if first is None or first >= negative else first, end or negative, begin))
        ranges = [one for one in ranges if not _is_empty(*one)]
        return KeyPlan(ranges, None, _FOUND[len(ranges)])


class UuidTextKeys:
    """``UUID`` as UUIDSerializer writes it: 36 lower-case characters, which sort as the UUIDs do."""

    def __init__(self) -> None:
        self._checked = NativeKeys(["uuid"])

    def encode(self, values: tuple[Any, ...]) -> bytes:
        return str(UUID(bytes=self._checked.encode(values))).encode()

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            text = data.decode()
            value = UUID(text)
        except ValueError:
            text, value = "", None
        if value is None or str(value) != text:  # `get` would not find a key with another text
            raise DecodeError(
                f"not a UUID as UUIDSerializer writes it (36 characters, lower case): {bounded_repr(data)}"
            )
        return (value,)

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.decode(self.encode(values))

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return (self.encode(values),)

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        if stop == ():
            return KeyPlan([], None, _FOUND[0])
        first, end, begin = (self.encode(one) if one else None for one in (start, stop, prefix))
        return KeyPlan([(first, end, begin)], None, "one seek, in key order")


def _is_empty(start: bytes | None, stop: bytes | None, prefix: bytes | None) -> bool:
    if prefix is not None:
        return (stop is not None and prefix >= stop) or (start is not None and prefix < start)
    return start is not None and stop is not None and start >= stop
