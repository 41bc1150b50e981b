"""A store that another process writes, in the place of one that is written here."""

from __future__ import annotations

from pathlib import Path

from statestore.backends import Backend, Batch, ReadOnlyBackend, Snapshot, WrapperReader
from statestore.errors import StoreUnavailableError
from statestore.storage.directory import StoreFile


class FollowedBackend(WrapperReader[ReadOnlyBackend], Backend):
    """A store of another process as a backend, of which every write is refused."""

    def __init__(self, inner: ReadOnlyBackend, path: Path, wanted: StoreFile) -> None:
        self.inner = inner
        self.wanted = wanted
        """What the store is."""
        self._path = path

    def refuse(self, what: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            self._path,
            f"another process owns the data directory, and this one only reads it: it cannot {what}",
            "do that in the process that owns it, which health() names",
        )

    def write(self, batch: Batch) -> None:  # noqa: ARG002
        raise self.refuse("write")

    def checkpoint(self, directory: Path) -> None:  # noqa: ARG002
        raise self.refuse("make a checkpoint")

    def compact(self) -> None:
        raise self.refuse("compact")

    def destroy(self) -> None:
        raise self.refuse("delete it")

    def flush(self) -> None:
        """Do nothing: there is nothing of this process to be written."""

    def snapshot(self) -> Snapshot:
        return self.inner.snapshot()

    def size(self) -> int:
        return self.inner.size()

    def approximate_count(self) -> int:
        return self.inner.approximate_count()

    def catch_up(self) -> bool:
        """See what the owner has written since; tell whether that may be something."""
        return self.inner.catch_up()

    def shut(self) -> None:
        self.inner.shut()
