"""A process that reads the stores of a directory follows their owner, and may become it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from statestore.changelog.binder import Binder
from statestore.changelog.owner_watch import OwnerWatch, Presence, Sight

log = logging.getLogger("statestore.changelog")


class OwnerFollower:
    """Looks at the owner every ``catch_up`` seconds, on the thread of ``binder``'s supervisor.

    ``take_over`` is called where nobody owns the directory, and tells whether this process does now; with
    ``None`` it stays a reader. ``heard`` is called after each look.
    """

    def __init__(
        self,
        binder: Binder,
        directory: Path,
        take_over: Callable[[Sight], bool] | None,
        heard: Callable[[], None],
    ) -> None:
        self._binder = binder
        self._watch = OwnerWatch(directory)
        self._take_over = take_over
        self._heard = heard
        self.sight = Sight(Presence.NONE, "")
        """What was seen last."""
        self._has_taken_over = False
        binder.supervisor.soon(self._turn)

    def _turn(self) -> None:
        try:
            self._look()
        finally:
            if not self._has_taken_over:
                self._binder.supervisor.later(self._binder.defaults.catch_up, self._turn)

    def _look(self) -> None:
        sight, before = self._watch.look(), self.sight
        if sight.presence is not before.presence and sight.report is not None:
            say = log.info if sight.presence is Presence.ALIVE else log.warning
            say("%s", sight.cause or f"reading what {sight.owner}, writes")
        self.sight = sight
        if sight.is_vacant and self._take_over is not None and self._take_over(sight):
            self._has_taken_over = True
            self._watch.close()
            return
        connection = self._binder.connection
        with self._binder.changed:
            connection.stalled = sight.report is not None and (
                sight.presence is not Presence.ALIVE or sight.report.stalled is not None
            )
            connection.cause = sight.cause or (sight.report.stalled if sight.report else None) or ""
        for member in list(self._binder.members):
            try:
                member.hear(sight)
            except Exception:  # the others are told all the same
                log.exception("table %r cannot follow its owner", member.name)
        self._heard()

    def close(self) -> None:
        """Look no more; the supervisor has ended."""
        self._watch.close()
