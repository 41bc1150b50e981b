"""What the stores that users open by a name have in common: an end, and perhaps an owner elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from statestore.backends import Backend
from statestore.core import RecordCache
from statestore.runtime import fork
from statestore.runtime.interrupts import Ending, called_back
from statestore.storage.followed_backend import FollowedBackend


class UserStore(ABC):
    """See the module."""

    _backend: Backend

    def __init__(self, name: str, on_close: Callable[[], None]) -> None:
        self.name = name
        """The logical name."""
        self._on_close = on_close
        self._ending = Ending()
        self._write_lock = fork.rlock()  # a read and the write that depends on it; signal handlers write, too
        self._closed = False

    @abstractmethod
    def _release(self) -> None:
        """Close what the store is in."""

    @abstractmethod
    def promoted(self, backend: Backend, cache: RecordCache | None) -> None:
        """Read and write ``backend`` from now on: this process owns the store."""

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        self._backend.shut()

    def follow(self) -> None:
        """Show what the process that owns the store has written, if this one only reads it."""
        if isinstance(self._backend, FollowedBackend):
            self._backend.catch_up()

    @property
    def followed(self) -> FollowedBackend | None:
        """The files where another process writes them; ``None``: this one does."""
        return self._backend if isinstance(self._backend, FollowedBackend) else None

    def close(self) -> None:
        """Close the store; live iterators and snapshots end with ``StoreClosedError``. Idempotent.

        A signal handler may call this in the middle of a call of its own thread. The store is then closed at
        the latest when that call has ended.
        """
        if called_back():
            self.shut()
        self._closed = True
        self._ending.finish(self._end)

    def _end(self) -> None:
        try:
            self._release()
        finally:
            self._on_close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{' closed' if self._closed else ''}>"


class BatchScope(ABC):
    """Changes that are committed when a ``with`` block ends, and not when it raises."""

    def __init__(self) -> None:
        self._entered = False
        self._inside = False

    @abstractmethod
    def _commit(self) -> None:
        """Write the changes, if there are some."""

    def _check_inside(self) -> None:
        if not self._inside:
            raise self._misused()

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a batch serves one `with` block: make a new one with batch()")
        self._entered = self._inside = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside = False
        if kind is None:
            self._commit()

    def _misused(self) -> RuntimeError:
        when = "after its `with` block" if self._entered else "outside of `with`"
        return RuntimeError(
            f"a batch is used {when}, where nothing of it would be written: "
            "use `with store.batch() as batch:`, and the batch inside of the block"
        )
