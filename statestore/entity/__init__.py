"""Dataclasses declared as entities: ``@entity`` and the :class:`EntityModel` that it makes of a class."""

from statestore.entity.declaration import collecting, declared_classes, entity, location_of, model_of
from statestore.entity.declared import Declared, TopicSpec
from statestore.entity.models import EntityModel
from statestore.fields.attributes import Key
from statestore.fields.types import Field

__all__ = [
    "Declared",
    "EntityModel",
    "Field",
    "Key",
    "TopicSpec",
    "collecting",
    "declared_classes",
    "entity",
    "location_of",
    "model_of",
]
