"""``statestore check``: every fault of a program's entities and settings, without Kafka."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import click

from statestore.cli.modules import declared_by, find_here, loaded_since, modules_argument
from statestore.entity import declared_classes, deferred_faults
from statestore.errors import ConfigError, KsqlError
from statestore.ksql.collect import declared_in, ordered
from statestore.manager.resolve import SettingsResolver, refused_properties
from statestore.manager.validation import Finding, check_entities
from statestore.serde.formats import FormatContext
from statestore.settings import LayeredSettings, layer_settings


@click.command()
@modules_argument
@click.option("--settings", "file", metavar="FILE", help="Check this settings file with them.")
@click.option("--strict", is_flag=True, help="Judge all classes as if they said validation='strict'.")
@click.option("--relaxed", is_flag=True, help="Judge all classes as if they said validation='relaxed'.")
def check(modules: Sequence[str], file: str | None, strict: bool, relaxed: bool) -> int:
    """Check the entities that modules declare, without Kafka.

    Imports the modules, from here or installed, and checks every entity that is declared by then: each class,
    its formats, what classes share, the settings, and the KSQL of the classes that are ksqlDB's and of the
    persistent queries. Prints a line "file:line: error: ..." or
    "file:line: warning: ..." for each fault; the line is that of the declaration. Nothing is opened, and no
    other program is asked. Exit status: 0 without errors, 1 with errors, 2 for a wrong command line.
    """
    if strict and relaxed:
        raise click.UsageError("--strict and --relaxed exclude each other: give one of them")
    before, known = set(declared_classes()), set(sys.modules)
    find_here()
    with deferred_faults("strict" if strict else "relaxed" if relaxed else None):
        errors = [finding for name in modules for finding in _imported(name)]
        classes = declared_by(modules, before)
        if not classes and not errors:
            errors.append(Finding(modules[0], "no entity is declared there"))
        layers = _settings(file, errors)
        context = FormatContext(layers.settings.schema_registry if layers and file else None)
        report = check_entities(classes, context)
        errors += report.errors
        queries = _ksql(loaded_since(modules, known), classes, errors)
        if layers is not None and not report.errors:
            errors += [Finding(file or "settings", fault) for fault in _unmatched_sections(layers, classes)]
    for kind, findings in (("error", errors), ("warning", report.warnings)):
        for finding in findings:
            print(f"{_shown(finding.location)}: {kind}: {finding.text}")
    checked = ", ".join(filter(None, (_count(len(classes), "entity", "entities"), queries)))
    print(
        f"{checked}: {_count(len(errors), 'error', 'errors')}, "
        f"{_count(len(report.warnings), 'warning', 'warnings')}"
    )
    return 1 if errors else 0


def _imported(name: str) -> Iterator[Finding]:
    """Import a module, and give what that raised."""
    try:
        importlib.import_module(name)
    except ConfigError as error:
        yield from (Finding(_place(error, name), fault) for fault in error.faults)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the module does
        what = "".join(traceback.format_exception_only(error)).strip()
        yield Finding(_place(error, name), f"importing {name} raised {what}")


def _ksql(modules: Sequence[ModuleType], classes: Sequence[type], errors: list[Finding]) -> str:
    """Check the KSQL of classes, and of the queries of modules; return how many queries there are."""
    found, faults = declared_in(modules, classes)
    errors += [Finding(location, fault) for location, fault in faults]
    if not faults:
        try:
            ordered([one for each in found for one in each.statements])
        except KsqlError as error:
            errors += [Finding(modules[0].__name__, fault) for fault in error.faults]
    count = sum(one.is_query for one in found)
    return _count(count, "query", "queries") if count else ""


def _place(error: BaseException, name: str) -> str:
    """Return where in the program ``error`` was raised, or the module's name where it was not in it."""
    ours = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not file.startswith("<") and file != importlib.__file__ and ours not in Path(file).parents:
            return f"{file}:{frame.lineno}"
    return name


def _settings(file: str | None, errors: list[Finding]) -> LayeredSettings | None:
    try:
        return layer_settings(file, os.environ, checks=(refused_properties,))
    except ConfigError as error:
        errors += [Finding(file or "settings", fault) for fault in error.faults]
        return None


def _unmatched_sections(layers: LayeredSettings, classes: Sequence[type]) -> list[str]:
    try:
        return SettingsResolver(layers).unmatched_sections(classes)
    except ConfigError as error:
        return list(error.faults)


def _shown(location: str) -> str:
    with suppress(ValueError):
        return str(Path(location).relative_to(Path.cwd()))
    return location


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
