"""Dataclasses declared as entities: ``@entity`` and the :class:`EntityModel` that it makes of a class."""

from statestore.entity.arguments import EntityArguments, TopicSpec
from statestore.entity.declaration import declared_classes, deferred_faults, entity, location_of, model_of
from statestore.entity.model import EntityModel
from statestore.fields.attributes import Key
from statestore.fields.types import Field

__all__ = [
    "EntityArguments",
    "EntityModel",
    "Field",
    "Key",
    "TopicSpec",
    "deferred_faults",
    "declared_classes",
    "entity",
    "location_of",
    "model_of",
]
