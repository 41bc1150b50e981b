"""The model of an entity class: its declaration and its fields in one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from statestore import naming
from statestore.entity.arguments import (
    EntityArguments,
    Kind,
    TopicSpec,
    WindowLayout,
    checked_arguments,
    table_settings,
    topic_spec,
    unknown_formats,
)
from statestore.entity.indexes import IndexFields, read_indexes
from statestore.entity.windowed import Windowing, bar_warnings, check_bars, read_windowing, retention_warnings
from statestore.errors import ConfigError
from statestore.fields.attributes import WindowEnd, WindowStart
from statestore.fields.inspection import read_record_type
from statestore.fields.ksql_types import column_type
from statestore.fields.stored_schema import stored_schema
from statestore.fields.types import Field, RecordType, WindowPart, type_name
from statestore.fields.windows import Window
from statestore.settings import TableSettings


@dataclass(frozen=True, slots=True)
class WindowKeyForm:
    """How the keys of one window's table end, after the bytes of the key fields; all numbers big-endian.

    A window: ``start int64``, in a changelog followed by ``sequence int32``. A session: ``end int64 ‖ start
    int64``. Times are milliseconds since 1970 UTC.
    """

    window: Window
    layout: WindowLayout
    retention: timedelta
    """How long rows are kept, by event time."""
    max_future: timedelta
    """How far after its record's timestamp a time may be that ends other rows."""

    @property
    def parts(self) -> tuple[WindowPart, ...]:
        """The parts of the window in the key, in the order of their bytes."""
        return (WindowEnd, WindowStart) if self.window.is_session else (WindowStart,)

    @property
    def has_sequence(self) -> bool:
        """Whether a number follows, so that there may be several rows for one key and window."""
        return self.layout == "changelog" and not self.window.is_session

    @property
    def size(self) -> int:
        """How many bytes follow the key."""
        return 8 * len(self.parts) + 4 * self.has_sequence

    @property
    def described(self) -> str:
        """The form in words: ``"window 5min"``."""
        return f"window {self.window.label}{' with sequence' * self.has_sequence}"


_OF_MEMBERS = ("json", "msgpack")
"""Formats of values that are maps, where a record may have members of which the class knows nothing."""


@dataclass(frozen=True, slots=True)
class EntityModel:
    """The declaration and the fields of an entity class. Immutable."""

    record_type: RecordType
    """The class and its stored fields."""
    kind: Kind
    topic: str
    topic_spec: TopicSpec
    logical_name: str
    """Name of its store, for people: ``Order_Store``."""
    physical_name: str
    """Name of its store's directory: ``order_store``."""
    key_fields: tuple[Field, ...]
    """The fields of the key, in the class's order; empty for a class that can only be a stream."""
    value_fields: tuple[Field, ...]
    """The other stored fields, in the class's order."""
    event_time: Field | None
    """The field with the time of the event; ``None``: the record's timestamp is that time."""
    key_format: str
    value_format: str
    key_in_value: bool
    """Whether the key fields are written into the value, too."""
    ksql: bool
    ksql_name: str
    """The name of its stream or table in ksqlDB; of a window's model that of the window's table."""
    options: TableSettings
    """The options of its table that the class states; the settings and ``bind`` go before them."""
    cache_reason: str | None
    indexes: tuple[IndexFields, ...]
    """The fields of each secondary index."""
    windowing: Windowing | None
    """Its windows and the aggregates of their rows; ``None``: it has no windows."""
    warnings: tuple[str, ...]
    """Warnings about the declaration: not wrong, but perhaps not intended."""
    stated: frozenset[str]
    """The arguments of :func:`entity` that the declaration gives; all others have their default."""
    location: str
    """Where the class is defined: ``file:line``."""
    window: WindowKeyForm | None = None
    """Of the table of one window: how its keys end; ``None``: it is the model of the class."""

    def of_window(self, window: Window, topic: str | None = None) -> EntityModel:
        """Return the model of the table of one of ``windows``: its names, topic and key.

        The last key fields are those that the window fills: its start; of sessions the end before it.
        ``topic`` is the topic's name where another one goes before that of the class. Raises ``ConfigError``
        where the class lacks such a field.
        """
        assert self.windowing is not None
        form = WindowKeyForm(
            window, self.windowing.layout, self.windowing.retention, self.windowing.max_future
        )
        filled = {one.window: one for one in self.record_type.fields if one.window is not None}
        missing = [part.__name__ for part in form.parts if part not in filled]
        if missing:
            names = {"WindowStart": "start", "WindowEnd": "end"}
            fields = " and ".join(f"{names[one]}: Annotated[datetime, {one}]" for one in missing)
            raise ConfigError(
                f"{self.name}: the rows of its window {window.label!r} are told apart by "
                f"{' and '.join(missing)}, which no field of the class has: add {fields}"
            )
        logical, physical = naming.window_names(self.logical_name, self.physical_name, window.label)
        return replace(
            self,
            topic=topic or self.windowing.topic_of(window, self.topic),
            logical_name=logical,
            physical_name=physical,
            ksql_name=naming.window_ksql_name(self.ksql_name, window.label),
            key_fields=(*self.key_fields, *(filled[part] for part in form.parts)),
            windowing=None,
            window=form,
        )

    @property
    def of_class(self) -> EntityModel:
        """The same with the key of the class, without that of a window."""
        return replace(
            self, window=None, key_fields=tuple(one for one in self.key_fields if one.window is None)
        )

    @property
    def cls(self) -> type:
        """The entity class."""
        return self.record_type.cls

    @property
    def name(self) -> str:
        """The entity class's name, as messages show it."""
        return self.record_type.cls.__name__

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its windows by size; empty where it has none."""
        return () if self.windowing is None else self.windowing.windows

    @property
    def stores(self) -> list[tuple[str, str]]:
        """The logical and physical name of each store: its own, and that of each window."""
        labels = [one.label for one in self.windows]
        own = (self.logical_name, self.physical_name)
        return [own, *(naming.window_names(*own, label) for label in labels)]

    @property
    def stored_schema(self) -> dict[str, Any]:
        """Its fields, as ``store.json`` keeps them for later versions of the class (``stored_schema.py``)."""
        return stored_schema(
            self.key_format, self.value_format, self.key_fields, self.value_fields, ksql=self.ksql
        )

    @property
    def serialisation(self) -> str:
        """How its stores are written: two models with different ones cannot read each other's stores."""
        types = ", ".join(type_name(field.type) for field in self.key_fields if field.window is None)
        window = "" if self.window is None else f" {self.window.described}"
        return f"{self.key_format}({types}){window} {self.value_format}"


def is_dataclass(cls: type) -> bool:
    """Whether ``cls`` itself is a dataclass; ``dataclasses.is_dataclass`` is true of its subclasses, too."""
    return "__dataclass_fields__" in cls.__dict__


def build_model(
    cls: type,
    given: EntityArguments,
    location: str,
    model_of: Callable[[type], EntityModel],
    *,
    relaxed: bool,
) -> EntityModel:
    """Return the model of ``cls``. ``model_of`` returns the model of its source.

    Raises ``ConfigError`` with every fault of the declaration and the class.
    """
    return _Builder(cls, given, relaxed).build(location, model_of)


class _Builder:
    def __init__(self, cls: type, given: EntityArguments, relaxed: bool) -> None:
        self._cls = cls
        self._where = cls.__name__
        self._given = given
        self._relaxed = relaxed
        self._faults: list[str] = []
        self._warnings: list[str] = []
        self._arguments = checked_arguments(given, self._where, self._faults)
        self._faults += unknown_formats(self._arguments, self._where)

    def build(self, location: str, model_of: Callable[[type], EntityModel]) -> EntityModel:
        arguments = self._arguments
        source = self._source(model_of)
        topic = self._topic(source)
        logical, physical = self._store_names()
        ksql_name = self._ksql_name(topic)
        self._check_is_concrete()
        before = len(self._faults)
        record_type = self._record()
        is_readable = len(self._faults) == before
        windowing = self._windowing(record_type, topic, logical, physical, source if is_readable else None)
        kind = self._kind(record_type, windowing, is_readable)
        indexes = self._indexes(record_type, kind) if is_readable else ()
        self._check_value_format(record_type)
        if arguments.get("ksql", False):
            self._check_ksql(record_type, arguments.get("ksql_name", topic))
            if is_readable:
                is_json = arguments.get("value_format") == "json"
                column_type(record_type, self._where, self._faults, is_json=is_json)
        if self._faults:
            raise ConfigError(self._faults)
        return EntityModel(
            record_type=record_type,
            kind=kind,
            topic=topic,
            topic_spec=topic_spec(arguments, kind),
            logical_name=logical,
            physical_name=physical,
            key_fields=tuple(field for field in record_type.fields if field.is_key),
            value_fields=tuple(
                field for field in record_type.fields if not field.is_key and field.window is None
            ),
            event_time=next((field for field in record_type.fields if field.is_event_time), None),
            key_format=arguments.get("key_format", "ordered"),
            value_format=arguments.get("value_format", "msgpack"),
            key_in_value=arguments.get("key_in_value", False),
            ksql=arguments.get("ksql", False),
            ksql_name=ksql_name,
            options=table_settings(arguments),
            cache_reason=arguments.get("cache_reason"),
            indexes=indexes,
            windowing=windowing,
            warnings=tuple(self._warnings),
            stated=frozenset(arguments),
            location=location,
        )

    def _fault(self, problem: str) -> None:
        self._faults.append(f"{self._where}: {problem}")

    def _warn(self, problem: str) -> None:
        self._warnings.append(f"{self._where}: {problem}")

    def _named(self, check: Callable[[object], str], name: object) -> str:
        try:
            return check(name)
        except ConfigError as error:
            for fault in error.faults:
                self._fault(fault)
            return ""

    def _source(self, model_of: Callable[[type], EntityModel]) -> EntityModel | None:
        source = self._arguments.get("source")
        if not isinstance(source, type):
            return None
        try:
            found = model_of(source)
        except ConfigError as error:
            for fault in error.faults:
                self._fault(f"source={source.__name__}: {fault}")
            return None
        if found.windowing is not None:
            self._fault(f"source={source.__name__} has windows itself: give its own source instead")
            return None
        return found

    def _topic(self, source: EntityModel | None) -> str:
        arguments = self._arguments
        if "topic" in arguments:
            topic = self._named(naming.check_topic_name, arguments["topic"])
            if topic != topic.lower() and not arguments.get("ksql", False):
                self._warn(
                    f"topic {topic!r} has upper-case letters: use lower case, or ksql=True if the topic "
                    "is ksqlDB's"
                )
            return topic
        if "topic" in self._given:  # of the wrong type
            return ""
        if "source" in self._given:
            named = arguments.get("source")
            return named if isinstance(named, str) else "" if source is None else source.topic
        if not self._relaxed:
            self._fault("no topic: write @entity(topic=…)")
            return ""
        topic = self._named(naming.check_topic_name, self._where.lower())
        self._warn(f"no topic: {topic!r} is taken (validation='relaxed'); write @entity(topic=…)")
        return topic

    def _store_names(self) -> tuple[str, str]:
        arguments = self._arguments
        logical = arguments.get("store_name", naming.logical_name(self._where))
        logical = self._named(naming.check_logical_name, logical)
        if "physical_name" in arguments:
            return logical, self._named(naming.check_physical_name, arguments["physical_name"])
        return logical, self._named(naming.physical_name, logical) if logical else ""

    def _ksql_name(self, topic: str) -> str:
        if "ksql_name" not in self._arguments:
            return naming.ksql_name(topic)
        if not self._arguments.get("ksql", False):
            self._fault("ksql_name= requires ksql=True")
        return self._named(naming.check_ksql_name, self._arguments["ksql_name"])

    def _check_is_concrete(self) -> None:
        if inspect.isabstract(self._cls):
            names = ", ".join(sorted(vars(self._cls)["__abstractmethods__"]))
            self._fault(f"the class is abstract ({names}) and has no instances: declare its subclasses")

    def _record(self) -> RecordType:
        if is_dataclass(self._cls):
            return read_record_type(
                self._cls,
                self._faults,
                self._warnings,
                relaxed=self._relaxed,
                upper_case=self._arguments.get("ksql", False),
            )
        self._fault("not a dataclass: write @dataclass(frozen=True, slots=True) under @entity(…)")
        return RecordType(self._cls, (), positional=False)

    def _windowing(
        self, record_type: RecordType, topic: str, logical: str, physical: str, source: EntityModel | None
    ) -> Windowing | None:
        arguments = self._arguments
        windowing = read_windowing(record_type, arguments, self._faults)
        if windowing is None:
            return None
        if not arguments.get("cache", True):
            self._fault("cache=False is not possible with windows, which are always stored on disk")
        for derived in windowing.topics(topic) if topic else ():
            if derived not in windowing.named_topics:  # whose faults are told where they are named
                self._named(naming.check_topic_name, derived)
        for window in windowing.windows if logical and physical else ():
            self._named(naming.check_physical_name, naming.window_names(logical, physical, window.label)[1])
        self._warnings += retention_warnings(self._where, windowing)
        if source is not None and record_type.fields:
            check_bars(record_type, windowing, source.record_type, self._faults)
            self._warnings += bar_warnings(record_type, windowing, source.record_type)
        return windowing

    def _kind(self, record_type: RecordType, windowing: Windowing | None, is_readable: bool) -> Kind:
        has_key = any(field.is_key for field in record_type.fields)
        kind = self._arguments.get("kind", "table" if has_key else "stream")
        if windowing is not None and "kind" in self._arguments and kind == "stream":
            self._fault("kind='stream' is not possible with windows: their rows are a table")
        elif kind == "table" and not has_key and is_readable:
            self._fault("a table needs a key field: mark one with Annotated[…, Key]")
        elif not has_key and "kind" not in self._arguments:
            self._warn(
                "no key field, so the entity is a stream: mark a field with Annotated[…, Key], or write "
                "kind='stream'"
            )
        return kind

    def _indexes(self, record_type: RecordType, kind: Kind) -> tuple[IndexFields, ...]:
        ordered = self._arguments.get("key_format", "ordered") == "ordered"
        indexes = read_indexes(record_type, self._arguments.get("indexes"), self._faults, ordered=ordered)
        if indexes and kind == "stream":
            self._fault("a stream has no store, so it has no index: remove it, or give the class a key")
        for name in ("key_format", "value_format"):
            if indexes and self._arguments.get(name) == "avro":
                self._fault(
                    f"indexes are not possible with {name}='avro': a row's entries are made while it is "
                    "applied, when nobody asks the schema registry, which its schema may have to come from. "
                    "Remove them and query by the leading key fields, or by scans; or write the topic in "
                    "msgpack or json"
                )
        return indexes

    def _check_value_format(self, record_type: RecordType) -> None:
        """Check what not every format of values can have."""
        form = self._arguments.get("value_format", "msgpack")
        if record_type.extra is not None and form not in _OF_MEMBERS:
            self._fault(
                f"{record_type.extra}: Extra is for value_format='json' and 'msgpack': values in {form!r} "
                "have no undeclared members; declare each as a field"
            )
        if not self._arguments.get("key_in_value", False):
            return
        if form not in (*_OF_MEMBERS, "avro"):
            self._fault(
                f"key_in_value=True is for value_format='json', 'msgpack' and 'avro': {form!r} has no place "
                "for the key"
            )
        if record_type.fields and not any(field.is_key for field in record_type.fields):
            self._fault("key_in_value=True has no effect without a key field: remove it")

    def _check_ksql(self, record_type: RecordType, name_or_topic: str) -> None:
        """Check the names, which are upper case in ksqlDB."""
        names = {field.name: field.wire_name for field in record_type.fields}
        for name in (name_or_topic, *names.values()):
            if name.upper() in naming.KSQL_RESERVED:
                self._warn(f"{name!r} is a reserved word of KSQL: quote it in statements, `{name}`")
        for field, name in names.items():
            if name.upper() in naming.KSQL_SYSTEM_COLUMNS:
                self._fault(
                    f"{field}: {name} is a system column of ksqlDB: give the field another name with Name(…)"
                )
