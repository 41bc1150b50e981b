"""Dataclasses declared as entities: ``@entity`` and the :class:`EntityModel` of a class.

A file imports only from files above it::

    arguments.py     the arguments of @entity, and the check of their types
    indexes.py       secondary indexes: their fields
    windowed.py      windowed entities: their windows, their source, their aggregates
    model.py         EntityModel: arguments and fields in one value, with every fault and warning
    declaration.py   @entity, and the declared classes
"""

from statestore.entity.arguments import EntityArguments, TopicSpec
from statestore.entity.declaration import (
    declared_classes,
    deferred_faults,
    entity,
    entity_of,
    is_alias,
    location_of,
    model_of,
)
from statestore.entity.model import EntityModel, WindowKeyForm
from statestore.fields.attributes import Key
from statestore.fields.types import Field

__all__ = [
    "EntityArguments",
    "EntityModel",
    "Field",
    "Key",
    "TopicSpec",
    "WindowKeyForm",
    "deferred_faults",
    "declared_classes",
    "entity",
    "entity_of",
    "is_alias",
    "location_of",
    "model_of",
]
