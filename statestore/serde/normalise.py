""":func:`normalise`: an entity as it is read back."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

from statestore.entity import model_of
from statestore.errors import EncodeError
from statestore.fields.types import Scalar
from statestore.serde.field_codecs import builder
from statestore.serde.formats import FieldValueError, FormatContext, key_codec, value_codec
from statestore.serde.scalars import normaliser

T = TypeVar("T")


def normalise(entity: T) -> T:
    """Return ``entity`` as it is after it was written and read back.

    Times are in UTC, with the precision that the formats store. Decimals are padded to their declared scale,
    a ``Float32`` is rounded, and an ``Ignored`` field has its default; see the table in ``docs/types.md``.
    Normalising twice changes nothing more. Raises ``EncodeError`` for an entity that cannot be written,
    ``ConfigError`` if its class is not declared as an entity.
    """
    cls: type = type(entity)
    return cast("T", _normaliser(cls)(entity))


@lru_cache(maxsize=256)
def _normaliser(cls: type) -> Callable[[Any], Any]:
    model = model_of(cls)
    fields = model.record_type.fields
    values_of = value_codec(model, FormatContext()).normalise
    build = builder(model.record_type)
    keys = [
        (i, normaliser(field.type))
        for i, field in enumerate(fields)
        if field.is_key and isinstance(field.type, Scalar)
    ]
    normalise_keys = key_codec(model, FormatContext()).normalise if keys else tuple

    def convert(entity: Any) -> Any:
        try:
            values = values_of(entity)
            for index, normalise_key in keys:
                values[index] = normalise_key(getattr(entity, fields[index].name))
            key = normalise_keys(tuple([values[index] for index, _ in keys]))
            for (index, _), value in zip(keys, key, strict=True):
                values[index] = value
        except FieldValueError as fault:
            raise EncodeError(f"{model.name}{fault.path}: {fault}") from None
        except EncodeError as error:
            raise EncodeError(f"{model.name}: {error}") from None
        return build(values)

    return convert
