"""The settings of each table and topic, and where each comes from.

A table's own setting goes before the default for all tables. The value of one setting comes from the first of
these that has it: ``bind``, the settings (code, environment, file), the entity class, the default.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from statestore.entity import EntityModel, TopicSpec, declared_classes, model_of
from statestore.errors import ConfigError
from statestore.kafka.partitioners import DEFAULT_PARTITIONER
from statestore.kafka.properties import property_faults
from statestore.kafka.topics import WantedTopic
from statestore.manager.window_sections import sections_of_windows, window_faults
from statestore.naming import did_you_mean, logical_name, physical_name, window_names
from statestore.runtime.text import bounded_repr, redacted
from statestore.settings import (
    DEFAULT,
    LayeredSettings,
    Partitioner,
    Section,
    SettingPath,
    Settings,
    SettingsArgument,
    SettingsSource,
    TableOptions,
    TableSection,
    TableSettings,
    TopicSettings,
    WindowSettings,
    layer_settings,
    make_options,
)
from statestore.storage.stored_window import StoredWindow, described_window


@dataclass(frozen=True, slots=True)
class ResolvedTable:
    """The options of one table, and where each of them comes from."""

    options: TableOptions
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each setting comes from, by its name in the settings."""
    section: str = ""
    """The name by which the settings call the table; empty: they have nothing of its own."""
    model: EntityModel | None = None
    """What the rows are; of a window's table with its names and topic. ``None``: a store of bytes."""

    def value(self, setting: str) -> Any:
        """Return the value of a setting, by its name in the settings."""
        if setting in _OF_MODEL:
            return getattr(self.model, _OF_MODEL[setting])
        return getattr(self.options, _FIELDS.get(setting, setting))


class Registration(NamedTuple):
    """What a name of a manager stands for: what was bound, or opened, and its options."""

    subject: type | str | None
    """The entity class or the topic; ``None``: a store of bytes that is bound to no topic."""
    table: ResolvedTable
    window: StoredWindow | None = None
    """Of a store of windows or sessions."""
    label: str | None = None
    """Of the table of one window of an entity."""

    def check_same(self, logical: str, asked: Registration) -> None:
        """Raise ``ConfigError`` naming what differs, where ``asked`` is not the same."""
        if self.subject != asked.subject:
            verb = "open as" if self.subject is None else "bound to"
            raise ConfigError(
                f"{logical!r} is already {verb} {_shown(self.subject)}; this call asks for "
                f"{_shown(asked.subject, self.subject)}: use another name=, or close() it first"
            )
        if self.window != asked.window:
            raise ConfigError(
                f"{logical!r} is already open as {described_window(self.window)}; this call asks for "
                f"{described_window(asked.window)}: use another name, or close() it first"
            )
        held, wanted = dataclasses.asdict(self.table.options), dataclasses.asdict(asked.table.options)
        differing = [name for name in held if held[name] != wanted[name]]
        if differing:
            verb = "open" if self.subject is None else "bound"
            raise ConfigError(
                f"{logical!r} is already {verb} with {_listed(held, differing)}; this call asks for "
                f"{_listed(wanted, differing)}: use the same options, or close() it first"
            )


class ExplainedSetting(NamedTuple):
    """A setting, its value and where that comes from."""

    path: SettingPath
    value: Any
    origin: str


_FIELDS = {"cache": "persistent"}
"""Fields of ``TableOptions`` that are not called as the setting."""
_OF_MODEL = {"topic": "topic", "store_name": "logical_name"}
"""Settings of a window's table that its model has."""
_TOPIC_ARGUMENTS = {"cleanup_policy": "compaction"}
"""Arguments of ``entity`` that are not called as in ``[topics.NAME]``."""


class SettingsResolver:
    """Resolves the settings of one manager. Immutable."""

    def __init__(self, layers: LayeredSettings) -> None:
        self._layers = layers

    @property
    def settings(self) -> Settings:
        return self._layers.settings

    def table(
        self, logical: str, topic: str, model: EntityModel | None, given: TableSettings
    ) -> ResolvedTable:
        """Return the options of a table, for which ``bind`` was ``given`` some.

        Raises ``ConfigError`` where the settings contradict each other.
        """
        section, own = self._section(logical, topic, model)
        return self._resolved(logical, section, [(own, ("tables", section))], model, given)

    def windows(
        self, model: EntityModel, name: str | None = None, given: TableSettings | None = None
    ) -> list[tuple[str, ResolvedTable]]:
        """Return the label and the options of each window's table, by size; their models have its names.

        ``name`` takes the place of the class's logical name. Raises ``ConfigError`` where the settings
        contradict each other, or name a window that the class does not declare.
        """
        section, own = self._section(name or model.logical_name, model.topic, model)
        found = []
        for window, names in zip(model.windows, self._window_names(model, name, own), strict=True):
            label, at = window.label, ("tables", section, "windows", window.label)
            of_window = own.windows.get(label, WindowSettings())
            logical, physical = names
            one = dataclasses.replace(
                model.of_window(window, of_window.topic), logical_name=logical, physical_name=physical
            )
            places = [(of_window, at), (own, at[:2])]
            resolved = self._resolved(logical, section, places, one, given or TableSettings())
            origins = {
                setting: f"class {model.name}"
                if getattr(of_window, setting) is None
                else self._layers.origin(*at, setting)
                for setting in _OF_MODEL
            }
            if name is not None:
                origins["store_name"] = "bind(name=…)"
            found.append((label, dataclasses.replace(resolved, origins={**resolved.origins, **origins})))
        _check_own_topics(model, found)
        return found

    def physical_names(self, model: EntityModel) -> list[str]:
        """Return the names of the directories that the stores of a class have; a stream has none."""
        if not model.windows:
            return [model.physical_name]
        try:
            _, own = self._section(model.logical_name, model.topic, model)
        except ConfigError:
            own = TableSection()
        return [physical for _, physical in self._window_names(model, None, own)]

    def _window_names(
        self, model: EntityModel, name: str | None, own: TableSection
    ) -> Iterator[tuple[str, str]]:
        """Give the logical and the physical name of each window's store."""
        whole = (model.logical_name, model.physical_name) if name is None else (name, physical_name(name))
        for window in model.windows:
            named = own.windows[window.label].store_name if window.label in own.windows else None
            if named is None or name is not None:
                yield window_names(*whole, window.label)
            else:
                yield named, physical_name(named)

    def _resolved(
        self,
        logical: str,
        section: str,
        places: Sequence[tuple[TableSettings, SettingPath]],
        model: EntityModel | None,
        given: TableSettings,
    ) -> ResolvedTable:
        """Return the options of a table that ``places`` are about, the nearest first."""
        chosen, origins = self._choose(places, model, given)
        options = TableOptions(**chosen)
        if model is None and options.on_undecodable != "raise":
            raise ConfigError(
                f"{logical!r}: on_undecodable={options.on_undecodable!r} ({origins['on_undecodable']}) has "
                "no effect: a table of bytes decodes nothing; remove it, or bind an entity"
            )
        if not options.persistent:
            if given.backend or any(own.backend for own, _ in places):
                raise ConfigError(
                    f"{logical!r}: cache=False ({origins['cache']}) keeps the store in memory, so "
                    f"backend={options.backend!r} ({origins['backend']}) has no effect: remove one of them"
                )
            origins["backend"] = f"cache=False, {origins['cache']}"
            reason = None if model is None else model.cache_reason
            options = dataclasses.replace(options, backend="memory", cache_reason=reason)
        return ResolvedTable(options, origins, section, model)

    def _choose(
        self,
        places: Sequence[tuple[TableSettings, SettingPath]],
        model: EntityModel | None,
        given: TableSettings,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the fields of ``TableOptions`` that somebody has set, and where each setting comes from."""
        chosen: dict[str, Any] = {}
        origins: dict[str, str] = {}
        defaults = self.settings.defaults
        for name in TableSettings.model_fields:
            candidates = [
                (getattr(given, name), f"bind({name}=…)"),
                *((getattr(own, name), self._layers.origin(*path, name)) for own, path in places),
                (None, "") if model is None else (getattr(model.options, name), f"class {model.name}"),
                (getattr(defaults, name, None), self._layers.origin("defaults", name)),
            ]
            value, origin = next((one for one in candidates if one[0] is not None), (None, DEFAULT))
            origins[name] = origin
            if value is not None:
                chosen[_FIELDS.get(name, name)] = value
        return chosen, origins

    def _section(self, logical: str, topic: str, model: EntityModel | None) -> tuple[str, TableSection]:
        tables = self.settings.tables
        names = [name for name in dict.fromkeys(_names(logical, topic, model)) if name in tables]
        if len(names) > 1:
            raise ConfigError(
                f"{' and '.join(f'[tables.{name}]' for name in names)} name the same table: keep one of them"
            )
        if not names:
            return "", TableSection()
        own = tables[names[0]]
        if faults := window_faults(self._layers, names[0], own, model):
            raise ConfigError(faults)
        return names[0], own

    def _window_topics(self, model: EntityModel) -> list[str]:
        """Return the topics that are derived from a class's, and those that settings give its windows."""
        assert model.windowing is not None
        named = (self.settings.tables.get(name) for name in _names(model.logical_name, model.topic, model))
        own = [window.topic for one in named if one is not None for window in one.windows.values()]
        return [*model.windowing.topics(model.topic), *filter(None, own)]

    def partitioner(self, model: EntityModel) -> Partitioner:
        """Return where a class's entities are to be written."""
        return self._topic(model)[0].partitioner or DEFAULT_PARTITIONER

    def wanted_topic(self, model: EntityModel) -> WantedTopic:
        """Return the topic that an entity should have, and which of its properties are stated explicitly."""
        if model.windowing is not None and model.windowing.source is None:
            topics = ", ".join(self._window_topics(model))
            raise ConfigError(
                f"{model.name} has windows, whose topics others write, {topics}: "
                "create them as who writes them wants, and leave the class out here"
            )
        if model.windowing is not None:
            raise ConfigError(f"{model.name} has windows: its topics cannot be created yet")
        spec, origins = self._topic(model)
        stated = frozenset(name for name, origin in origins.items() if origin != DEFAULT)
        return WantedTopic(model.topic, model.kind == "table", spec, stated, model.ksql)

    def _topic(self, model: EntityModel) -> tuple[TopicSpec, dict[str, str]]:
        own = self.settings.topics.get(model.topic, TopicSettings())
        changes: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for name in TopicSettings.model_fields:
            stated = _TOPIC_ARGUMENTS.get(name, name) in model.stated
            origin = f"class {model.name}" if stated else DEFAULT
            value = getattr(own, name)
            if name == "config":
                origins |= {f"config.{key}": origin for key in model.topic_spec.config}
                origins |= {
                    f"config.{key}": self._layers.origin("topics", model.topic, name, key) for key in value
                }
                changes[name] = {**model.topic_spec.config, **value}
            elif value is None:
                origins[name] = origin
            else:
                origins[name] = self._layers.origin("topics", model.topic, name)
                changes[name] = timedelta(seconds=value) if name == "retention" else value
        return dataclasses.replace(model.topic_spec, **changes), origins

    def unmatched_sections(
        self, subjects: Collection[type | str], names_given: Collection[str] = ()
    ) -> list[str]:
        """Return a fault for each section whose name is no table's, or no topic's.

        Names are those of the ``subjects``, which are bound, and of all other declared classes, which may be
        bound later; ``names_given`` are the store names that ``bind`` was given.
        """
        topics = [one for one in subjects if isinstance(one, str)]
        models = [model_of(one) for one in subjects if not isinstance(one, str)]
        known = {"tables": [*(model.name for model in models), *topics], "topics": [*topics]}
        known["topics"] += [model.topic for model in models]
        names = {"tables": {*names_given}, "topics": {*topics}}
        names["tables"].update(*(_names(logical_name(topic), topic, None) for topic in topics))
        declared = [*models, *_sound_models(declared_classes())]
        of_windows = sections_of_windows(declared)
        for model in declared:
            names["tables"].update(_names(model.logical_name, model.topic, model))
            names["topics"].add(model.topic)
            if model.windowing is not None:
                names["topics"].update(self._window_topics(model))
        subject = {"tables": "entity, topic or store", "topics": "topic"}
        faults = []
        for section in names:
            for name in [one for one in getattr(self.settings, section) if one not in names[section]]:
                hint = did_you_mean(name, sorted(names[section])) or _bound(known[section])
                if section == "tables" and name in of_windows:
                    hint = f": settings of a window stand in [{of_windows[name]}]"
                faults.append(
                    f"{self._layers.found_at(section, name)}: [{section}.{name}]: no {subject[section]} has "
                    f"this name{hint}"
                )
        for model in models:
            try:
                self._section(model.logical_name, model.topic, model)
            except ConfigError as error:
                faults += error.faults
        return faults

    # Explaining

    def explained_settings(
        self, tables: Mapping[str, ResolvedTable], models: Collection[EntityModel], engines: Collection[str]
    ) -> Iterator[ExplainedSetting]:
        """Give every setting: of ``tables`` (by logical name) and of the ``models``' topics as resolved, and
        the options of ``engines``."""
        settings = self.settings
        yield from self._below(("kafka",), redacted(settings.kafka))
        for backend in {*settings.backends, *engines}:
            options = make_options(backend, settings.backends.get(backend, {}))
            yield from self._below(("backends", backend), redacted(options.model_dump()))
        for section in type(settings).model_fields:
            if isinstance(content := getattr(settings, section), Section):
                yield from self._below((section,), dict(content))
        for logical, table in tables.items():
            for name, place in table.origins.items():
                yield ExplainedSetting(("tables", logical, name), table.value(name), place)
        for model in models:
            yield from self._topic_settings(model)
        shown = {("tables", table.section) for table in tables.values()}
        shown |= {("topics", model.topic) for model in models}
        named = settings.model_dump(include={"tables", "topics"}, exclude_unset=True)
        for path in ((kind, name) for kind, sections in named.items() for name in sections):
            if path not in shown:
                yield from self._below(path, named[path[0]][path[1]])

    def _below(self, path: SettingPath, content: Any) -> Iterator[ExplainedSetting]:
        if isinstance(content, Mapping):
            for name, inner in content.items():
                yield from self._below((*path, name), inner)
        else:
            yield ExplainedSetting(path, content, self._layers.origin(*path))

    def _topic_settings(self, model: EntityModel) -> Iterator[ExplainedSetting]:
        spec, origins = self._topic(model)
        for name, place in origins.items():
            value = spec.config[name.removeprefix("config.")] if "." in name else getattr(spec, name)
            yield ExplainedSetting(("topics", model.topic, name), value, place)


def resolve_settings(
    given: SettingsArgument, arguments: Sequence[SettingsSource] = (), entities: Collection[type | str] = ()
) -> SettingsResolver:
    """Return the settings of a manager that binds ``entities`` at once.

    Raises ``ConfigError`` with all faults: of every source and section, Kafka's properties included, and of
    sections for what is not declared.
    """

    def unmatched(layers: LayeredSettings) -> list[str]:
        try:
            return SettingsResolver(layers).unmatched_sections(entities) if entities else []
        except ConfigError:
            return []  # a class is wrong, which check_entities tells of with all others

    return SettingsResolver(layer_settings(given, os.environ, arguments, (refused_properties, unmatched)))


def refused_properties(layers: LayeredSettings) -> list[str]:
    """Return a fault for each property of Kafka's client that cannot be right."""
    faults = property_faults(layers.settings.kafka)
    paths = [("kafka", name) if name else ("kafka",) for name, _ in faults]
    return [
        f"{layers.found_at(*path)}: {'.'.join(path)}: {text}"
        for path, (_, text) in zip(paths, faults, strict=True)
    ]


def _shown(subject: type | str | None, other: type | str | None = None) -> str:
    if subject is None:
        return "a store without a topic"
    if isinstance(subject, str):
        return f"topic {subject!r}"
    again = isinstance(other, type) and repr(other) == repr(subject)
    return f"another class {subject.__name__}" if again else f"class {subject.__name__}"


def _bound(names: Iterable[str]) -> str:
    return f"; bound: {', '.join(sorted(set(names))) or 'none'}"


def _check_own_topics(model: EntityModel, windows: Iterable[tuple[str, ResolvedTable]]) -> None:
    """Raise ``ConfigError`` where two windows would mirror one topic, or have one store."""
    owners: dict[tuple[str, str], str] = {}
    for label, table in windows:
        for setting in _OF_MODEL:
            other = owners.setdefault((setting, table.value(setting)), label)
            if other != label:
                raise ConfigError(
                    f"{model.name}: windows {other} and {label} have one {setting}, {table.value(setting)!r} "
                    f"({table.origins[setting]}): give each its own"
                )


def _listed(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{name}={bounded_repr(values[name])}" for name in names)


def _sound_models(classes: Iterable[type]) -> Iterator[EntityModel]:
    """Give the models of the classes without faults; a faulty class raises when it is used."""
    for cls in classes:
        with contextlib.suppress(ConfigError):
            yield model_of(cls)


def _names(logical: str, topic: str, model: EntityModel | None) -> Iterator[str]:
    """Give the names that a table may have in the settings."""
    yield logical
    if model is None or model.windowing is None or model.windowing.source is None:
        yield topic  # of a class whose source it is, the source's table has this name
    if model is not None:
        yield model.name
