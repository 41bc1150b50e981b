"""Opens memory stores."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from statestore.backends.contract import Backend, Engine, StoreOptions
from statestore.backends.memory.options import MemoryOptions
from statestore.backends.memory.store import MemoryBackend
from statestore.backends.options import EngineOptions
from statestore.errors import StoreUnavailableError
from statestore.runtime import fork
from statestore.runtime.weak import Living

_opened: Living[MemoryBackend] = Living()
"""The stores of this process. A store nobody can reach any more is not in the way of the next one."""
_open_lock = fork.lock()


class MemoryEngine(Engine):
    """Stores that live as long as they are open. ``memory_budget`` bounds caches, and here is none."""

    name: ClassVar[str] = "memory"
    max_key_size: ClassVar[int] = 65536
    persistent: ClassVar[bool] = False
    options_type: ClassVar[type[EngineOptions]] = MemoryOptions

    def __init__(self, memory_budget: int, options: MemoryOptions | None = None) -> None:  # noqa: ARG002
        self._options = options if options is not None else MemoryOptions()

    def open(self, directory: Path, options: StoreOptions) -> Backend:  # noqa: ARG002 - nothing to log
        path = directory.resolve()
        with _open_lock:
            if any(one.is_open and one.directory == path for one in _opened):
                raise StoreUnavailableError(
                    directory, "is already open in this process", "use the store that is open, or close it"
                )
            backend = MemoryBackend(path, self._options.max_bytes)
            _opened.add(backend)
        return backend

    def close(self) -> None:
        """Nothing is shared."""
