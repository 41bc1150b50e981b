"""Stores that another process writes: opened for reading, followed, and taken over when their owner ends."""

from __future__ import annotations

from statestore.backends import Backend, BackendReader, KeyRange, ReadOnlyBackend, StoreOptions
from statestore.entity import WindowKeyForm
from statestore.runtime.times import Clock
from statestore.serde.indexes import EntityIndexes
from statestore.storage.changelog_store import ChangelogView
from statestore.storage.directory import StoreDirectory
from statestore.storage.expiry import ExpiringBackend
from statestore.storage.followed_backend import FollowedBackend
from statestore.storage.indexes import ReadyIndex, readable_indexes
from statestore.storage.layout import SPELLINGS
from statestore.storage.view import StoreReader
from statestore.storage.window_expiry import WindowExpiry


class FollowedView(ChangelogView):
    """What is read of a mirror that another process writes.

    What is known beside its rows is read from the store, too: for a snapshot from the same snapshot.
    """

    def __init__(self, backend: Backend, indexes: EntityIndexes | None, *, spells: bool) -> None:
        super().__init__(backend)
        self._indexes = indexes
        self._spells = spells
        self.look()

    def look(self) -> None:
        """Look again at what is known beside the rows."""
        self.has_spellings = self._spells and _has_spellings(self._backend)
        if self._indexes is not None:
            found = readable_indexes(self._indexes, self._backend)
            if found != self.indexes:
                self.indexes = found

    def _describe(self, snapshot: StoreReader, indexes: tuple[ReadyIndex, ...]) -> None:  # noqa: ARG002
        reader = snapshot._reader  # noqa: SLF001 - of the class above
        snapshot.has_spellings = self._spells and _has_spellings(reader)
        if self._indexes is not None:
            snapshot.indexes = readable_indexes(self._indexes, reader)


class FollowedStore:
    """One generation of a mirror's files, which another process writes. One thread, but for its ``view``."""

    def __init__(
        self,
        directory: StoreDirectory,
        reader: ReadOnlyBackend,
        indexes: EntityIndexes | None,
        *,
        spells: bool,
        clock: Clock,
        window: WindowKeyForm | None = None,
    ) -> None:
        self.path = directory.path
        self.generation = directory.file.generation
        self._reader = reader
        self._followed = FollowedBackend(reader, directory, directory.file)
        self._plain: Backend = self._followed
        if window is not None:
            self._plain = WindowExpiry(self._followed, window, followed=True)
        self._indexes = indexes
        self._spells = spells
        self._clock = clock
        self._ending: ExpiringBackend | None = None
        self.view = FollowedView(self._plain, indexes, spells=spells)

    def end_rows_after(self, ttl: float | None) -> None:
        """Have rows end ``ttl`` seconds after their timestamps (``None``: never); take ``view`` anew."""
        if self._ending is not None:
            self._ending.ttl = ttl
        elif ttl is not None:
            self._ending = ExpiringBackend(self._plain, ttl, self._clock)
            self.view = FollowedView(self._ending, self._indexes, spells=self._spells)

    def catch_up(self) -> None:
        """See what the owner has written since. Raises ``StoreUnavailableError``."""
        if self._followed.catch_up() or self._reader.live:
            self.view.look()

    @property
    def is_in_use(self) -> bool:
        """Whether a scan or snapshot of it is open."""
        return self._reader.is_in_use

    def promote(self, options: StoreOptions) -> Backend:
        """Return the store, open for writing; this one still answers until it is closed."""
        return self._reader.promote(options)

    def close(self) -> None:
        """Close it. Idempotent."""
        self._reader.close()


def _has_spellings(reader: BackendReader) -> bool:
    return any(True for _ in reader.scan(KeyRange(prefix=SPELLINGS), limit=1))
