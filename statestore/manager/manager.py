"""``StoreManager``: opens, owns and closes the stores and bindings of one data directory."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, overload

from statestore.changelog.binder import Binder
from statestore.changelog.running import THREADS, Running
from statestore.changelog.status import read_together
from statestore.entity import EntityModel, model_of
from statestore.errors import ConfigError
from statestore.fields.windows import Window
from statestore.kafka.clients import CONFLUENT, Clients
from statestore.kafka.topics import Mode, Topics, TopicsReport
from statestore.manager.arguments import check_arguments, check_wait
from statestore.manager.lifetime import ManagerLifetime, await_closing
from statestore.manager.opened import Opened, OpenStore, OpenStores
from statestore.manager.reports import ManagerReports
from statestore.manager.resolve import Registration, ResolvedTable, resolve_settings
from statestore.manager.sharing import Sharing, open_directory
from statestore.manager.tables import TableFactory
from statestore.manager.user_stores import UserStoresMixin
from statestore.manager.validation import check_entities
from statestore.naming import check_topic_name, logical_name
from statestore.producing.mixins import ManagerWriteMixin
from statestore.producing.transaction import Transactions
from statestore.producing.writer import EntityWriter
from statestore.runtime.interrupts import Ending, shielded
from statestore.runtime.steps import run_blocking
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import (
    Connect,
    OnMissing,
    Role,
    SettingsArgument,
    SettingsSource,
    TableOptions,
    TableSettings,
    checked_table_settings,
    set_log_levels,
)
from statestore.storage.location import data_path, warn_of
from statestore.storage.lock import once_free
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable, BytesTable, Table, WindowTable
from statestore.tables.windowed_table import WindowedTable

T = TypeVar("T")

log = logging.getLogger("statestore.store")


class StoreManager(ManagerLifetime, UserStoresMixin, ManagerWriteMixin, ManagerReports):
    """Owns a data directory and everything opened in it. Thread-safe; a context manager.

    ``kafka`` is the address, or a mapping of librdkafka properties; binding and writing need it.
    ``settings`` is a mapping, a :class:`~statestore.settings.Settings` or the path of a TOML or JSON file.
    Arguments given here go before environment variables (``STATESTORE_…``), these before a file; ``explain``
    shows the result. ``entities`` are bound at once as one group: with ``require_all_ready`` a read of one
    raises while another is not ready. With ``wait`` seconds the constructor returns when all are ready, or
    closes everything and raises ``StartupError``. With ``connect="lazy"`` ``bind`` never waits for the
    broker, and a broker that is away is asked again in the background.

    With ``role="auto"`` several processes share the directory: the first owns it and mirrors the topics, the
    others are readers, with the same methods, and one of them takes over when the owner has ended. A
    ``"reader"`` never does. With ``slots=4`` each process has a copy of its own instead, in the first
    directory that is free of ``0`` to ``3`` below this one. With ``prune=True`` the owner removes what
    :meth:`drop_orphans` removes, at the start: give all topics as ``entities`` then.

    Raises ``DirectoryLockedError`` where ``role`` is ``"owner"`` (the default) and another process owns the
    directory, or others own all slots, after ``lock_timeout`` seconds of waiting for it, and ``ConfigError``
    for wrong settings. An earlier manager of this process that has the directory is closed with
    ``replace=True``, as a notebook's cell wants it that runs again.
    """

    _clients: Clients = CONFLUENT
    _running: Running = THREADS
    _warn_of_place: Callable[[Path], None] = staticmethod(warn_of)

    def __init__(
        self,
        directory: str | Path,
        kafka: str | Mapping[str, Any] | None = None,
        backend: str | None = None,
        entities: Iterable[type | str] = (),
        wait: float | None = None,
        settings: SettingsArgument = None,
        *,
        connect: Connect = "eager",
        require_all_ready: bool = True,
        lock_timeout: float = 0.0,
        replace: bool = False,
        role: Role | None = None,
        slots: int | None = None,
        prune: bool = False,
    ) -> None:
        entities = list(entities)
        check_arguments(connect, lock_timeout, prune, entities)
        check_wait(wait)
        arguments = []
        if kafka is not None:
            arguments.append(SettingsSource("StoreManager(kafka=…)", {"kafka": kafka}))
        if backend is not None:
            arguments.append(SettingsSource("StoreManager(backend=…)", {"defaults": {"backend": backend}}))
        if role is not None:
            arguments.append(SettingsSource("StoreManager(role=…)", {"defaults": {"role": role}}))
        self._resolver = resolve_settings(settings, arguments, entities)
        self._settings = self._resolver.settings
        self._formats = FormatContext(self._settings.schema_registry)
        classes = [one for one in entities if not isinstance(one, str)]
        check_entities(classes, self._formats).raise_errors()
        set_log_levels(self._settings.logging)
        self._has_warned_of_unmatched = bool(entities)
        self._opened = OpenStores()
        self._mutex = self._opened.mutex
        self._binder: Binder | None = None
        self._closed = self._is_set_up = self._forked_here = False
        self._path = data_path(directory)
        self._ending = Ending()
        await_closing(self._path, replace=replace)
        try:
            once_free(lambda: shielded(lambda: self._set_up(directory, connect, slots)), lock_timeout)
            self._bind_group(entities, require_all_ready, prune, wait)
        except BaseException:
            self.close()
            raise

    def _set_up(self, directory: str | Path, connect: Connect, slots: int | None) -> None:
        """Take the directory, and make what needs it."""
        with self._mutex:
            if self._closed:  # an exception of a signal handler came first
                return
            self._opener = open_directory(directory, self._settings, slots, self._running.clock)
            self._path = self._opener.path
            self._warn_of_place(self._path)
            try:
                timeout = self._settings.defaults.request_timeout
                self._admin = self._clients.admin(self._settings.kafka)
                topics = Topics(self._admin, timeout)
                codec_of = _codecs(self._formats)
                kafka, place = self._settings.kafka, self._resolver.partitioner
                client = self._clients.producer
                self._writer = EntityWriter(kafka, timeout, codec_of, topics, place, client)
                name = f"statestore-{self._opener.directory_id}"
                if not self._opener.owns:  # two processes with one name would fence each other
                    name = f"{name}-{uuid.uuid4().hex[:12]}"
                self._transactions = Transactions(kafka, timeout, name, self._writer)
                self._factory = TableFactory(self._opener, self._writer, codec_of, connect)
                self._sharing = _sharing(self)
                if not self._opener.owns:
                    self._binder = self._made_binder()
                self._sharing.begin()
            except BaseException:
                self._opener.close()
                raise
            self._lives()

    def _bind_group(
        self, entities: list[type | str], together: bool, prune: bool, wait: float | None
    ) -> None:
        if not entities:
            return
        bound: list[Any] = [self.bind(one) for one in entities]
        tables = [one for one in bound if isinstance(one, BoundTable)]
        bindings = tuple(self._bindings(tables)) if tables else ()
        if prune and self._opener.owns:
            self.drop_orphans()
        if together and bindings:
            read_together(bindings)
        if wait is not None:
            run_blocking(self._started(wait), wait)

    # Bound topics

    @overload
    def bind(
        self,
        entity_or_topic: type[T],
        *,
        backend: str | None = ...,
        name: str | None = ...,
        on_missing: OnMissing | None = ...,
        max_lag: int | None = ...,
        max_staleness: float | None = ...,
    ) -> Table[T]: ...
    @overload
    def bind(
        self,
        entity_or_topic: str,
        *,
        backend: str | None = ...,
        name: str | None = ...,
        on_missing: OnMissing | None = ...,
        max_lag: int | None = ...,
        max_staleness: float | None = ...,
    ) -> BytesTable: ...
    def bind(
        self,
        entity_or_topic: type[Any] | str,
        *,
        backend: str | None = None,
        name: str | None = None,
        on_missing: OnMissing | None = None,
        max_lag: int | None = None,
        max_staleness: float | None = None,
    ) -> Table[Any] | BytesTable:
        """Mirror a topic and return its table at once; the restore runs in the background.

        ``name`` replaces the store's logical name. If the local copy is missing or cannot be continued,
        ``on_missing="rebuild"`` makes it anew from Kafka, and ``"fail"`` (the default) fails the table.
        ``max_lag`` (records) and ``max_staleness`` (seconds) are limits beyond which a ready table is not
        ready any more.

        Binding again with the same options returns the same table; with others it raises ``ConfigError``.
        Raises ``KafkaError`` if the broker is away or does not know the topic (unless ``connect="lazy"``).

        An entity that is a stream has no store: for it, ``bind`` returns its :meth:`stream`. An entity with
        windows has a table for each: what ``bind`` returns has them as ``table.window("5min")``, and ``name``
        is ``Candles_Store`` for ``Candles_5min_Store``.
        """
        model = None if isinstance(entity_or_topic, str) else model_of(entity_or_topic)
        topic = cast("str", entity_or_topic) if model is None else model.topic
        if model is None:
            check_topic_name(topic)
        logical = name or (logical_name(topic) if model is None else model.logical_name)
        given = checked_table_settings(
            f"bind({logical!r})",
            backend=backend,
            on_missing=on_missing,
            max_lag=max_lag,
            max_staleness=max_staleness,
        )
        if model is not None and model.kind == "stream":
            if given != TableSettings():
                raise ConfigError(f"{model.name} is a stream and has no store: bind it without options")
            stream: Any = self.stream(model.cls, name=name)
            return cast("Table[Any]", stream)
        if model is not None and model.windows:
            windows = self._resolver.windows(model, name, given)
            return shielded(lambda: self._bind_windows(logical, model, windows))
        registration = Registration(entity_or_topic, self._resolver.table(logical, topic, model, given))
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
        if opened is not None:
            return cast("Table[Any] | BytesTable", opened)
        return shielded(lambda: self._bind(logical, topic, model, registration))

    def _bind_windows(
        self, logical: str, model: EntityModel, windows: list[tuple[str, ResolvedTable]]
    ) -> Table[Any]:
        """Bind the topic of each window, and return the table that has all of their tables."""
        registration = Registration(model.cls, ResolvedTable(TableOptions()))
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
            before = set(self._opened.tables)
        tables: dict[Window, WindowTable[Any]] = {}
        try:
            for window, (label, resolved) in zip(model.windows, windows, strict=True):
                one = resolved.model
                assert one is not None
                asked = Registration(model.cls, resolved, label=label)
                tables[window] = cast("WindowTable[Any]", self._bind(one.logical_name, one.topic, one, asked))
        except BaseException:
            for table in tables.values():
                if table.name not in before:
                    table.close()
            raise
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
            if opened is None:
                opened = WindowedTable(logical, model.topic, tables, model.cls, self._writer)
                opened._manager = self  # noqa: SLF001 - who has the table has its manager
                self._opened.add(logical, opened, registration)
        self._report_orphans(model)
        return cast("Table[Any]", opened)

    def _bind(
        self, logical: str, topic: str, model: EntityModel | None, registration: Registration
    ) -> Table[Any] | BytesTable:
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
            if opened is not None:
                return cast("Table[Any] | BytesTable", opened)
            other = next((one.name for one in self._all_tables() if one.topic == topic), None)
            if other is not None:
                raise ConfigError(f"topic {topic!r} is already bound, as {other!r}: use that table")
            binder = self._connected()
            table, binding = self._factory.table(
                binder,
                logical,
                topic,
                model,
                registration.table.options,
                _releasing(self, logical),
            )
            table._manager = self  # noqa: SLF001 - who has the table has its manager
            try:
                self._sharing.check(binding)
            except BaseException:
                binding.close()
                raise
            self._opened.add(logical, table, registration)
            binder.add(binding)
            binding.start()
            return cast("Table[Any] | BytesTable", table)

    def ensure_topics(self, *entities: type[Any], mode: Mode = "warn") -> TopicsReport:
        """Create the missing topics of ``entities``, as their classes and the settings say.

        Existing topics are never altered. They are compared with what was stated explicitly; a table's topic
        must also be compacted. Differences are logged and returned in the report; with ``mode="error"`` they
        raise ``ConfigError`` and nothing is created. Raises ``KafkaError`` if the broker is away or refuses.
        """
        self._check_open()
        wanted = [self._resolver.wanted_topic(model_of(one)) for one in entities]
        return shielded(lambda: self._writer.topics.ensure(wanted, mode))

    def stream(self, entity: type[T], *, name: str | None = None) -> Stream[T]:
        """Return the stream of an entity without key fields, or of one declared with ``kind="stream"``.

        ``bind`` returns the same object; this method has its type. Raises what ``bind`` raises.
        """
        model = model_of(entity)
        if model.kind != "stream":
            raise ConfigError(f"{model.name} is a table: bind it, or declare it with kind='stream'")
        logical = name or model.logical_name
        registration = Registration(
            entity, self._resolver.table(logical, model.topic, model, TableSettings())
        )
        return cast("Stream[T]", shielded(lambda: self._stream(logical, model, registration)))

    def _stream(self, logical: str, model: EntityModel, registration: Registration) -> Opened:
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
            if opened is None:
                options = registration.table.options
                opened = self._factory.stream(self._connected(), logical, model, options, self._check_open)
                self._opened.add(logical, opened, registration)
            return opened

    def store(self, name: str) -> OpenStore | BoundTable[Any]:
        """Return the open store, or the bound table, with this logical name; ``ConfigError`` lists them."""
        self._check_open()
        opened = self._opened
        stores: dict[str, OpenStore | BoundTable[Any]] = {**opened.stores, **opened.tables, **opened.windowed}
        if name not in stores:
            raise ConfigError(f"no store is named {name!r}; open: {', '.join(sorted(stores)) or 'none'}")
        return stores[name]

    def __repr__(self) -> str:
        return f"<StoreManager {str(self._path)!r}{' closed' if self._closed else ''}>"

    # Inside

    def _all_tables(self) -> list[BoundTable[Any]]:
        return list(self._opened.tables.values())

    def _warn_of_unmatched_sections(self) -> None:
        with self._mutex:
            if self._has_warned_of_unmatched:
                return
            self._has_warned_of_unmatched = True
            bound = [*self._opened.tables, *self._opened.windowed, *self._opened.streams]
            registered = [self._opened.registration(name).subject for name in bound]
        subjects = [one for one in registered if one is not None]
        for fault in self._resolver.unmatched_sections(subjects, bound):
            log.warning("%s", fault)

    def _connected(self) -> Binder:
        # A reader needs none, unless it may be the owner one day.
        needs_broker = self._binder is None or self._settings.defaults.role == "auto"
        if needs_broker and "bootstrap.servers" not in self._settings.kafka:
            raise ConfigError(
                "binding needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under [kafka]"
            )
        if self._binder is None:
            self._binder = self._made_binder()
        return self._binder

    def _made_binder(self) -> Binder:
        settings, opener = self._settings, self._opener
        return Binder(
            self._admin,
            settings.kafka,
            opener.directory_id,
            settings.defaults,
            owns=opener.owns,
            make_source=self._clients.source,
            running=self._running,
        )

    def _release(self, logical: str) -> None:
        with self._mutex:
            self._opener.release(logical)
            self._opened.release(logical)


def _codecs(formats: FormatContext) -> Callable[[EntityModel], EntityCodec[Any]]:
    """Return what makes the codec of a class. Nothing that threads have may refer to the manager."""
    return lambda model: EntityCodec(model, formats)


def _sharing(manager: StoreManager) -> Sharing:
    """Return how ``manager`` shares its directory. Threads have it, so it must not refer to the manager."""
    reference = weakref.ref(manager)

    def binder() -> Binder | None:
        found = reference()
        return None if found is None else found._binder  # noqa: SLF001 - of this module's class

    def is_closed() -> bool:
        found = reference()
        return found is None or found._closed  # noqa: SLF001

    return Sharing(manager._opener, manager._opened, manager._settings, binder, is_closed)  # noqa: SLF001


def _releasing(manager: StoreManager, logical: str) -> Callable[[], None]:
    """Return what has ``manager`` forget ``logical``, for a binding, which threads have."""
    reference = weakref.ref(manager)

    def release() -> None:
        if (found := reference()) is not None:
            found._release(logical)  # noqa: SLF001 - a method of this module's class

    return release
