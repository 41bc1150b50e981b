"""Dataclasses declared as entities.

::

    @entity(topic="orders")
    @dataclass(frozen=True, slots=True)
    class Order:
        order_id: Annotated[int, Key]
        customer: str
        amount: Decimal

The class is not changed: :func:`model_of` gives what its declaration says. Docs: ``docs/types.md``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, overload

from statestore import naming
from statestore.errors import ConfigError
from statestore.fields import Field, Key, Record, read_record, type_name

__all__ = ["EntityModel", "Field", "Key", "entity", "model_of"]

T = TypeVar("T")
_ATTRIBUTE = "__statestore_entity__"


@dataclass(frozen=True, slots=True)
class EntityModel:
    """What an entity class says. Immutable."""

    record: Record
    """The class and its stored fields."""
    topic: str
    logical_name: str
    """Name of its store, for people: ``Order_Store``."""
    physical_name: str
    """Name of its store's directory: ``order_store``."""
    key_fields: tuple[Field, ...]
    """The fields of the key, in the class's order; empty for a class that can only be a stream."""
    value_fields: tuple[Field, ...]
    """The other fields, in the class's order."""

    @property
    def cls(self) -> type:
        """The entity class."""
        return self.record.cls

    @property
    def name(self) -> str:
        """The entity class's name, as messages show it."""
        return self.record.cls.__name__

    @property
    def serialisation(self) -> str:
        """How its stores are written: two models with different ones cannot read each other's stores."""
        return f"ordered({', '.join(type_name(field.type) for field in self.key_fields)}) msgpack"


@overload
def entity(
    cls: type[T],
    /,
    *,
    topic: str | None = None,
    store_name: str | None = None,
    physical_name: str | None = None,
) -> type[T]: ...


@overload
def entity(
    *,
    topic: str | None = None,
    store_name: str | None = None,
    physical_name: str | None = None,
) -> Callable[[type[T]], type[T]]: ...


def entity(
    cls: type[T] | None = None,
    /,
    *,
    topic: str | None = None,
    store_name: str | None = None,
    physical_name: str | None = None,
) -> type[T] | Callable[[type[T]], type[T]]:
    """Declare a dataclass as an entity.

    ``@entity(topic=…)`` stands over or under ``@dataclass``; ``entity(Cls, topic=…)`` declares from outside.
    ``topic`` is the Kafka topic that holds the entities. ``store_name`` replaces the logical name
    ``{Class}_Store``, ``physical_name`` the name of the store's directory (``[a-z0-9_]``).

    Returns the class itself. Raises ``ConfigError`` listing every fault of the declaration and the class;
    under ``@dataclass`` there are no fields to look at yet, so faults of theirs come with the first use.
    A subclass is not an entity unless declared itself. Declaring a class again in another way is an error.
    """

    def declare(cls: type[T]) -> type[T]:
        declaration = _Declaration(topic, store_name, physical_name)
        earlier = cls.__dict__.get(_ATTRIBUTE)
        if earlier is not None and earlier != declaration:
            raise ConfigError(
                f"{cls.__name__} is declared already, as {earlier}, now as {declaration}: declare it once"
            )
        if _is_dataclass(cls):
            declaration.model = _model(cls, declaration)
        setattr(cls, _ATTRIBUTE, declaration)
        return cls

    return declare if cls is None else declare(cls)


def model_of(cls: type) -> EntityModel:
    """Return the model of an entity class.

    Raises ``ConfigError`` if ``cls`` was not declared with :func:`entity`, or is declared with faults.
    """
    declaration: _Declaration | None = getattr(cls, "__dict__", {}).get(_ATTRIBUTE)
    if declaration is None:
        shown = getattr(cls, "__name__", repr(cls))
        raise ConfigError(
            f"{shown} is not declared as an entity: decorate the class with @entity(topic=…), or call "
            "entity(cls, topic=…); a subclass does not inherit its base's declaration"
        )
    # @dataclass(slots=True) over @entity replaces the class by a copy, which has the original's declaration.
    if declaration.model is None or declaration.model.cls is not cls:
        declaration.model = _model(cls, declaration)
    return declaration.model


@dataclass(slots=True)
class _Declaration:
    topic: str | None
    store_name: str | None
    physical_name: str | None
    model: EntityModel | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"topic={self.topic!r}, store_name={self.store_name!r}, physical_name={self.physical_name!r}"


def _is_dataclass(cls: type) -> bool:
    return "__dataclass_fields__" in cls.__dict__  # is_dataclass() would be true of a plain subclass, too


def _model(cls: type, declaration: _Declaration) -> EntityModel:
    faults: list[str] = []
    where = cls.__name__

    def named(check: Callable[[object], str], name: object) -> str:
        try:
            return check(name)
        except ConfigError as error:
            faults.extend(f"{where}: {fault}" for fault in error.faults)
            return ""

    topic = ""
    if declaration.topic is None:
        faults.append(f"{where}: no topic: write @entity(topic=…)")
    else:
        topic = named(naming.check_topic_name, declaration.topic)
    logical, physical = declaration.store_name, declaration.physical_name
    logical = naming.logical_name(where) if logical is None else named(naming.check_logical_name, logical)
    if physical is not None:
        physical = named(naming.check_physical_name, physical)
    elif logical:
        physical = named(naming.physical_name, logical)
    if inspect.isabstract(cls):
        names = ", ".join(sorted(vars(cls)["__abstractmethods__"]))
        faults.append(
            f"{where}: the class is abstract ({names}), so none of it can be made: declare its subclasses"
        )
    if _is_dataclass(cls):
        record = read_record(cls, faults)
    else:
        faults.append(f"{where}: not a dataclass: write @dataclass(frozen=True, slots=True) under @entity(…)")
        record = Record(cls, (), positional=False)
    if faults or physical is None:
        raise ConfigError(faults)
    return EntityModel(
        record,
        topic,
        logical,
        physical,
        tuple(field for field in record.fields if field.is_key),
        tuple(field for field in record.fields if not field.is_key),
    )
