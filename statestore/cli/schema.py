"""``statestore schema``: the Avro schemas of a program's entities, and what the registry says of them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from statestore.entity import EntityModel, declared_classes, model_of
from statestore.errors import ConfigError, RegistryError, UnreachableRegistryError
from statestore.serde.avro import key_codec, value_codec
from statestore.serde.formats import FormatContext
from statestore.settings import layer_settings

if TYPE_CHECKING:
    from statestore.serde.registry import Registry

DESCRIPTION = """\
Imports the modules, and takes every entity that is declared by then and has its key or value in Avro. The
address of the registry comes from the settings file and the environment
(STATESTORE_SCHEMA_REGISTRY__URL=http://localhost:8081). Exit status: 0 if the registry has every schema, or
would take it, 1 if not, 2 for a wrong command line."""


class Derived(NamedTuple):
    """A schema of an entity."""

    entity: str
    subject: str
    schema: str


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("schema", help="check or register the Avro schemas of entities")
    actions = parser.add_subparsers(required=True)
    for name, act, summary in (
        ("check", check, "print each schema, and whether the registry has it or would take it"),
        ("register", register, "register each schema that the registry does not have"),
    ):
        action = actions.add_parser(name, help=summary, description=DESCRIPTION)
        action.add_argument("modules", nargs="+", metavar="package.module", help="to import")
        action.add_argument("--settings", metavar="FILE", help="a TOML or JSON file")
        action.set_defaults(run=run, act=act)


def run(chosen: argparse.Namespace) -> int:
    """Print what becomes of each schema; return the exit status."""
    settings = layer_settings(chosen.settings, os.environ).settings.schema_registry
    context = FormatContext(settings)
    schemas = list(_schemas(_imported(chosen.modules), context))
    if not schemas:
        raise ConfigError(
            f"{', '.join(chosen.modules)}: no entity is declared there with a key or value in Avro"
        )
    from statestore.serde.registry import registry_of  # the extra is there: a codec was made

    registry = registry_of(settings)
    good = [chosen.act(registry, one) for one in schemas]
    return 0 if all(good) else 1


def check(registry: Registry, one: Derived) -> bool:
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


def register(registry: Registry, one: Derived) -> bool:
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
    known = set(declared_classes())
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"{name} cannot be imported: {error}") from error
    return [model_of(cls) for cls in declared_classes() if cls not in known or cls.__module__ in modules]


def _schemas(models: Sequence[EntityModel], context: FormatContext) -> Iterator[Derived]:
    for model in models:
        if model.key_format == "avro" and model.key_fields:
            keys = key_codec(model, context).subject
            yield Derived(model.name, keys.name, keys.text)
        if model.value_format == "avro":
            values = value_codec(model, context).subject
            yield Derived(model.name, values.name, values.text)
