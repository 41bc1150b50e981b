"""Tests of a service without a broker: :class:`TestDriver`.

The manager, its tables, the state machines, the stores and the code that reads and applies records are those
of production. The cluster is in memory, the clock is set by the test, and no thread runs beside the test's.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.manager import StoreManager
from statestore.manager.resolve import resolve_settings
from statestore.runtime.text import bounded_repr
from statestore.settings import SettingsArgument
from statestore.tables.table import BytesTable, Table
from statestore.testing.driver.clients import ADDRESS, clients
from statestore.testing.driver.log import Cluster
from statestore.testing.driver.records import DriverRecords, DriverTransaction, DriverWrites, checked_time
from statestore.testing.driver.stage import Stage

T = TypeVar("T")

START = datetime(2024, 1, 1, tzinfo=UTC)
"""What a driver's clock shows at first, unless a test says."""

__all__ = ["START", "DriverTransaction", "TestDriver"]


class _Manager(StoreManager):
    """A manager that reaches a cluster in memory, and that a stage runs."""

    _warn_of_place = staticmethod(lambda _: None)  # a test's files may go, and there is one owner

    def __init__(self, stage: Stage, cluster: Cluster, directory: Path, **arguments: Any) -> None:
        self._clients = clients(cluster)
        self._running = stage.running()
        cluster.changed = stage.run
        super().__init__(directory, kafka=ADDRESS, **arguments)

    def ask_ends(self) -> None:
        """Ask for the ends and ids of the topics now, and not at the next time."""
        if self._binder is not None:
            self._binder.ask_ends()


class TestDriver(DriverWrites):
    """A data directory and a cluster in memory. A context manager; for one thread.

    ``entities`` are bound at once, as by ``StoreManager(entities=…)``, and their topics created: with the
    partitions that their declarations and ``settings`` state, otherwise with ``partitions``. ``directory`` is
    one of the driver's own where none is given. ``now`` is what the clock shows at first.

    Each call returns when all that follows from it has happened: a record that was written is in the tables,
    callbacks have run. Time passes by :meth:`advance` only.

    Raises what ``StoreManager`` raises.
    """

    __test__ = False  # a class of tests it is not, whatever its name

    def __init__(
        self,
        entities: Iterable[type | str] = (),
        directory: str | Path | None = None,
        backend: str = "memory",
        *,
        partitions: int = 1,
        settings: SettingsArgument = None,
        require_all_ready: bool = True,
        now: datetime = START,
    ) -> None:
        self._stage = Stage(checked_time(f"TestDriver(now={bounded_repr(now)})", now).timestamp())
        self._cluster = Cluster(lambda: self._stage.now)
        self._entities = _listed(entities)
        self._settings, self._partitions = settings, partitions
        self._arguments = {"backend": backend, "settings": settings, "require_all_ready": require_all_ready}
        self._known: set[type | str] = set()
        """Entity classes and topics whose topics exist."""
        self._records = DriverRecords(self._cluster, self._stage, lambda: self._manager, self.table)
        self._closing = ExitStack()
        if directory is None:
            directory = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="statestore-"))
        self.directory = Path(directory)
        """Where the stores are."""
        try:
            for one in self._entities:
                self._create_topics_of(one)
            self._manager = self._opened()
        except BaseException:
            self._closing.close()
            raise

    @property
    def manager(self) -> StoreManager:
        """The manager, for the service under test. After :meth:`restart` it is another one."""
        return self._manager

    def _opened(self) -> _Manager:
        manager = _Manager(
            self._stage, self._cluster, self.directory, entities=self._entities, **self._arguments
        )
        self._records.encoders.clear()
        self._stage.settle()
        return manager

    # Topics

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic, compacted unless ``config`` says otherwise. ``ConfigError`` where there is one."""
        self._records.check_open()
        if name in self._cluster.topics:
            raise ConfigError(f"topic {name!r} exists already: use it, or recreate({name!r})")
        self._cluster.create(name, partitions, config or {})
        self._stage.settle()

    def _create_topics_of(self, subject: type | str) -> None:
        """Create the topics of an entity class, or a topic, where they do not exist yet."""
        if subject in self._known:
            return
        self._known.add(subject)
        wanted: dict[str, tuple[int, Mapping[str, str]]] = {}
        if isinstance(subject, str):
            wanted[subject] = self._partitions, {}
        else:
            model, resolver = model_of(subject), resolve_settings(self._settings, [], [subject])
            if model.windowing is not None:
                for _, resolved in resolver.windows(model):
                    assert resolved.model is not None
                    wanted[resolved.model.topic] = self._partitions, {}
            else:
                topic = resolver.wanted_topic(model)
                stated = "partitions" in topic.stated
                wanted[topic.name] = topic.spec.partitions if stated else self._partitions, topic.config
        for name, (partitions, config) in wanted.items():
            if name not in self._cluster.topics:
                self._cluster.create(name, partitions, config)

    def end_offsets(self, topic: type | str) -> dict[int, int]:
        """Return the offset that the next record of each partition gets."""
        return {number: one.end for number, one in enumerate(self._records.topic(topic).partitions)}

    # Tables

    @overload
    def table(self, entity_or_topic: type[T]) -> Table[T]: ...
    @overload
    def table(self, entity_or_topic: str) -> BytesTable: ...
    def table(self, entity_or_topic: type[Any] | str) -> Table[Any] | BytesTable:
        """Return the table of an entity class or a topic, which is bound first where it is not yet."""
        self._records.check_open()
        self._create_topics_of(entity_or_topic)
        table = self._manager.bind(entity_or_topic)
        self._stage.settle()
        return table

    # Records: record, add and delete are those of DriverWrites

    def transaction(self) -> DriverTransaction:
        """Return a block that is committed when it ends, and aborted when it raises."""
        self._records.check_open()
        return DriverTransaction(self._records)

    # What happens to topics

    def compact(self, topic: type | str, *, tombstones: bool = False) -> None:
        """Compact a topic: of each key only the last record is left, and with ``tombstones`` none of those.

        What has come since the start of an open transaction stays as it is.
        """
        for one in self._records.topic(topic).partitions:
            one.compact(tombstones=tombstones)
        self._stage.settle()

    def truncate(self, topic: type | str, partition: int, before_offset: int) -> None:
        """Delete the records of a partition below ``before_offset``, as retention does."""
        self._records.partition(topic, partition).truncate(_offset("before_offset", before_offset))
        self._look_again()

    def cut(self, topic: type | str, partition: int, to: int) -> None:
        """Lose the records of a partition from offset ``to`` on, as after an unclean leader election.

        Others may then have their offsets. The tables ask the broker at once, and fail or rebuild.
        """
        self._records.partition(topic, partition).cut(_offset("to", to))
        self._look_again()

    def recreate(self, topic: type | str, partitions: int | None = None) -> None:
        """Delete a topic and create another one of its name, empty and with another id.

        The tables ask the broker at once, and fail or rebuild. In production this may take a
        ``confirm_interval``.
        """
        found = self._records.topic(topic)
        count = len(found.partitions) if partitions is None else partitions
        self._cluster.create(found.name, count, found.config)
        self._look_again()

    def _look_again(self) -> None:
        self._stage.settle()
        self._manager.ask_ends()
        self._stage.settle()

    # Time

    @property
    def now(self) -> datetime:
        """What the driver's clock shows."""
        return datetime.fromtimestamp(self._stage.now, UTC)

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass, with all that is due meanwhile: questions to the broker, flushes, rows that end."""
        self._records.check_open()
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        number: Any = given
        if not isinstance(number, int | float) or not 0 <= number < math.inf:
            raise ValueError(f"advance({bounded_repr(seconds)}): time goes forward, give seconds from 0 on")
        self._stage.advance(given)

    # The end of a process

    def restart(self, *, kill: bool = False) -> None:
        """Close the manager and open it anew on the same directory and topics; bind ``entities`` again.

        With ``kill`` the directory is then as the process would have left it if it had been killed: with what
        was in its files, and without what was only in memory. Tables of before are closed.
        """
        self._records.check_open()
        with tempfile.TemporaryDirectory(prefix="statestore-killed-") as aside:
            left = Path(aside) / "left"
            if kill:
                _copy_at_rest(self.directory, left)
            self._close_manager()
            if kill:
                for one in self.directory.iterdir():
                    shutil.rmtree(one) if one.is_dir() else one.unlink()
                shutil.copytree(left, self.directory, dirs_exist_ok=True)
        self._manager = self._opened()

    def _close_manager(self) -> None:
        self._manager.close()
        self._stage.clear()
        self._cluster.changed = lambda: None

    def close(self) -> None:
        """Close the manager, and remove the directory unless it was given. Idempotent."""
        self._records.is_closed = True
        self._close_manager()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _copy_at_rest(directory: Path, copy: Path) -> None:
    """Copy a directory as it is at one moment: engines write and delete files in the background."""
    for _ in range(100):
        before = _files(directory)
        with suppress(OSError):  # of a file that was deleted meanwhile
            shutil.copytree(directory, copy)
            if _files(directory) == before:
                return
        shutil.rmtree(copy, ignore_errors=True)
    raise RuntimeError(f"the files in {directory} never rest: stop what else writes there")


def _files(directory: Path) -> dict[Path, tuple[int, int]]:
    found = {}
    for one in directory.rglob("*"):
        with suppress(FileNotFoundError):
            status = one.stat()
            found[one] = status.st_size, status.st_mtime_ns
    return found


def _listed(entities: Any) -> list[type | str]:
    if isinstance(entities, str | type) or not isinstance(entities, Iterable):
        raise ConfigError(
            f"TestDriver(entities={bounded_repr(entities)}): give a list of entity classes and topics, as in "
            "entities=[Order]"
        )
    return list(entities)


def _offset(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ConfigError(
            f"{name}={bounded_repr(value)} is no offset: give 0 or more, such as one below end_offsets(topic)"
        )
    return value
