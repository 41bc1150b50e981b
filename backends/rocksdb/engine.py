"""Opening RocksDB stores, and the memory they share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBufferManager,
    WriteOptions,
)

from statestore.backends.contract import Backend, Engine, StoreOptions
from statestore.backends.options import EngineOptions
from statestore.backends.rocksdb import bulk, errors
from statestore.backends.rocksdb.options import RocksDBOptions
from statestore.backends.rocksdb.store import STALL_FILES, RocksDBBackend
from statestore.runtime import fork

_COMPRESSION = {
    "none": DBCompressionType.none,
    "lz4": DBCompressionType.lz4,
    "zstd": DBCompressionType.zstd,
    "snappy": DBCompressionType.snappy,
}
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
        self._cache = Cache(memory_budget)
        # Memtables are charged to the cache, so that the budget covers both. Stalling writers would be a
        # second way to keep the bound, but it would stop every thread of Python.
        self._write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            write_buffers, allow_stall=False, cache=self._cache
        )
        # Four memtables, so that one store can fill one while others are flushed.
        self._write_buffer = max(65536, min(self._options.max_write_buffer, write_buffers // 4))

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        compression = options.compression or self._options.compression
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            _check_files(directory)
        except OSError as error:
            raise errors.from_os(directory, "opening", error) from error
        rocksdb_options = self._rocksdb_options(compression)
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
        write_options.disable_wal = options.changelog  # type: ignore[method-assign, assignment]
        return RocksDBBackend(
            database,
            directory,
            self._file_options(compression),
            write_options,
            sync=self._options.sync and not options.changelog,
            stall_timeout=self._options.stall_timeout,
        )

    def close(self) -> None:
        """Nothing to do: cache and write buffers go with the last store that uses them."""

    def _rocksdb_options(self, compression: str) -> Options:
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
        options.set_max_open_files(self._options.max_open_files)
        # Else they are divided among 64 tables of one file each, and files are opened again at every read.
        options.set_table_cache_num_shard_bits(0)
        options.set_keep_log_file_num(3)
        options.set_max_log_file_size(4 << 20)
        options.set_stats_dump_period_sec(0)
        options.set_block_based_table_factory(self._table_options())
        return options

    def _file_options(self, compression: str) -> Options:
        """Return the options of files that are loaded in bulk, and soon merged into others."""
        options = self._rocksdb_options(compression)
        if compression == "lz4":
            # A negative level is lz4's acceleration: 4 takes a third of the time and 6 % more space.
            options.set_compression_options(-14, -4, 0, 0)
        return options

    def _table_options(self) -> BlockBasedOptions:
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_block_size(self._options.block_size)
        table.set_cache_index_and_filter_blocks(True)  # else they are outside of the budget
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        if self._options.bloom_bits:
            table.set_bloom_filter(self._options.bloom_bits, False)
        return table


def _check_files(directory: Path) -> None:
    """Refuse a directory RocksDB would quietly take over although it is not, or no longer, a database."""
    names = [entry.name for entry in directory.iterdir()]
    for name in names:
        if not _OWN_FILE.fullmatch(name) and not (name == bulk.FOLDER and "CURRENT" in names):
            raise errors.foreign(directory, name)
    if "CURRENT" not in names and any(_OWN_DATA.fullmatch(name) for name in names):
        raise errors.headless(directory)
