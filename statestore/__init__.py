"""Embedded, crash-safe, queryable mirrors of compacted Kafka topics.

::

    with StoreManager("state", kafka="localhost:9092") as stores:
        orders = stores.bind(Order)
        orders.wait_until_ready(timeout=15)
        orders.get(42)
"""

import logging

from statestore.aio.manager import AsyncStoreManager
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import Reason, State
from statestore.delivery import Delivery
from statestore.entity import entity
from statestore.errors import (
    ConfigError,
    DecodeError,
    DeliveryError,
    DeployError,
    DirectoryLockedError,
    EncodeError,
    EntityRejectedError,
    ForkedProcessError,
    KafkaError,
    KeyTypeError,
    KsqlError,
    KsqlServerError,
    NewerRecordError,
    ProducerFencedError,
    QueryError,
    ReadyTimeoutError,
    RegistryError,
    RowCountError,
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
    Extra,
    Float32,
    Format,
    Gap,
    Ignored,
    Index,
    Int16,
    Int32,
    Key,
    MaxLength,
    Name,
    Precision,
    WindowEnd,
    WindowSize,
    WindowStart,
)
from statestore.fields.windows import Hopping
from statestore.kafka.topics import TopicDifference, TopicsReport
from statestore.manager import StoreManager
from statestore.manager.health import CacheHealth, ManagerHealth
from statestore.manager.validation import check_entities
from statestore.producing.producer import ProducerHealth
from statestore.producing.transaction import Transaction, TransactionHealth
from statestore.query.facade import TableQuery
from statestore.query.row_iterator import RowIterator
from statestore.relational.results import Row
from statestore.relational.values import Query
from statestore.serde.normalise import normalise
from statestore.settings import Settings
from statestore.storage.store import KeyValueStore, WriteBatch
from statestore.storage.view import StoreReader
from statestore.storage.window_reads import SessionSnapshot, WindowSnapshot
from statestore.storage.window_store import SessionBatch, SessionStore, WindowBatch, WindowStats, WindowStore
from statestore.tables.snapshot import BytesTableSnapshot, TableSnapshot
from statestore.tables.stream import Stream, StreamHealth
from statestore.tables.table import BytesTable, Table, WindowTable
from statestore.tables.timestamps import Record, Timestamped
from statestore.tables.window_table import WindowTableSnapshot, WindowTableStats
from statestore.tables.windowed_table import WindowedTable, WindowedTableHealth

# A program that has not configured logging gets no line of ours; one that has gets them all.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Alias",
    "AsyncStoreManager",
    "BytesTable",
    "BytesTableSnapshot",
    "CacheHealth",
    "ConfigError",
    "DecodeError",
    "Delivery",
    "DeliveryError",
    "DeployError",
    "DirectoryLockedError",
    "EncodeError",
    "EventTime",
    "Extra",
    "F",
    "Float32",
    "ForkedProcessError",
    "Format",
    "Gap",
    "Hopping",
    "Ignored",
    "Index",
    "Int16",
    "Int32",
    "KafkaError",
    "Key",
    "KeyTypeError",
    "KsqlError",
    "KsqlServerError",
    "KeyValueStore",
    "ManagerHealth",
    "MaxLength",
    "Name",
    "NewerRecordError",
    "Precision",
    "ProducerFencedError",
    "ProducerHealth",
    "Query",
    "QueryError",
    "ReadyTimeoutError",
    "Reason",
    "EntityRejectedError",
    "Record",
    "RegistryError",
    "RestoreProgress",
    "Row",
    "RowCountError",
    "RowIterator",
    "SessionBatch",
    "SessionSnapshot",
    "SessionStore",
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
    "Timestamped",
    "TableHealth",
    "TableQuery",
    "TableSnapshot",
    "Transaction",
    "TransactionHealth",
    "TopicDifference",
    "TopicsReport",
    "UnreachableRegistryError",
    "WindowBatch",
    "WindowEnd",
    "WindowSize",
    "WindowSnapshot",
    "WindowStart",
    "WindowStats",
    "WindowStore",
    "WindowTable",
    "WindowTableSnapshot",
    "WindowTableStats",
    "WindowedTable",
    "WindowedTableHealth",
    "WriteBatch",
    "agg",
    "check_entities",
    "entity",
    "normalise",
]
