"""``StoreManager``: opens, owns and closes the stores and bindings of one data directory."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from statestore.changelog.binder import Binder
from statestore.changelog.status import read_together
from statestore.entity import EntityModel, model_of
from statestore.errors import ConfigError, StartupError, StateStoreError, StoreClosedError
from statestore.kafka.admin import AdminConnection
from statestore.kafka.topics import Mode, Topics, TopicsReport
from statestore.manager.opened import OpenStores
from statestore.manager.reports import ManagerReports
from statestore.manager.resolve import Registration, ResolvedTable, SettingsResolver
from statestore.manager.tables import TableFactory
from statestore.manager.validation import check_entities
from statestore.naming import check_topic_name, logical_name, physical_name
from statestore.producing.mixins import ManagerWriteMixin
from statestore.producing.transaction import Transactions
from statestore.producing.writer import EntityWriter
from statestore.runtime import fork
from statestore.runtime.text import bounded_repr
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import (
    Connect,
    OnMissing,
    SettingsArgument,
    SettingsSource,
    TableOptions,
    TableSettings,
    checked_table_settings,
    layer_settings,
    set_log_levels,
)
from statestore.storage.opening import StoreOpener
from statestore.storage.store import KeyValueStore
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable, BytesTable, Table

T = TypeVar("T")

log = logging.getLogger("statestore.store")

_open_managers: weakref.WeakSet[StoreManager] = weakref.WeakSet()


class StoreManager(ManagerWriteMixin, ManagerReports):
    """Owns a data directory and everything opened in it. Thread-safe; a context manager.

    ``kafka`` is the address, or a mapping of librdkafka properties; binding and writing need it.
    ``settings`` is a mapping, a :class:`~statestore.settings.Settings` or the path of a TOML or JSON file.
    Arguments given here go before environment variables (``STATESTORE_…``), these before a file; ``explain``
    shows the result. ``entities`` are bound at once as one group: with ``require_all_ready`` a read of one
    raises while another is not ready. With ``wait`` seconds the constructor returns when all are ready, or
    closes everything and raises ``StartupError``. With ``connect="lazy"`` ``bind`` never waits for the
    broker, and a broker that is away is asked again in the background.

    Raises ``DirectoryLockedError`` while another process owns the directory, ``ConfigError`` for wrong
    settings.
    """

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
    ) -> None:
        if connect not in ("eager", "lazy"):
            raise ConfigError(f"connect={bounded_repr(connect)}: choose 'eager' or 'lazy'")
        arguments = []
        if kafka is not None:
            arguments.append(SettingsSource("StoreManager(kafka=…)", {"kafka": kafka}))
        if backend is not None:
            arguments.append(SettingsSource("StoreManager(backend=…)", {"defaults": {"backend": backend}}))
        self._resolver = SettingsResolver(layer_settings(settings, os.environ, arguments))
        self._settings = self._resolver.settings
        self._formats = FormatContext(self._settings.schema_registry)
        entities = list(entities)
        classes = [one for one in entities if not isinstance(one, str)]
        check_entities(classes, self._formats).raise_errors()
        if entities and (faults := self._resolver.unmatched_sections(entities)):
            raise ConfigError(faults)
        set_log_levels(self._settings.logging)
        self._has_warned_of_unmatched = bool(entities)
        self._opened = OpenStores()
        self._mutex = self._opened.mutex
        self._binder: Binder | None = None
        self._closed = False
        self._forked_here = False
        self._opener = StoreOpener(directory, self._settings)
        timeout = self._settings.defaults.request_timeout
        self._admin = AdminConnection(self._settings.kafka)
        topics = Topics(self._admin, timeout)
        self._writer = EntityWriter(self._settings.kafka, timeout, self._codec_of, topics)
        name = f"statestore-{self._opener.directory_id}"
        self._transactions = Transactions(self._settings.kafka, timeout, name, self._writer)
        self._factory = TableFactory(self._opener, self._writer, self._codec_of, connect)
        fork.register(self)
        _open_managers.add(self)
        try:
            self._bind_group(entities, require_all_ready, wait)
        except BaseException:
            self.close()
            raise

    def _bind_group(self, entities: list[type | str], together: bool, wait: float | None) -> None:
        if not entities:
            return
        bound: list[Any] = [self.bind(one) for one in entities]
        tables = [one for one in bound if isinstance(one, BoundTable)]
        bindings = tuple(table._binding for table in tables)  # noqa: SLF001 - the manager makes both
        if together and bindings:
            read_together(bindings)
        if wait is not None:
            try:
                self.wait_until_ready(timeout=wait)
            except StateStoreError as error:
                report = "\n".join(f"  - {binding.describe()}" for binding in bindings if not binding.ready)
                raise StartupError(f"not every table is ready:\n{report}") from error

    # Stores of bytes

    def open(self, name: str, backend: str | None = None) -> KeyValueStore:
        """Open, or create, the key-value store ``name``; it needs no Kafka.

        Opening an open store again returns the same object. Raises ``ConfigError`` for an invalid name, or
        one whose directory another store has, and ``StoreUnavailableError`` when its files cannot be used.
        """
        chosen = backend or self._settings.defaults.backend
        registration = Registration(None, ResolvedTable(TableOptions(backend=chosen)))
        with self._mutex:
            self._check_open()
            opened = self._opened.found(name, registration)
            if opened is not None:
                return cast("KeyValueStore", opened)
            physical = physical_name(name)
            self._opener.claim(name, physical)
            try:
                store = self._opener.open_bytes(name, physical, chosen, lambda: self._release(name))
            except BaseException:
                self._release(name)
                raise
            self._opened.add(name, store, registration)
            return store

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

        An entity that is a stream has no store: for it, ``bind`` returns its :meth:`stream`.
        """
        model = None if isinstance(entity_or_topic, str) else model_of(entity_or_topic)
        topic = cast("str", entity_or_topic) if model is None else model.topic
        if model is None:
            check_topic_name(topic)
        else:
            _check_windows(model)
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
        registration = Registration(entity_or_topic, self._resolver.table(logical, topic, model, given))
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
                lambda: self._release(logical),
            )
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
        return self._writer.topics.ensure(
            [self._resolver.wanted_topic(model_of(one)) for one in entities], mode
        )

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
        with self._mutex:
            self._check_open()
            opened = self._opened.found(logical, registration)
            if opened is None:
                options = registration.table.options
                opened = self._factory.stream(self._connected(), logical, model, options, self._check_open)
                self._opened.add(logical, opened, registration)
            return cast("Stream[T]", opened)

    def store(self, name: str) -> KeyValueStore | BoundTable[Any]:
        """Return the open store, or the bound table, with this logical name; ``ConfigError`` lists them."""
        self._check_open()
        stores: dict[str, KeyValueStore | BoundTable[Any]] = {**self._opened.stores, **self._opened.tables}
        if name not in stores:
            raise ConfigError(f"no store is named {name!r}; open: {', '.join(sorted(stores)) or 'none'}")
        return stores[name]

    # Closing

    def close(self) -> None:
        """Flush and close everything, and give the directory up. Idempotent; ends live iterators."""
        if self._forked_here:
            raise fork.forked_error()
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        # Outside the mutex: a callback that calls the manager must not keep the binder's threads from ending.
        with contextlib.ExitStack() as closing:  # last one first; one that fails keeps none from closing
            closing.callback(self._opener.close)
            for store in self._opened.stores.values():
                closing.callback(store.close)
            if self._binder is not None:
                closing.callback(self._binder.close)
            closing.callback(self._writer.close)
            closing.callback(self._transactions.close)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StoreManager {str(self._opener.path)!r}{' closed' if self._closed else ''}>"

    # Inside

    def _check_open(self) -> None:
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError(f"the manager of {self._opener.path} is closed")

    def _all_tables(self) -> list[BoundTable[Any]]:
        return list(self._opened.tables.values())

    def _warn_of_unmatched_sections(self) -> None:
        with self._mutex:
            if self._has_warned_of_unmatched:
                return
            self._has_warned_of_unmatched = True
            bound = [*self._opened.tables, *self._opened.streams]
            registered = [self._opened.registration(name).subject for name in bound]
        subjects = [one for one in registered if one is not None]
        for fault in self._resolver.unmatched_sections(subjects, bound):
            log.warning("%s", fault)

    def _connected(self) -> Binder:
        if self._binder is None:
            if "bootstrap.servers" not in self._settings.kafka:
                raise ConfigError(
                    "binding needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under "
                    "[kafka]"
                )
            settings, name = self._settings, self._opener.directory_id
            self._binder = Binder(self._admin, settings.kafka, name, settings.defaults)
        return self._binder

    def _release(self, logical: str) -> None:
        with self._mutex:
            self._opener.release(logical)
            self._opened.release(logical)

    def _codec_of(self, model: EntityModel) -> EntityCodec[Any]:
        return EntityCodec(model, self._formats)

    def _forked(self) -> None:
        self._forked_here = True


def _check_windows(model: EntityModel) -> None:
    if model.windowing is not None:
        raise ConfigError(f"{model.name} has windows: they can be declared and checked, but not bound yet")


@atexit.register
def _close_all() -> None:
    for manager in list(_open_managers):
        with contextlib.suppress(StateStoreError):
            manager.close()
