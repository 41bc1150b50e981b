"""Values in Avro: a record of the value fields."""

from __future__ import annotations

from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.serde.avro.mapping import convert, type_mapping
from statestore.serde.avro.schema import value_schema
from statestore.serde.avro.subject import Subject
from statestore.serde.field_codecs import RecordCodec
from statestore.serde.formats import FieldValueError, FormatContext
from statestore.serde.structs import explain

__all__ = ["AvroValues"]


class AvroValues:
    """A ``ValueCodec``, under the subject ``<topic>-value``. Any number of threads may share one."""

    def __init__(self, model: EntityModel, context: FormatContext) -> None:
        self._mapping = type_mapping(model)
        outside = [field.name for field in model.key_fields]
        event_time = None if model.event_time is None else model.event_time.name
        self._record = RecordCodec(
            model.record_type, self._mapping, outside, event_time, writes_all=model.key_in_value
        )
        self.subject = Subject(f"{model.topic}-value", value_schema(model, self._mapping), context)
        self._key_names = {
            name: index
            for index, (field, names) in enumerate(
                zip(model.record_type.fields, self._record.names, strict=True)
            )
            if field.is_key
            for name in names
        }

    def prepare(self) -> None:
        """Ask for the id of our schema. Raises ``RegistryError``."""
        self.subject.own_id()

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``FieldValueError``, ``RegistryError``."""
        return self.subject.encode(self._record.write(entity))

    def normalise(self, entity: Any) -> list[Any]:
        """Return the normalised values of all fields, in their order. Raises ``FieldValueError``."""
        return self._record.normalise(entity)

    def decode(self, payload: bytes) -> list[Any]:
        """Return the values of all fields in their order, ``ABSENT`` for a key field that is not there.

        A key field whose value is not of its type is returned as it was read. Raises ``FieldValueError``,
        ``UnreachableRegistryError``.
        """
        value = self.subject.decode(payload)
        keys = self._taken_keys(value) if isinstance(value, dict) else {}
        try:
            values = self._record.values(convert(value, self._record.struct))
        except msgspec.ValidationError as error:
            raise explain(error, self._record.record_type, self._mapping, value) from None
        for index, stored in keys.items():
            values[index] = self._key_field(index, stored)
        return values

    def _taken_keys(self, value: dict[str, Any]) -> dict[int, Any]:
        """Remove the key fields from ``value`` and return them by index."""
        return {index: value.pop(name) for name, index in self._key_names.items() if name in value}

    def _key_field(self, index: int, stored: Any) -> Any:
        codec = self._record.codecs[index]
        try:
            value = convert(stored, codec.type)
            return codec.read(value) if codec.read else value
        except (msgspec.ValidationError, FieldValueError):
            return stored
