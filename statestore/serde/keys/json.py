"""Keys in JSON: a single key field as it is, several as an object.

A key has many texts, and Kafka takes each for another key, so one of them is canonical: it is written, and
looked for. It is what Jackson writes, and so ksqlDB: no white space, the names in the order of the class, no
escapes but those that JSON demands and those of characters beyond U+FFFF.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.errors import DecodeError, EncodeError
from statestore.fields import Field, FieldType, Scalar
from statestore.serde.formats import FormatContext, KeyPlan
from statestore.serde.json import wiring_of
from statestore.serde.keys.filtered import filtered
from statestore.serde.misfit import MisfitError, show
from statestore.serde.wires import Convert

_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)}
_ESCAPES |= {ord(one): f"\\{letter}" for one, letter in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)}
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


class JsonKeys:
    """A ``KeyCodec`` of ``key_format="json"``. Any number of threads may share one.

    A field with aliases has a spelling under each of its names.
    """

    def __init__(self, model: EntityModel, _context: FormatContext) -> None:
        wiring = wiring_of(model)
        self._fields = [field.name for field in model.key_fields]
        self._wires = [wiring.wire(_without_length(field.type)) for field in model.key_fields]
        self._normals = [wire.normal for wire in self._wires]
        self._writers = [wire.write for wire in self._wires]
        self._readers = [msgspec.json.Decoder(wire.type).decode for wire in self._wires]
        read = zip(model.record.fields, wiring.spellings(model.record), strict=True)
        keys = [names for field, names in read if field.is_key]
        self._places = {name: place for place, names in enumerate(keys) for name in names}
        self._members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        written = [[f"{_text(name)}:" for name in _written_names(field, model)] for field in model.key_fields]
        self._heads = list(product(*written)) if len(written) > 1 else []

    def encode(self, values: tuple[Any, ...]) -> bytes:
        return self._spelt(values)[0]

    def normal(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._converted(self._normals, self._whole(values))

    def spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return self._spelt(values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            parts = self._parts(data) if self._heads else [data]
            return tuple([self._value(place, part) for place, part in enumerate(parts)])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MisfitError) as error:
            raise DecodeError(f"{error}: {show(data)}") from None

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        first, end, begin = (
            None if one is None else self._converted(self._normals, one) for one in (start, stop, prefix)
        )
        return filtered(len(self._wires), first, end, begin)

    def _converted(self, converts: list[Convert], values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the leading ``values`` of a key, each converted. Raises ``EncodeError``."""
        if len(values) > len(converts):
            raise self._wrong_count(values)
        converted = []
        for name, convert, value in zip(self._fields, converts, values, strict=False):
            try:
                converted.append(convert(value))
            except MisfitError as misfit:
                raise EncodeError(f"{name}: {misfit}") from None
        return tuple(converted)

    def _whole(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(values) < len(self._wires):
            raise self._wrong_count(values)
        return values

    def _wrong_count(self, values: tuple[Any, ...]) -> EncodeError:
        return EncodeError(
            f"the key is ({', '.join(self._fields)}), got {len(values)} values: {show(values)}"
        )

    def _spelt(self, values: tuple[Any, ...]) -> list[bytes]:
        texts = [_text(value) for value in self._converted(self._writers, self._whole(values))]
        if not self._heads:
            return [texts[0].encode()]
        members = [map("".join, zip(heads, texts, strict=True)) for heads in self._heads]
        return [f"{{{','.join(one)}}}".encode() for one in members]

    def _parts(self, data: bytes) -> list[Any]:
        """Return the values of an object, in the order of the key fields."""
        parts: list[Any] = [None] * len(self._fields)
        for name, part in self._members(data).items():
            place = self._places.get(name)
            if place is None or parts[place] is not None:
                raise MisfitError(f"{name!r} is {'no key field' if place is None else 'there twice'}")
            parts[place] = part
        if None in parts:
            raise MisfitError(f"{self._fields[parts.index(None)]} is missing")
        return parts

    def _value(self, place: int, part: Any) -> Any:
        wire = self._wires[place]
        value = self._readers[place](part)
        # Only what is written again is a value: of a time, what the format keeps of it.
        return wire.normal(wire.read(value) if wire.read else value)


def _without_length(type_: FieldType) -> FieldType:
    """Return the type of a key that is looked for: it may be longer than what is written."""
    return dataclasses.replace(type_, max_length=None) if isinstance(type_, Scalar) else type_


def _written_names(field: Field, model: EntityModel) -> list[str]:
    """Return the names under which the class writes a field, or did under an alias."""
    return [field.wire_name, *[name.upper() if model.ksql else name for name in field.aliases]]


def _text(value: Any) -> str:
    """Return the JSON of a scalar."""
    if isinstance(value, str):
        return f'"{_BEYOND.sub(_surrogates, value.translate(_ESCAPES))}"'
    return msgspec.json.encode(value).decode()


def _surrogates(character: re.Match[str]) -> str:
    high, low = divmod(ord(character[0]) - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04X}"
