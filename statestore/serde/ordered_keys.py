"""``key_format="ordered"``: bytes sort as the values do, so a range of keys is a range of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statestore import core
from statestore.entity import EntityModel
from statestore.fields.types import type_name
from statestore.serde.formats import FormatContext, KeyPlan


class OrderedKeys:
    """A ``KeyCodec`` on :class:`statestore.core.KeyCodec`; ``kinds`` are the types of the key fields."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.native = core.KeyCodec(kinds)
        self.encode = self.native.encode
        self.decode = self.native.decode

    def normalise(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.decode(self.encode(values))

    def encodings(self, values: tuple[Any, ...]) -> Sequence[bytes]:
        return (self.encode(values),)

    def plan(
        self, start: tuple[Any, ...] | None, stop: tuple[Any, ...] | None, prefix: tuple[Any, ...] | None
    ) -> KeyPlan:
        first, end, begin = (
            None if one is None else self.native.encode_prefix(one) for one in (start, stop, prefix)
        )
        return KeyPlan([(first, end, begin)], None, "one seek, in key order")


def ordered_keys(model: EntityModel, _context: FormatContext) -> OrderedKeys:
    """Return the codec of ``key_format="ordered"`` for a class, with any number of key fields."""
    return OrderedKeys([type_name(field.type).lower() for field in model.key_fields])
