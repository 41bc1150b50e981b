"""Records that do not decode: found before they are applied, located, and reported."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from statestore.core import RejectedRecord
from statestore.errors import DecodeError, UnreachableRegistryError
from statestore.runtime.times import milliseconds_text
from statestore.serde.formats import REGISTRY_ACCESS

log = logging.getLogger("statestore.changelog")

REPORT_INTERVAL = 10.0
"""Seconds between two lines of the log about records that one table skips."""
LONGEST_RETRY_WAIT = 10.0
"""Longest time in seconds between two tries to reach a schema registry that does not answer."""
REMEDY = 'declare a class it fits, or on_undecodable="skip"; restart() begins with it again'
LONGEST_KEY = 100
"""Bytes of a key that a message shows."""


@dataclass(frozen=True, slots=True)
class RegistryWait:
    """What a table does while it waits for the schema registry. Called on any thread."""

    is_waiting: Callable[[], bool]
    """Whether the table still waits."""
    report: Callable[[str], None]
    """Tell what the table waits for."""
    answered: Callable[[], None]
    """The registry has answered: read the record again."""
    schedule: Callable[[float, Callable[[], None]], None]
    """Run something in so many seconds."""


class DecodingFilter:
    """Refuses the records of a topic that ``decode`` refuses; see :class:`~statestore.core.RecordFilter`.

    With ``skip``, a record that raises ``DecodeError`` is passed over. Without ``skip``, reading stops before
    it. Any other error says nothing about the record (the registry does not answer): reading stops, too.

    The schema registry is not asked on the reading thread, since other topics would wait, too. A record that
    needs the registry stops its topic until ``ask`` has an answer.
    """

    def __init__(self, decode: Callable[[bytes, bytes], object], *, skip: bool) -> None:
        self._decode = decode
        self._skip = skip
        self._waiting = (b"", b"")
        """Key and value of the last record that needs a schema registry."""

    def __call__(
        self, partition: int, offset: int, key: bytes, value: bytes, timestamp: int
    ) -> RejectedRecord | None:
        REGISTRY_ACCESS.allowed = False
        try:
            self._decode(key, value)
        except Exception as error:  # noqa: BLE001 - told where the record would have been applied
            if isinstance(error, UnreachableRegistryError):
                self._waiting = (key, value)
            skip = self._skip and isinstance(error, DecodeError)
            return RejectedRecord(partition, offset, key, timestamp, error, stops=not skip)
        finally:
            REGISTRY_ACCESS.allowed = True
        return None

    def ask(self, wait: RegistryWait, tries: int = 0) -> None:
        """Ask the schema registry for the schema of the record that stopped the topic, until it answers.

        Each try has a thread of its own, since it may take long.
        """

        def ask() -> None:
            try:
                self._decode(*self._waiting)
            except UnreachableRegistryError as error:
                if wait.is_waiting():
                    wait.report(str(error))
                    wait.schedule(retry_wait(tries), lambda: self.ask(wait, tries + 1))
                return
            except Exception as error:  # noqa: BLE001 - it is met again when the record is read again
                log.debug("the schema registry has answered: %s", error)
            if tries and wait.is_waiting():
                wait.report("the schema registry has answered")
            wait.answered()

        if wait.is_waiting():
            threading.Thread(target=ask, name="statestore-registry", daemon=True).start()


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that was passed over because it does not decode, or because its key is too long."""

    partition: int
    """Where it is in the topic."""
    offset: int
    """Where it is in its partition."""
    timestamp: int | None
    """Its time in ms since 1970; ``None``: it has none."""
    error: str
    """Why it was passed over."""


class SkipLog:
    """Logs which records are skipped, at most one line per ``REPORT_INTERVAL``. ``who`` is in each line."""

    def __init__(self, who: str, topic: str) -> None:
        self.last: RejectedRecord | None = None
        self._who = who
        self._topic = topic
        self._untold = 0
        self._told_at = -math.inf

    def add(self, count: int, last: RejectedRecord) -> None:
        """``count`` more were skipped, ``last`` the last of them."""
        self.last = last
        self._untold += count
        now = time.monotonic()
        if now - self._told_at >= REPORT_INTERVAL:
            log.warning(
                "%s: %d records skipped; the last is %s",
                self._who,
                self._untold,
                located(self._topic, last),
            )
            self._untold, self._told_at = 0, now

    def report(self) -> SkippedRecord | None:
        """Return the last of them; ``None``: there was none."""
        last = self.last
        if last is None:
            return None
        timestamp = None if last.timestamp < 0 else last.timestamp
        return SkippedRecord(last.partition, last.offset, timestamp, str(last.error))


def retry_wait(tries: int) -> float:
    """Return the seconds before the next try, after ``tries`` that failed before the last one."""
    return min(LONGEST_RETRY_WAIT, 0.2 * 2.0 ** min(tries, 10))


def located(topic: str, rejected: RejectedRecord) -> str:
    """Return where the record is, its key and time, and what is wrong with it."""
    return f"{place_of(topic, rejected)}: {rejected.error}"


def place_of(topic: str, rejected: RejectedRecord) -> str:
    """Return where the record is, its key and time."""
    place = f"{topic} [{rejected.partition}] @ {rejected.offset}"
    return f"{place}, {_key(rejected.key)}, {_time(rejected.timestamp)}"


def _key(key: bytes | None) -> str:
    if key is None:
        return "no key"
    return f"key {key!r}" if len(key) <= LONGEST_KEY else f"key {key[:LONGEST_KEY]!r}… ({len(key)} bytes)"


def _time(timestamp: int) -> str:
    if timestamp < 0:
        return "no timestamp"
    return milliseconds_text(timestamp)
