"""Whether an owner lives: a heartbeat that stands still, and a lock that is free or held."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statestore.changelog.machine import Connection
from statestore.changelog.owner_publisher import OwnerPublisher
from statestore.changelog.owner_report import OwnerReport, OwnerState, decode, encode
from statestore.changelog.owner_watch import DOUBTED_AFTER, SILENT_AFTER, OwnerWatch, Presence
from statestore.storage.lock import Owner
from statestore.storage.shared_state import FORMAT, Heard, SharedStateReader

OWNER = Owner(12, "host", "pid:[1]")


class Directory:
    """What a process sees of its owner, and when."""

    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.holder: Owner | None = None
        self.watch = OwnerWatch(Path("state"), lambda _: self.holder, lambda: self.heard)
        self.now = 100.0

    def tell(
        self, beats: int, *, number: int = 1, file: int = 1, state: OwnerState = OwnerState.OPEN
    ) -> None:
        report = OwnerReport(f"owner {file}", 12, "host", "pid:[1]", since=0.0, state=state)
        self.heard = Heard((1, file), FORMAT, beats, number, encode(report))

    def look(self, after: float = 0.0) -> Presence:
        self.now += after
        return self.watch.look(self.now).presence


def test_an_owner_lives_ends_and_is_followed_by_another() -> None:
    seen = Directory()
    assert seen.look() is Presence.NONE
    seen.holder = OWNER
    assert seen.look() is Presence.MUTE
    seen.tell(1)
    assert seen.look() is Presence.MUTE  # these words may be old: no heartbeat was seen yet
    seen.tell(2)
    assert seen.look() is Presence.ALIVE
    seen.holder = None
    assert seen.look(DOUBTED_AFTER - 0.01) is Presence.ALIVE
    assert seen.look(0.02) is Presence.ENDED
    seen.holder = OWNER
    seen.tell(0, file=2)
    assert seen.look(1.0) is Presence.ALIVE


def test_an_owner_that_hangs_holds_the_lock() -> None:
    seen = Directory()
    seen.holder = OWNER
    seen.tell(1)
    seen.look()
    seen.tell(2)
    assert seen.look() is Presence.ALIVE
    assert seen.look(SILENT_AFTER - 0.01) is Presence.ALIVE
    assert seen.look(0.02) is Presence.SILENT
    sight = seen.watch.look(seen.now)
    assert "process 12 on host 'host', hangs" in sight.cause
    seen.tell(3)
    assert seen.look() is Presence.ALIVE


def test_the_words_of_an_earlier_owner_are_not_taken_for_those_of_the_present_one() -> None:
    seen = Directory()
    seen.tell(7)
    seen.holder = OWNER  # another process than the one that told this, which has told nothing yet
    assert seen.look() is Presence.MUTE
    assert seen.watch.look(seen.now).table("rows") is None
    seen.tell(1, file=2)
    assert seen.look(0.1) is Presence.ALIVE


def test_an_owner_that_has_closed_the_directory_has_ended_at_once() -> None:
    seen = Directory()
    seen.holder = OWNER
    seen.tell(1)
    seen.look()
    seen.tell(2)
    assert seen.look() is Presence.ALIVE
    seen.tell(3, number=2, state=OwnerState.CLOSED)
    assert seen.look() is Presence.ENDED


def test_the_words_of_another_version_are_told_and_not_guessed() -> None:
    seen = Directory()
    seen.holder = OWNER
    seen.heard = Heard((1, 1), FORMAT + 1, 1, 0, b"")
    seen.look()
    seen.heard = Heard((1, 1), FORMAT + 1, 2, 0, b"")
    assert seen.look() is Presence.MUTE
    assert "another version of statestore" in seen.watch.look(seen.now).cause


def test_an_owner_that_this_user_may_not_see_is_a_cause_with_a_remedy(tmp_path: Path) -> None:
    def refuse(directory: Path) -> Owner | None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory / "LOCK"))

    watch = OwnerWatch(tmp_path, refuse)
    sight = watch.look()
    watch.close()
    assert sight.presence is Presence.MUTE
    assert not sight.is_vacant
    assert sight.cause == (
        f"the owner of {tmp_path} cannot be seen: Permission denied: {tmp_path}/LOCK; run this process as "
        "the user who owns that directory, whose files are for that user alone"
    )


def test_words_that_an_owner_of_another_role_removed_do_not_count() -> None:
    seen = Directory()
    seen.holder = OWNER
    seen.tell(1)
    seen.look()
    seen.tell(2)
    assert seen.look() is Presence.ALIVE
    seen.heard = None
    assert seen.look(SILENT_AFTER) is Presence.MUTE
    assert "role='owner'" in seen.watch.look(seen.now).cause


def test_an_owner_that_closes_tells_nothing_of_its_tables_meanwhile(tmp_path: Path) -> None:
    connection = Connection()
    publisher = OwnerPublisher(tmp_path, list, lambda: connection)
    reader = SharedStateReader(tmp_path)
    publisher.leave()
    before = reader.read()
    connection.stalled, connection.cause = True, "something that comes of closing"
    publisher.publish()
    after = reader.read()
    publisher.close()
    last = reader.read()
    reader.close()
    assert before is not None
    assert after is not None
    assert last is not None
    assert after.message == before.message
    assert after.beats > before.beats  # it lives
    report = decode(last.message)
    assert report is not None
    assert report.state is OwnerState.CLOSED


def test_an_owner_whose_disk_is_full_tells_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    really, is_full = tempfile.mkstemp, True

    def make(*arguments: Any, **how: Any) -> tuple[int, str]:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(*arguments, **how)

    monkeypatch.setattr(tempfile, "mkstemp", make)
    with pytest.raises(OSError, match="No space left"):
        OwnerPublisher(tmp_path, list, Connection)
    publisher = OwnerPublisher(tmp_path, list, Connection, at_once=False)  # as who takes over
    reader = SharedStateReader(tmp_path)
    assert reader.read() is None
    is_full = False
    eventually(lambda: (heard := reader.read()) is not None and heard.number)
    publisher.close()
    reader.close()
