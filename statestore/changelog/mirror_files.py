"""The files of a mirror's store: where they are, and whether something happened to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from statestore.errors import (
    ForkedProcessError,
    StoreClosedError,
    StoreCorruptError,
    StoreFullError,
    StoreIdentityError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.storage.changelog_store import ChangelogStore, ChangelogView
from statestore.storage.directory import StoreDirectory
from statestore.storage.followed_store import FollowedStore
from statestore.storage.opening import MirrorStorage

REPLACEABLE = (StoreMissingError, StoreCorruptError, StoreIdentityError)
"""What is wrong with files in whose place ``on_missing="rebuild"`` makes new ones."""

STILL_READ = 5.0
"""Seconds in which a thread that has got hold of a store begins to read it."""


class MirrorFiles:
    """What a mirror knows of its files. ``store`` is ``None`` while closed."""

    def __init__(self, name: str, storage: MirrorStorage) -> None:
        self.name = name
        self.store: ChangelogStore | None = None
        self.directory: StoreDirectory | None = None
        self._storage = storage
        self._opening = False
        """Whether the store is being opened: who opens it learns of damage by the error."""
        self._unmeasured = 0
        """Bytes applied since the size was compared with its limit."""
        self._followed: FollowedStore | None = None
        """The store where another process writes it."""
        self._replaced: list[tuple[float, FollowedStore]] = []
        """Those before, and when they were replaced: a thread may be about to read one."""

    @property
    def view(self) -> ChangelogView | None:
        """What is read of the store; ``None`` while it is closed."""
        if self.store is not None:
            return self.store.view
        return None if self._followed is None else self._followed.view

    @property
    def view_generation(self) -> int | None:
        """The generation of the files that another process writes and this one has open."""
        return None if self._followed is None else self._followed.generation

    def open_view(self, row_life: float | None) -> None:
        """Open the present generation of a store that another process writes, in place of an earlier one."""
        followed = self._storage.follow()
        followed.end_rows_after(row_life)
        self._replace_followed(followed)

    def end_followed_rows(self, row_life: float | None) -> None:
        """Have rows of that store end so many seconds after their timestamps; ``None``: never."""
        if self._followed is not None:
            self._followed.end_rows_after(row_life)

    def catch_up(self) -> None:
        """See what the other process has written since."""
        if self._followed is not None:
            self._followed.catch_up()

    def _replace_followed(self, followed: FollowedStore | None) -> None:
        before, self._followed = self._followed, followed
        if before is not None:
            self._replaced.append((time.monotonic(), before))

    def close_replaced(self) -> None:
        """Close stores that were replaced and that nobody reads any more."""
        for one in list(self._replaced):
            if time.monotonic() - one[0] > STILL_READ and not one[1].is_in_use:
                self._replaced.remove(one)
                one[1].close()

    def _close_followed(self) -> None:
        self._replace_followed(None)
        while self._replaced:
            self._replaced.pop()[1].close()

    @property
    def path(self) -> Path:
        if self._followed is not None:
            return self._followed.path
        return Path("(memory)") if self.directory is None else self.directory.path

    def on_damage(self, call: Callable[[StoreUnavailableError], None]) -> None:
        """Have ``call`` told of damage to the open store that a read or a write meets.

        On any thread, inside of a call of the store: it waits for nothing.
        """

        def told(error: StoreUnavailableError) -> None:
            if self.store is not None and not self._opening:
                call(error)

        self._storage.damage.listener = told

    def keep_damage(self, generation: int | None, error: StoreUnavailableError) -> None:
        """Note on disk that the files of ``generation`` are damaged: they may be opened without an error."""
        directory = self.directory
        if (
            directory is not None
            and directory.file.generation == generation
            and isinstance(error, StoreCorruptError)
            and not directory.vanished()
        ):
            directory.update(damage=error.cause)

    @property
    def generation(self) -> int | None:
        """The number of the store's generation; ``None`` without files."""
        return None if self.directory is None else self.directory.file.generation

    def _check_damage(self) -> None:
        if self.directory is not None and (damage := self.directory.file.damage) is not None:
            path, remedy = self.directory.generation_path, self.directory.file.remedy
            raise StoreCorruptError(path, f"damage was found earlier: {damage}", remedy)

    def vanished(self) -> StoreMissingError | None:
        """Return an error when the store's files were deleted or replaced while in use."""
        if self.store is None or self.directory is None or not self.directory.vanished():
            return None
        return StoreMissingError(
            self.path,
            "the store's files were deleted or replaced while in use",
            'restore them from a backup, or bind with on_missing="rebuild"',
        )

    def too_large(self, *, at_once: bool = True) -> StoreFullError | None:
        """Return an error when the store is larger than ``max_bytes``; measured now, or now and then."""
        store, most = self.store, self._storage.options.max_bytes
        if store is None or most is None or not (at_once or self._unmeasured > most // 64):
            return None
        self._unmeasured = 0
        try:
            size = store.size()
        except (StoreClosedError, ForkedProcessError):
            return None
        if size <= most:
            return None
        return StoreFullError(
            self.path,
            f"the store of table {self.name!r} takes {size} bytes, more than max_bytes={most}; "
            "nothing was dropped",
            "open the StoreManager again with a greater max_bytes, in the entity or in [tables.NAME]; or "
            'delete keys in the topic and then the store\'s directory, and bind with on_missing="rebuild"',
        )

    def unavailable(self, cause: str, remedy: str) -> StoreUnavailableError:
        return StoreUnavailableError(self.path, cause, remedy)
