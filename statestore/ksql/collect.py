"""The statements of a program: of the entities and queries that its modules declare."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from statestore.entity import declared_classes, location_of, model_of
from statestore.errors import ConfigError, KsqlError
from statestore.ksql.bars import statements
from statestore.ksql.persistent import PersistentQuery
from statestore.ksql.statements import Statement
from statestore.runtime.text import bounded_repr


@dataclass(frozen=True, slots=True)
class Declared:
    """An entity class or a query of a module, and its statements."""

    name: str
    """As messages show it."""
    location: str
    """``file:line``."""
    statements: tuple[Statement, ...]
    is_query: bool


def collect(modules: Iterable[ModuleType | str]) -> tuple[Statement, ...]:
    """Return the statements of all entities with ``ksql=True`` and all queries that modules declare.

    Queries are :class:`PersistentQuery` values with a name of the module. A class that a query makes
    (``into=``) has no statement of its own, and what is declared twice has one. What is read comes first,
    otherwise the order is that of the modules. Raises ``KsqlError`` with the faults of all, for two of one
    name, and for those that read each other in a circle.
    """
    found, faults = declared_in(_checked(modules))
    if faults:
        raise KsqlError([f"{fault} ({location})" if location else fault for location, fault in faults])
    return ordered([one for each in found for one in each.statements])


def _checked(modules: object) -> list[ModuleType | str]:
    """Return what are modules or their names. Raises ``KsqlError`` for anything else."""
    given = list(modules) if isinstance(modules, Iterable) and not isinstance(modules, str) else [None]
    found = [one for one in given if isinstance(one, str | ModuleType)]
    if len(found) < len(given):
        raise KsqlError(
            f"collect({bounded_repr(modules)}): give a list of modules or of their names, as "
            "['package.module']"
        )
    return found


def declared_in(
    modules: Iterable[ModuleType | str], classes: Sequence[type] | None = None
) -> tuple[list[Declared], list[tuple[str, str]]]:
    """Return what modules declare for ksqlDB, and the location and text of each fault.

    ``classes`` are the entity classes in question; ``None``: those of the modules.
    """
    loaded = [importlib.import_module(one) if isinstance(one, str) else one for one in modules]
    faults: list[tuple[str, str]] = []
    queries = [_translated(name, one, faults) for name, one in _queries(loaded)]
    made = {one.name for each in queries for one in each.statements if one.action.startswith("create")}
    asked = _classes(loaded) if classes is None else classes
    found = [
        Declared(
            one.name,
            one.location,
            tuple(each for each in one.statements if each.name not in made),
            is_query=False,
        )
        for one in (_of_class(cls, faults) for cls in asked)
        if one is not None
    ]
    found += queries
    faults += _clashes(found)
    return found, faults


def ordered(found: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return statements, each once, with what it reads before it. Raises ``KsqlError`` for a circle."""
    left = list(dict.fromkeys(found))
    makers = {one.name for one in left if one.action.startswith("create")}
    done: list[Statement] = []
    while left:
        here = {one.name for one in done if one.action.startswith("create")}
        ready = next(
            (one for one in left if all(name in here for name in _needs(one) if name in makers)), None
        )
        if ready is None:
            names = ", ".join(dict.fromkeys(one.name for one in left))
            raise KsqlError(f"{names} read each other in a circle: have one of them read something else")
        left.remove(ready)
        done.append(ready)
    return tuple(done)


def _needs(statement: Statement) -> tuple[str, ...]:
    return (*statement.reads, statement.name) if statement.action == "insert into" else statement.reads


def _queries(modules: Sequence[ModuleType]) -> Iterator[tuple[str, PersistentQuery]]:
    seen: list[PersistentQuery] = []
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, PersistentQuery) and value not in seen:
                seen.append(value)
                yield name, value


def _classes(modules: Sequence[ModuleType]) -> list[type]:
    """Return the entity classes declared in modules, in the order of the modules."""
    names = [module.__name__ for module in modules]
    found = [cls for cls in declared_classes() if cls.__module__ in names]
    return sorted(found, key=lambda cls: names.index(cls.__module__))


def _translated(name: str, query: PersistentQuery, faults: list[tuple[str, str]]) -> Declared:
    try:
        return Declared(name, query.location, query.statements(), is_query=True)
    except ConfigError as error:
        faults += [(query.location, f"{name}: {fault}") for fault in error.faults]
        return Declared(name, query.location, (), is_query=True)


def _of_class(cls: type, faults: list[tuple[str, str]]) -> Declared | None:
    """Return what a class is in ksqlDB; ``None``: it is none of ksqlDB's, or faulty as an entity."""
    try:
        if not model_of(cls).ksql:
            return None
    except ConfigError:
        return None  # which whoever declares it is told
    try:
        return Declared(cls.__name__, location_of(cls), statements(cls), is_query=False)
    except ConfigError as error:
        faults += [(location_of(cls), fault) for fault in error.faults]
        return Declared(cls.__name__, location_of(cls), (), is_query=False)


def _clashes(found: Sequence[Declared]) -> Iterator[tuple[str, str]]:
    """Give a fault for each two different things of one name."""
    owners: dict[str, tuple[Declared, Statement]] = {}
    for one in found:
        for statement in one.statements:
            if not statement.action.startswith("create"):
                continue
            owner, first = owners.setdefault(statement.name, (one, statement))
            if first.text != statement.text:
                yield (
                    one.location,
                    f"{one.name}: {statement.name} is {owner.name}'s ({owner.location}) in ksqlDB already: "
                    "give one another ksql_name=, or another into=",
                )
