"""Keys in Avro: of one field its own type, of several a record.

The id of a schema is part of a key's bytes, so one logical key has as many spellings as its subject has
schemas that can hold it. A store may have a row under each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec

from statestore.entity import EntityModel
from statestore.errors import DecodeError, EncodeError
from statestore.fields import FieldType, Scalar
from statestore.serde.avro.schema import key_schema
from statestore.serde.avro.subject import Subject, Version, decoded, encoded
from statestore.serde.avro.wiring import convert, wiring_of
from statestore.serde.formats import FormatContext, KeyPlan
from statestore.serde.misfit import MisfitError, show
from statestore.serde.wires import Convert

__all__ = ["AvroKeys"]


class AvroKeys:
    """A ``KeyCodec``, under the subject ``<topic>-key``. Any number of threads may share one."""

    def __init__(self, model: EntityModel, context: FormatContext) -> None:
        wiring = wiring_of(model)
        self._fields = model.key_fields
        self._names = [field.name for field in model.key_fields]
        self._wires = [wiring.wire(_without_length(field.type)) for field in model.key_fields]
        spelt = dict(
            zip([field.name for field in model.record.fields], wiring.spellings(model.record), strict=True)
        )
        self._spellings = [spelt[name] for name in self._names]
        self.subject = Subject(f"{model.topic}-key", key_schema(model, wiring), context)

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the key under our schema. Raises ``EncodeError``, ``RegistryError``."""
        return self.subject.encode(self._ours(values))

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values of a key. Raises ``DecodeError``, ``UnreachableRegistryError``."""
        try:
            return self._values(self.subject.decode(data))
        except MisfitError as misfit:
            raise DecodeError(
                f"{misfit.path.removeprefix('.')}: {misfit}" if misfit.path else str(misfit)
            ) from None

    def spellings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        """Return the key under each schema of the subject that can hold it, ours first.

        Raises ``EncodeError``; ``UnreachableRegistryError`` if the subject's schemas are not known yet.
        """
        normal, ours = self._normal(values), self._ours(values)
        spellings = [
            encoded(version.id, version.schema, ours) if version.is_ours else self._spelt(version, normal)
            for version in self.subject.versions()
        ]
        return [spelling for spelling in spellings if spelling is not None]

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        """Return a scan of all keys, which are filtered and sorted. Raises ``EncodeError``."""
        low, high, head = (None if given is None else self._normal(given) for given in (start, stop, prefix))

        def accepts(values: tuple[Any, ...]) -> bool:
            return (
                (low is None or values[: len(low)] >= low)
                and (high is None or values[: len(high)] < high)
                and (not head or _begins(values, head))
            )

        note = "full scan, filtered and sorted into key order"
        return KeyPlan([(None, None, None)], accepts, note)

    def _normal(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values of the leading key fields as they come back. Raises ``EncodeError``."""
        if len(values) > len(self._wires):
            raise EncodeError(f"expected at most {len(self._wires)} key values, got {len(values)}")
        return tuple(
            [self._step(wire.normal, index, values) for index, wire in enumerate(self._wires[: len(values)])]
        )

    def _ours(self, values: tuple[Any, ...]) -> Any:
        """Return the key as ``fastavro`` takes it for our schema. Raises ``EncodeError``."""
        if len(values) != len(self._wires):
            raise EncodeError(f"expected {len(self._wires)} key values, got {len(values)}")
        written = [self._step(wire.write, index, values) for index, wire in enumerate(self._wires)]
        if len(written) == 1:
            return written[0]
        return {field.wire_name: value for field, value in zip(self._fields, written, strict=True)}

    def _step(self, step: Convert, index: int, values: tuple[Any, ...]) -> Any:
        try:
            return step(values[index])
        except MisfitError as misfit:
            raise EncodeError(f"{self._names[index]}: {misfit}") from None

    def _values(self, value: Any) -> tuple[Any, ...]:
        """Return the key's values of what was read under any schema. Raises ``MisfitError``."""
        if not isinstance(value, dict):
            if len(self._wires) > 1:
                raise MisfitError(f"expected a record of {', '.join(self._names)}, got {show(value)}")
            return (self._value(0, value),)
        return tuple([self._value(index, self._member(index, value)) for index in range(len(self._wires))])

    def _member(self, index: int, value: dict[str, Any]) -> Any:
        for spelling in self._spellings[index]:
            if spelling in value:
                return value[spelling]
        raise MisfitError("missing in the key", f".{self._names[index]}")

    def _value(self, index: int, stored: Any) -> Any:
        wire = self._wires[index]
        try:
            value = convert(stored, wire.type)
        except msgspec.ValidationError as error:
            raise MisfitError(f"{error}: {show(stored)}", f".{self._names[index]}") from None
        return wire.read(value) if wire.read else value

    def _spelt(self, version: Version, normal: tuple[Any, ...]) -> bytes | None:
        """Return the key under a schema that is not ours, ``None`` where that cannot hold it."""
        try:
            spelling = encoded(version.id, version.schema, self._datum(version.schema, normal))
            # Only this tells that nothing was cut off or left out.
            return spelling if self._values(decoded(version.id, version.schema, spelling)) == normal else None
        except Exception:  # noqa: BLE001 - whatever fastavro raises for a value that is not of the schema
            return None

    def _datum(self, schema: Any, normal: tuple[Any, ...]) -> Any:
        """Return the key as ``fastavro`` takes it for ``schema``: what is not a record is its one field."""
        values = [str(value) if isinstance(value, UUID) else value for value in normal]
        if not isinstance(schema, dict) or schema["type"] != "record":
            (value,) = values
            return value
        named = {
            spelling: value
            for spellings, value in zip(self._spellings, values, strict=True)
            for spelling in spellings
        }
        return {field["name"]: named[field["name"]] for field in schema["fields"] if field["name"] in named}


def _begins(values: tuple[Any, ...], head: tuple[Any, ...]) -> bool:
    # As with ordered keys: text may go on behind a prefix.
    if len(head) == len(values) and isinstance(head[-1], str | bytes):
        return bool(values[:-1] == head[:-1] and values[-1].startswith(head[-1]))
    return values[: len(head)] == head


def _without_length(type_: FieldType) -> FieldType:
    """Return a key's type as it is read: what is too long is refused where it is written."""
    return replace(type_, max_length=None) if isinstance(type_, Scalar) else type_
