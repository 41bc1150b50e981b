"""What a deployer writes into the history, and finds there of one application."""

from __future__ import annotations

import getpass
import socket
import uuid
from dataclasses import replace
from datetime import UTC, datetime

from statestore.deploy.answers import ServerInfo
from statestore.deploy.history import History, HistoryRecord, RecordState, latest
from statestore.deploy.plan import library_version
from statestore.deploy.steps import Step


class Recorder:
    """Writes the records of one application on one server, as one deployer."""

    def __init__(self, history: History, server: ServerInfo, application: str) -> None:
        self.history = history
        self.server = server
        self.application = application
        self.deployer = uuid.uuid4().hex
        """Tells deployers that run at once."""

    def done(self) -> dict[tuple[str, str], HistoryRecord]:
        """Return what is known of each object and hash."""
        return latest(self.history.read(), self.application, self.server.service)

    def record(
        self,
        step: Step,
        state: RecordState,
        *,
        queries: tuple[str, ...] = (),
        is_found: bool = False,
    ) -> HistoryRecord:
        """Return a record of a statement, to be written."""
        return HistoryRecord(
            application=self.application,
            service=self.server.service,
            cluster=self.server.cluster,
            object=step.object,
            base=step.planned.name,
            version=step.version,
            action=step.planned.action,
            sha256=step.sha256,
            statement=step.text,
            reads=step.reads,
            topic=step.topic,
            state=state,
            time="",
            user="",
            queries=queries,
            found=is_found,
            statestore=library_version(),
        )

    def write(self, record: HistoryRecord) -> None:
        """Write a record as of now, and by this deployer."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.history.write(replace(record, time=now, user=_user(), deployer=self.deployer))

    def intents(self, step: Step) -> list[HistoryRecord]:
        """Return the intents to send a statement, of all deployers, the oldest first."""
        key = (self.application, self.server.service, step.object, step.sha256)
        return [one for one in self.history.read() if one.is_intent and one.key[:4] == key]

    def clear_intents(self) -> None:
        """Take away the intents of what is applied: of these, or of a deployer that ended between two
        records."""
        done = self.done()
        for one in self.history.read():
            if one.is_intent and (one.application, one.service) == (self.application, self.server.service):
                known = done.get((one.object, one.sha256))
                if known is not None and known.state == "applied":
                    self.history.remove(one)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in the system's list, as in some containers
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
