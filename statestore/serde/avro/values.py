"""Values in Avro: a record of the fields that are not of the key."""

from __future__ import annotations

from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.serde.avro.schema import value_schema
from statestore.serde.avro.subject import Subject
from statestore.serde.avro.wiring import convert, wiring_of
from statestore.serde.formats import FormatContext
from statestore.serde.misfit import MisfitError
from statestore.serde.structs import explain
from statestore.serde.wires import RecordWalk

__all__ = ["AvroValues"]


class AvroValues:
    """A ``ValueCodec``, under the subject ``<topic>-value``. Any number of threads may share one."""

    def __init__(self, model: EntityModel, context: FormatContext) -> None:
        self._wiring = wiring_of(model)
        outside = [field.name for field in model.key_fields]
        self._walk = RecordWalk(model.record, self._wiring, outside=outside)
        self.subject = Subject(f"{model.topic}-value", value_schema(model, self._wiring), context)
        self._key_names = {
            spelling: index
            for index, (field, spellings) in enumerate(
                zip(model.record.fields, self._walk.spellings, strict=True)
            )
            if field.is_key
            for spelling in spellings
        }

    def prepare(self) -> None:
        """Get the id of our schema. Raises ``RegistryError``."""
        self.subject.own_id()

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``MisfitError``, ``RegistryError``."""
        return self.subject.encode(self._walk.write(entity))

    def normal(self, entity: Any) -> list[Any]:
        """Return the values of all fields as they come back, in their order. Raises ``MisfitError``."""
        return self._walk.normal(entity)

    def decode(self, payload: bytes) -> list[Any]:
        """Return the values of all fields in their order, ``ABSENT`` for a key field that is not there.

        A key field of another type is given as it is. Raises ``MisfitError``, ``UnreachableRegistryError``.
        """
        value = self.subject.decode(payload)
        keys = self._taken_keys(value) if isinstance(value, dict) else {}
        try:
            values = self._walk.values(convert(value, self._walk.struct))
        except msgspec.ValidationError as error:
            raise explain(error, self._walk.record, self._wiring, value) from None
        for index, stored in keys.items():
            values[index] = self._key_field(index, stored)
        return values

    def _taken_keys(self, value: dict[str, Any]) -> dict[int, Any]:
        """Take the key fields out of ``value``, which the rest is read without."""
        return {index: value.pop(name) for name, index in self._key_names.items() if name in value}

    def _key_field(self, index: int, stored: Any) -> Any:
        wire = self._walk.wires[index]
        try:
            value = convert(stored, wire.type)
            return wire.read(value) if wire.read else value
        except (msgspec.ValidationError, MisfitError):
            return stored
