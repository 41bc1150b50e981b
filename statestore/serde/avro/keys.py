"""Keys in Avro: a key of one field has that field's type, a key of several fields is a record.

The id of a schema is part of a key's bytes. So one logical key has an encoding for each schema of its subject
that can represent it, and a store may have a row under each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from statestore.entity import EntityModel
from statestore.errors import DecodeError
from statestore.runtime.interrupts import pass_on
from statestore.runtime.text import bounded_repr
from statestore.serde.avro.mapping import convert, type_mapping
from statestore.serde.avro.schema import key_schema
from statestore.serde.avro.subject import Subject, Version, decoded, encoded
from statestore.serde.formats import FieldValueError, FormatContext
from statestore.serde.keys import FieldwiseKeys

__all__ = ["AvroKeys"]


class AvroKeys(FieldwiseKeys):
    """A ``KeyCodec``, under the subject ``<topic>-key``. Any number of threads may share one."""

    def __init__(self, model: EntityModel, context: FormatContext) -> None:
        mapping = type_mapping(model)
        super().__init__(model, mapping)
        self._wire_names = [field.wire_name for field in model.key_fields]
        names = zip(model.record_type.fields, mapping.names(model.record_type), strict=True)
        self._read_names = [found for field, found in names if field.is_key]
        self.subject = Subject(f"{model.topic}-key", key_schema(model, mapping), context)

    def prepare(self) -> None:
        """Ask for the id of our schema. Raises ``RegistryError``."""
        self.subject.own_id()

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the key under our schema. Raises ``EncodeError``, ``RegistryError``."""
        return self.subject.encode(self._ours(values))

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values of a key. Raises ``DecodeError``, ``UnreachableRegistryError``."""
        try:
            return self._values(self.subject.decode(data))
        except FieldValueError as fault:
            raise DecodeError(
                f"{fault.path.removeprefix('.')}: {fault}" if fault.path else str(fault)
            ) from None

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return the key under each schema of the subject that can represent it, ours first.

        Raises ``EncodeError``; ``UnreachableRegistryError`` if the subject's schemas are not known yet.
        """
        normal, ours = self.normalise(values), self._ours(values)
        encodings = [
            encoded(version.id, version.schema, ours)
            if version.is_ours
            else self._encoded_under(version, normal)
            for version in self.subject.versions()
        ]
        return [encoding for encoding in encodings if encoding is not None]

    def _ours(self, values: tuple[Any, ...]) -> Any:
        """Return the value that ``fastavro`` writes for a key under our schema. Raises ``EncodeError``."""
        written = self.written(values)
        if len(written) == 1:
            return written[0]
        return dict(zip(self._wire_names, written, strict=True))

    def _values(self, value: Any) -> tuple[Any, ...]:
        """Return the key's values from a value read under any schema. Raises ``FieldValueError``."""
        if not isinstance(value, dict):
            if len(self.codecs) > 1:
                raise FieldValueError(
                    f"expected a record of {', '.join(self.names)}, got {bounded_repr(value)}"
                )
            return (self._value(0, value),)
        return tuple([self._value(index, self._member(index, value)) for index in range(len(self.codecs))])

    def _member(self, index: int, value: dict[str, Any]) -> Any:
        for name in self._read_names[index]:
            if name in value:
                return value[name]
        raise FieldValueError("missing in the key", f".{self.names[index]}")

    def _value(self, index: int, stored: Any) -> Any:
        codec = self.codecs[index]
        try:
            value = convert(stored, codec.type)
        except msgspec.ValidationError as error:
            raise FieldValueError(f"{error}: {bounded_repr(stored)}", f".{self.names[index]}") from None
        return codec.read(value) if codec.read else value

    def _encoded_under(self, version: Version, normal: tuple[Any, ...]) -> bytes | None:
        """Return the key under a schema of others, ``None`` if that cannot represent it."""
        try:
            encoding = encoded(version.id, version.schema, self._datum(version.schema, normal))
            # Only reading it back shows that nothing was cut off or left out.
            return encoding if self._values(decoded(version.id, version.schema, encoding)) == normal else None
        except Exception as error:  # noqa: BLE001 - whatever fastavro raises for a value that does not fit the schema
            pass_on(error)
            return None

    def _datum(self, schema: Any, normal: tuple[Any, ...]) -> Any:
        """Return the value that ``fastavro`` writes under ``schema``: a record, or that of the one field."""
        values = [str(value) if isinstance(value, UUID) else value for value in normal]
        if not isinstance(schema, dict) or schema["type"] != "record":
            (value,) = values
            return value
        named = {name: value for names, value in zip(self._read_names, values, strict=True) for name in names}
        return {field["name"]: named[field["name"]] for field in schema["fields"] if field["name"] in named}
