"""Stores for asyncio: the names and methods of the blocking ones, awaited. ``docs/asyncio.md`` shows them."""

from statestore.aio.manager import AsyncStoreManager
from statestore.aio.query import AsyncTableGrouping, AsyncTableQuery
from statestore.aio.rows import AsyncRows
from statestore.aio.snapshots import AsyncBytesTableSnapshot, AsyncTableSnapshot, AsyncWindowTableSnapshot
from statestore.aio.store import AsyncKeyValueStore, AsyncStoreReader
from statestore.aio.stream import AsyncStream
from statestore.aio.tables import AsyncBytesTable, AsyncTable, AsyncWindowTable
from statestore.aio.transaction import AsyncTransaction
from statestore.aio.window_store import (
    AsyncSessionSnapshot,
    AsyncSessionStore,
    AsyncWindowSnapshot,
    AsyncWindowStore,
)

__all__ = [
    "AsyncBytesTable",
    "AsyncBytesTableSnapshot",
    "AsyncKeyValueStore",
    "AsyncRows",
    "AsyncSessionSnapshot",
    "AsyncSessionStore",
    "AsyncStoreManager",
    "AsyncStoreReader",
    "AsyncStream",
    "AsyncTable",
    "AsyncTableGrouping",
    "AsyncTableQuery",
    "AsyncTableSnapshot",
    "AsyncTransaction",
    "AsyncWindowSnapshot",
    "AsyncWindowStore",
    "AsyncWindowTable",
    "AsyncWindowTableSnapshot",
]
