"""What key formats share: :class:`FieldwiseKeys`, where bytes do not sort as values; :class:`NoKeys`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from statestore.entity import EntityModel
from statestore.errors import EncodeError
from statestore.fields.types import FieldType, Scalar
from statestore.runtime.text import bounded_repr
from statestore.serde.field_codecs import Convert, TypeMapping
from statestore.serde.formats import FieldValueError, KeyPlan

Values = tuple[Any, ...]


class FieldwiseKeys:
    """The part of a ``KeyCodec`` that checks, normalises and compares the values of the key fields."""

    def __init__(self, model: EntityModel, mapping: TypeMapping) -> None:
        self.names = [field.name for field in model.key_fields]
        self.codecs = [mapping.codec(_without_length(field.type)) for field in model.key_fields]
        self._normalisers = [codec.normalise for codec in self.codecs]
        self._writers = [codec.write for codec in self.codecs]

    def normalise(self, values: Values) -> Values:
        """Return the normalised values of a key. Raises ``EncodeError``."""
        return self._whole(self._normalisers, values)

    def written(self, values: Values) -> Values:
        """Return the values of a key as the format's encoder takes them. Raises ``EncodeError``."""
        return self._whole(self._writers, values)

    def plan(self, start: Values | None, stop: Values | None, prefix: Values | None) -> KeyPlan:
        """Return the plan for a range: a scan of all keys. Raises ``EncodeError``."""
        first, end, begin = (
            None if one is None else self._leading(self._normalisers, one) for one in (start, stop, prefix)
        )

        def accepts(key: Values) -> bool:
            return (
                (first is None or key[: len(first)] >= first)
                and (end is None or key[: len(end)] < end)
                and (not begin or _begins(key, begin))
            )

        return KeyPlan([(None, None, None)], accepts, "full scan, filtered and sorted into key order")

    def _whole(self, converts: Sequence[Convert], values: Values) -> Values:
        if len(values) < len(converts):
            raise self._wrong_count(values)
        return self._leading(converts, values)

    def _leading(self, converts: Sequence[Convert], values: Values) -> Values:
        if len(values) > len(converts):
            raise self._wrong_count(values)
        converted = []
        for name, convert, value in zip(self.names, converts, values, strict=False):
            try:
                converted.append(convert(value))
            except FieldValueError as fault:
                raise EncodeError(f"{name}: {fault}") from None
        return tuple(converted)

    def _wrong_count(self, values: Values) -> EncodeError:
        return EncodeError(
            f"the key is ({', '.join(self.names)}), got {len(values)} values: {bounded_repr(values)}"
        )


def _begins(key: Values, prefix: Values) -> bool:
    # As with ordered keys, the last text may continue after the prefix.
    if len(prefix) == len(key) and isinstance(prefix[-1], str | bytes):
        return bool(key[:-1] == prefix[:-1] and key[-1].startswith(prefix[-1]))
    return key[: len(prefix)] == prefix


def _without_length(type_: FieldType) -> FieldType:
    """Return the type of a key to look up. It may be longer than a key that is written."""
    return replace(type_, max_length=None) if isinstance(type_, Scalar) else type_


class NoKeys:
    """The ``KeyCodec`` of a class without key fields, a stream: keys are ignored, and nothing is written."""

    def encode(self, values: tuple[Any, ...]) -> bytes:  # noqa: ARG002 - there are none
        return b""

    def decode(self, data: bytes) -> tuple[Any, ...]:  # noqa: ARG002 - ignored
        return ()

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return (self.encode(values),)

    def plan(
        self,
        start: tuple[Any, ...] | None,  # noqa: ARG002
        stop: tuple[Any, ...] | None,  # noqa: ARG002
        prefix: tuple[Any, ...] | None,  # noqa: ARG002
    ) -> KeyPlan:
        return KeyPlan([(None, None, None)], None, "all records: a stream has no keys")
