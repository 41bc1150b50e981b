"""Avro in Confluent's wire format: a zero byte, the schema's id in four bytes, the data.

Docs: ``docs/avro.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statestore.entity import EntityModel
from statestore.errors import ConfigError
from statestore.serde.formats import FormatContext

if TYPE_CHECKING:
    from statestore.serde.avro.keys import AvroKeys
    from statestore.serde.avro.values import AvroValues

__all__ = ["key_codec", "value_codec"]


def value_codec(model: EntityModel, context: FormatContext) -> AvroValues:
    """Return the codec of values. Raises ``ConfigError``, also if the extra ``avro`` is not installed."""
    try:
        from statestore.serde.avro.values import AvroValues
    except ImportError as error:
        raise _missing(model, error) from error
    return AvroValues(model, context)


def key_codec(model: EntityModel, context: FormatContext) -> AvroKeys:
    """Return the codec of keys. Raises ``ConfigError``, also if the extra ``avro`` is not installed."""
    try:
        from statestore.serde.avro.keys import AvroKeys
    except ImportError as error:
        raise _missing(model, error) from error
    return AvroKeys(model, context)


def _missing(model: EntityModel, error: ImportError) -> ConfigError:
    return ConfigError(
        f"{model.name}: Avro needs {error.name}: install the extra, pip install 'statestore[avro]'"
    )
