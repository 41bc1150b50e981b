"""The RocksDB engine: the default; for stores larger than memory and fast restores.

Each store is one RocksDB database with one column family, so that a flushed memtable is always a consistent
prefix of the writes. All stores of an engine share one block cache and one bound on their memtables.
"""

from statestore.backends.rocksdb.engine import RocksDBEngine
from statestore.backends.rocksdb.options import RocksDBOptions

__all__ = ["RocksDBEngine", "RocksDBOptions"]
