"""What the settings say to storage engines: their names and options."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

from statestore.backends import find_engine
from statestore.errors import ConfigError
from statestore.settings.sections import Settings
from statestore.settings.shape import Path, dotted

GROUP = "statestore.backends"


def engine_faults(settings: Settings, origin: Callable[[Path], str]) -> list[str]:
    """Return what is wrong with the engines that ``settings`` name, and with their options."""
    named: list[tuple[Path, str]] = []
    if "backend" in settings.defaults.model_fields_set:
        named.append((("defaults", "backend"), settings.defaults.backend))
    for table, own in settings.tables.items():
        named.append((("tables", table, "backend"), own.backend or ""))
        named += [
            (("tables", table, "windows", label, "backend"), one.backend or "")
            for label, one in own.windows.items()
        ]
    faults = [
        (path, fault)
        for path, name in named
        if name and name not in installed()
        for fault in _faults_of(find_engine, name)
    ]
    for name, options in settings.backends.items():
        faults += [(("backends", name), fault) for fault in _faults_of(make_options, name, options)]
    return [f"{origin(path)}: {dotted(path)}: {fault}" for path, fault in faults]


def installed() -> list[str]:
    """Return the names of the engines that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def make_options(name: str, given: Any) -> Any:
    """Return the options of an engine. Raises ``ConfigError`` for unknown ones, too."""
    kind = find_engine(name).options_type
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError([f"{one}: no such option; known here: {', '.join(known)}" for one in unknown])
    try:
        return kind(**given)
    except TypeError as error:
        raise ConfigError(f"a value of the wrong type: {error}") from error


def described_options(name: str) -> Iterator[tuple[str, Any, str]]:
    """Give the options of an engine: name, default (None if it has none), and the docstring under it."""
    kind = find_engine(name).options_type
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    texts: dict[str, str] = {}
    last = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            texts[last], last = inspect.cleandoc(str(node.value.value)), ""
    for field in dataclasses.fields(kind):
        default = None if field.default is dataclasses.MISSING else field.default
        yield field.name, default, texts.get(field.name, "")


def _faults_of(call: Callable[..., Any], *arguments: Any) -> tuple[str, ...]:
    try:
        call(*arguments)
    except ConfigError as error:
        return error.faults
    return ()
