"""The memory engine: a store without files, for tests, caches and mirrors that are cheap to restore."""

from statestore.backends.memory.engine import MemoryEngine
from statestore.backends.memory.options import MemoryOptions

__all__ = ["MemoryEngine", "MemoryOptions"]
