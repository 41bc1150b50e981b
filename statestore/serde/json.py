"""JSON: values and keys, in the dialect of ksqlDB for an entity with ``ksql=True``. Docs: ``docs/types.md``.

A key of one field is the bare value, a key of several fields an object. JSON has many texts for one value,
and Kafka takes each for another key. So one text is canonical: it is written, and looked up. It is what
Jackson writes, and therefore ksqlDB: no white space, the names in the order of the class, no escapes but
those that JSON requires and those of characters beyond U+FFFF.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import product
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from statestore.core import KeyPattern
from statestore.entity import EntityModel
from statestore.errors import DecodeError, EncodeError
from statestore.fields.attributes import DAYS, EPOCHS, NUMBER
from statestore.fields.types import Field, FieldType, Scalar
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import (
    FIRST_DAY,
    FIRST_MICROSECOND,
    LAST_DAY,
    LAST_MICROSECOND,
    date_at,
    days,
    microseconds,
    time_at,
)
from statestore.serde.extra import JSON_MEMBERS
from statestore.serde.field_codecs import Convert, FieldCodec, TypeMapping, msgspec_codec, scalar_codec
from statestore.serde.formats import FieldValueError, FormatContext, digest_of, expected
from statestore.serde.keys import FieldwiseKeys
from statestore.serde.scalars import finite, normaliser, utc
from statestore.serde.structs import StructCodec


def json_values(model: EntityModel, _context: FormatContext) -> StructCodec:
    """Return the codec of ``value_format="json"`` for a class. Raises ``ConfigError``."""
    return StructCodec(
        model,
        type_mapping(model),
        msgspec.json.Encoder(decimal_format="number").encode,
        msgspec.json.decode,
        msgspec.json.Decoder,
        JSON_MEMBERS,
        _lone_surrogate,
    )


def _lone_surrogate(payload: bytes) -> tuple[list[str | int], str] | None:
    """Return the steps to the first text of an object that has a lone surrogate, and the text."""
    try:
        whole = json.loads(payload)
        return _surrogate_in(whole) if isinstance(whole, dict) else None
    except (ValueError, RecursionError):
        return None


def _surrogate_in(value: Any) -> tuple[list[str | int], str] | None:
    if isinstance(value, str):
        return ([], value) if _SURROGATE.search(value) else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        found = ([], step) if isinstance(step, str) and _SURROGATE.search(step) else _surrogate_in(item)
        if found is not None:
            return [step, *found[0]], found[1]
    return None


_SURROGATE = re.compile("[\ud800-\udfff]")


def type_mapping(model: EntityModel) -> TypeMapping:
    """Return how JSON represents the fields of a class, in values and in keys."""
    return TypeMapping(_ksql, _iso, _cases) if model.ksql else TypeMapping(_iso, _iso)


def _iso(scalar: Scalar) -> FieldCodec:
    """Return the codec of a scalar: ``msgspec``'s, times and dates by their ``Format``, numbers finite."""
    if scalar.type is datetime and scalar.format is not None:
        normalise = normaliser(scalar)
        if scalar.format in EPOCHS:
            return _epoch_codec(normalise, EPOCHS[scalar.format])
        return _pattern_codec(normalise, scalar.format)
    if scalar.type is date and scalar.format is not None:
        return _days_codec(scalar) if scalar.format == DAYS else _day_codec(normaliser(scalar), scalar.format)
    codec = msgspec_codec(scalar)
    if scalar.type not in (float, Decimal):
        return codec
    normalise, read = finite(codec.normalise, "JSON"), finite(codec.read or _same, "JSON")
    if scalar.type is float or scalar.format == NUMBER:
        return FieldCodec(codec.type, normalise, normalise, read)
    # Many readers take a number for a float and lose digits.
    return scalar_codec(codec.type, normalise, str, read)


def _ksql(scalar: Scalar) -> FieldCodec:
    """Return the codec of a scalar in ksqlDB's dialect: TIMESTAMP, DATE and DECIMAL are numbers."""
    if scalar.type is Decimal:
        scalar = replace(scalar, format=NUMBER)
    if scalar.type is datetime and scalar.format is None:
        return _epoch_codec(normaliser(scalar), EPOCHS["epoch_ms"])
    if scalar.type is date and scalar.format is None:
        return _days_codec(scalar)
    return _iso(scalar)


def _cases(name: str) -> tuple[str, str]:
    return name.upper(), name.lower()


def _epoch_codec(normalise: Convert, unit: int) -> FieldCodec:
    """Return the codec of times as whole units since 1970 UTC. A ``unit`` is a number of microseconds."""

    def units(time: datetime) -> int:
        return microseconds(time) // unit

    def time_of(number: int) -> datetime:
        return time_at(number * unit)

    numbers = Annotated[int, Meta(ge=-(-FIRST_MICROSECOND // unit), le=LAST_MICROSECOND // unit)]
    return FieldCodec(
        numbers,
        lambda value: time_of(units(normalise(value))),
        lambda value: units(normalise(value)),
        time_of,
    )


def _pattern_codec(normalise: Convert, pattern: str) -> FieldCodec:
    """Return the codec of times as text. What ``pattern`` leaves out of a time is not stored."""

    def read(text: str) -> datetime:
        try:
            time = datetime.strptime(text, pattern)
        except ValueError:
            raise expected(f"datetime as {pattern!r}", text) from None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else utc(time)

    def write(value: Any) -> str:
        time: datetime = normalise(value)
        text = time.strftime(pattern)
        try:
            if read(text).date() == time.date():
                return text
        except FieldValueError:
            pass
        raise expected(f"datetime that survives writing and reading as {pattern!r}", value)

    return FieldCodec(str, lambda value: read(write(value)), write, read)


def _days_codec(scalar: Scalar) -> FieldCodec:
    """Return the codec of dates as whole days since 1970."""
    return scalar_codec(Annotated[int, Meta(ge=FIRST_DAY, le=LAST_DAY)], normaliser(scalar), days, date_at)


def _day_codec(normalise: Convert, pattern: str) -> FieldCodec:
    """Return the codec of dates as text. A text that has a time of day, too, is not read."""

    def read(text: str) -> date:
        try:
            found = datetime.strptime(text, pattern)
        except ValueError:
            raise expected(f"date as {pattern!r}", text) from None
        if found.time() != time.min:
            raise expected(f"date as {pattern!r}, without a time of day", text)
        return found.date()

    def write(value: Any) -> str:
        day: date = normalise(value)
        text = day.strftime(pattern)
        try:
            if read(text) == day:
                return text
        except FieldValueError:
            pass
        raise expected(f"date that survives writing and reading as {pattern!r}", value)

    return FieldCodec(str, normalise, write, read)


def _same(value: Any) -> Any:
    return value


# Keys

_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)}
_ESCAPES |= {ord(one): f"\\{letter}" for one, letter in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)}
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


class JsonKeys(FieldwiseKeys):
    """A ``KeyCodec`` of ``key_format="json"``. Any number of threads may share one.

    A key has one encoding for each name of its fields, aliases included. Other programs may write it in yet
    other texts, which are told apart (``storage/spellings.py``) by ``pattern``, ``respelled`` and ``digest``.
    """

    def __init__(self, model: EntityModel, _context: FormatContext) -> None:
        mapping = type_mapping(model)
        super().__init__(model, mapping)
        self._readers = [msgspec.json.Decoder(codec.type).decode for codec in self.codecs]
        read = zip(model.record_type.fields, mapping.names(model.record_type), strict=True)
        keys = [names for field, names in read if field.is_key]
        self._places = {name: place for place, names in enumerate(keys) for name in names}
        self._members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        written = [
            [f"{_json_text(name)}:" for name in _written_names(field, model)] for field in model.key_fields
        ]
        self._heads = list(product(*written)) if len(written) > 1 else []
        kinds = [_pattern(field.type, model.ksql) for field in model.key_fields]
        self._is_int = [kind == "int" for kind in kinds]
        parts: list[bytes | str] = []
        for head, kind in zip(self._heads[0] if self._heads else [""], kinds, strict=True):
            parts += [f"{',' if parts else '{'}{head}".encode(), kind] if head else [kind]
        parts += [b"}"] if self._heads else []
        self.pattern = KeyPattern(parts if "none" not in kinds else [b"\xff"])
        self.fingerprint = digest_of(
            repr((1, parts, kinds, self._heads, sorted(self._places.items()))).encode()
        )

    def encode(self, values: tuple[Any, ...]) -> bytes:
        return self.encodings(values)[0]

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        texts = [_json_text(value) for value in self.written(values)]
        if not self._heads:
            return [texts[0].encode()]
        members = [map("".join, zip(heads, texts, strict=True)) for heads in self._heads]
        return [f"{{{','.join(one)}}}".encode() for one in members]

    def digest(self, values: tuple[Any, ...]) -> bytes:
        """Return what stands for the values of a key, whatever its text. Raises ``EncodeError``."""
        return digest_of(",".join([_json_text(value) for value in self.written(values)]).encode())

    def respelled(self, key: bytes) -> bytes | None:
        """Return the digest of the values of ``key``; ``None`` if it is one of their encodings, or no key."""
        try:
            values = self.decode(key)
            return None if key in self.encodings(values) else self.digest(values)
        except (DecodeError, EncodeError):
            return None

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            parts = self._parts(data) if self._heads else [data]
            return tuple([self._value(place, part) for place, part in enumerate(parts)])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, FieldValueError) as error:
            raise DecodeError(f"{error}: {bounded_repr(data)}") from None

    def _parts(self, data: bytes) -> list[Any]:
        """Return the values of an object, in the order of the key fields."""
        parts: list[Any] = [None] * len(self.names)
        for name, part in self._members(data).items():
            place = self._places.get(name)
            if place is None or parts[place] is not None:
                raise FieldValueError(
                    f"{bounded_repr(name)} is {'not a key field' if place is None else 'given twice'}"
                )
            parts[place] = part
        if None in parts:
            raise FieldValueError(f"{self.names[parts.index(None)]} is missing")
        return parts

    def _value(self, place: int, part: Any) -> Any:
        codec = self.codecs[place]
        try:
            value = self._readers[place](part)
        except msgspec.ValidationError:
            whole = _whole_number(part) if self._is_int[place] else None
            if whole is None:
                raise
            value = msgspec.convert(whole, codec.type)
        return codec.read(value) if codec.read else value


def _pattern(type_: FieldType, is_ksql: bool) -> str:
    """Return the kind of a key field's text, as ``KeyPattern`` has it; ``"none"``: it has no such kind."""
    if not isinstance(type_, Scalar):
        return "none"
    kind, form = type_.type, type_.format
    if kind is datetime:
        return "int" if form in EPOCHS or (form is None and is_ksql) else "time" if form is None else "none"
    if kind is date:
        return "int" if form == DAYS or (form is None and is_ksql) else "text" if form is None else "none"
    return {int: "int", str: "text", UUID: "uuid"}.get(kind, "none")


def _whole_number(text: Any) -> int | None:
    """Return a JSON number without a fraction, such as 1.0 or 1e3, as an int of 64 bits; else ``None``."""
    try:
        number = Decimal(bytes(text).decode().strip(" \t\r\n"))
        if number == number.to_integral_value() and -(2**63) <= number < 2**63:
            return int(number)
    except (ValueError, ArithmeticError):
        pass
    return None


def _written_names(field: Field, model: EntityModel) -> list[str]:
    """Return the names under which the class writes a field now, or wrote it before (aliases)."""
    return [field.wire_name, *[name.upper() if model.ksql else name for name in field.aliases]]


def _json_text(value: Any) -> str:
    """Return the JSON of a scalar."""
    if isinstance(value, str):
        return f'"{_BEYOND.sub(_surrogates, value.translate(_ESCAPES))}"'
    return msgspec.json.encode(value).decode()


def _surrogates(character: re.Match[str]) -> str:
    high, low = divmod(ord(character[0]) - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04X}"
