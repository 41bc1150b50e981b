"""The sections of the settings: frozen pydantic models, complete with defaults.

The docstring under each setting is its only description: ``statestore config template`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator

from statestore.runtime.text import redacted
from statestore.settings.base import Count, Seconds, SecondsOrZero, Section
from statestore.settings.options import OnMissing, TableSettings

Connect = Literal["eager", "lazy"]
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


class LoggingSettings(Section):
    """Levels of the library's loggers; without one it stays as it is. The root logger is never configured."""

    level: LogLevel | None = None
    """Level of statestore, which the loggers below inherit."""
    changelog: LogLevel | None = None
    """Level of statestore.changelog: restoring and following topics."""
    entity: LogLevel | None = None
    """Level of statestore.entity: declarations."""
    producer: LogLevel | None = None
    """Level of statestore.producer: writing to Kafka."""
    serde: LogLevel | None = None
    """Level of statestore.serde: formats."""
    store: LogLevel | None = None
    """Level of statestore.store: files and engines."""


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
