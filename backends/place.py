"""Whether the files of an open store are still where they were: an open file goes on without its name."""

from __future__ import annotations

import time
from pathlib import Path

from statestore.errors import StoreMissingError

PERIOD = 0.1
"""Seconds between two looks at the files by writes."""


class Place:
    """The files of an open store in ``directory``.

    ``held`` is a file or directory that the engine keeps open, so that no other can have its identity;
    ``needed`` is a file without which the store cannot be opened again.
    """

    def __init__(self, directory: Path, held: Path, needed: Path) -> None:
        self._directory = directory
        self._held = held
        self._needed = needed
        status = held.stat()
        self._identity = status.st_dev, status.st_ino
        self._gone = False
        self._checked_at = 0.0

    def check(self) -> None:
        """Raise ``StoreMissingError`` where the files were deleted or replaced."""
        if not self._gone and self.is_there():
            return
        self._gone = True  # an engine may write some of its files again, without the rows
        raise self.missing()

    def missing(self) -> StoreMissingError:
        """Return what to raise where they were."""
        return StoreMissingError(
            self._directory, "its files were deleted or replaced while the store was open", RESTORE
        )

    def check_now_and_then(self) -> None:
        """The same, if the files were not looked for lately: mostly at the cost of looking at a clock."""
        now = time.monotonic()
        if self._gone or now - self._checked_at >= PERIOD:
            self._checked_at = now
            self.check()

    def is_there(self) -> bool:
        """Whether the files are those that were opened."""
        try:
            status = self._held.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity and self._needed.exists()


RESTORE = "restore the directory from a backup, or delete what is left of it and begin anew"
"""What to do about files that are missing or damaged, for who uses a backend by itself."""
