"""``statestore schema``: the Avro schemas of a program's entities, and what the registry says of them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from statestore.cli.modules import declared_by, find_here, modules_argument
from statestore.entity import EntityModel, declared_classes, model_of
from statestore.errors import ConfigError, RegistryError, UnreachableRegistryError
from statestore.serde.avro import key_codec, value_codec
from statestore.serde.formats import FormatContext
from statestore.settings import layer_settings

if TYPE_CHECKING:
    from statestore.serde.registry import Registry


class Derived(NamedTuple):
    """A schema of an entity."""

    entity: str
    subject: str
    schema: str


@click.group(no_args_is_help=False)
def schema() -> None:
    """Check or register the Avro schemas of entities.

    Imports the modules, and takes every entity that is declared by then and has its key or value in Avro. The
    registry's address comes from the settings file or from the environment
    (STATESTORE_SCHEMA_REGISTRY__URL=http://localhost:8081). Exit status: 0 if the registry has every schema,
    or would take it, 1 if not, 2 for a wrong command line.
    """


settings_option = click.option("--settings", "file", metavar="FILE", help="A TOML or JSON file.")


@schema.command()
@modules_argument
@settings_option
def check(modules: Sequence[str], file: str | None) -> int:
    """Print each schema, and whether the registry has it or would take it."""
    return _for_each(modules, file, _check)


@schema.command()
@modules_argument
@settings_option
def register(modules: Sequence[str], file: str | None) -> int:
    """Register each schema that the registry does not have."""
    return _for_each(modules, file, _register)


def _for_each(modules: Sequence[str], file: str | None, act: Callable[[Registry, Derived], bool]) -> int:
    """Act on each schema; return the exit status."""
    settings = layer_settings(file, os.environ).settings.schema_registry
    schemas = list(_schemas(_imported(modules), FormatContext(settings)))
    if not schemas:
        raise ConfigError(f"{', '.join(modules)}: no entity is declared there with a key or value in Avro")
    from statestore.serde.registry import registry_of  # the extra is there: a codec was made

    registry = registry_of(settings)
    good = [act(registry, one) for one in schemas]
    return 0 if all(good) else 1


def _check(registry: Registry, one: Derived) -> bool:
    """Print a schema and what the registry says of it; return whether that is good."""
    known = registry.registered(one.subject, one.schema)
    good = known is not None or registry.is_compatible(one.subject, one.schema)
    if known is not None:
        verdict = f"registered, id {known}"
    else:
        verdict = "not registered, compatible" if good else "not compatible with what is registered"
    print(f"{one.subject} ({one.entity}): {verdict}")
    print(json.dumps(json.loads(one.schema), indent=2, ensure_ascii=False))
    return good


def _register(registry: Registry, one: Derived) -> bool:
    """Register a schema and print its id, or why the registry refuses it; return whether it is registered."""
    try:
        number = registry.register(one.subject, one.schema)
    except UnreachableRegistryError:
        raise
    except RegistryError as error:
        print(f"{one.subject} ({one.entity}): {error.cause}")
        return False
    print(f"{one.subject} ({one.entity}): registered, id {number}")
    return True


def _imported(modules: Sequence[str]) -> list[EntityModel]:
    before = set(declared_classes())
    find_here()
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"{name} cannot be imported: {error}") from error
    return [model_of(cls) for cls in declared_by(modules, before)]


def _schemas(models: Sequence[EntityModel], context: FormatContext) -> Iterator[Derived]:
    for model in models:
        if model.key_format == "avro" and model.key_fields:
            keys = key_codec(model, context).subject
            yield Derived(model.name, keys.name, keys.text)
        if model.value_format == "avro":
            values = value_codec(model, context).subject
            yield Derived(model.name, values.name, values.text)
