"""The arguments of :func:`~statestore.entity.entity`, and the check of their types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, SkipValidation, TypeAdapter, ValidationError
from pydantic import Field as Constraint
from typing_extensions import TypedDict  # pydantic needs it of Python before 3.12

from statestore.expressions.expr import Expr
from statestore.fields.windows import DeclaredWindow
from statestore.naming import did_you_mean
from statestore.runtime.plugins import KEY_FORMATS, VALUE_FORMATS, find, installed
from statestore.runtime.text import bounded_repr
from statestore.settings import OnLongKey, OnUndecodable, Partitioner, TableSettings

Kind = Literal["table", "stream"]
IndexSpec = Expr | tuple[Expr, ...] | list[Expr]
Compaction = Literal["compact", "delete", "compact,delete"]
Validation = Literal["strict", "relaxed"]
WatermarkScope = Literal["partition", "key"]
WindowLayout = Literal["final", "sink", "changelog"]
GapPolicy = Literal["skip", "empty", "carry"]
GapKeys = Collection[Any] | Callable[[], Iterable[Any]]


_MOST_SECONDS = 10**12  # 31,000 years: what a timedelta can be
_SECONDS, _GRACE = Constraint(gt=0, le=_MOST_SECONDS), Constraint(ge=0, le=_MOST_SECONDS)
_POSITIVE, _NOT_NEGATIVE = Constraint(gt=timedelta(0)), Constraint(ge=timedelta(0))


class EntityArguments(TypedDict, total=False):
    """The arguments of :func:`entity`. All but the topic have a default."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)  # type: ignore[misc]

    topic: str
    """The Kafka topic that holds the entities."""
    store_name: str
    """Replaces the logical name of the store, ``{Class}_Store``."""
    physical_name: str
    """Replaces the name of the store's directory (``[a-z0-9_]``)."""
    kind: Kind
    """A table has a key and keeps the latest row per key. A stream is read record by record. Default: a class
    with a key is a table."""
    key_format: str
    """``"ordered"`` (default), ``"kafka"``, ``"json"``, ``"avro"``, ``"raw"`` or one of a third party."""
    value_format: str
    """``"msgpack"`` (default), ``"json"``, ``"avro"``, ``"raw"`` or one of a third party."""
    key_in_value: bool
    """Whether the key fields are written into the value, too, as other programs of the topic expect it. A
    reader takes them from the key. Default: False."""
    ksql: bool
    """Whether ksqlDB reads or writes the topic: names are upper case, JSON is its dialect. Default: False."""
    ksql_name: str
    """The name of its stream or table in ksqlDB. Default: the topic in upper case, ``_`` for all but
    ``[A-Z0-9_]``."""
    partitions: Annotated[int, Constraint(gt=0)]
    """Partitions of the topic, if it is created here. Default: 1."""
    replication: Annotated[int, Constraint(gt=0)]
    """Replicas of each partition, if the topic is created here. Default: 1."""
    partitioner: Partitioner
    """Where writers of the topic put a key, by librdkafka's names. Default: ``"murmur2_random"``, Java's;
    what stands on librdkafka has ``"consistent_random"`` by default."""
    compaction: Compaction
    """``cleanup.policy`` of the topic, if it is created here. Default: ``"compact"`` for a table, else
    ``"delete"``."""
    retention: Annotated[timedelta, _POSITIVE] | Annotated[int, _SECONDS] | Annotated[float, _SECONDS] | str
    """``retention.ms`` of the topic, if it is created here, in seconds or as a ``timedelta``. Default: the
    broker's. Of a class with windows: how long its windows are kept, by event time, given as a size is:
    minutes, ``"24h"``, ``"7d"`` or a ``timedelta``. Default: 168 h."""
    config: Mapping[str, str | int | float | bool]
    """Other properties of the topic, if it is created here."""
    cache: bool
    """Whether the store is kept on disk. False: in memory only, restored from Kafka at each start."""
    cache_reason: str
    """The reason for ``cache=False``, shown in its warning and in ``health()``."""
    ttl: Annotated[timedelta, _POSITIVE] | Annotated[int, _SECONDS] | Annotated[float, _SECONDS]
    """How long after its record's timestamp a row expires, in seconds or as a ``timedelta``. Reads do not
    return an expired row; it is removed from disk soon after. The topic is not changed. Default: never."""
    max_bytes: Annotated[int, Constraint(gt=0)]
    """The largest size of the store in bytes. Beyond it the table fails, and no row is dropped. Default: no
    limit."""
    validation: Validation
    """``"strict"`` (default), or ``"relaxed"``: no topic, and fields that cannot be stored, are warnings."""
    indexes: Annotated[Sequence[IndexSpec], SkipValidation]
    """Secondary indexes, each of one field or of several: ``[F.city, (F.country, F.city)]``. One of a single
    field can be declared at the field, too: ``Annotated[str, Index]``."""
    windows: Annotated[Sequence[DeclaredWindow] | Literal["sessions"], SkipValidation]
    """Sizes of its windows: minutes, ``"30s"``, ``"1h"``, ``"1d"``, ``"1w"`` or a ``timedelta``. Without a
    source also ``Hopping(size, advance)``, or ``"sessions"`` instead of a list."""
    window_layout: WindowLayout
    """Of a class with windows and no source, who writes the topics: ``"final"`` (default), another process of
    this library, into ``{topic}_{label}_final``; ``"sink"``, Kafka Streams or ksqlDB as a result;
    ``"changelog"``, Kafka Streams for its own store. The last two are the ``topic`` itself."""
    window_topics: Annotated[Mapping[Any, str], SkipValidation]
    """The topic of each window that is not called as ``window_layout`` says: ``{5: "counts-5min"}``. With
    several windows, layouts other than ``"final"`` need all of them."""
    source: type | str
    """The entity class, or the topic, whose records make its bars. Default: others publish the bars."""
    grace: Annotated[timedelta, _NOT_NEGATIVE] | Annotated[int, _GRACE] | Annotated[float, _GRACE]
    """How long after its end a window accepts records, in seconds or as a ``timedelta``. Default: 3 s."""
    scope: WatermarkScope
    """Whose greatest event time closes windows: that of a ``"partition"`` (default) or of a ``"key"``."""
    max_future: Annotated[timedelta, _NOT_NEGATIVE] | Annotated[int, _GRACE] | Annotated[float, _GRACE]
    """How far an event time may be after its record's timestamp, in seconds or as a ``timedelta``. A record
    beyond it is counted, and in no window. Default: 1 h."""
    gap: GapPolicy
    """What a key has for a window without records: ``"skip"``, nothing (default); ``"empty"``, a bar with
    counts and sums of 0; ``"carry"``, one whose prices are the last close."""
    gap_horizon: (
        Annotated[timedelta, _POSITIVE] | Annotated[int, _SECONDS] | Annotated[float, _SECONDS] | None
    )
    """How long after its last record a key has gap bars, in seconds or as a ``timedelta``; ``None``: for
    ever. Default: the greater of 1 h and 10 sizes of the window."""
    gap_keys: Annotated[GapKeys, SkipValidation]
    """Keys that have gap bars, seen or not: values of the key field, or tuples; or a function that gives
    them."""
    on_undecodable: OnUndecodable
    """What happens with a record that does not decode: ``"raise"`` when it is read (default), ``"fail"`` the
    table, or ``"skip"`` and count the record. The last two decode each record before it is applied."""
    on_long_key: OnLongKey
    """What happens with a record whose key is longer than the store takes: ``"fail"`` the table (default), or
    ``"skip"`` and count the record."""


_ARGUMENTS: TypeAdapter[EntityArguments] = TypeAdapter(EntityArguments)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is to be created, and written to."""

    partitions: int = 1
    replication: int = 1
    cleanup_policy: Compaction = "compact"
    retention: timedelta | None = None
    """``None``: the broker's default."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Any other property, as Kafka writes it."""
    partitioner: Partitioner | None = None
    """Where writers put a key; ``None``: where Java's do."""


def checked_arguments(arguments: EntityArguments, where: str, faults: list[str]) -> EntityArguments:
    """Return the arguments of the right types, appending to ``faults`` those of a wrong type."""
    if "cache_reason" in arguments and arguments.get("cache", True):
        faults.append(f"{where}: cache_reason={bounded_repr(arguments['cache_reason'])} requires cache=False")
    try:
        return _ARGUMENTS.validate_python(arguments)
    except ValidationError as error:
        found = error.errors(include_url=False)
    wrong: dict[str, list[str]] = {}
    for fault in found:
        name = str(fault["loc"][0])
        unknown = f"unknown argument{did_you_mean(name, EntityArguments.__annotations__)}"
        wrong.setdefault(name, []).append(
            unknown if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Input ")
        )
    given: Mapping[str, Any] = cast("Mapping[str, Any]", arguments)
    faults += [
        f"{where}: {name}={bounded_repr(given[name])}: {' or '.join(dict.fromkeys(problems))}"
        for name, problems in wrong.items()
    ]
    return _ARGUMENTS.validate_python({name: value for name, value in given.items() if name not in wrong})


def unknown_formats(arguments: EntityArguments, where: str) -> list[str]:
    """Return a fault for each format that is not installed."""
    groups = {"key_format": KEY_FORMATS, "value_format": VALUE_FORMATS}
    given: Mapping[str, Any] = cast("Mapping[str, Any]", arguments)
    return [
        f"{where}: {name}={bounded_repr(given[name])} is not known; installed: "
        f"{', '.join(installed(group))}{did_you_mean(given[name], installed(group))}"
        for name, group in groups.items()
        if name in given and find(group, given[name]) is None
    ]


def table_settings(arguments: EntityArguments) -> TableSettings:
    """Return the options of its table that a class states."""
    stated = {name: value for name, value in arguments.items() if name in TableSettings.model_fields}
    return TableSettings.model_validate(
        {name: one.total_seconds() if isinstance(one, timedelta) else one for name, one in stated.items()}
    )


def as_timedelta(given: timedelta | float) -> timedelta:
    return given if isinstance(given, timedelta) else timedelta(seconds=given)


def topic_spec(arguments: EntityArguments, kind: Kind) -> TopicSpec:
    retention = None if "windows" in arguments else arguments.get("retention")
    config = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in arguments.get("config", {}).items()
    }
    return TopicSpec(
        arguments.get("partitions", 1),
        arguments.get("replication", 1),
        arguments.get("compaction", "compact" if kind == "table" else "delete"),
        None if retention is None or isinstance(retention, str) else as_timedelta(retention),
        config,
        arguments.get("partitioner"),
    )
