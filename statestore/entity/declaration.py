"""Dataclasses declared as entities.

::

    @entity(topic="orders")
    @dataclass(frozen=True, slots=True)
    class Order:
        order_id: Annotated[int, Key]
        customer: str
        amount: Decimal

The class is not changed: :func:`model_of` returns its model. Docs: ``docs/entities.md``.
"""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar, Unpack, overload

from statestore.entity.arguments import EntityArguments, Validation
from statestore.entity.indexes import same_arguments
from statestore.entity.model import EntityModel, build_model, is_dataclass
from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr
from statestore.runtime.weak import Living

T = TypeVar("T")
_ATTRIBUTE = "__statestore_entity__"
_MOST_NAMES = 20

_logger = logging.getLogger("statestore.entity")


@overload
def entity(cls: type[T], /, **arguments: Unpack[EntityArguments]) -> type[T]: ...


@overload
def entity(**arguments: Unpack[EntityArguments]) -> Callable[[type[T]], type[T]]: ...


def entity(
    cls: type[T] | None = None, /, **arguments: Unpack[EntityArguments]
) -> type[T] | Callable[[type[T]], type[T]]:
    """Declare a dataclass as an entity.

    ``@entity(topic=…)`` may stand above or below ``@dataclass``; ``entity(Cls, topic=…)`` declares a class
    that exists already. :class:`EntityArguments` lists the arguments.

    Returns the class itself. Raises ``ConfigError`` with every fault of the declaration and the class. Below
    ``@dataclass`` the fields are not known yet, so their faults are raised at the first use. A subclass is
    not an entity unless it is declared itself. Declaring a class twice in different ways is an error.
    Declarations that are probably not intended are logged as warnings of ``statestore.entity``.
    """

    def declare(cls: type[T]) -> type[T]:
        declaration = _Declaration(arguments, _location(), weakref.ref(cls), cls.__module__, cls.__qualname__)
        earlier = _declaration(cls)
        if earlier is not None:
            if not same_arguments(earlier.arguments, arguments):
                fault = (
                    f"{cls.__name__} is declared twice, first with {earlier}, now with {declaration}: "
                    "declare it once"
                )
                if _collected.get() is None:
                    raise ConfigError(fault)
                earlier.conflicts.append(fault)
                earlier.model = None
            return cls
        if is_dataclass(cls):
            try:
                declaration.build(cls)
            except ConfigError:
                if _collected.get() is None:
                    raise
        setattr(cls, _ATTRIBUTE, declaration)
        _declarations.add(declaration)
        return cls

    return declare if cls is None else declare(cls)


def model_of(cls: type) -> EntityModel:
    """Return the model of an entity class.

    Raises ``ConfigError`` if ``cls`` is not declared with :func:`entity`, or if its declaration has faults.
    """
    declaration = _declaration(cls)
    if declaration is None:
        if not isinstance(cls, type) and _declaration(type(cls)) is not None:
            raise ConfigError(f"{bounded_repr(cls)} is an entity, not a class: give {type(cls).__name__}")
        shown = getattr(cls, "__name__", None) or bounded_repr(cls)
        known = sorted({one.qualname.rpartition(".")[2] for one in _declarations})
        more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
        raise ConfigError(
            f"{shown} is not declared as an entity: decorate the class with @entity(topic=…), or call "
            "entity(cls, topic=…); a subclass does not inherit the declaration of its base. Declared "
            f"entities: {', '.join(known[:_MOST_NAMES]) or 'none'}{more}"
        )
    # @dataclass(slots=True) over @entity replaces the class by a copy, which has the original's declaration.
    if declaration.model is None or declaration.model.cls is not cls:
        return declaration.build(cls)
    return declaration.model


def is_alias(cls: object, of: type) -> bool:
    """Whether ``cls`` is another name of a class: a subclass without fields, and no entity itself."""
    return (
        isinstance(cls, type)
        and cls.__mro__[1:2] == (of,)
        and _declaration(cls) is None
        and not inspect.get_annotations(cls)
    )


def entity_of(cls: type) -> type:
    """Return the entity class of which ``cls`` is an alias, in a query; all other classes as they are."""
    base = getattr(cls, "__base__", None)
    return base if base is not None and _declaration(base) is not None and is_alias(cls, base) else cls


def location_of(cls: type) -> str:
    """Return where ``cls`` is declared, as ``file:line``; ``""`` if it is not."""
    declaration = _declaration(cls)
    return "" if declaration is None else declaration.location


def declared_classes() -> list[type]:
    """Return all declared entity classes, by file and line.

    A class declared below ``@dataclass(slots=True)`` inside a function is known after its first use.
    """
    found = {declaration.cls() for declaration in _declarations}
    return sorted((cls for cls in found if cls is not None), key=lambda cls: _place(location_of(cls)))


@contextmanager
def deferred_faults(validation: Validation | None = None) -> Iterator[None]:
    """In this context no declaration raises: its faults are raised at the first use of the class.

    ``validation`` replaces the argument of that name of all classes. Nothing is logged.
    """
    token = _collected.set(_Collected(validation))
    try:
        yield
    finally:
        _collected.reset(token)


@dataclass(frozen=True, slots=True)
class _Collected:
    validation: Validation | None


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Declaration:
    arguments: EntityArguments
    location: str
    original: weakref.ref[type]
    module: str
    qualname: str
    model: EntityModel | None = None
    conflicts: list[str] = field(default_factory=list)
    """Faults: declarations of the same class at other places that differ."""

    def __str__(self) -> str:
        return (
            ", ".join(f"{name}={bounded_repr(value)}" for name, value in self.arguments.items()) or "nothing"
        )

    def build(self, cls: type) -> EntityModel:
        collected = _collected.get()
        validation = self.arguments.get("validation", "strict")
        if collected is not None and collected.validation is not None:
            validation = collected.validation
        self.model = None
        try:
            model = build_model(cls, self.arguments, self.location, model_of, relaxed=validation == "relaxed")
        except ConfigError as error:
            raise ConfigError([*self.conflicts, *error.faults]) from None
        if self.conflicts:
            raise ConfigError(self.conflicts)
        if collected is None:
            for warning in model.warnings:
                _logger.warning("%s: %s", self.location, warning)
        self.model = model
        return model

    def cls(self) -> type | None:
        """Return the class, which may be a copy of the decorated one; ``None`` if it cannot be found."""
        if self.model is not None:
            return self.model.cls
        found: object = sys.modules.get(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name, None)
        if isinstance(found, type) and _declaration(found) is self:
            return found
        original = self.original()
        return original if original is not None and is_dataclass(original) else None


_declarations: Living[_Declaration] = Living()
_collected: ContextVar[_Collected | None] = ContextVar("statestore_collected", default=None)


def _declaration(cls: type) -> _Declaration | None:
    found: _Declaration | None = getattr(cls, "__dict__", {}).get(_ATTRIBUTE)
    return found


def _location() -> str:
    """Return where a class is being declared: the first frame outside this module."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `inspect.stack` reads, without reading source files
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _place(location: str) -> tuple[str, int]:
    file, _, line = location.rpartition(":")
    return file, int(line or 0)
