"""The sections of single windows in the settings: ``[tables.Candle.windows."5min"]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from statestore.entity import EntityModel
from statestore.naming import window_names
from statestore.settings import LayeredSettings, SettingPath, TableSection


def section_of(table: str, label: str) -> str:
    """Return the name of a window's section, as it is written."""
    return f'tables.{table}.windows."{label}"'


def window_faults(
    layers: LayeredSettings, name: str, own: TableSection, model: EntityModel | None
) -> list[str]:
    """Return a fault for each thing in ``[tables.NAME]`` that the windows of its class cannot have.

    ``model``: that of the class; ``None``: the table is one of bytes.
    """
    windows = () if model is None else model.windows
    what = f"topic {name!r}" if model is None else model.name
    says = "has no windows: remove it"
    if windows:
        says = f"has no such window; declared: {', '.join(one.label for one in windows)}"
    faults = [
        f"{layers.found_at('tables', name, 'windows', label)}: [{section_of(name, label)}]: {what} {says}"
        for label in own.windows
        if label not in [one.label for one in windows]
    ]
    if windows:
        faults += [
            f"{layers.origin(*path, 'cache')}: [{shown}]: cache = false is not possible for {what}: "
            "windows are always stored; remove it"
            for path, shown, is_cached in _caches(name, own)
            if is_cached is False
        ]
    return faults


def _caches(name: str, own: TableSection) -> Iterable[tuple[SettingPath, str, bool | None]]:
    yield ("tables", name), f"tables.{name}", own.cache
    for label, one in own.windows.items():
        yield ("tables", name, "windows", label), section_of(name, label), one.cache


def sections_of_windows(models: Iterable[EntityModel]) -> Mapping[str, str]:
    """Return where the settings of each window's store stand, by the store's logical name."""
    return {
        window_names(model.logical_name, "", window.label)[0]: section_of(model.name, window.label)
        for model in models
        for window in model.windows
    }
