"""A backend over ``sqlite3``, as an example of what the author of one writes; see docs/backends.md.

Register it under the entry point group ``statestore.backends``, and prove it as this project's tests do::

    class TestSQLite(BackendConformance):
        @pytest.fixture
        def engine_factory(self):
            return partial(SQLiteEngine, memory_budget=16 << 20)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    BackendReader,
    Batch,
    Engine,
    EngineOptions,
    KeyRange,
    Snapshot,
    StoreOptions,
)
from statestore.backends.contract import check_limit, directory_size, sync
from statestore.errors import StoreClosedError, StoreCorruptError, StoreFullError, StoreUnavailableError
from statestore.runtime import fork

CHUNK = 256
"""Rows that a scan takes at once."""


class SQLiteOptions(EngineOptions):
    """What ``[backends.sqlite]`` may say."""

    cache_kib: int = 2048
    """KiB of pages that each connection keeps."""


class SQLiteEngine(Engine):
    """Opens stores that are a SQLite database each."""

    name: ClassVar[str] = "sqlite"
    max_key_size: ClassVar[int] = 65_536
    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = SQLiteOptions

    def __init__(self, memory_budget: int, options: SQLiteOptions | None = None) -> None:
        self._cache_kib = min((options or SQLiteOptions()).cache_kib, memory_budget >> 10)

    def open(self, directory: Path, options: StoreOptions) -> SQLiteBackend:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            lock = _lock(directory / "LOCK")
        except OSError as error:
            remedy = "close the store where it is open, or look at the path and its rights"
            raise StoreUnavailableError(directory, f"cannot be opened: {error}", remedy) from error
        try:
            # The topic is the log of a store with a changelog: losing the last transactions is fine then.
            return SQLiteBackend(directory, lock, self._cache_kib, "NORMAL" if options.changelog else "FULL")
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Nothing is shared by the stores."""


def _lock(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Connection:
    """A connection that any thread may use, and that says so when it is closed or belongs to the parent."""

    def __init__(self, directory: Path, cache_kib: int, synchronous: str) -> None:
        self.directory = directory
        self.mutex = threading.RLock()
        self.closed = self.forked = False
        with self.errors("opening"):
            self.database = sqlite3.connect(
                directory / "data.db", check_same_thread=False, isolation_level=None, timeout=30
            )
            self.database.execute("PRAGMA journal_mode=WAL")  # writers and readers never wait for each other
            self.database.execute(f"PRAGMA synchronous={synchronous}")
            self.database.execute(f"PRAGMA cache_size=-{cache_kib}")

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        if self.forked:  # before the mutex, which a thread of the parent may have held
            raise fork.forked_error()
        with self.mutex:
            self.check()
            with self.errors("using"):
                yield self.database

    def check(self) -> None:
        if self.forked:
            raise fork.forked_error()
        if self.closed:
            raise StoreClosedError("the store, the snapshot or the scan is closed")

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what SQLite raises into the errors of the contract."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorname", "")
            text = f"{doing} the database failed: {error}"
            if code == "SQLITE_FULL":
                raise StoreFullError(self.directory, text, "free some space, then try again") from error
            if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                remedy = "restore the directory from a checkpoint, or delete it and let it be rebuilt"
                raise StoreCorruptError(self.directory, text, remedy) from error
            raise StoreUnavailableError(self.directory, text, "look at the disk and the rights") from error

    def close(self) -> None:
        with self.mutex:
            if not self.closed:
                self.closed = True
                self.database.close()

    def forget(self) -> None:
        """In a forked child: SQLite must not be called, not even to free what the parent uses."""
        self.forked = True
        fork.leak(self.database)


class Reading(BackendReader):
    """The reads of a store and of a snapshot."""

    connection: Connection

    def fixed(self) -> Connection:
        """Return a connection that sees the present moment, or that of the snapshot, from now on."""
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        check_bytes(*keys)
        with self.connection.use() as database:  # no write comes in between: it uses the connection, too
            found = (
                database.execute("SELECT value FROM pairs WHERE key = ?", [key]).fetchone() for key in keys
            )
            return [None if row is None else row[0] for row in found]

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> SQLiteIterator:
        check_limit(limit)
        self.connection.check()
        return SQLiteIterator(self.fixed(), keys, reverse, limit)


class SQLiteBackend(Reading, Backend):
    """One database: all writes by one connection, and one more for each snapshot and scan."""

    def __init__(self, directory: Path, lock: int, cache_kib: int, synchronous: str) -> None:
        self._directory, self._lock = directory, lock
        self._settings = cache_kib, synchronous
        self._fixed: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.connection = Connection(directory, *self._settings)
        with self.connection.use() as database:
            columns = "key BLOB PRIMARY KEY, value BLOB NOT NULL"
            database.execute(f"CREATE TABLE IF NOT EXISTS pairs ({columns}) WITHOUT ROWID")
        fork.register(self)

    def fixed(self) -> Connection:
        with self.connection.use():
            fixed = Connection(self._directory, *self._settings)
            fixed.database.execute("BEGIN")
            fixed.database.execute("SELECT 1 FROM pairs").fetchone()  # the moment is that of the first read
            self._fixed.add(fixed)
            return fixed

    def snapshot(self) -> SQLiteSnapshot:
        return SQLiteSnapshot(self.fixed())

    def write(self, batch: Batch) -> None:
        check_bytes(*batch.deletes, *(part for pair in batch.puts for part in pair))
        with self.connection.use() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany("DELETE FROM pairs WHERE key = ?", [(key,) for key in batch.deletes])
                database.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", batch.puts)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def flush(self) -> None:
        with self.connection.use():
            try:
                for file in self._directory.glob("data.db*"):
                    sync(file)
            except OSError as error:
                remedy = "look at the disk and the rights"
                raise StoreUnavailableError(self._directory, f"cannot be synced: {error}", remedy) from error

    def size(self) -> int:
        self.connection.check()
        return directory_size(self._directory)

    def approximate_count(self) -> int:
        with self.connection.use() as database:
            count: int = database.execute("SELECT count(*) FROM pairs").fetchone()[0]
            return count

    def checkpoint(self, directory: Path) -> None:
        with self.connection.use() as database:
            directory.mkdir(mode=0o700)
            database.execute("VACUUM INTO ?", [str(directory / "data.db")])

    def compact(self) -> None:
        with self.connection.use() as database:
            database.execute("VACUUM")
            database.execute("PRAGMA busy_timeout=0")  # the checkpoint does not wait for snapshots
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA busy_timeout=30000")

    def close(self) -> None:
        if self.connection.forked:
            raise fork.forked_error()
        with self.connection.mutex:
            if self.connection.closed:
                return
            for fixed in list(self._fixed):
                fixed.close()
            self.connection.close()
            os.close(self._lock)

    def destroy(self) -> None:
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _forked(self) -> None:
        for connection in (self.connection, *self._fixed):
            connection.forget()
        os.close(self._lock)


class SQLiteSnapshot(Reading, Snapshot):
    """A connection within a transaction that only reads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def fixed(self) -> Connection:
        return self.connection

    def close(self) -> None:
        if not self.connection.forked:
            self.connection.close()


class SQLiteIterator(BackendIterator):
    """A scan in chunks, each of which begins after the last key."""

    def __init__(self, connection: Connection, keys: KeyRange, reverse: bool, limit: int | None) -> None:
        self._connection: Connection | None = connection
        self._low, self._high = keys.start or b"", keys.stop
        self._reverse, self._left = reverse, limit
        self._after: bytes | None = None
        self._pairs: list[tuple[bytes, bytes]] = []

    def __next__(self) -> tuple[bytes, bytes]:
        if self._connection is None:
            raise StopIteration
        self._connection.check()
        if not self._pairs:
            self._pairs = self._next_chunk(self._connection)[::-1]
        if not self._pairs:
            self.close()
            raise StopIteration
        return self._pairs.pop()

    def _next_chunk(self, connection: Connection) -> list[tuple[bytes, bytes]]:
        bounds: list[tuple[str, Any]] = [("key >= ?", self._low)]
        if self._high is not None:
            bounds.append(("key < ?", self._high))
        if self._after is not None:
            bounds.append(("key < ?" if self._reverse else "key > ?", self._after))
        count = CHUNK if self._left is None else min(CHUNK, self._left)
        where = " AND ".join(condition for condition, _ in bounds)
        order = "DESC" if self._reverse else "ASC"
        query = f"SELECT key, value FROM pairs WHERE {where} ORDER BY key {order} LIMIT {count}"
        with connection.use() as database:
            pairs: list[tuple[bytes, bytes]] = database.execute(
                query, [bound for _, bound in bounds]
            ).fetchall()
        if self._left is not None:
            self._left -= len(pairs)
        if pairs:
            self._after = pairs[-1][0]
        return pairs

    def close(self) -> None:
        self._pairs = []
        self._connection = None  # frees it, unless it is a snapshot's


def check_bytes(*given: object) -> None:
    for one in given:
        if not isinstance(one, bytes):
            raise TypeError(f"keys and values are bytes, not {type(one).__name__}: {one!r}")
