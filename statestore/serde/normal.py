"""Entities as they come back: :func:`normalise`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

from statestore.entity import model_of
from statestore.errors import EncodeError
from statestore.fields.types import Scalar
from statestore.serde.formats import FormatContext, key_codec, value_codec
from statestore.serde.misfit import MisfitError
from statestore.serde.scalars import normal
from statestore.serde.wires import builder

T = TypeVar("T")


def normalise(entity: T) -> T:
    """Return ``entity`` as it is when it has been written and read again.

    Its times are in UTC and of the precision that its formats store, its decimals padded to the declared
    scale, a ``Float32`` is rounded, an ``Ignored`` field has its default; see the table in ``docs/types.md``.
    What is normal stays as it is. Raises ``EncodeError`` for what cannot be written, ``ConfigError`` if the
    class is not declared as an entity.
    """
    cls: type = type(entity)
    return cast("T", _normaliser(cls)(entity))


@lru_cache(maxsize=256)
def _normaliser(cls: type) -> Callable[[Any], Any]:
    model = model_of(cls)
    fields = model.record.fields
    values_of = value_codec(model, FormatContext()).normal
    build = builder(model.record)
    keys = [
        (i, normal(field.type))
        for i, field in enumerate(fields)
        if field.is_key and isinstance(field.type, Scalar)
    ]
    normal_key = key_codec(model, FormatContext()).normal if keys else tuple

    def convert(entity: Any) -> Any:
        try:
            values = values_of(entity)
            for index, kept in keys:
                values[index] = kept(getattr(entity, fields[index].name))
            key = normal_key(tuple([values[index] for index, _ in keys]))
            for (index, _), value in zip(keys, key, strict=True):
                values[index] = value
        except MisfitError as misfit:
            raise EncodeError(f"{model.name}{misfit.path}: {misfit}") from None
        except EncodeError as error:
            raise EncodeError(f"{model.name}: {error}") from None
        return build(values)

    return convert
