"""Dataclasses declared as entities.

::

    @entity(topic="orders")
    @dataclass(frozen=True, slots=True)
    class Order:
        order_id: Annotated[int, Key]
        customer: str
        amount: Decimal

The class is not changed: :func:`model_of` gives what its declaration says. Docs: ``docs/entities.md``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar, Unpack, cast, overload

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs it of Python before 3.12

from statestore import naming
from statestore.attributes import Key
from statestore.errors import ConfigError
from statestore.fields import Field, Record, type_name
from statestore.records import read_record
from statestore.schema import schema
from statestore.settings import OnUndecodable

__all__ = ["Declared", "EntityModel", "Field", "Key", "TopicSpec", "entity", "model_of"]

T = TypeVar("T")
_ATTRIBUTE = "__statestore_entity__"

Kind = Literal["table", "stream"]
Compaction = Literal["compact", "delete", "compact,delete"]


class Declared(TypedDict, total=False):
    """What :func:`entity` takes. Each has a default, but for the topic."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)  # type: ignore[misc]

    topic: str
    """The Kafka topic that holds the entities."""
    store_name: str
    """Replaces the logical name of the store, ``{Class}_Store``."""
    physical_name: str
    """Replaces the name of the store's directory (``[a-z0-9_]``)."""
    kind: Kind
    """A table has a key and keeps the latest row of each; a stream is read as it was written. Inferred: a
    class with a key is a table."""
    key_format: str
    """``"ordered"`` (default), ``"kafka"``, ``"json"``, ``"avro"``, ``"raw"`` or one of a third party."""
    value_format: str
    """``"msgpack"`` (default), ``"json"``, ``"avro"``, ``"raw"`` or one of a third party."""
    ksql: bool
    """Whether ksqlDB reads or writes the topic: names are upper case, JSON is its dialect. False."""
    partitions: int
    """Of the topic, where we create it: 1."""
    replication: int
    """Copies of each partition, where we create the topic: 1."""
    compaction: Compaction
    """``cleanup.policy`` of the topic, where we create it: ``"compact"`` for a table, else ``"delete"``."""
    retention: timedelta | int | float
    """``retention.ms`` of the topic, where we create it, in seconds or as a ``timedelta``; the broker's
    default."""
    config: Mapping[str, str | int | float | bool]
    """Any other property of the topic, where we create it."""
    cache: bool
    """Whether the store is kept on disk. False: in memory only, and read anew from Kafka at each start."""
    cache_reason: str
    """Why ``cache=False``: shown in the warning about it and in ``health``."""
    on_undecodable: OnUndecodable
    """What to do with a record that does not decode: ``"raise"`` when it is read (default), ``"fail"`` the
    table, or ``"skip"`` it, counted; the last two decode each record before it is applied."""


_DECLARED: TypeAdapter[Declared] = TypeAdapter(Declared)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is to be created."""

    partitions: int = 1
    replication: int = 1
    cleanup_policy: Compaction = "compact"
    retention: timedelta | None = None
    """``None``: the broker's default."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Any other property, as Kafka writes it."""


@dataclass(frozen=True, slots=True)
class EntityModel:
    """What an entity class says. Immutable."""

    record: Record
    """The class and its stored fields."""
    kind: Kind
    topic: str
    topic_spec: TopicSpec
    logical_name: str
    """Name of its store, for people: ``Order_Store``."""
    physical_name: str
    """Name of its store's directory: ``order_store``."""
    key_fields: tuple[Field, ...]
    """The fields of the key, in the class's order; empty for a class that can only be a stream."""
    value_fields: tuple[Field, ...]
    """The other stored fields, in the class's order."""
    event_time: Field | None
    """The field that says when it happened; ``None``: the record's timestamp does."""
    key_format: str
    value_format: str
    ksql: bool
    on_undecodable: OnUndecodable
    cache: bool
    cache_reason: str | None
    stated: frozenset[str]
    """The arguments of :func:`entity` that the declaration gives; the rest is by default."""
    location: str
    """Where the class is defined: ``file:line``."""

    @property
    def cls(self) -> type:
        """The entity class."""
        return self.record.cls

    @property
    def name(self) -> str:
        """The entity class's name, as messages show it."""
        return self.record.cls.__name__

    @property
    def schema(self) -> dict[str, Any]:
        """Its fields, as a store keeps them to know a later class: :mod:`statestore.schema`."""
        return schema(self.key_format, self.key_fields, self.value_fields)

    @property
    def serialisation(self) -> str:
        """How its stores are written: two models with different ones cannot read each other's stores."""
        types = ", ".join(type_name(field.type) for field in self.key_fields)
        return f"{self.key_format}({types}) {self.value_format}"


@overload
def entity(cls: type[T], /, **declared: Unpack[Declared]) -> type[T]: ...


@overload
def entity(**declared: Unpack[Declared]) -> Callable[[type[T]], type[T]]: ...


def entity(
    cls: type[T] | None = None, /, **declared: Unpack[Declared]
) -> type[T] | Callable[[type[T]], type[T]]:
    """Declare a dataclass as an entity.

    ``@entity(topic=…)`` stands over or under ``@dataclass``; ``entity(Cls, topic=…)`` declares from outside.
    :class:`Declared` says what can be given.

    Returns the class itself. Raises ``ConfigError`` listing every fault of the declaration and the class;
    under ``@dataclass`` there are no fields to look at yet, so faults of theirs come with the first use.
    A subclass is not an entity unless declared itself. Declaring a class again in another way is an error.
    """

    def declare(cls: type[T]) -> type[T]:
        declaration = _Declaration(declared, _location())
        earlier: _Declaration | None = cls.__dict__.get(_ATTRIBUTE)
        if earlier is not None and earlier.declared != declared:
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
    declared: Declared
    location: str
    model: EntityModel | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.declared.items())


def _location() -> str:
    """Return where a class is being declared: the first frame outside this module."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `inspect.stack` reads, without reading source files
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_dataclass(cls: type) -> bool:
    return "__dataclass_fields__" in cls.__dict__  # is_dataclass() would be true of a plain subclass, too


def _model(cls: type, declaration: _Declaration) -> EntityModel:
    faults: list[str] = []
    where = cls.__name__
    declared = _checked(declaration.declared, where, faults)

    def named(check: Callable[[object], str], name: object) -> str:
        try:
            return check(name)
        except ConfigError as error:
            faults.extend(f"{where}: {fault}" for fault in error.faults)
            return ""

    topic = ""
    if "topic" in declared:
        topic = named(naming.check_topic_name, declared["topic"])
    elif "topic" not in declaration.declared:
        faults.append(f"{where}: no topic: write @entity(topic=…)")
    logical = named(naming.check_logical_name, declared.get("store_name", naming.logical_name(where)))
    if "physical_name" in declared:
        physical = named(naming.check_physical_name, declared["physical_name"])
    else:
        physical = named(naming.physical_name, logical) if logical else ""
    if inspect.isabstract(cls):
        names = ", ".join(sorted(vars(cls)["__abstractmethods__"]))
        faults.append(
            f"{where}: the class is abstract ({names}), so none of it can be made: declare its subclasses"
        )
    if _is_dataclass(cls):
        record = read_record(cls, faults, [], upper_case=declared.get("ksql", False))
    else:
        faults.append(f"{where}: not a dataclass: write @dataclass(frozen=True, slots=True) under @entity(…)")
        record = Record(cls, (), positional=False)
    has_key = any(field.is_key for field in record.fields)
    kind = declared.get("kind", "table" if has_key else "stream")
    if kind == "table" and not has_key and not faults:
        faults.append(f"{where}: a table needs a key field: mark one with Annotated[…, Key]")
    if faults:
        raise ConfigError(faults)
    return EntityModel(
        record,
        kind,
        topic,
        _topic_spec(declared, kind),
        logical,
        physical,
        tuple(field for field in record.fields if field.is_key),
        tuple(field for field in record.fields if not field.is_key and field.window is None),
        next((field for field in record.fields if field.is_event_time), None),
        declared.get("key_format", "ordered"),
        declared.get("value_format", "msgpack"),
        declared.get("ksql", False),
        declared.get("on_undecodable", "raise"),
        declared.get("cache", True),
        declared.get("cache_reason"),
        frozenset(declared),
        declaration.location,
    )


def _checked(declared: Declared, where: str, faults: list[str]) -> Declared:
    """Return what of ``declared`` is of the right types, and note the faults of the rest."""
    if "cache_reason" in declared and declared.get("cache", True):
        faults.append(
            f"{where}: cache_reason={declared['cache_reason']!r} has no meaning without cache=False"
        )
    try:
        return _DECLARED.validate_python(declared)
    except ValidationError as error:
        found = error.errors(include_url=False)
    faults += [
        f"{where}: {'.'.join(map(str, fault['loc']))}={fault['input']!r}: {fault['msg']}" for fault in found
    ]
    wrong = {fault["loc"][0] for fault in found}
    return cast("Declared", {name: value for name, value in declared.items() if name not in wrong})


def _topic_spec(declared: Declared, kind: Kind) -> TopicSpec:
    retention: Any = declared.get("retention")
    if isinstance(retention, int | float):
        retention = timedelta(seconds=retention)
    config = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in declared.get("config", {}).items()
    }
    return TopicSpec(
        declared.get("partitions", 1),
        declared.get("replication", 1),
        declared.get("compaction", "compact" if kind == "table" else "delete"),
        retention,
        config,
    )
