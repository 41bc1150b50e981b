"""``"raw"``: one field of bytes as the key or the value, unchanged."""

from __future__ import annotations

from typing import Any

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.fields.types import Scalar, type_name
from statestore.serde.formats import ABSENT, FieldValueError, FormatContext, expected
from statestore.serde.ordered_keys import OrderedKeys
from statestore.serde.scalars import normaliser


class RawValues:
    """The codec of ``value_format="raw"``: the payload is the one ``bytes`` field besides the key."""

    def __init__(self, model: EntityModel, _context: FormatContext) -> None:
        """Raise ``ConfigError`` for a class with other value fields."""
        fields = model.value_fields
        types = [field.type for field in fields]
        if len(types) != 1 or not isinstance(types[0], Scalar) or types[0].type is not bytes:
            described = ", ".join(f"{field.name}: {type_name(field.type)}" for field in fields)
            raise ConfigError(
                f'{model.name}: value_format="raw" takes one field of bytes besides the key, the class has '
                f'({described}): use value_format="msgpack"'
            )
        self._name = fields[0].name
        self._names = [field.name for field in model.record_type.fields]
        self._cls = model.cls
        self._normalise = normaliser(types[0])

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``FieldValueError``."""
        if type(entity) is not self._cls:
            raise expected(self._cls.__name__, entity)
        try:
            payload: bytes = self._normalise(getattr(entity, self._name))
        except FieldValueError as fault:
            raise fault.within(f".{self._name}") from None
        return payload

    def normalise(self, entity: Any) -> list[Any]:
        """Return the normalised values of all fields. Raises ``FieldValueError``."""
        payload = self.encode(entity)
        return [payload if name == self._name else getattr(entity, name) for name in self._names]

    def decode(self, payload: bytes) -> list[Any]:
        """Return ``payload`` as the value of its field, ``ABSENT`` for the others."""
        return [payload if name == self._name else ABSENT for name in self._names]


def raw_keys(model: EntityModel, _context: FormatContext) -> OrderedKeys:
    """Return the codec of ``key_format="raw"``: the key is one ``bytes`` field, unchanged."""
    described = ", ".join(f"{field.name}: {type_name(field.type)}" for field in model.key_fields)
    if [type_name(field.type) for field in model.key_fields] != ["bytes"]:
        raise ConfigError(
            f'{model.name}: key_format="raw" takes one key field of bytes, but the key is ({described}): '
            'use key_format="ordered"'
        )
    return OrderedKeys(["bytes"])
