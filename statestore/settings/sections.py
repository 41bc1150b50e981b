"""The sections of the settings: frozen pydantic models, complete with defaults.

The docstring under each setting is its only description: ``statestore config template`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from statestore.errors import ConfigError
from statestore.fields.windows import window

OnMissing = Literal["fail", "rebuild"]
Connect = Literal["eager", "lazy"]
OnUndecodable = Literal["raise", "fail", "skip"]
CleanupPolicy = Literal["compact", "delete", "compact,delete"]
Compatibility = Literal[
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

OWNED_PROPERTIES: dict[str, str] = {
    "enable.auto.commit": "positions are kept in the store, together with the data",
    "enable.auto.offset.store": "positions are kept in the store, together with the data",
    "auto.offset.reset": "a position that the broker no longer has is a decision, never a silent jump",
    "isolation.level": "aborted transactions must never reach a store (read_committed)",
    "enable.partition.eof": "the end of a partition is how readiness is told",
    "group.id": "partitions are assigned by hand: a mirror needs all of them",
    "group.instance.id": "partitions are assigned by hand: a mirror needs all of them",
    "partition.assignment.strategy": "partitions are assigned by hand: a mirror needs all of them",
    "allow.auto.create.topics": "binding a topic must never create it",
    "error_cb": "the library listens to it",
    "on_commit": "nothing is committed",
    "acks": "what is delivered must be on all replicas (acks=all)",
    "request.required.acks": "what is delivered must be on all replicas (acks=all)",
    "enable.idempotence": "a retry must never write a record twice, or out of order",
    "partitioner": "a key must go where Kafka's own Java client puts it (murmur2_random)",
    "transactional.id": "it is made from the identity of the data directory, for manager.transaction()",
    "on_delivery": "the library listens to it",
    "dr_cb": "the library listens to it",
    "delivery.report.only.error": "add() returns where a record is",
}
"""librdkafka properties that the library sets itself, each with the reason."""

SECRET_WORDS = (
    "password",
    "passphrase",
    "secret",
    "token",
    "key.pem",
    "ssl_key",
    "jaas",
    "credential",
    "oauthbearer.config",
)
HIDDEN = "***"


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a secret
    )


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


def _without_credentials(url: str) -> str:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("an address is shown in logs: give username and password as settings of their own")
    return url


Url = Annotated[
    str,
    Field(min_length=1, pattern=r"^[a-z]+://"),
    AfterValidator(_without_credentials),
]


class Defaults(Section):
    """What holds for every table unless it says otherwise."""

    backend: str = "rocksdb"
    """Storage engine of the stores: rocksdb, lmdb, memory, or an installed one."""
    memory_budget: Annotated[int, Field(ge=16 << 20)] = 256 << 20
    """Bytes for all stores, caches and Kafka queues of the manager together.

    Half is for an engine's block cache and write buffers, a quarter for what a restore gathers before it is
    written, an eighth for the record cache and an eighth for the queues of both consumers.
    """
    on_missing: OnMissing = "fail"
    """What to do with a local copy that is missing or cannot be continued: fail, or rebuild it from Kafka."""
    max_lag: Count | None = None
    """Records a ready table may fall behind before it is not ready; not set: any number."""
    max_staleness: Seconds | None = None
    """Seconds since the broker last confirmed the end before a ready table is not; not set: any time."""
    request_timeout: Seconds = 30.0
    """Longest wait for one answer of the broker, in seconds."""
    flush_interval: Seconds = 30.0
    """Seconds until applied records are durable."""
    flush_bytes: Count = 64 << 20
    """Applied bytes after which they are made durable before the interval is over."""
    retry_waits: tuple[SecondsOrZero, ...] = (1.0, 2.0, 4.0, 8.0)
    """Seconds between the tries of a failing store write or admin call; one more try than waits."""
    auto_restart: bool = True
    """Whether a failing write is tried again at all; False makes the first failure final."""
    confirm_interval: Seconds = 5.0
    """Seconds between two questions to the broker where the ends of the bound topics are."""
    progress_interval: Seconds = 5.0
    """Seconds between two progress events of one restoring table."""
    health_interval: SecondsOrZero = 30.0
    """Seconds between two looks for unhealthy tables to log; 0 turns them off."""

    @field_validator("retry_waits", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class WindowSettings(Section):
    """What holds for one window of a windowed entity; what is not set is as for its table.

    A later part of the library reads it.
    """

    backend: str | None = None
    """Storage engine of this window's store; not set: that of the table."""
    on_missing: OnMissing | None = None
    """What to do with a local copy that is missing or cannot be continued; not set: as for the table."""
    max_lag: Count | None = None
    """Records the window may fall behind before it is not ready; not set: as for the table."""
    max_staleness: Seconds | None = None
    """Seconds since the broker last confirmed the end before it is not ready; not set: as for the table."""
    compression: str | None = None
    """How its store is compressed; not set: as for the table."""
    retention: Seconds | None = None
    """Seconds of windows that are kept, by event time; not set: as the class says."""


def _canonical_labels(windows: Mapping[str, WindowSettings]) -> Mapping[str, WindowSettings]:
    faults = []
    for label in windows:
        try:
            if (canonical := window(label).label) != label:
                faults.append(f"{label!r} is written {canonical!r} here")
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ValueError("; ".join(faults))
    return windows


class TableSettings(Section):
    """What holds for one table, named by entity, topic or logical name; what is not set is by default."""

    backend: str | None = None
    """Storage engine of the table's store: rocksdb, lmdb, memory, or an installed one."""
    on_missing: OnMissing | None = None
    """What to do with a local copy that is missing or cannot be continued: fail, or rebuild it from Kafka."""
    max_lag: Count | None = None
    """Records the table may fall behind once ready before it is not ready."""
    max_staleness: Seconds | None = None
    """Seconds since the broker last confirmed the end before the table, once ready, is not ready."""
    cache: bool | None = None
    """Whether the store is kept on disk; false: in memory only, and read anew from Kafka at each start."""
    compression: str | None = None
    """How the store is compressed, by rocksdb: none, lz4, zstd or snappy; not set: as its engine does it."""
    ttl: Seconds | None = None
    """Seconds after a record's timestamp at which its row ends: hidden at once, gone from disk soon after."""
    max_bytes: Count | None = None
    """Bytes the store may take; beyond them the table fails, with nothing dropped."""
    on_undecodable: OnUndecodable | None = None
    """What to do with a record that does not decode: raise when it is read, fail the table, or skip it."""
    windows: Annotated[Mapping[str, WindowSettings], AfterValidator(_canonical_labels)] = Field(
        default_factory=dict
    )
    """Settings of single windows by label, for an entity that is declared with windows."""


class TopicSettings(Section):
    """How ``ensure_topics`` makes one topic; what is not set is as the entity class says."""

    partitions: Count | None = None
    """Number of partitions."""
    replication: Count | None = None
    """Number of copies; at most the number of brokers."""
    cleanup_policy: CleanupPolicy | None = None
    """How the topic is cleaned. A table's topic is compacted."""
    retention: Seconds | None = None
    """Seconds a record is kept under a policy with delete."""
    config: Mapping[str, str] = Field(default_factory=dict)
    """Any other topic property by Kafka's name, as text."""


class RegistrySettings(Section):
    """The Schema Registry, for entities in Avro."""

    url: Url | None = None
    """Its address; mock://NAME keeps schemas in this process, for tests. Not set: there is none."""
    username: str | None = None
    """User name for basic authentication; not set: without."""
    password: SecretStr | None = None
    """Password for basic authentication."""
    auto_register: bool = True
    """Whether producing registers a schema that the registry does not have yet."""
    compatibility: Compatibility | None = None
    """Compatibility level to set on a subject that is registered here; not set: as the registry has it."""
    timeout: Seconds = 30.0
    """Longest wait for one answer of the registry, in seconds."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Tries after the first one that fails on the way; a refusal is not tried again."""
    retry_wait: SecondsOrZero = 1.0
    """Seconds before the first of them; each later wait is twice the one before."""
    cache_size: Count = 1000
    """Schemas kept in memory."""


class KsqlSettings(Section):
    """The ksqlDB server that statements are deployed to; a later part of the library reads it."""

    url: Url | None = None
    """Its address; not set: there is none."""
    username: str | None = None
    """User name for basic authentication; not set: without."""
    password: SecretStr | None = None
    """Password for basic authentication."""


class DlqSettings(Section):
    """The shared dead-letter topic; a later part of the library reads it."""

    topic: Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")] = "system.dlq"
    """Its name."""
    partitions: Count = 1
    """Number of partitions, when it is created."""
    replication: Count = 1
    """Number of copies, when it is created."""
    retention: Seconds = 604800.0
    """Seconds a dead letter is kept, when it is created."""


class LoggingSettings(Section):
    """Levels of the library's loggers; without one it stays as it is. The root logger is never configured."""

    level: LogLevel | None = None
    """Level of statestore, which the loggers below inherit."""
    changelog: LogLevel | None = None
    """Level of statestore.changelog: restoring and following topics."""
    entity: LogLevel | None = None
    """Level of statestore.entity: declarations."""
    ksql: LogLevel | None = None
    """Level of statestore.ksql: translating and deploying."""
    producer: LogLevel | None = None
    """Level of statestore.producer: writing to Kafka."""
    query: LogLevel | None = None
    """Level of statestore.query: reading tables."""
    serde: LogLevel | None = None
    """Level of statestore.serde: formats."""
    store: LogLevel | None = None
    """Level of statestore.store: files and engines."""
    windowing: LogLevel | None = None
    """Level of statestore.windowing: aggregation."""


class Settings(Section):
    """All settings of one manager. Immutable; ``repr`` shows no secret."""

    kafka: Annotated[Mapping[str, Any], Field(repr=False)] = Field(default_factory=dict)
    """Any librdkafka property but those the library owns; the address is bootstrap.servers.

    In place of the section the address alone will do: kafka = "host:9092".
    """
    defaults: Defaults = Defaults()
    backends: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Options of a storage engine by its name, as its options dataclass names them."""
    tables: Mapping[str, TableSettings] = Field(default_factory=dict)
    """Settings of single tables, by entity, topic or logical name."""
    topics: Mapping[str, TopicSettings] = Field(default_factory=dict)
    """Settings of single topics, by the topic's name."""
    schema_registry: RegistrySettings = RegistrySettings()
    ksql: KsqlSettings = KsqlSettings()
    dlq: DlqSettings = DlqSettings()
    logging: LoggingSettings = LoggingSettings()

    @field_validator("kafka", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return {"bootstrap.servers": value} if isinstance(value, str) else value

    @field_validator("kafka")
    @classmethod
    def _not_owned(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        owned = [f"{key}: {OWNED_PROPERTIES[key]}" for key in value if key in OWNED_PROPERTIES]
        if owned:
            raise ValueError("set by the library itself: " + "; ".join(owned))
        return dict(value)

    def __str__(self) -> str:
        shown = {name: getattr(self, name) for name in type(self).model_fields}
        shown["kafka"] = redacted(self.kafka)
        shown["backends"] = {name: redacted(options) for name, options in self.backends.items()}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    __repr__ = __str__


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of librdkafka ``properties`` that is safe to show."""
    return {
        key: HIDDEN if any(word in key.lower() for word in SECRET_WORDS) else value
        for key, value in properties.items()
    }
