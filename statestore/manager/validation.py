"""Checking entity classes, alone and together, without Kafka. All faults are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from statestore.entity import EntityModel, declared_classes, location_of, model_of
from statestore.entity.windowed import bar_warnings, check_bars
from statestore.errors import ConfigError
from statestore.serde.entities import EntityCodec
from statestore.serde.field_codecs import default_faults
from statestore.serde.formats import FormatContext, value_codec


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or warning, and where its class is declared (``file:line``)."""

    location: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} ({self.location})" if self.location else self.text


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :func:`check_entities`."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    models: tuple[EntityModel, ...]
    """The models of the classes without faults of their own."""

    def raise_errors(self) -> None:
        """Raise ``ConfigError`` with every error, if there is one."""
        if self.errors:
            raise ConfigError([str(error) for error in self.errors])


def check_entities(classes: Iterable[type], context: FormatContext | None = None) -> Report:
    """Check entity classes, their formats, and the topics, stores and sources that they share.

    ``context`` is for the formats. Nothing is sent to Kafka or to the schema registry.
    """
    errors: list[Finding] = []
    models: list[EntityModel] = []
    for cls in dict.fromkeys(classes):
        try:
            models.append(model_of(cls))
        except ConfigError as error:
            errors += [Finding(location_of(cls), fault) for fault in error.faults]
    warnings = [Finding(model.location, warning) for model in models for warning in model.warnings]
    for model in models:
        errors += _format_faults(model, context or FormatContext())
        errors += _bars_of_a_topic(model, models, warnings)
    errors += [*_shared_topics(models), *_derived_topics(models), *_shared_stores(models)]
    return Report(tuple(errors), tuple(warnings), tuple(models))


def _format_faults(model: EntityModel, context: FormatContext) -> list[Finding]:
    faults = default_faults(model.record_type)
    try:
        if model.key_fields:
            EntityCodec(model, context)
        else:
            value_codec(model, context)
    except ConfigError as error:
        faults += error.faults
    return [Finding(model.location, fault) for fault in dict.fromkeys(faults)]


def _bars_of_a_topic(
    bars: EntityModel, models: Sequence[EntityModel], warnings: list[Finding]
) -> list[Finding]:
    """Check a bar class against the class of the topic that it names as its source."""
    if bars.windowing is None or not isinstance(bars.windowing.source, str):
        return []
    topic = bars.windowing.source
    sources = [model for model in (*models, *_others(models)) if model.topic == topic and not model.windows]
    if not sources:
        problem = f"{bars.name}: no entity class is declared for its source, topic {topic!r}"
        return [Finding(bars.location, f"{problem}: declare one, so that its records can be read")]
    faults: list[str] = []
    check_bars(bars.record_type, bars.windowing, sources[0].record_type, faults)
    warnings += [
        Finding(bars.location, warning)
        for warning in bar_warnings(bars.record_type, bars.windowing, sources[0].record_type)
    ]
    return [Finding(bars.location, fault) for fault in faults]


def _others(models: Sequence[EntityModel]) -> Iterator[EntityModel]:
    """Give the models of classes that are declared and not checked here: a source need not be bound."""
    known = {model.cls for model in models}
    for cls in declared_classes():
        if cls not in known:
            with suppress(ConfigError):
                yield model_of(cls)


def _shared_topics(models: Sequence[EntityModel]) -> Iterator[Finding]:
    owners: dict[str, EntityModel] = {}
    for model in models:
        if model.windowing is not None:
            continue
        first = owners.setdefault(model.topic, model)
        if _content(first) != _content(model):
            yield Finding(
                model.location,
                f"{model.name}: topic {model.topic!r} is {first.name}'s ({first.location}), with other "
                "fields or formats: all records of a topic are of one schema",
            )


def _content(model: EntityModel) -> tuple[object, ...]:
    return model.value_format, model.ksql, model.stored_schema["fingerprint"]


def _derived_topics(models: Sequence[EntityModel]) -> Iterator[Finding]:
    owners = {model.topic: model for model in reversed(models) if model.windowing is None}
    derived: dict[str, EntityModel] = {}
    for model in models:
        if model.windowing is None:
            continue
        clashes: dict[str, list[str]] = {}
        for name in model.windowing.topics(model.topic):
            owner = owners.get(name) or derived.setdefault(name, model)
            if owner is not model:
                clashes.setdefault(f"{owner.name} ({owner.location})", []).append(name)
        for owner_shown, names in clashes.items():
            yield Finding(
                model.location,
                f"{model.name}: {_some(names)} would be topics of {owner_shown}, too: give one of them "
                "another topic=…, from which these names are made",
            )


def _shared_stores(models: Sequence[EntityModel]) -> Iterator[Finding]:
    logicals: dict[str, EntityModel] = {}
    physicals: dict[str, tuple[str, EntityModel]] = {}
    for model in models:
        for logical, physical in model.stores:
            other = logicals.setdefault(logical, model)
            owner, first = physicals.setdefault(physical, (logical, model))
            if other is not model:
                yield Finding(
                    model.location,
                    f"{model.name}: {other.name} ({other.location}) has a store {logical!r} already: give "
                    "one of them another store_name=",
                )
            elif owner != logical:
                yield Finding(
                    model.location,
                    f"{model.name}: its store {logical!r} and {owner!r} of {first.name} ({first.location}) "
                    f"would share the directory {physical!r}: give one of them another physical_name=",
                )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
