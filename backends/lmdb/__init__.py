"""The LMDB engine: for stores that are read far more than they are written.

A store is a directory with one LMDB environment in a subdirectory, ``000001``; compaction writes the next one
beside it and changes over.
"""

from statestore.backends.lmdb.engine import LMDBEngine
from statestore.backends.lmdb.options import LMDBOptions

__all__ = ["LMDBEngine", "LMDBOptions"]
