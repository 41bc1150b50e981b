"""A store that another process writes, in the place of one that is written here."""

from __future__ import annotations

from pathlib import Path

from statestore.backends import Backend, Batch, KeyRange, ReadOnlyBackend, Snapshot, WrapperReader
from statestore.errors import StoreUnavailableError
from statestore.storage.directory import StoreDirectory, StoreFile
from statestore.storage.identity import check_identity


class FollowedBackend(WrapperReader[ReadOnlyBackend], Backend):
    """A store of another process as a backend, of which every write is refused."""

    def __init__(self, inner: ReadOnlyBackend, directory: StoreDirectory, wanted: StoreFile) -> None:
        """Raises what ``check_identity`` does; ``inner`` is then closed."""
        self.inner = inner
        self.wanted = wanted
        """What the store is."""
        self._directory = directory
        self._foreign: StoreUnavailableError | None = None
        """What was wrong with the files that were found; they are not read any more."""
        self._check()

    def _check(self) -> None:
        try:
            check_identity(self.inner, self._directory)
        except BaseException as error:
            if isinstance(error, StoreUnavailableError):
                self._foreign = error
            self.inner.close()
            raise

    def refuse(self, what: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            self._directory.path,
            f"another process owns the data directory, and this one only reads it: it cannot {what}",
            "do that in the process that owns it, which health() names",
        )

    def write(self, batch: Batch) -> None:  # noqa: ARG002
        raise self.refuse("write")

    def delete_range(self, keys: KeyRange) -> bool:  # noqa: ARG002
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
        """See what the owner has written since; tell whether that may be something.

        Raises ``StoreUnavailableError`` for files that are gone, and for those of another store, which are
        closed.
        """
        if self._foreign is not None:
            raise self._foreign
        changed = self.inner.catch_up()
        if changed:
            self._check()
        return changed

    def shut(self) -> None:
        self.inner.shut()
