"""The sections of the settings: frozen pydantic models, complete with defaults.

The docstring under each setting is its only description: ``statestore config template`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from statestore.runtime.text import redacted
from statestore.settings.base import Count, Seconds, SecondsOrZero, Section
from statestore.settings.options import OnMissing, OnScan, TableSection

Connect = Literal["eager", "lazy"]
Role = Literal["owner", "reader", "auto"]
CleanupPolicy = Literal["compact", "delete", "compact,delete"]
Partitioner = Literal["murmur2_random", "murmur2", "consistent_random", "consistent", "fnv1a_random", "fnv1a"]
Compatibility = Literal[
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
]
OffsetReset = Literal["earliest", "latest"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

OWNED_PROPERTIES: dict[str, str] = {
    "enable.auto.commit": "positions are kept in the store, together with the data",
    "enable.auto.offset.store": "positions are kept in the store, together with the data",
    "auto.offset.reset": "a stored position that the broker no longer has must fail or rebuild the table",
    "isolation.level": "aborted transactions must never reach a store (read_committed)",
    "enable.partition.eof": "a table is ready when it reaches the end of each partition",
    "group.id": "partitions are assigned by hand: a mirror needs all of them",
    "group.instance.id": "partitions are assigned by hand: a mirror needs all of them",
    "partition.assignment.strategy": "partitions are assigned by hand: a mirror needs all of them",
    "allow.auto.create.topics": "binding a topic must never create it",
    "error_cb": "the library listens to it",
    "on_commit": "nothing is committed",
    "acks": "a delivered record must be on all replicas (acks=all)",
    "request.required.acks": "a delivered record must be on all replicas (acks=all)",
    "enable.idempotence": "a retry must never write a record twice, or out of order",
    "partitioner": "a key must go where the topic's other writers put it (murmur2_random, as Kafka's Java "
    "client has it); state another one for the topic, as partitioner of [topics.NAME] or of the entity",
    "transactional.id": "manager.transaction() makes it from the id of the data directory",
    "on_delivery": "the library listens to it",
    "dr_cb": "the library listens to it",
    "delivery.report.only.error": "add() returns the offset of the record",
}
"""librdkafka properties that the library sets itself, each with the reason."""


def _without_credentials(url: str) -> str:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("the address appears in logs: set username and password as settings of their own")
    return url


Url = Annotated[
    str,
    Field(min_length=1, pattern=r"^[a-z]+://"),
    AfterValidator(_without_credentials),
]


def flat(properties: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return properties with dots in their names, of tables within tables: what unquoted names are in TOML.

    Raises ``ValueError`` for a property that is given twice.
    """
    found: dict[str, Any] = {}
    for name, value in properties.items():
        inner = flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
        if twice := sorted(inner.keys() & found.keys()):
            raise ValueError(f"{', '.join(twice)} is given twice, as a name with dots and as a table")
        found |= inner
    return found


def _flat(value: object) -> object:
    return flat(value) if isinstance(value, Mapping) else value


class Defaults(Section):
    """Defaults for all tables, and settings of the whole manager."""

    backend: str = "rocksdb"
    """Storage engine of the stores: rocksdb, lmdb, memory, or an installed one."""
    role: Role = "owner"
    """Whether this process owns the data directory or reads beside its owner: owner, reader or auto.

    With auto the first process owns the directory and mirrors the topics, and the others are readers.
    """
    takeover: bool = True
    """Whether a reader with role auto takes the data directory over when its owner has ended."""
    catch_up: Seconds = 0.05
    """Seconds between two looks of a reader at what its owner says and has written."""
    memory_budget: Annotated[int, Field(ge=16 << 20)] = 256 << 20
    """Bytes for all stores, caches and Kafka queues of the manager together.

    Half is for an engine's block cache and write buffers, a quarter for records that a restore gathers before
    it writes them, an eighth for the record cache, and an eighth for the queues of both consumers.
    """
    on_missing: OnMissing = "fail"
    """When a local copy is missing or cannot be continued: fail the table, or rebuild it from Kafka."""
    on_scan: OnScan = "allow"
    """When a query must look at all rows to answer: allow it, warn in the log, or raise QueryError."""
    max_lag: Count | None = None
    """Records a ready table may be behind its topic; with more it is not ready. Not set: any number."""
    max_staleness: Seconds | None = None
    """Seconds a ready table may go without the broker confirming the topic's end. Not set: any time."""
    request_timeout: Seconds = 30.0
    """Longest wait for an answer of the broker, in seconds."""
    flush_interval: Seconds = 30.0
    """Seconds until applied records are durable."""
    flush_bytes: Count = 64 << 20
    """Applied bytes after which a store is flushed before the interval is over."""
    retry_waits: tuple[SecondsOrZero, ...] = (1.0, 2.0, 4.0, 8.0)
    """Seconds before each further try of a failing store write.

    A first contact that the broker answers with errors is tried as many times more before the table fails.
    """
    auto_restart: bool = True
    """Whether a failing store write is tried again; with false the first failure is final."""
    confirm_interval: Seconds = 5.0
    """Seconds between two requests for the end offsets of the bound topics."""
    progress_interval: Seconds = 5.0
    """Seconds between two progress events of a restoring table."""
    health_interval: SecondsOrZero = 30.0
    """Seconds between two checks that log unhealthy tables; 0 turns them off."""

    @field_validator("retry_waits", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class TopicSettings(Section):
    """Settings of one topic, to create it and to write to it; unset ones are as the entity class says."""

    partitions: Count | None = None
    """Number of partitions."""
    replication: Count | None = None
    """Number of copies; at most the number of brokers."""
    cleanup_policy: CleanupPolicy | None = None
    """Kafka's cleanup.policy. A table's topic must be compacted."""
    retention: Seconds | None = None
    """Seconds a record is kept, under a cleanup policy with delete."""
    partitioner: Partitioner | None = None
    """Where writers put a key, by librdkafka's names; murmur2_random is Java's and the default."""
    config: Annotated[Mapping[str, str], BeforeValidator(_flat)] = Field(default_factory=dict)
    """Other topic properties by Kafka's names, as text."""


class RegistrySettings(Section):
    """The Schema Registry, for entities in Avro."""

    url: Url | None = None
    """Address; mock://NAME keeps schemas in this process, for tests. Not set: no registry."""
    username: str | None = None
    """User name for basic authentication; not set: no authentication."""
    password: SecretStr | None = None
    """Password for basic authentication."""
    auto_register: bool = True
    """Whether writing registers a schema that the registry does not have yet."""
    compatibility: Compatibility | None = None
    """Compatibility level for subjects that are registered here; not set: the registry's own."""
    timeout: Seconds = 30.0
    """Longest wait for an answer of the registry, in seconds."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Further tries when there is no answer; a refusal is not tried again."""
    retry_wait: SecondsOrZero = 1.0
    """Seconds before the first further try; each later wait is twice as long."""
    cache_size: Count = 1000
    """Schemas kept in memory."""


class KsqlSettings(Section):
    """The ksqlDB server that statestore ksql deploys to."""

    url: Url | None = None
    """Address, such as http://localhost:8088. Not set: no server."""
    username: str | None = None
    """User name for basic authentication; not set: no authentication."""
    password: SecretStr | None = None
    """Password for basic authentication."""
    ca: str | None = None
    """A file of certificates that the server's is checked with. Not set: the system's."""
    timeout: Seconds = 30.0
    """Longest wait for an answer of the server, in seconds."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Further tries after a time-out and a status of 5xx; a refusal is not tried again."""
    retry_wait: SecondsOrZero = 0.5
    """Seconds before the first further try; each later wait is twice as long."""
    application: str | None = None
    """Name of the application whose statements a plan has; the history keeps each application apart."""
    offset_reset: OffsetReset = "earliest"
    """Where a query that is created begins to read its topics."""


class LoggingSettings(Section):
    """Levels of the library's loggers; an unset one stays as it is. The root logger is never configured."""

    level: LogLevel | None = None
    """Level of statestore; the loggers below inherit it."""
    changelog: LogLevel | None = None
    """Level of statestore.changelog: restoring and following topics."""
    entity: LogLevel | None = None
    """Level of statestore.entity: declarations."""
    ksql: LogLevel | None = None
    """Level of statestore.ksql: statements of ksqlDB, and deploying them."""
    producer: LogLevel | None = None
    """Level of statestore.producer: writing to Kafka."""
    serde: LogLevel | None = None
    """Level of statestore.serde: formats."""
    store: LogLevel | None = None
    """Level of statestore.store: files and engines."""


class Settings(Section):
    """All settings of one manager. Immutable; ``repr`` shows no secret."""

    kafka: Annotated[Mapping[str, Any], Field(repr=False)] = Field(default_factory=dict)
    """Any librdkafka property except those that the library sets itself; the address is bootstrap.servers.

    The address alone may replace the section: kafka = "host:9092".
    """
    defaults: Defaults = Defaults()
    backends: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Options of one storage engine, by the names of its options class."""
    tables: Mapping[str, TableSection] = Field(default_factory=dict)
    """Settings of single tables, by entity, topic or logical name."""
    topics: Mapping[str, TopicSettings] = Field(default_factory=dict)
    """Settings of single topics, by the topic's name."""
    schema_registry: RegistrySettings = RegistrySettings()
    ksql: KsqlSettings = KsqlSettings()
    logging: LoggingSettings = LoggingSettings()

    @field_validator("kafka", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return {"bootstrap.servers": value} if isinstance(value, str) else _flat(value)

    @field_validator("kafka")
    @classmethod
    def _not_owned(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        owned = [f"{key}: {OWNED_PROPERTIES[key]}" for key in value if key in OWNED_PROPERTIES]
        if owned:
            raise ValueError("the library sets these itself: " + "; ".join(owned))
        return dict(value)

    def __str__(self) -> str:
        shown = {name: getattr(self, name) for name in type(self).model_fields}
        shown["kafka"] = redacted(self.kafka)
        shown["backends"] = {name: redacted(options) for name, options in self.backends.items()}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    __repr__ = __str__
