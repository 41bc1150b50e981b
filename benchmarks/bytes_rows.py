"""Stores of bytes against the very bindings they stand on: point reads, scans, batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lmdb
from harness import Fresh, Measured, Row, timed
from rocksdict import Options, Rdict, RdictIter, ReadOptions, WriteBatch, WriteOptions

from statestore import StoreManager
from statestore.backends import find_engine
from statestore.store import DATA, ChangelogStore, Position

PAIRS = 50_000
READS = 100_000
BATCH = 1_000
BATCHES = 50
MEMORY = 192 << 20
MAP_SIZE = 1 << 30

Pairs = list[tuple[bytes, bytes]]


def rocksdb_rows(stack: ExitStack, fresh: Fresh) -> Iterator[Row]:
    """Return the rows of RocksDB; what they open is closed with ``stack``."""
    pairs, wanted = _content()
    store = _filled(stack, fresh.directory(), "rocksdb", pairs)
    theirs = _rdict(fresh.directory())
    stack.callback(theirs.close)
    for key, value in pairs:
        theirs.put(key, value)
    theirs.flush()

    def scan() -> None:
        cursor: RdictIter = theirs.iter(ReadOptions())
        cursor.seek_to_first()
        while cursor.valid():
            cursor.key(), cursor.value()
            cursor.next()
        cursor.status()  # a corrupt block ends the loop, too

    options = WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign, assignment] # its stub has it wrong
    batches = _batches()
    written = _rdict(fresh.directory())
    stack.callback(written.close)

    def write() -> None:
        for batch, position in batches:
            native = WriteBatch(raw_mode=True)
            for key, value in batch:
                native.put(key, value)
            native.put(*position)
            written.write(native, options)

    yield Row(
        "hot get, rocksdb",
        "Rdict.get",
        READS,
        "reads",
        5.0,
        _gets(store.get, wanted),
        _gets(theirs.get, wanted),
    )
    yield Row(
        "full scan, rocksdb", "RdictIter with status()", PAIRS, "pairs", 0.9, _drained(store), timed(scan)
    )
    yield _batch_row(
        "rocksdb", "WriteBatch, no WAL", _applied(stack, fresh, "rocksdb", batches), timed(write)
    )


def lmdb_rows(stack: ExitStack, fresh: Fresh) -> Iterator[Row]:
    """Return the rows of LMDB; what they open is closed with ``stack``."""
    pairs, wanted = _content()
    store = _filled(stack, fresh.directory(), "lmdb", pairs)
    theirs = lmdb.open(str(fresh.directory()), map_size=MAP_SIZE)
    stack.callback(theirs.close)
    with theirs.begin(write=True) as transaction:
        for key, value in pairs:
            transaction.put(key, value)

    def get(key: bytes) -> Any:
        with theirs.begin() as transaction:
            return transaction.get(key)

    def scan() -> None:
        with theirs.begin() as transaction:
            for _ in transaction.cursor():
                pass

    batches = _batches()
    written = lmdb.open(str(fresh.directory()), map_size=MAP_SIZE)
    stack.callback(written.close)

    def write() -> None:
        for batch, position in batches:
            with written.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
                transaction.put(*position)

    yield Row(
        "hot get, lmdb", "begin() and get", READS, "reads", 4.0, _gets(store.get, wanted), _gets(get, wanted)
    )
    yield Row("full scan, lmdb", "Cursor.__iter__", PAIRS, "pairs", 0.8, _drained(store), timed(scan))
    yield _batch_row("lmdb", "begin(write=True), put", _applied(stack, fresh, "lmdb", batches), timed(write))


def _content() -> tuple[Pairs, list[bytes]]:
    """Return what the stores hold, and the keys to read."""
    chance = random.Random(13)
    pairs = [(b"key-%012d" % number, chance.randbytes(100)) for number in range(PAIRS)]
    return pairs, [pairs[chance.randrange(PAIRS)][0] for _ in range(READS)]


def _filled(stack: ExitStack, directory: Path, backend: str, pairs: Pairs) -> Any:
    store = stack.enter_context(StoreManager(directory, backend=backend)).open("bench")
    with store.batch() as batch:
        for key, value in pairs:
            batch.put(key, value)
    store.flush()
    return store


def _rdict(directory: Path) -> Rdict:
    return Rdict(str(directory), Options(raw_mode=True))


def _gets(get: Any, wanted: list[bytes]) -> Measured:
    def read() -> None:
        for key in wanted:
            get(key)

    return timed(read)


def _drained(store: Any) -> Measured:
    def drain() -> None:
        for _ in store.scan():
            pass

    return timed(drain)


def _batches() -> list[tuple[Pairs, tuple[bytes, bytes]]]:
    """Return batches of pairs, their keys as a store writes them, each with a position's pair."""
    chance = random.Random(17)
    return [
        (
            [(DATA + chance.randbytes(16), chance.randbytes(108)) for _ in range(BATCH)],
            (b"\x00pos\x00\x00\x00\x00", b"%020d" % number),
        )
        for number in range(BATCHES)
    ]


def _applied(
    stack: ExitStack, fresh: Fresh, backend: str, batches: list[tuple[Pairs, tuple[bytes, bytes]]]
) -> Measured:
    engine = find_engine(backend)(MEMORY)
    opened = engine.open(fresh.directory(), changelog=True)
    stack.callback(engine.close)
    stack.callback(opened.close)
    store = ChangelogStore("bench", opened, engine.max_key_size)

    def apply() -> None:
        for number, (batch, _) in enumerate(batches):
            store.apply(batch, [], {0: Position(number)})

    return timed(apply)


def _batch_row(backend: str, reference: str, ours: Measured, theirs: Measured) -> Row:
    return Row(f"batch of {BATCH:,}, {backend}", reference, BATCH * BATCHES, "pairs", 0.9, ours, theirs)
