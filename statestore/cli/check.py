"""``statestore check``: every fault of a program's entities and settings, without Kafka."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from statestore.entity import declared_classes, deferred_faults
from statestore.errors import ConfigError
from statestore.manager.resolve import Chooser
from statestore.manager.validation import Finding, check_entities
from statestore.serde.formats import FormatContext
from statestore.settings import Layers, layer_settings

DESCRIPTION = """\
Imports the modules, and checks every entity that is declared by then: each class, its formats, what classes
share, and the settings. Prints a line "file:line: error: …" or "file:line: warning: …" for each fault, the
line being that of the declaration. Nothing is opened and nobody is asked. Exit status: 0 without errors,
1 with, 2 for a wrong command line."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "check", help="check the entities that modules declare, without Kafka", description=DESCRIPTION
    )
    parser.add_argument(
        "modules", nargs="+", metavar="package.module", help="to import, from here or installed"
    )
    parser.add_argument("--settings", metavar="FILE", help="check this settings file with them")
    mode = parser.add_mutually_exclusive_group()
    for validation in ("strict", "relaxed"):
        mode.add_argument(
            f"--{validation}",
            dest="validation",
            action="store_const",
            const=validation,
            help=f"judge all classes as if they said validation={validation!r}",
        )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what is wrong; return the exit status."""
    known = set(declared_classes())
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it
    with deferred_faults(chosen.validation):
        errors = [finding for name in chosen.modules for finding in _imported(name)]
        classes = [cls for cls in declared_classes() if cls not in known or cls.__module__ in chosen.modules]
        if not classes and not errors:
            errors.append(Finding(chosen.modules[0], "no entity is declared there"))
        layers = _settings(chosen.settings, errors)
        context = FormatContext(layers.settings.schema_registry if layers and chosen.settings else None)
        report = check_entities(classes, context)
        errors += report.errors
        if layers is not None and not report.errors:
            errors += [Finding(chosen.settings or "settings", fault) for fault in _strangers(layers, classes)]
    for kind, findings in (("error", errors), ("warning", report.warnings)):
        for finding in findings:
            print(f"{_shown(finding.location)}: {kind}: {finding.text}")
    print(
        f"{_count(len(classes), 'entity', 'entities')}: {_count(len(errors), 'error', 'errors')}, "
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


def _place(error: BaseException, name: str) -> str:
    """Return where in the program ``error`` was raised, or the module's name where it was not in it."""
    ours = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not file.startswith("<") and file != importlib.__file__ and ours not in Path(file).parents:
            return f"{file}:{frame.lineno}"
    return name


def _settings(file: str | None, errors: list[Finding]) -> Layers | None:
    try:
        return layer_settings(file, os.environ)
    except ConfigError as error:
        errors += [Finding(file or "settings", fault) for fault in error.faults]
        return None


def _strangers(layers: Layers, classes: Sequence[type]) -> list[str]:
    try:
        return Chooser(layers).strangers(classes)
    except ConfigError as error:
        return list(error.faults)


def _shown(location: str) -> str:
    with suppress(ValueError):
        return str(Path(location).relative_to(Path.cwd()))
    return location


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
