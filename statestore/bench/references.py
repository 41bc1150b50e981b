"""The references: what a program could use instead, each as its own manual says.

Those of a backend's own library show what the backend costs on top of it. With ``durable`` each waits for the
disk at every write; else each leaves that to the system, or to its ``flush``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from typing import Any

from statestore.bench.candidates import STORES, Abilities, Candidate, Kind, Opening, Pair, StoreName

_MAP_SIZE = 64 << 30


class DictReference(Candidate):
    """A ``dict``, which has no order of keys, no files and no snapshots."""

    def __init__(self, _: Opening) -> None:
        self._content: dict[bytes, bytes] = {}
        self.get = self._content.get
        self.put = self._content.__setitem__

    def delete(self, key: bytes) -> object:
        return self._content.pop(key, None)

    def write(self, pairs: Sequence[Pair]) -> object:
        return self._content.update(pairs)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        if start is not None:
            raise NotImplementedError
        return sum(1 for _ in islice(self._content.items(), limit))

    def close(self) -> None:
        self._content.clear()


class SortedDictReference(DictReference):
    """``SortedDict`` of sortedcontainers: a ``dict`` in the order of its keys, for one thread."""

    def __init__(self, opening: Opening) -> None:
        from sortedcontainers import SortedDict

        super().__init__(opening)
        self._content: Any = SortedDict()
        self.get = self._content.get
        self.put = self._content.__setitem__

    def scan(self, start: bytes | None, limit: int | None) -> int:
        if start is None:
            return super().scan(start, limit)
        content = self._content
        return sum(1 for key in islice(content.irange(start), limit) if content[key] is not None)

    def between(self, start: bytes, stop: bytes) -> Iterator[Pair]:
        content = self._content
        return ((key, content[key]) for key in content.irange(start, stop, (True, False)))


class RocksdictReference(Candidate):
    """``rocksdict`` with its defaults and raw bytes; without ``durable`` no write-ahead log."""

    def __init__(self, opening: Opening) -> None:
        import rocksdict

        self._library: Any = rocksdict
        self._store: Any = rocksdict.Rdict(str(opening.directory / "store"), rocksdict.Options(raw_mode=True))
        options: Any = rocksdict.WriteOptions()
        if opening.durable:
            options.sync = True
        else:
            options.disable_wal = True
        self._options = options
        self._store.set_write_options(self._options)
        self.get = self._store.get
        self.put = self._store.put

    def delete(self, key: bytes) -> object:
        return self._store.delete(key)

    def write(self, pairs: Sequence[Pair]) -> object:
        batch = self._library.WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        return self._store.write(batch, self._options)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        pairs = self._store.items(from_key=start) if start is not None else self._store.items()
        return sum(1 for _ in islice(pairs, limit))

    def between(self, start: bytes, stop: bytes) -> Iterator[Pair]:
        options = self._library.ReadOptions()
        options.set_iterate_upper_bound(stop)
        cursor = self._store.iter(options)
        cursor.seek(start)
        while cursor.valid():
            yield cursor.key(), cursor.value()
            cursor.next()
        cursor.status()  # a corrupt block ends the loop, too

    def snapshot(self) -> Any:
        return _Held(self._store.snapshot())

    def flush(self) -> None:
        self._store.flush()

    def compact(self) -> None:
        self._store.compact_range(None, None)

    def close(self) -> None:
        self._store.close()


class _Held:
    """A snapshot that is released when the last reference to it goes."""

    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot

    def close(self) -> None:
        self._snapshot = None


class LMDBReference(Candidate):
    """``lmdb`` with one transaction for each call; without ``durable`` its meta page is not synced."""

    def __init__(self, opening: Opening) -> None:
        import lmdb

        self._environment: Any = lmdb.open(
            str(opening.directory / "store"), map_size=_MAP_SIZE, metasync=opening.durable, meminit=False
        )
        begin = self._environment.begin

        def get(key: bytes) -> Any:
            with begin() as transaction:
                return transaction.get(key)

        def put(key: bytes, value: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.put(key, value)

        self.get = get
        self.put = put

    def delete(self, key: bytes) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.delete(key)

    def write(self, pairs: Sequence[Pair]) -> None:
        with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(pairs)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            found = cursor.first() if start is None else cursor.set_range(start)
            return sum(1 for _ in islice(cursor, limit)) if found else 0

    def between(self, start: bytes, stop: bytes) -> Iterator[Pair]:
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            if not cursor.set_range(start):
                return
            for pair in cursor:
                if pair[0] >= stop:
                    return
                yield pair

    def snapshot(self) -> Any:
        return _Aborted(self._environment.begin())

    def flush(self) -> None:
        self._environment.sync(True)

    def close(self) -> None:
        self._environment.close()


class _Aborted:
    def __init__(self, transaction: Any) -> None:
        self.close = transaction.abort


class SQLiteReference(Candidate):
    """``sqlite3``: a table ``WITHOUT ROWID`` in WAL mode, one connection with a lock, a transaction a write.

    ``durable`` is ``synchronous=FULL``, otherwise ``NORMAL``.
    """

    def __init__(self, opening: Opening) -> None:
        opening.directory.mkdir(exist_ok=True)
        self._path = opening.directory / "store.sqlite"
        self._lock = lock = threading.Lock()
        self._connection = connection = sqlite3.connect(
            self._path, check_same_thread=False, isolation_level=None, cached_statements=32
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if opening.durable else 'NORMAL'}")
        connection.execute("PRAGMA cache_size=-131072")  # KiB: what a backend's block cache may take
        connection.execute(
            "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
        )
        execute = connection.execute

        def get(key: bytes) -> Any:
            with lock:
                found = execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
            return None if found is None else found[0]

        def put(key: bytes, value: bytes) -> None:
            with lock:
                execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

        self.get = get
        self.put = put

    def delete(self, key: bytes) -> None:
        with self._lock:
            self._connection.execute("DELETE FROM pairs WHERE key = ?", (key,))

    def write(self, pairs: Sequence[Pair]) -> None:
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", pairs)
            self._connection.execute("COMMIT")

    def scan(self, start: bytes | None, limit: int | None) -> int:
        with self._lock:
            rows = self._connection.execute(
                "SELECT key, value FROM pairs WHERE key >= ? ORDER BY key LIMIT ?",
                (start or b"", -1 if limit is None else limit),
            )
            return sum(1 for _ in rows)

    def between(self, start: bytes, stop: bytes) -> list[Pair]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key", (start, stop)
            )
            return rows.fetchall()

    def snapshot(self) -> Any:
        held = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        held.execute("BEGIN")
        held.execute("SELECT key FROM pairs LIMIT 1").fetchone()
        return held

    def flush(self) -> None:
        with self._lock:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def compact(self) -> None:
        with self._lock:
            self._connection.execute("VACUUM")
        self.flush()

    def close(self) -> None:
        self._connection.close()


class DiskcacheReference(Candidate):
    """``diskcache.Cache`` that evicts nothing, with its defaults otherwise."""

    def __init__(self, opening: Opening) -> None:
        import diskcache

        settings: dict[str, Any] = {"sqlite_synchronous": 2} if opening.durable else {}
        self._cache: Any = diskcache.Cache(
            str(opening.directory / "store"), eviction_policy="none", size_limit=1 << 50, **settings
        )
        self.get = self._cache.get
        self.put = self._cache.set

    def delete(self, key: bytes) -> object:
        return self._cache.delete(key)

    def write(self, pairs: Sequence[Pair]) -> None:
        with self._cache.transact():
            put = self._cache.set
            for key, value in pairs:
                put(key, value)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        if start is not None:
            raise NotImplementedError
        get = self._cache.get
        return sum(1 for key in islice(self._cache.iterkeys(), limit) if get(key) is not None)

    def close(self) -> None:
        self._cache.close()


class PlyvelReference(Candidate):
    """``plyvel`` (LevelDB) with a cache of 128 MiB and a Bloom filter of 10 bits."""

    def __init__(self, opening: Opening) -> None:
        import plyvel  # pyright: ignore[reportMissingImports] - a reference that few have

        opening.directory.mkdir(exist_ok=True)
        self._store: Any = plyvel.DB(
            str(opening.directory / "store"),
            create_if_missing=True,
            lru_cache_size=128 << 20,
            bloom_filter_bits=10,
        )
        self._durable = durable = opening.durable
        put = self._store.put
        self.get = self._store.get
        self.put = (lambda key, value: put(key, value, sync=True)) if durable else put

    def delete(self, key: bytes) -> object:
        return self._store.delete(key, sync=self._durable)

    def write(self, pairs: Sequence[Pair]) -> None:
        with self._store.write_batch(transaction=True, sync=self._durable) as batch:
            for key, value in pairs:
                batch.put(key, value)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        with closing(self._store.iterator(start=start)) as pairs:
            return sum(1 for _ in islice(pairs, limit))

    def between(self, start: bytes, stop: bytes) -> Iterator[Pair]:
        with closing(self._store.iterator(start=start, stop=stop)) as pairs:
            yield from pairs

    def snapshot(self) -> Any:
        return self._store.snapshot()

    def compact(self) -> None:
        self._store.compact_range()

    def close(self) -> None:
        self._store.close()


class ZictReference(Candidate):
    """``zict.LMDB``, a mapping over LMDB whose keys are text; it never waits for the disk."""

    def __init__(self, opening: Opening) -> None:
        import zict  # pyright: ignore[reportMissingImports] - the same

        opening.directory.mkdir(exist_ok=True)
        self._mapping: Any = zict.LMDB(str(opening.directory / "store"), _MAP_SIZE)
        mapping = self._mapping

        def get(key: bytes) -> Any:
            return mapping.get(key.decode("ascii"))

        def put(key: bytes, value: bytes) -> None:
            mapping[key.decode("ascii")] = value

        self.get = get
        self.put = put

    def delete(self, key: bytes) -> object:
        return self._mapping.pop(key.decode("ascii"), None)

    def write(self, pairs: Sequence[Pair]) -> None:
        self._mapping.update((key.decode("ascii"), value) for key, value in pairs)

    def scan(self, start: bytes | None, limit: int | None) -> int:
        if start is not None:
            raise NotImplementedError
        return sum(1 for _ in islice(self._mapping.items(), limit))

    def close(self) -> None:
        self._mapping.close()


class DiscardReference(Candidate):
    """Nothing is stored: what it takes to read a topic, and no more."""

    def __init__(self, _: Opening) -> None:
        self.get = self._seen

    def _seen(self, _: bytes) -> bytes:
        return b""

    def write(self, pairs: Sequence[Pair]) -> None: ...

    def delete(self, key: bytes) -> None: ...

    def scan(self, start: bytes | None, limit: int | None) -> int:
        raise NotImplementedError

    def close(self) -> None: ...


def _reference(
    name: str,
    beside: str | None,
    open_: Callable[[Opening], Candidate],
    abilities: Abilities,
    stores: tuple[StoreName, ...] = STORES,
) -> Kind:
    says = " ".join((open_.__doc__ or "").split("\n\n")[0].split())
    return Kind(name, "reference", beside, says.replace("``", ""), abilities, open_, stores)


_NOTHING = Abilities(ordered=False, snapshots=False, files=False, atomic=False)
_WITHOUT_SCANS = Abilities(ordered=False, snapshots=False)

REFERENCES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _reference("rocksdict", "rocksdb", RocksdictReference, Abilities()),
        _reference("py-lmdb", "lmdb", LMDBReference, Abilities()),
        _reference("dict", "memory", DictReference, _NOTHING),
        _reference(
            "sortedcontainers",
            "memory",
            SortedDictReference,
            Abilities(snapshots=False, files=False, atomic=False, threads=False),
        ),
        _reference("sqlite3", None, SQLiteReference, Abilities()),
        _reference("diskcache", None, DiskcacheReference, _WITHOUT_SCANS),
        _reference("plyvel", None, PlyvelReference, Abilities()),
        _reference("zict", None, ZictReference, Abilities(ordered=False, snapshots=False, threads=False)),
        _reference("discard", None, DiscardReference, _NOTHING, ("restored",)),
    )
}

_MODULES = {"py-lmdb": "lmdb"}
_OURS = {"dict", "discard"}


def installed_references() -> list[str]:
    """Return the names of those whose library is installed, in the order in which they are shown."""
    return [name for name in REFERENCES if name in _OURS or find_spec(_MODULES.get(name, name)) is not None]
