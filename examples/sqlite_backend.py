"""A backend over ``sqlite3``: docs/backends.md builds it step by step."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from statestore.backends import (
    Batch,
    Database,
    DatabaseEngine,
    DatabaseReader,
    EngineOptions,
    KeyRange,
    StoreOptions,
)
from statestore.errors import StoreCorruptError, StoreFullError, StoreUnavailableError


class SQLiteOptions(EngineOptions):
    """What ``[backends.sqlite]`` in a settings file may say."""

    cache_kib: int = 2048
    """KiB of pages that each connection keeps in memory."""


class SQLiteEngine(DatabaseEngine):
    """Opens stores that are a SQLite database each."""

    name: ClassVar[str] = "sqlite"
    max_key_size: ClassVar[int] = 65_536
    options_type: ClassVar[type[EngineOptions]] = SQLiteOptions

    def open_database(self, directory: Path, options: StoreOptions) -> SQLiteDatabase:
        cache_kib = min(self.options.cache_kib, self.memory_budget >> 10)
        # The topic is the log of a store with a changelog: it may lose its last transactions.
        return SQLiteDatabase(directory / "data.db", cache_kib, "NORMAL" if options.changelog else "FULL")

    def error_class(self, error: Exception) -> type[StoreUnavailableError] | None:
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL":
            return StoreFullError
        damaged = code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
        return StoreCorruptError if damaged else StoreUnavailableError


def connect(file: Path, cache_kib: int, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")  # reads and writes do not wait for each other
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    except BaseException:
        connection.close()
        raise
    return connection


class SQLiteDatabase(Database):
    """One file, and a connection that writes it."""

    def __init__(self, file: Path, cache_kib: int, synchronous: str) -> None:
        self.file = file
        self._arguments = file, cache_kib, synchronous
        self._writer = connect(*self._arguments)
        try:
            columns = "key BLOB PRIMARY KEY, value BLOB NOT NULL"
            self._writer.execute(f"CREATE TABLE IF NOT EXISTS pairs ({columns}) WITHOUT ROWID")
        except BaseException:
            self._writer.close()
            raise

    def reader(self) -> SQLiteReader:
        return SQLiteReader(connect(*self._arguments))

    def write(self, batch: Batch) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany("DELETE FROM pairs WHERE key = ?", [(key,) for key in batch.deletes])
            self._writer.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", batch.puts)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def flush(self) -> None:
        self._writer.execute("PRAGMA synchronous=FULL")
        self._writer.execute("PRAGMA user_version=1")  # a transaction, which takes all before it to the disk
        self._writer.execute(f"PRAGMA synchronous={self._arguments[2]}")

    def copy(self, directory: Path) -> None:
        self._writer.execute("VACUUM INTO ?", [str(directory / self.file.name)])

    def compact(self) -> None:
        self._writer.execute("VACUUM")
        self._writer.execute("PRAGMA busy_timeout=0")  # the next line does not wait for open snapshots
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.execute("PRAGMA busy_timeout=30000")

    def close(self) -> None:
        self._writer.close()


class SQLiteReader(DatabaseReader):
    """A connection whose transactions only read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT 1 FROM pairs").fetchone()  # the first read fixes the moment

    def end(self) -> None:
        self._connection.execute("COMMIT")

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        query = "SELECT value FROM pairs WHERE key = ?"
        rows = [self._connection.execute(query, [key]).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def read(self, keys: KeyRange, reverse: bool, count: int) -> list[tuple[bytes, bytes]]:
        where, bounds = "key >= ?", [keys.start or b""]
        if keys.stop is not None:
            where, bounds = where + " AND key < ?", [*bounds, keys.stop]
        order = "DESC" if reverse else "ASC"
        query = f"SELECT key, value FROM pairs WHERE {where} ORDER BY key {order} LIMIT {count}"
        return self._connection.execute(query, bounds).fetchall()

    def count(self) -> int:
        count: int = self._connection.execute("SELECT count(*) FROM pairs").fetchone()[0]
        return count

    def close(self) -> None:
        self._connection.close()
