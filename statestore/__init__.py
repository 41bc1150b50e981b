"""Embedded, crash-safe, queryable mirrors of compacted Kafka topics.

::

    with StoreManager("state", kafka="localhost:9092") as stores:
        orders = stores.bind(Order)
        orders.wait_until_ready(timeout=15)
        orders.get(42)
"""

from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import Reason, State
from statestore.delivery import Delivery
from statestore.entity import entity
from statestore.errors import (
    ConfigError,
    DecodeError,
    DeliveryError,
    DirectoryLockedError,
    EncodeError,
    EntityRejectedError,
    ForkedProcessError,
    KafkaError,
    ReadyTimeoutError,
    RegistryError,
    StartupError,
    StateStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreFormatError,
    StoreFullError,
    StoreIdentityError,
    StoreMissingError,
    StoreNotReadyError,
    StorePositionError,
    StoreUnavailableError,
    UnreachableRegistryError,
)
from statestore.expressions.aggregates import agg
from statestore.expressions.expr import F
from statestore.fields.attributes import (
    Alias,
    EventTime,
    Float32,
    Format,
    Ignored,
    Index,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowSize,
    WindowStart,
)
from statestore.kafka.topics import TopicDifference, TopicsReport
from statestore.manager import StoreManager
from statestore.manager.health import ManagerHealth
from statestore.manager.validation import check_entities
from statestore.producing.producer import ProducerHealth
from statestore.producing.transaction import Transaction
from statestore.serde.normalise import normalise
from statestore.settings import Settings
from statestore.storage.store import KeyValueStore, WriteBatch
from statestore.storage.view import StoreReader
from statestore.tables.stream import Stream, StreamHealth
from statestore.tables.table import BytesTable, Table

__all__ = [
    "Alias",
    "BytesTable",
    "ConfigError",
    "DecodeError",
    "Delivery",
    "DeliveryError",
    "DirectoryLockedError",
    "EncodeError",
    "EventTime",
    "F",
    "Float32",
    "ForkedProcessError",
    "Format",
    "Ignored",
    "Index",
    "Int32",
    "KafkaError",
    "Key",
    "KeyValueStore",
    "ManagerHealth",
    "MaxLength",
    "Name",
    "Precision",
    "ProducerHealth",
    "ReadyTimeoutError",
    "Reason",
    "EntityRejectedError",
    "RegistryError",
    "RestoreProgress",
    "Settings",
    "StartupError",
    "State",
    "StateChange",
    "StateStoreError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreFormatError",
    "StoreFullError",
    "StoreIdentityError",
    "StoreManager",
    "StoreMissingError",
    "StoreNotReadyError",
    "StorePositionError",
    "StoreReader",
    "StoreUnavailableError",
    "Stream",
    "StreamHealth",
    "Table",
    "TableHealth",
    "Transaction",
    "TopicDifference",
    "TopicsReport",
    "UnreachableRegistryError",
    "WindowEnd",
    "WindowSize",
    "WindowStart",
    "WriteBatch",
    "agg",
    "check_entities",
    "entity",
    "normalise",
]
