"""The sources of settings, in order of precedence: code, environment, a TOML or JSON file."""

from __future__ import annotations

import copy
import logging
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from statestore.errors import ConfigError
from statestore.settings.engines import engine_faults
from statestore.settings.environment import FILE_VARIABLE, read_environment
from statestore.settings.json_text import parse_json
from statestore.settings.lines import line_of
from statestore.settings.options import TableSettings
from statestore.settings.paths import SettingPath, dotted, is_section, is_unread, type_at
from statestore.settings.sections import OWNED_PROPERTIES, Settings, flat

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
    text: str = ""
    """What was read from a file."""

    def origin(self, path: SettingPath) -> str:
        """Return where the setting at ``path`` comes from, for messages."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return f"{self.place} {self.variables[path[:length]]}"
        below = sorted(name for place, name in self.variables.items() if place[: len(path)] == path)
        return f"{self.place} {', '.join(below)}".rstrip()

    def found_at(self, path: SettingPath) -> str:
        """Return the same for a fault: of a file with the line, where that can be told."""
        line = line_of(self.text, path)
        return self.origin(path) if line is None else f"{self.place}, line {line}"


@dataclass(frozen=True, slots=True)
class LayeredSettings:
    """The merged settings, and where each comes from."""

    settings: Settings
    origins: Mapping[SettingPath, str]
    sources: Mapping[SettingPath, SettingsSource] = field(default_factory=dict)
    """The source of each setting, for faults."""

    def origin(self, *path: str) -> str:
        """Return where the setting at ``path``, or the settings of a section, come from."""
        if path in self.origins:
            return self.origins[path]
        inside = sorted({origin for place, origin in self.origins.items() if place[: len(path)] == path})
        return ", ".join(inside) or DEFAULT

    def found_at(self, *path: str) -> str:
        """Return where the setting or section at ``path`` is, for a fault."""
        below = (setting for setting in self.sources if setting[: len(path)] == path)
        setting = path if path in self.sources else next(below, None)
        return DEFAULT if setting is None else self.sources[setting].found_at(setting)


SettingsCheck = Callable[[LayeredSettings], Iterable[str]]
"""Says what is wrong with the settings as a whole, beyond what this package knows."""


def load_settings(given: SettingsArgument) -> Settings:
    """Return settings from code or from a TOML or JSON file (told by its suffix), without the environment.

    Raises ``ConfigError`` that lists every unknown key and bad value with its path.
    """
    return layer_settings(given, {}).settings


def layer_settings(
    given: SettingsArgument,
    environment: Mapping[str, str],
    arguments: Sequence[SettingsSource] = (),
    checks: Sequence[SettingsCheck] = (),
) -> LayeredSettings:
    """Merge the settings of all sources.

    ``arguments`` (the last wins) go before ``given`` in code, that before the environment, and that before
    the file, which is ``given`` or the one that ``STATESTORE_SETTINGS`` names. Kafka's properties, options of
    a backend and settings of a table are merged one by one. Raises ``ConfigError`` with all faults, those
    that ``checks`` find in the rest included.
    """
    faults: list[str] = []
    sources = _sources(given, environment, faults)
    merged: dict[str, Any] = {}
    origins: dict[SettingPath, str] = {}
    found_in: dict[SettingPath, SettingsSource] = {}
    for source in (*sources, *arguments):
        sound = _checked(source, Settings, faults) or _sound(source.data)
        faults += engine_faults(sound, source.found_at)
        data = sound.model_dump(exclude_unset=True)
        _merge(merged, data)
        origins.update((path, source.origin(path)) for path in _leaves(data))
        found_in.update(dict.fromkeys(_leaves(data), source))
    layers = LayeredSettings(Settings.model_validate(merged), origins, found_in)
    for check in checks:
        faults += check(layers)
    if faults:
        raise ConfigError(faults)
    return layers


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
            text = _read(file)
            sources.append(SettingsSource(f"file {file}", _parsed(file, text), text=text))
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


def _read(path: FilePath) -> str:
    if path.suffix not in _PARSERS:
        raise ConfigError(f"file {path}: the name of a settings file ends in .toml or .json")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"file {path}: {error}") from error


_PARSERS: Mapping[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": parse_json}


def _parsed(path: FilePath, text: str) -> Any:
    try:
        return _PARSERS[path.suffix](text)
    except (ValueError, RecursionError) as error:  # both parsers' errors, and a text that nests too deeply
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
            faults.append(f"{source.found_at(path)}: {shown} is not read by this version: remove it")
            continue
        if fault["type"] == "extra_forbidden":
            section = type_at(path[:-1]) if kind is Settings else kind
            known = ", ".join(section.model_fields) if is_section(section) else ""
            message = f"no such setting; known here: {known}"
        faults.append(f"{source.found_at(path)}: {dotted(path) or '(top)'}: {message}")
    return None


def _sound(data: Any) -> Settings:
    """Return the settings of a source without those that are wrong."""
    left = copy.deepcopy(_with_names(data)) if isinstance(data, Mapping) else {}
    while True:
        try:
            return Settings.model_validate(left)
        except ValidationError as error:
            for fault in error.errors(include_input=False, include_url=False):
                _remove(left, tuple(str(part) for part in fault["loc"]))


def _with_names(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return ``data`` without what is not named by a text, at any depth."""
    return {
        name: _with_names(value) if isinstance(value, Mapping) else value
        for name, value in data.items()
        if isinstance(name, str)
    }


def _remove(settings: dict[str, Any], path: SettingPath) -> None:
    """Take away the setting that a fault is about, or the one that contains it."""
    if path == ("kafka",) and isinstance(settings.get("kafka"), Mapping):
        properties = settings.pop("kafka")
        try:
            left = {name: value for name, value in flat(properties).items() if name not in OWNED_PROPERTIES}
        except ValueError:
            return
        if len(left) < len(properties):
            settings["kafka"] = left
        return
    inner: Any = settings
    found: list[tuple[dict[str, Any], str]] = []
    # The path may go on below what is there: the name of a property is made of several tables'.
    for name in path:
        if not isinstance(inner, dict) or name not in inner:
            break
        found.append((inner, name))
        inner = inner[name]
    if not found:
        settings.clear()
        return
    holder, name = found[-1]
    del holder[name]


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
