"""Keys in JSON: a single key field as it is, several as an object.

A key has many texts, and Kafka takes each for another key, so one of them is canonical: it is written, and
looked for. It is what Jackson writes, and so ksqlDB: no white space, the names in the order of the class, no
escapes but those that JSON demands and those of characters beyond U+FFFF.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.errors import DecodeError
from statestore.fields.types import Field
from statestore.serde.formats import FormatContext
from statestore.serde.json import wiring_of
from statestore.serde.keys.fieldwise import FieldwiseKeys
from statestore.serde.misfit import MisfitError, show

_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)}
_ESCAPES |= {ord(one): f"\\{letter}" for one, letter in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)}
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


class JsonKeys(FieldwiseKeys):
    """A ``KeyCodec`` of ``key_format="json"``. Any number of threads may share one.

    A field with aliases has a spelling under each of its names.
    """

    def __init__(self, model: EntityModel, _context: FormatContext) -> None:
        wiring = wiring_of(model)
        super().__init__(model, wiring)
        self._readers = [msgspec.json.Decoder(wire.type).decode for wire in self.wires]
        read = zip(model.record.fields, wiring.spellings(model.record), strict=True)
        keys = [names for field, names in read if field.is_key]
        self._places = {name: place for place, names in enumerate(keys) for name in names}
        self._members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        written = [[f"{_text(name)}:" for name in _written_names(field, model)] for field in model.key_fields]
        self._heads = list(product(*written)) if len(written) > 1 else []

    def encode(self, values: tuple[Any, ...]) -> bytes:
        return self.spellings(values)[0]

    def spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        texts = [_text(value) for value in self.written(values)]
        if not self._heads:
            return [texts[0].encode()]
        members = [map("".join, zip(heads, texts, strict=True)) for heads in self._heads]
        return [f"{{{','.join(one)}}}".encode() for one in members]

    def decode(self, data: bytes) -> tuple[Any, ...]:
        try:
            parts = self._parts(data) if self._heads else [data]
            return tuple([self._value(place, part) for place, part in enumerate(parts)])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MisfitError) as error:
            raise DecodeError(f"{error}: {show(data)}") from None

    def _parts(self, data: bytes) -> list[Any]:
        """Return the values of an object, in the order of the key fields."""
        parts: list[Any] = [None] * len(self.names)
        for name, part in self._members(data).items():
            place = self._places.get(name)
            if place is None or parts[place] is not None:
                raise MisfitError(f"{name!r} is {'no key field' if place is None else 'there twice'}")
            parts[place] = part
        if None in parts:
            raise MisfitError(f"{self.names[parts.index(None)]} is missing")
        return parts

    def _value(self, place: int, part: Any) -> Any:
        wire = self.wires[place]
        value = self._readers[place](part)
        return wire.read(value) if wire.read else value


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
