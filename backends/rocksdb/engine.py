"""Opening RocksDB stores, and the memory they share."""

from __future__ import annotations

import re
import tempfile
from functools import partial
from pathlib import Path
from typing import ClassVar

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBufferManager,
    WriteOptions,
)

from statestore.backends.contract import Backend, Engine, StoreOptions, is_nobodys
from statestore.backends.descriptors import Descriptors
from statestore.backends.options import EngineOptions
from statestore.backends.rocksdb import bulk, errors, forks, indexes
from statestore.backends.rocksdb.options import RocksDBOptions
from statestore.backends.rocksdb.reader import RocksDBReader
from statestore.backends.rocksdb.store import STALL_FILES, RocksDBBackend
from statestore.backends.rocksdb.upkeep import Upkeep
from statestore.backends.sharing import ReadOnlyBackend
from statestore.runtime import fork

_COMPRESSION = {
    "none": DBCompressionType.none,
    "lz4": DBCompressionType.lz4,
    "zstd": DBCompressionType.zstd,
    "snappy": DBCompressionType.snappy,
}
_ALL_FILES = -1
_SHARED_WRITE_BUFFER = 1 << 20
"""Bytes of a memtable of a store that others read. Each of them has a copy of it, which it fills from the log
when it is opened, as who takes the store over does; other threads wait for both (15 ms of CPU for 1 MiB of
small rows)."""
_SHARED_WRITE_BUFFERS = 24
"""How many of them there may be: a burst of writes finds as much room as in six of four times the size."""
_ATTEMPTS = 5
"""How often a reader is opened whose owner deletes files at that moment."""
_ANY_SIZE = 0
"""Estimated size of what is cached, where it is not known: the cache's table grows with what is in it."""
DESCRIPTORS = 8
"""What a store holds open besides the files of its data: LOCK, LOG, MANIFEST, the write-ahead log, its
directory twice, and two files that are being written."""
_OWN_DATA = re.compile(r"\d+\.(sst|log|blob)")
_OWN_FILE = re.compile(
    r"\d+\.(sst|log|blob|dbtmp)|(MANIFEST|OPTIONS)-\d+(\.dbtmp)?|CURRENT|IDENTITY|LOCK|LOG(\.old\.\d+)?"
    r"|rocksdict-config\.json"
)


class RocksDBEngine(Engine):
    """Stores in RocksDB. ``memory_budget`` bounds the cached blocks and the memtables of all of them."""

    name: ClassVar[str] = "rocksdb"
    max_key_size: ClassVar[int] = 65536
    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = RocksDBOptions
    compressions: ClassVar[tuple[str, ...]] = tuple(_COMPRESSION)

    def __init__(self, memory_budget: int, options: RocksDBOptions | None = None) -> None:
        self._options = options if options is not None else RocksDBOptions()
        write_buffers = int(memory_budget * self._options.write_buffer_share)
        # The default kind of cache is divided among up to 64 shards, and what is larger than a shard is never
        # kept: the index of a large file written in one piece would be read again for each read.
        self._cache = Cache.new_hyper_clock_cache(memory_budget, _ANY_SIZE)
        self._indexes = indexes.Indexes(memory_budget)
        # Memtables are charged to the cache, so that the budget covers both. Stalling writers would be a
        # second way to keep the bound, but it would stop every thread of Python.
        self._write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            write_buffers, allow_stall=False, cache=self._cache
        )
        self._descriptors = Descriptors("rocksdb", DESCRIPTORS)
        self._upkeep_turn = fork.lock()
        # Four memtables, so that one store can fill one while others are flushed.
        self._write_buffer = max(65536, min(self._options.max_write_buffer, write_buffers // 4))

    def check_process(self) -> None:
        forks.check()

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        self.check_process()
        compression = options.compression or self._options.compression
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            _check_files(directory)
        except OSError as error:
            raise errors.from_os(directory, "opening", error) from error
        open_files = self._descriptors.take(directory, self._options.max_open_files)
        rocksdb_options = self._rocksdb_options(compression, open_files)
        if options.shared:
            rocksdb_options.set_write_buffer_size(min(self._write_buffer, _SHARED_WRITE_BUFFER))
            rocksdb_options.set_max_write_buffer_number(_SHARED_WRITE_BUFFERS)
        forks.opened()
        try:
            # Without column_families, rocksdict takes the options of an existing database from its files, and
            # with them a block cache of its own.
            database = Rdict(str(directory), rocksdb_options, column_families={"default": rocksdb_options})
        except Exception as error:
            raise errors.translate(directory, "opening", error) from error
        bulk.remove_remnants(directory)
        fork.skip_exit_handlers()  # RocksDB's joins the threads that flush and compact
        write_options = WriteOptions()
        write_options.no_slowdown = True  # a stall inside of write() would stop every thread of Python
        # The stub says that this is a method; assigning is what works.
        write_options.disable_wal = options.changelog and not options.shared  # type: ignore[method-assign, assignment]
        store = RocksDBBackend(
            database,
            directory,
            partial(self._file_options, compression, open_files),
            write_options,
            self._indexes,
            logged=not options.changelog,
            upkeep=Upkeep(self._upkeep_turn, flushed=options.changelog),
            sync=self._options.sync and not options.changelog,
            stall_timeout=self._options.stall_timeout,
            damaged=options.damaged,
        )
        self._descriptors.given(store, open_files)
        return store

    def open_reader(self, directory: Path, options: StoreOptions) -> ReadOnlyBackend:
        self.check_process()
        _check_is_store(directory)
        # A file that the owner deletes is read on only if it is open.
        self._descriptors.take(directory, _ALL_FILES)
        rocksdb_options = self._rocksdb_options(self._options.compression, _ALL_FILES)
        rocksdb_options.set_max_log_file_size(0)  # there is no place for another one
        forks.opened()
        store = RocksDBReader(
            partial(_open_secondary, directory, rocksdb_options),
            directory,
            self._indexes.cache,
            partial(self.open, directory),
            options.damaged,
        )
        fork.skip_exit_handlers()
        self._descriptors.given(store, _ALL_FILES)
        return store

    def close(self) -> None:
        """Nothing to do: cache and write buffers go with the last store that uses them."""

    def _rocksdb_options(self, compression: str, open_files: int, in_parts: bool = False) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_compression_type(_COMPRESSION[compression]())
        options.set_write_buffer_manager(self._write_buffers)
        options.set_write_buffer_size(self._write_buffer)
        options.set_max_write_buffer_number(6)
        # Slowing down is refused like stalling, so it begins only where writes would stop anyway.
        options.set_level_zero_slowdown_writes_trigger(STALL_FILES)
        options.set_level_zero_stop_writes_trigger(STALL_FILES)
        options.set_max_background_jobs(self._options.background_jobs)
        options.set_max_open_files(open_files)
        # Else they are divided among 64 tables of one file each, and files are opened again at every read.
        options.set_table_cache_num_shard_bits(0)
        options.set_keep_log_file_num(3)
        options.set_max_log_file_size(4 << 20)
        options.set_stats_dump_period_sec(0)
        options.set_block_based_table_factory(self._table_options(in_parts))
        return options

    def _file_options(self, compression: str, open_files: int, in_parts: bool) -> Options:
        """Return the options of files that are loaded in bulk, and soon merged into others."""
        options = self._rocksdb_options(compression, open_files, in_parts)
        if compression == "lz4":
            # A negative level is lz4's acceleration: 4 takes a third of the time and 6 % more space.
            options.set_compression_options(-14, -4, 0, 0)
        return options

    def _table_options(self, in_parts: bool) -> BlockBasedOptions:
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_block_size(self._options.block_size)
        table.set_cache_index_and_filter_blocks(True)  # else they are outside of the budget
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        if in_parts:
            indexes.write_parts(table)
        else:
            indexes.write_pieces(table)
        if self._options.bloom_bits:
            table.set_bloom_filter(self._options.bloom_bits, False)
        return table


def _check_is_store(directory: Path) -> None:
    """Raise what there is to say of a directory that cannot be read; RocksDB would make it."""
    try:
        if not (directory / "CURRENT").exists():
            raise errors.absent(directory)
        _check_files(directory)
    except OSError as error:
        raise errors.from_os(directory, "opening", error) from error


def _open_secondary(directory: Path, options: Options) -> Rdict:
    """Open a secondary instance. It has a log of its own, which goes when it does."""
    try:
        with tempfile.TemporaryDirectory(prefix="statestore-", ignore_cleanup_errors=True) as place:
            for left in reversed(range(_ATTEMPTS)):
                try:
                    return Rdict(
                        str(directory),
                        options,
                        column_families={"default": options},
                        access_type=AccessType.secondary(place),
                    )
                except Exception as error:
                    failure = errors.translate(directory, "opening", error)
                    if not left or not (directory / "CURRENT").exists():
                        raise failure from error
    except OSError as error:
        raise errors.without_place(directory, error) from error
    raise AssertionError("unreachable")


def _check_files(directory: Path) -> None:
    """Refuse a directory RocksDB would quietly take over although it is not, or no longer, a database."""
    names = [entry.name for entry in directory.iterdir() if not is_nobodys(entry.name)]
    for name in names:
        if not _OWN_FILE.fullmatch(name) and not (name == bulk.FOLDER and "CURRENT" in names):
            raise errors.foreign(directory, name)
    if "CURRENT" not in names and any(_OWN_DATA.fullmatch(name) for name in names):
        raise errors.headless(directory)
