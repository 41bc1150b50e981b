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

from statestore.delivery import Delivery
from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.fields.windows import DeclaredWindow
from statestore.kafka.partitioners import partition_of
from statestore.kafka.properties import largest_record
from statestore.manager import StoreManager
from statestore.manager.resolve import resolve_settings
from statestore.producing.encoding import Encoder
from statestore.producing.sending import ProducerRecord
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import milliseconds
from statestore.serde.entities import EntityCodec
from statestore.settings import SettingsArgument
from statestore.tables.table import BytesTable, Table
from statestore.testing.driver_clients import ADDRESS, clients, placed
from statestore.testing.driver_log import Cluster, Headers, PartitionLog, TopicLog
from statestore.testing.driver_stage import Stage

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


class TestDriver:
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
        self._stage = Stage(now.timestamp())
        self._cluster = Cluster(lambda: self._stage.now)
        self._entities = list(entities)
        self._settings, self._partitions = settings, partitions
        self._arguments = {"backend": backend, "settings": settings, "require_all_ready": require_all_ready}
        self._known: set[type | str] = set()
        """Entity classes and topics whose topics exist."""
        self._encoders: dict[str, Encoder] = {}
        self._closing = ExitStack()
        if directory is None:
            directory = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="statestore-"))
        self.directory = Path(directory)
        """Where the stores are."""
        for one in self._entities:
            self._create_topics_of(one)
        self._manager = self._opened()

    @property
    def manager(self) -> StoreManager:
        """The manager, for the service under test. After :meth:`restart` it is another one."""
        return self._manager

    def _opened(self) -> _Manager:
        manager = _Manager(
            self._stage, self._cluster, self.directory, entities=self._entities, **self._arguments
        )
        self._encoders = {}
        self._stage.settle()
        return manager

    # Topics

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic, compacted unless ``config`` says otherwise. ``ConfigError`` where there is one."""
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
        return {number: one.end for number, one in enumerate(self._topic(topic).partitions)}

    def _topic(self, topic: type | str) -> TopicLog:
        name = topic if isinstance(topic, str) else model_of(topic).topic
        found = self._cluster.topics.get(name)
        if found is None:
            there = ", ".join(map(repr, sorted(self._cluster.topics))) or "none"
            raise ConfigError(
                f"this driver has no topic {name!r} (there are: {there}): create_topic({name!r}), or give "
                "its class to TestDriver(entities=[…])"
            )
        return found

    def _partition(self, topic: type | str, partition: int) -> PartitionLog:
        found = self._topic(topic)
        if not 0 <= partition < len(found.partitions):
            raise ConfigError(
                f"topic {found.name!r} has no partition {partition}: it has 0 to {len(found.partitions) - 1}"
            )
        return found.partitions[partition]

    # Tables

    @overload
    def table(self, entity_or_topic: type[T]) -> Table[T]: ...
    @overload
    def table(self, entity_or_topic: str) -> BytesTable: ...
    def table(self, entity_or_topic: type[Any] | str) -> Table[Any] | BytesTable:
        """Return the table of an entity class or a topic, which is bound first where it is not yet."""
        self._create_topics_of(entity_or_topic)
        table = self._manager.bind(entity_or_topic)
        self._stage.settle()
        return table

    # Records

    def record(
        self,
        topic: type | str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Write a record as it is, as another program would; ``value=None`` is a tombstone.

        ``partition`` is the one of the key by default, and 0 without a key. ``timestamp`` is in ms since
        1970, or a ``datetime``; by default that of the driver's clock.
        """
        return self._written(topic, key, value, partition, timestamp, headers, None)

    def add(
        self,
        entity: Any,
        *,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write an entity, new or changed, as another program would.

        ``window`` says whose row it is, where the class has windows: ``"5min"``.

        Raises ``EntityRejectedError`` as ``Table.add`` does.
        """
        return self._send([self._encoder(type(entity), window).record(entity)], partition, timestamp, None)[0]

    def delete(
        self,
        entity_or_class: Any,
        *key: Any,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write the tombstone of an entity, or of a key: ``delete(order)`` or ``delete(Order, 42)``."""
        records = self._tombstones(entity_or_class, key, window)
        return self._send(records, partition, timestamp, None)[0]

    def transaction(self) -> DriverTransaction:
        """Return a block that is committed when it ends, and aborted when it raises."""
        return DriverTransaction(self)

    def _encoder(self, cls: type, window: DeclaredWindow | None = None) -> Encoder:
        manager, model = self._manager, model_of(cls)
        # The table's own codec, of the window's keys where the class has windows; what it reads, it writes.
        table: Any = self.table(cls)
        codec: EntityCodec[Any] = table._codec
        partitioner = manager._resolver.partitioner(model)
        if window is not None or model.windows:
            table = table.window(window)
            codec = table._codec
            windows = (one.model for _, one in manager._resolver.windows(model))
            model = next(one for one in windows if one is not None and one.topic == table.topic)
        encoder = self._encoders.get(model.topic)
        if encoder is None:
            settings, bound = manager._settings, manager._writer.bound
            encoder = Encoder(model, codec, largest_record(settings.kafka), bound, partitioner)
            encoder.prepare()
            self._encoders[model.topic] = encoder
        return encoder

    def _tombstones(
        self, entity_or_class: Any, key: tuple[Any, ...], window: DeclaredWindow | None
    ) -> list[ProducerRecord]:
        if isinstance(entity_or_class, type):
            return self._encoder(entity_or_class, window).tombstones(key, key)
        encoder = self._encoder(type(entity_or_class), window)
        return encoder.tombstones(encoder.key_of(entity_or_class), entity_or_class)

    def _send(
        self,
        records: Iterable[ProducerRecord],
        partition: int | None,
        timestamp: datetime | int | None,
        transaction: int | None,
    ) -> list[Delivery]:
        sent = []
        for one in records:
            at = partition
            if at is None and one.partitioner is not None:
                count = len(self._topic(one.topic).partitions)
                at = max(0, partition_of(one.partitioner, one.key, count))
            when = timestamp if timestamp is not None else one.timestamp or None
            sent.append(self._written(one.topic, one.key, one.value, at, when, (), transaction))
        return sent

    def _written(
        self,
        topic: type | str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: datetime | int | None,
        headers: Headers,
        transaction: int | None,
    ) -> Delivery:
        log = self._topic(topic)
        number = placed(log, key) if partition is None else partition
        self._partition(log.name, number)
        at = milliseconds(timestamp) if isinstance(timestamp, datetime) else timestamp or 0
        written = self._cluster.append(log.name, number, key, value, at, headers, transaction)
        self._stage.settle()
        return Delivery(log.name, number, *written)

    def _begin(self) -> int:
        return self._cluster.begin()

    def _finish(self, transaction: int, *, commit: bool) -> None:
        self._cluster.finish(transaction, commit=commit)
        self._stage.settle()

    # What happens to topics

    def compact(self, topic: type | str, *, tombstones: bool = False) -> None:
        """Compact a topic: of each key only the last record is left, and with ``tombstones`` none of those.

        What has come since the start of an open transaction stays as it is.
        """
        for one in self._topic(topic).partitions:
            one.compact(tombstones=tombstones)
        self._stage.settle()

    def truncate(self, topic: type | str, partition: int, before_offset: int) -> None:
        """Delete the records of a partition below ``before_offset``, as retention does."""
        self._partition(topic, partition).truncate(_offset("before_offset", before_offset))
        self._look_again()

    def cut(self, topic: type | str, partition: int, to: int) -> None:
        """Lose the records of a partition from offset ``to`` on, as after an unclean leader election.

        Others may then have their offsets. The tables ask the broker at once, and fail or rebuild.
        """
        self._partition(topic, partition).cut(_offset("to", to))
        self._look_again()

    def recreate(self, topic: type | str, partitions: int | None = None) -> None:
        """Delete a topic and create another one of its name, empty and with another id.

        The tables ask the broker at once, and fail or rebuild. In production this may take a
        ``confirm_interval``.
        """
        found = self._topic(topic)
        self._cluster.create(found.name, partitions or len(found.partitions), found.config)
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
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not 0 <= given < math.inf:
            raise ValueError(f"advance({bounded_repr(seconds)}): time goes forward, give seconds from 0 on")
        self._stage.advance(given)

    # The end of a process

    def restart(self, *, kill: bool = False) -> None:
        """Close the manager and open it anew on the same directory and topics; bind ``entities`` again.

        With ``kill`` the directory is then as the process would have left it if it had been killed: with what
        was in its files, and without what was only in memory. Tables of before are closed.
        """
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


def _offset(name: str, value: int) -> int:
    if value < 0:
        raise ConfigError(
            f"{name}={value} is no offset: give 0 or more, such as one below end_offsets(topic)"
        )
    return value


class DriverTransaction:
    """The records of one ``with driver.transaction()``: seen when it has been committed, or never."""

    def __init__(self, driver: TestDriver) -> None:
        self._driver = driver
        self._number: int | None = None

    def record(
        self,
        topic: type | str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Write a record, as :meth:`TestDriver.record` does."""
        return self._driver._written(topic, key, value, partition, timestamp, headers, self._open())

    def add(
        self,
        entity: Any,
        *,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write an entity, as :meth:`TestDriver.add` does."""
        records = [self._driver._encoder(type(entity), window).record(entity)]
        return self._driver._send(records, partition, timestamp, self._open())[0]

    def delete(
        self,
        entity_or_class: Any,
        *key: Any,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write a tombstone, as :meth:`TestDriver.delete` does."""
        records = self._driver._tombstones(entity_or_class, key, window)
        return self._driver._send(records, partition, timestamp, self._open())[0]

    def abort(self) -> None:
        """Abort: none of its records is ever seen. The block may go on, but writes nothing more."""
        self._end(commit=False)

    def _open(self) -> int:
        if self._number is None:
            raise RuntimeError("the transaction is not open: write within its with block, before abort()")
        return self._number

    def _end(self, *, commit: bool) -> None:
        number, self._number = self._open(), None
        self._driver._finish(number, commit=commit)

    def __enter__(self) -> Self:
        self._number = self._driver._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._number is not None:
            self._end(commit=error is None)
