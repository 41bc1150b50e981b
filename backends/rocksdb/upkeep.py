"""When a store is compacted without being asked, and where.

RocksDB merges files when a level has too many of them, or too many bytes. That leaves as they are:

- Deleted pairs, where the deletions are few bytes beside the pairs. A million deletions are 3 MB. They stay
  in the level above, and the pairs on disk below them, until other writes fill that level.
- Deleted ranges. A mark of some bytes deletes all of a range, and what it deletes stays on disk below it.
- Small files, where each has only keys after those of all others, as in a topic with keys in order of time.
  They are moved to the last level as they are, one for each flush, and each takes a descriptor.

All are found in what RocksDB knows of its files. So a process that dies before they are mended needs no
record of them: the next one finds them again.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from statestore.errors import StateStoreError, StoreClosedError

_log = logging.getLogger("statestore.store")

File = dict[str, Any]
"""One of ``Rdict.live_files()``."""
Range = tuple[bytes, bytes]

_DELETED = 4
"""A store is compacted when it has a deletion for every so many pairs. So little on disk is deleted pairs,
and a pair is written again at most once in the time in which that many others are deleted."""
_FEW = 256
"""Deletions that are not worth it."""
_SMALL = 8 << 20
"""Bytes of a file below which it is small."""
_MANY = 64
"""Small files from which they are merged, ..."""
_IN_A_ROW = 8
"""... those that have so many or more beside each other."""
_TRY_AGAIN = 1.0
"""Seconds after which a range that waits for the turn of its store is looked at again."""
CHECK_AFTER = 10_000
"""Deletions after which a store without a changelog, which nobody flushes, is looked at."""


def deleted(files: Sequence[File], kept: int) -> list[Range]:
    """Return the range of keys in which deletions are due; the last time, ``kept`` of them had to stay."""
    deletions = sum(file["num_deletions"] for file in files)
    pairs = sum(file["num_entries"] for file in files) - deletions
    if deletions - kept < max(_FEW, pairs // _DELETED):
        return []
    return [_range([file for file in files if file["num_deletions"]])]


def small(files: Sequence[File]) -> list[Range]:
    """Return the ranges of keys with small files to be merged."""
    last = max((file["level"] for file in files), default=0)
    if last == 0 or sum(file["size"] < _SMALL for file in files if file["level"] == last) < _MANY:
        return []
    rows: list[list[File]] = [[]]
    for file in sorted((file for file in files if file["level"] == last), key=lambda file: file["start_key"]):
        if file["size"] < _SMALL:
            rows[-1].append(file)
        elif rows[-1]:
            rows.append([])
    return [_range(row) for row in rows if len(row) >= _IN_A_ROW]


def _range(files: Sequence[File]) -> Range:
    return min(file["start_key"] for file in files), max(file["end_key"] for file in files)


class Upkeep:
    """Looks at the files of one store, and has them compacted in a thread of its own, one store at a time."""

    def __init__(self, turn: threading.Lock, *, flushed: bool) -> None:
        """``turn`` is the engine's: its stores wait for each other. ``flushed``: the store is, regularly."""
        self._turn = turn
        self._flushed = flushed
        self._changed = True  # what an earlier process left is not known
        self._deletions = 0
        self._kept = 0
        self._ranges: list[Range] = []  # deleted by this process, and not compacted yet
        self._marks_kept = 0
        self._tried = 0.0

    def note_load(self) -> None:
        """Note that a file was loaded in which anything may be."""
        self._changed = True

    def note_range(self, start: bytes, stop: bytes) -> None:
        """Note that a range was deleted: it is to be compacted."""
        self._changed = True
        self._ranges.append((start, stop))

    def has_waited(self) -> bool:
        """Say whether it is time to look at the files again, for a range that could not be compacted yet."""
        return bool(self._ranges) and time.monotonic() - self._tried >= _TRY_AGAIN

    def note_deletions(self, count: int) -> bool:
        """Note deletions that were written; say whether it is time to look at the files."""
        self._changed = True
        self._deletions += count
        if self._flushed or self._deletions < CHECK_AFTER:
            return False
        self._deletions = 0
        return True

    def begin(
        self,
        directory: Path,
        files: Callable[[], list[File]],
        marks: Callable[[], int],
        compact: Callable[[Sequence[Range]], None],
    ) -> None:
        """Have the files compacted if that is due: ``compact`` is called in a thread.

        ``marks`` tells how many marks of deleted ranges the files have. Where another store of the engine is
        being compacted, this one gets its turn at a later call.
        """
        found = files()
        self._tried = time.monotonic()
        if not self._changed and len(found) < _MANY:
            return
        if not self._turn.acquire(blocking=False):
            return
        try:
            noted = len(self._ranges)
            ranges = self._ranges[:noted] + deleted(found, self._kept)
            with_deletions = [file for file in found if file["num_deletions"]]
            if with_deletions and not ranges and marks() > self._marks_kept:  # an earlier process left them
                ranges = [_range(with_deletions)]
            self._changed = False
            ranges = ranges or small(found)
            if ranges and _room(directory, found):
                thread = threading.Thread(
                    target=self._run,
                    args=(files, marks, compact, ranges),
                    name="statestore-compact",
                    daemon=True,
                )
                try:
                    thread.start()
                except RuntimeError:  # the process ends, or may have no more threads: a later one sees to it
                    self._changed = True
                else:
                    del self._ranges[:noted]
                    return
        except BaseException:
            self._turn.release()
            raise
        self._turn.release()

    def _run(
        self,
        files: Callable[[], list[File]],
        marks: Callable[[], int],
        compact: Callable[[Sequence[Range]], None],
        ranges: Sequence[Range],
    ) -> None:
        try:
            compact(ranges)
            # What an open snapshot or scan still sees. RocksDB removes it itself when nobody does any more.
            self._kept = sum(file["num_deletions"] for file in files())
            self._marks_kept = marks()
        except StoreClosedError:
            pass  # the next process finds the same files
        except StateStoreError as error:
            _log.warning("the files of a store could not be compacted: %s", error)
        finally:
            self._turn.release()


def _room(directory: Path, files: Sequence[File]) -> bool:
    """Whether the disk has room for a second copy: RocksDB takes no more writes after a full one."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError:
        return False
    size: int = sum(file["size"] for file in files)
    return free > 2 * size
