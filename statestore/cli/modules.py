"""The modules that a command is given, and the entities that they declare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import click

from statestore.entity import declared_classes

modules_argument = click.argument("modules", nargs=-1, required=True, metavar="PACKAGE.MODULE...")


def find_here() -> None:
    """Have modules of the current directory found, as ``python -m`` does."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def declared_by(modules: Sequence[str], before: set[type]) -> list[type]:
    """Return the entities declared since ``before``, and those of ``modules`` that were imported already."""
    return [cls for cls in declared_classes() if cls not in before or cls.__module__ in modules]


def loaded_since(modules: Sequence[str], before: set[str]) -> list[ModuleType]:
    """Return ``modules``, and those that were imported since ``before``."""
    return [module for name, module in list(sys.modules.items()) if name in modules or name not in before]
