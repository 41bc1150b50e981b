"""What a process that reads the stores of a directory knows of their owner: its words, and whether it lives.

An owner that lives shows a heartbeat. Where that stands still, the lock of the directory tells the two cases
apart: it ends with its process, so a free lock means that the owner has ended, and one that is held that the
owner hangs. A process id would tell neither: it counts in its own container only, and is given out again.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from statestore.changelog.owner_report import OwnerReport, OwnerState, TableReport, decode
from statestore.storage.json_files import remedy_of
from statestore.storage.lock import Owner, owner_of
from statestore.storage.shared_state import BEAT, FORMAT, Heard, SharedStateReader

DOUBTED_AFTER = 3 * BEAT
"""Seconds without a heartbeat after which the lock is looked at."""
SILENT_AFTER = 0.5
"""Seconds without a heartbeat after which an owner that holds the lock is said to hang."""
SUCCESSION = 1.0
"""Seconds in which another process is expected to take over; longer ones without an owner are told."""


class Presence(enum.Enum):
    """Whether there is an owner that can be followed."""

    ALIVE = "alive"
    SILENT = "silent"
    """It holds the lock and shows no heartbeat: it hangs, or is suspended."""
    ENDED = "ended"
    """It has closed the directory, or its process has ended."""
    MUTE = "mute"
    """Somebody owns the directory and says nothing that this version understands."""
    NONE = "none"
    """Nobody owns the directory, nor has told anything."""


_NOBODY = {Presence.ENDED, Presence.MUTE, Presence.NONE}


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of the owner at one moment."""

    presence: Presence
    cause: str
    """One sentence on what is wrong; empty while the owner lives."""
    since: float = 0.0
    """When that began, in seconds since the epoch; 0: it is not known."""
    report: OwnerReport | None = None
    """The last words of the owner, living or not."""

    @property
    def owner(self) -> str:
        """How a sentence names the owner."""
        return "no owner" if self.report is None else f"its owner, {self.report.owner.name}"

    @property
    def is_vacant(self) -> bool:
        """Whether the lock may be had."""
        return self.presence in (Presence.ENDED, Presence.NONE)

    @property
    def is_overdue(self) -> bool:
        """Whether nobody could be followed for longer than it takes another process to take over."""
        return self.presence in _NOBODY and time.time() - self.since > SUCCESSION

    def table(self, name: str) -> TableReport | None:
        return None if self.report is None else self.report.tables.get(name)


class OwnerWatch:
    """Looks at the owner of ``directory``. One thread."""

    def __init__(
        self, directory: Path, owner: Callable[[Path], Owner | None] = owner_of, read: Reading | None = None
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._shared = SharedStateReader(directory)
        self._read = read or self._shared.read
        self._heard: Heard | None = None
        self._report: OwnerReport | None = None
        self._beaten_at: float | None = None
        """When the heartbeat was seen to move, by ``time.monotonic``; ``None``: not yet."""
        self._began: float | None = None
        self._last = Sight(Presence.NONE, "")

    def look(self, now: float | None = None) -> Sight:
        """Return what is known now; ``now`` is of ``time.monotonic``."""
        try:
            found = self._sight(time.monotonic() if now is None else now)
        except OSError as error:
            found = Sight(Presence.MUTE, self._why_unseen(error))
        last = self._last
        goes_on = found.presence is last.presence or {found.presence, last.presence} <= _NOBODY
        began = last.since if goes_on and last.since else time.time()
        self._last = replace(found, since=began)
        return self._last

    def _hear(self, now: float) -> None:
        heard, before = self._read(), self._heard
        self._heard = heard
        if heard is None:  # its words are gone: an owner of another role has removed them
            self._report = None
        if heard is not None and (before is None or heard[:4] != before[:4]):
            if before is not None:  # the first look tells nothing of its age
                self._beaten_at = now
            if before is None or (heard.file, heard.number) != (before.file, before.number):
                self._report = decode(heard.message) if heard.format == FORMAT and heard.number else None

    def _sight(self, now: float) -> Sight:
        if self._began is None:
            self._began = now
        self._hear(now)
        report, beats = self._report, self._beaten_at is not None
        silence = now - (self._began if self._beaten_at is None else self._beaten_at)
        if beats and report is not None and report.state is OwnerState.OPEN and silence < DOUBTED_AFTER:
            return Sight(Presence.ALIVE, "", report=report)
        holder = self._owner(self._directory)
        if report is not None and (holder is None or report.state is OwnerState.CLOSED):
            ended = "has closed the directory" if report.state is OwnerState.CLOSED else "has ended"
            text = f"the owner of {self._directory}, {report.owner.name}, {ended}"
            return Sight(Presence.ENDED, text, report=report)
        if holder is None:
            text = f"no process owns {self._directory}: start one that opens it with role='auto'"
            return Sight(Presence.NONE, text)
        if report is None or (not beats and silence < SILENT_AFTER):  # words without a beat may be another's
            return Sight(Presence.MUTE, self._why_mute(holder))
        if silence < SILENT_AFTER:
            return Sight(Presence.ALIVE, "", report=report)
        text = (
            f"the owner of {self._directory}, {holder.name}, hangs, or has no room on its disk for what it "
            f"tells: no heartbeat for {silence:.1f} s"
        )
        return Sight(Presence.SILENT, text, report=report)

    def _why_unseen(self, error: OSError) -> str:
        remedy = remedy_of(
            error, "run this process as the user who owns that directory, whose files are for that user alone"
        )
        return f"the owner of {self._directory} cannot be seen: {error.strerror}: {error.filename}; {remedy}"

    def _why_mute(self, holder: Owner) -> str:
        if self._heard is not None and self._heard.format != FORMAT:
            return (
                f"{holder.name} owns {self._directory} and runs another version of statestore: run the same"
            )
        return (
            f"{holder.name} owns {self._directory} and shares nothing yet; if that does not end, it has "
            "role='owner': open the directory with role='auto' there, too"
        )

    def close(self) -> None:
        self._shared.close()


Reading = Callable[[], Heard | None]
