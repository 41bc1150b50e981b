"""The sources of settings, in order of precedence: code, environment, a TOML or JSON file."""

from __future__ import annotations

import contextlib
import json
import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from statestore.errors import ConfigError
from statestore.settings.engines import engine_faults
from statestore.settings.environment import FILE_VARIABLE, read_environment
from statestore.settings.options import TableSettings
from statestore.settings.paths import SettingPath, dotted, is_section, is_unread, type_at
from statestore.settings.sections import Settings

log = logging.getLogger("statestore.store")

S = TypeVar("S", bound=BaseModel)
SettingsArgument = Settings | Mapping[str, Any] | str | FilePath | None
"""The ``settings`` argument of a manager: a mapping, an object, or the path of a file."""

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The settings of one source, nested as the sections are."""

    place: str
    data: Any
    variables: Mapping[SettingPath, str] = field(default_factory=dict)
    """The environment variable of each setting."""

    def origin(self, path: SettingPath) -> str:
        """Return where the setting at ``path`` comes from, for messages."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return f"{self.place} {self.variables[path[:length]]}"
        below = sorted(name for place, name in self.variables.items() if place[: len(path)] == path)
        return f"{self.place} {', '.join(below)}".rstrip()


@dataclass(frozen=True, slots=True)
class LayeredSettings:
    """The merged settings, and where each comes from."""

    settings: Settings
    origins: Mapping[SettingPath, str]

    def origin(self, *path: str) -> str:
        """Return where the setting at ``path``, or the settings of a section, come from."""
        if path in self.origins:
            return self.origins[path]
        inside = sorted({origin for place, origin in self.origins.items() if place[: len(path)] == path})
        return ", ".join(inside) or DEFAULT


def load_settings(given: SettingsArgument) -> Settings:
    """Return settings from code or from a TOML or JSON file (told by its suffix), without the environment.

    Raises ``ConfigError`` that lists every unknown key and bad value with its path.
    """
    return layer_settings(given, {}).settings


def layer_settings(
    given: SettingsArgument, environment: Mapping[str, str], arguments: Sequence[SettingsSource] = ()
) -> LayeredSettings:
    """Merge the settings of all sources.

    ``arguments`` (the last wins) go before ``given`` in code, that before the environment, and that before
    the file, which is ``given`` or the one that ``STATESTORE_SETTINGS`` names. Kafka's properties, options of
    a backend and settings of a table are merged one by one. Raises ``ConfigError`` with all faults.
    """
    faults: list[str] = []
    sources = _sources(given, environment, faults)
    merged: dict[str, Any] = {}
    origins: dict[SettingPath, str] = {}
    for source in (*sources, *arguments):
        checked = _checked(source, Settings, faults)
        faults += engine_faults(checked or _sound_sections(source.data), source.origin)
        if checked is not None:
            data = checked.model_dump(exclude_unset=True)
            _merge(merged, data)
            origins.update((path, source.origin(path)) for path in _leaves(data))
    if faults:
        raise ConfigError(faults)
    return LayeredSettings(Settings.model_validate(merged), origins)


def _sources(
    given: SettingsArgument, environment: Mapping[str, str], faults: list[str]
) -> list[SettingsSource]:
    """Return file, environment and code, the last of which wins."""
    sources = []
    file = FilePath(given) if isinstance(given, str | FilePath) else None
    if named := environment.get(FILE_VARIABLE):
        if file is None:
            file = FilePath(named)
        else:
            log.info("%s names %s, but the code has %s", FILE_VARIABLE, named, file)
    if file is not None:
        try:
            sources.append(SettingsSource(f"file {file}", _parsed(file)))
        except ConfigError as error:
            faults += error.faults
    sources.append(SettingsSource("environment", *read_environment(environment, faults)))
    if isinstance(given, Settings):
        sources.append(SettingsSource("StoreManager(settings=…)", given.model_dump(exclude_unset=True)))
    elif isinstance(given, Mapping):
        sources.append(SettingsSource("StoreManager(settings=…)", given))
    elif given is not None and not isinstance(given, str | FilePath):
        faults.append(
            f"StoreManager(settings=…): {type(given).__name__} is not a type of settings: give a mapping, a "
            "Settings object or the path of a file"
        )
    return sources


def checked_table_settings(where: str, **given: Any) -> TableSettings:
    """Return settings of one table that are given in code; raises ``ConfigError`` with all faults."""
    faults: list[str] = []
    checked = _checked(SettingsSource(where, given), TableSettings, faults)
    if checked is None:
        raise ConfigError(faults)
    return checked


def _parsed(path: FilePath) -> Any:
    parsers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in parsers:
        raise ConfigError(f"file {path}: the name of a settings file ends in .toml or .json")
    try:
        return parsers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # both parsers' errors, and bytes that are not UTF-8
        raise ConfigError(f"file {path}: {error}") from error


def _checked(source: SettingsSource, kind: type[S], faults: list[str]) -> S | None:
    try:
        return kind.model_validate(source.data)
    except ValidationError as error:
        # include_input=False: a value may be a secret
        found = error.errors(include_input=False, include_url=False)
    for fault in found:
        path = tuple(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden" and kind is Settings and is_unread(path):
            shown = dotted(path) if path[0] == "logging" else f"[{dotted(path)}]"
            faults.append(f"{source.origin(path)}: {shown} is not read by this version: remove it")
            continue
        if fault["type"] == "extra_forbidden":
            section = type_at(path[:-1]) if kind is Settings else kind
            known = ", ".join(section.model_fields) if is_section(section) else ""
            message = f"no such setting; known here: {known}"
        faults.append(f"{source.origin(path)}: {dotted(path) or '(top)'}: {message}")
    return None


def _sound_sections(data: Any) -> Settings:
    """Return the sections without faults, of a source that has some elsewhere."""
    sound: dict[str, Any] = {}
    for name, section in data.items() if isinstance(data, Mapping) else ():
        with contextlib.suppress(ValidationError):
            Settings.model_validate({name: section})
            sound[name] = section
    return Settings.model_validate(sound)


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for name, value in data.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _leaves(data: Mapping[str, Any], above: SettingPath = ()) -> Iterator[SettingPath]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name)
