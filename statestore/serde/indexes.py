"""The bytes of secondary indexes: the values of a row's fields, so that bytes sort as the values do.

A *suffix* is ``values ‖ key``: the encoded values of the index's fields, each with an end of its own, then
the stored key of the row. Values that are never ``None`` and of a type that a key can have are encoded as in
a key (``docs/key-format.md``). All others are components of ``bytes`` in it::

    None                       empty, so it comes first
    another value of a field   01 ‖ its bytes
      that may be None
    bool                       01 false, 02 true
    float                      as an int: the IEEE bits, negated for numbers below zero; -0.0 is 0.0
    Decimal                    00 -inf, 01 below zero, 02 zero, 03 above zero, 04 inf, 05 NaN; then the
                               exponent, the digits as text without trailing zeros, inverted below zero
    NaN                        after all other values
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from decimal import Decimal
from functools import partial
from typing import Any

from statestore import core
from statestore.core.common import TYPES
from statestore.entity import EntityModel
from statestore.errors import DecodeError, EncodeError
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType, Scalar
from statestore.serde.entities import EntityCodec
from statestore.serde.native_decoder import only_sets_fields

VERSION = 1
"""Of this encoding: with another one, indexes are built anew."""

Suffix = tuple[bytes, int]
"""``values ‖ key``, and how many bytes the values are."""

_KEY_KINDS: dict[type, str] = {type_: kind for kind, type_ in TYPES.items()}


class IndexCodec:
    """The bytes of one index. Any number of threads may share one."""

    def __init__(self, model: EntityModel, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.names = tuple(one.name for one in fields)
        self.name = ", ".join(self.names)
        """What the index is called: the names of its fields."""
        encoders = [_encoder(one.type) for one in fields]
        self._converts = [convert for _, convert in encoders]
        self._plain = not any(self._converts)
        self._codec = core.KeyCodec([*(kind for kind, _ in encoders), "bytes"])
        self.fingerprint = _fingerprint(model, self.fields)
        """16 bytes that stand for what decides on the content of the index beside the rows: all of the class,
        since any field may keep a row from being decoded."""

    def suffix(self, entity: Any, key: bytes) -> Suffix:
        """Return the suffix of a row. Raises ``EncodeError`` for a value that has no bytes."""
        values = [getattr(entity, name) for name in self.names]
        if not self._plain:
            values = [
                value if convert is None else convert(value)
                for convert, value in zip(self._converts, values, strict=True)
            ]
        suffix = self._codec.encode((*values, key))
        return suffix, len(suffix) - len(key)

    def prefix(self, values: Sequence[Any]) -> bytes:
        """Return what exactly the suffixes of rows with these leading values begin with.

        Each value is of its field's type, or ``None`` where the field can be. Raises ``EncodeError``.
        """
        return self._codec.encode_prefix(
            tuple(
                value if convert is None else convert(value)
                for convert, value in zip(self._converts, values, strict=False)
            )
        )

    def after_null(self, values: Sequence[Any]) -> bytes:
        """Return where, after leading values, the rows begin whose next field is not ``None``."""
        nullable = isinstance(self.fields[len(values)].type, Nullable)
        return self.prefix(values) + (b"\x01" if nullable else b"")


class EntityIndexes:
    """All indexes of one class: the suffixes of its rows. Any number of threads may share one.

    Rows are decoded with a codec of their own, whose counters nobody reads.
    """

    def __init__(self, model: EntityModel) -> None:
        self.indexes = tuple(IndexCodec(model, fields) for fields in model.indexes)
        self._codec: EntityCodec[Any] = EntityCodec(model)

    def suffixes(self, key: bytes, payload: bytes, timestamp: Callable[[], int]) -> list[Suffix] | None:
        """Return the suffix of a row in each index; ``None`` for a row that does not decode.

        ``timestamp`` gives that of its record, in ms.
        """
        try:
            entity = self._codec.decode(key, payload, lambda _: (timestamp(), payload))
            return [one.suffix(entity, key) for one in self.indexes]
        except (DecodeError, EncodeError):
            return None

    @property
    def depend_on_time(self) -> bool:
        """Whether a record's timestamp may be the value of a field."""
        return self._codec.fills_event_time


def _encoder(type_: FieldType) -> tuple[str, Callable[[Any], Any] | None]:
    """Return the kind of a field's component, and what converts its values to it (``None``: nothing)."""
    if isinstance(type_, Nullable):
        kind, convert = _encoder(type_.item)
        return "bytes", partial(_optional, core.KeyCodec([kind]), convert)
    assert isinstance(type_, Scalar), type_
    if type_.type is float:
        return "int", float_number
    if type_.type is bool:
        return "bytes", _bool_bytes
    if type_.type is Decimal:
        return "bytes", decimal_bytes
    return _KEY_KINDS[type_.type], None


def _optional(codec: Any, convert: Callable[[Any], Any] | None, value: Any) -> bytes:
    if value is None:
        return b""
    encoded: bytes = codec.encode((value if convert is None else convert(value),))
    return b"\x01" + encoded


def _bool_bytes(value: bool) -> bytes:
    return b"\x02" if value else b"\x01"


_DOUBLE, _BITS = struct.Struct(">d"), struct.Struct(">q")
_MAGNITUDE = 2**63 - 1


def float_number(value: float) -> int:
    """Return an int of 64 bits that sorts as ``value`` does; NaN after all others."""
    if value != value:
        return _MAGNITUDE
    bits: int = _BITS.unpack(_DOUBLE.pack(value))[0]
    return bits if bits >= 0 else -(bits & _MAGNITUDE)


_NEGATIVE_INFINITY, _NEGATIVE, _ZERO, _POSITIVE, _INFINITY, _NAN = (bytes([tag]) for tag in range(6))
_NEAR = 0x7000
"""Exponents up to this one, above and below zero, take two bytes; greater ones take ten."""
_INVERTED = bytes(255 - one for one in range(256))


def decimal_bytes(value: Decimal) -> bytes:
    """Return bytes that sort as ``value`` does, the same for equal ones; NaN after all others."""
    if not value.is_finite():
        if value.is_nan():
            return _NAN
        return _INFINITY if value > 0 else _NEGATIVE_INFINITY
    if not value:
        return _ZERO
    digits, _, exponent = f"{value:E}".replace(".", "").partition("E")
    magnitude = _exponent(int(exponent)) + digits.strip("-").rstrip("0").encode()
    if value < 0:
        return _NEGATIVE + magnitude.translate(_INVERTED) + b"\xff"
    return _POSITIVE + magnitude


def _exponent(number: int) -> bytes:
    if abs(number) <= _NEAR:
        return (number + 0x8000).to_bytes(2)
    return (b"\0\0" if number < 0 else b"\xff\xff") + (number + 2**63).to_bytes(8)


def _fingerprint(model: EntityModel, fields: Sequence[Field]) -> bytes:
    described = (
        VERSION,
        [one.name for one in fields],
        (model.key_format, model.value_format, model.ksql),
        _described(model.record_type),
    )
    return hashlib.blake2b(repr(described).encode(errors="backslashreplace"), digest_size=16).digest()


def _described(type_: FieldType) -> Any:
    """Return what stands for a type, the same in each process."""
    match type_:
        case RecordType(cls, fields):
            return _code_of(cls), [
                (
                    one.name,
                    one.wire_name,
                    one.aliases,
                    (one.is_key, one.is_event_time),
                    _described(one.type),
                    one.default_factory is not MISSING or (one.default is not MISSING and repr(one.default)),
                )
                for one in fields
            ]
        case Nullable(item) | ListOf(item):
            return type(type_).__name__, _described(item)
        case DictOf(key, item):
            return "dict", repr(key), _described(item)
        case Scalar():
            return repr(type_)


def _code_of(cls: type) -> Any:
    """Return what stands for the code that a class runs when it is made, which may change its fields."""
    if only_sets_fields(cls):
        return None
    found = []
    for name in ("__post_init__", "__init__", "__new__", "__setattr__"):
        code = getattr(getattr(cls, name, None), "__code__", None)
        if code is not None:
            constants = [one for one in code.co_consts if isinstance(one, str | int | float | bytes)]
            found.append((name, code.co_code.hex(), code.co_names, constants))
    return found
