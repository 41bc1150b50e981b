"""What the settings say to storage engines: their names and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from statestore.backends import EngineOptions, find_engine
from statestore.errors import ConfigError
from statestore.runtime.plugins import BACKENDS, find
from statestore.settings.paths import SettingPath, dotted
from statestore.settings.sections import Settings


def engine_faults(settings: Settings, origin: Callable[[SettingPath], str]) -> list[str]:
    """Return what is wrong with the engines that ``settings`` name, and with their options."""
    named: list[tuple[SettingPath, str]] = []
    if "backend" in settings.defaults.model_fields_set:
        named.append((("defaults", "backend"), settings.defaults.backend))
    for table, own in settings.tables.items():
        named.append((("tables", table, "backend"), own.backend or ""))
        for label, of_window in own.windows.items():
            named.append((("tables", table, "windows", label, "backend"), of_window.backend or ""))
    faults = [
        (path, fault)
        for path, name in named
        if name and find(BACKENDS, name) is None
        for fault in _engine_faults(name)
    ]
    for name, options in settings.backends.items():
        if unusable := _engine_faults(name):
            faults += [(("backends", name), fault) for fault in unusable]
            continue
        for option, fault in options_type(name).faults(options):
            faults.append((("backends", name, option), fault))
    return [f"{origin(path)}: {dotted(path)}: {fault}" for path, fault in faults]


def options_type(name: str) -> type[EngineOptions]:
    """Return the class of an engine's options."""
    return find_engine(name).options_type


def make_options(name: str, given: Mapping[str, Any]) -> EngineOptions:
    """Return the options of an engine. Raises ``ConfigError`` that names every wrong one."""
    return options_type(name)(**given)


def _engine_faults(name: str) -> tuple[str, ...]:
    try:
        find_engine(name)
    except ConfigError as error:
        return error.faults
    return ()
