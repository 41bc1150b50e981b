"""The statements and the plan of the modules that a command is given."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Sequence

from statestore.cli.modules import find_here
from statestore.deploy.plan import Plan
from statestore.errors import ConfigError, KsqlError
from statestore.ksql.collect import declared_in, ordered
from statestore.ksql.statements import Statement
from statestore.settings import layer_settings


def planned(modules: Sequence[str], file: str | None, application: str | None) -> Plan:
    """Return the plan of what modules declare."""
    name = application or layer_settings(file, os.environ).settings.ksql.application
    if name is None:
        raise ConfigError(
            "a plan belongs to an application: name it with --application, or as application of [ksql]"
        )
    return Plan.of(name, collected(modules))


def collected(modules: Sequence[str]) -> tuple[Statement, ...]:
    """Return the statements of modules, or of the classes and queries that are named after a colon."""
    find_here()
    names = [one.partition(":")[::2] for one in modules]
    for module, _ in names:
        if not module or module.startswith("."):
            raise ConfigError(
                f"{module!r} is no name of a module: give PACKAGE.MODULE or PACKAGE.MODULE:NAME"
            )
        try:
            importlib.import_module(module)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # whatever the module does
            what = "".join(traceback.format_exception_only(error)).strip()
            raise ConfigError(f"importing {module} raised {what}") from error
    declared, faults = declared_in(dict.fromkeys(module for module, _ in names))
    if faults:
        raise KsqlError([f"{fault} ({location})" if location else fault for location, fault in faults])
    wanted = {name for _, name in names if name}
    if unknown := wanted - {one.name for one in declared}:
        known = ", ".join(one.name for one in declared) or "nothing"
        raise ConfigError(f"{', '.join(sorted(unknown))} is not declared there for ksqlDB; declared: {known}")
    takes_all = any(not name for _, name in names)
    found = ordered([each for one in declared if takes_all or one.name in wanted for each in one.statements])
    if not found:
        raise ConfigError(
            f"{', '.join(modules)}: nothing is declared there for ksqlDB: entities with ksql=True, or "
            "ksql.PersistentQuery values with a name of the module"
        )
    return found
