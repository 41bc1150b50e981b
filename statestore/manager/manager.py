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
from statestore.changelog.binding import Binding
from statestore.changelog.mirror import Mirror
from statestore.changelog.status import read_together
from statestore.changelog.undecodable import DecodingFilter
from statestore.entity import EntityModel, model_of
from statestore.errors import ConfigError, StartupError, StateStoreError, StoreClosedError
from statestore.kafka.topics import Mode, TopicsReport
from statestore.manager.explain import Explanation
from statestore.manager.health import ManagerHealth
from statestore.manager.resolve import Registration, ResolvedTable, SettingsResolver
from statestore.manager.validation import check_entities
from statestore.naming import check_topic_name, logical_name, physical_name
from statestore.producing.mixins import ManagerWriteMixin
from statestore.producing.transaction import Transactions
from statestore.producing.writer import EntityWriter
from statestore.runtime import fork
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
from statestore.storage.directory import StoreFile
from statestore.storage.opening import StoreOpener
from statestore.storage.store import KeyValueStore
from statestore.tables.readiness import ManagerReadiness
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable, BytesTable, Table

T = TypeVar("T")

log = logging.getLogger("statestore.store")

_open_managers: weakref.WeakSet[StoreManager] = weakref.WeakSet()


class StoreManager(ManagerWriteMixin, ManagerReadiness):
    """Owns a data directory and everything opened in it. Thread-safe; a context manager.

    ``kafka`` is the address, or a mapping of librdkafka properties; ``bind`` and what writes need it.
    ``settings`` is a mapping, a :class:`~statestore.settings.Settings` or the path of a TOML or JSON file;
    environment variables (``STATESTORE_…``) win over a file, and arguments given here over both; ``explain``
    tells what holds. ``entities`` are bound at once as one group: with ``require_all_ready``
    a read of one raises while another is not ready. With ``wait`` seconds the constructor returns when all
    are ready, or raises ``StartupError`` with everything closed again. ``connect="lazy"`` makes ``bind``
    never block and retry a broker that is away.

    Raises ``DirectoryLockedError`` while another process owns the directory, ``ConfigError`` for settings.
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
            raise ConfigError(f"connect={connect!r}: choose 'eager' or 'lazy'")
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
        self._connect = connect
        self._mutex = fork.rlock()
        self._stores: dict[str, KeyValueStore] = {}
        self._tables: dict[str, BoundTable[Any]] = {}
        self._streams: dict[str, Stream[Any]] = {}
        self._registrations: dict[str, Registration] = {}
        self._binder: Binder | None = None
        self._closed = False
        self._forked_here = False
        self._opener = StoreOpener(directory, self._settings)
        timeout = self._settings.defaults.request_timeout
        self._writer = EntityWriter(self._settings.kafka, timeout, self._codec_of)
        name = f"statestore-{self._opener.directory_id}"
        self._transactions = Transactions(self._settings.kafka, timeout, name, self._writer)
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

        Opening an open store again gives the same object. Raises ``ConfigError`` for a name that is no store
        name, or whose files another store has, and ``StoreUnavailableError`` where its files cannot be used.
        """
        chosen = backend or self._settings.defaults.backend
        registration = Registration(None, ResolvedTable(TableOptions(backend=chosen)))
        with self._mutex:
            self._check_open()
            if name in self._stores:
                self._registrations[name].check_same(name, registration)
                return self._stores[name]
            physical = physical_name(name)
            self._opener.claim(name, physical)
            try:
                store = self._opener.open_bytes(name, physical, chosen, lambda: self._release(name))
            except BaseException:
                self._release(name)
                raise
            self._stores[name] = store
            self._registrations[name] = registration
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

        ``name`` overrides the store's logical name. ``on_missing="rebuild"`` starts anew, in place, where the
        local copy is missing or cannot be continued; ``"fail"`` (the default) fails the table. ``max_lag``
        (records) and ``max_staleness`` (seconds) make a ready table not ready while it is further behind.

        Binding again in the same way gives the same table; in another way it is a ``ConfigError``. Raises
        ``KafkaError`` where the broker is away or does not know the topic (unless ``connect="lazy"``).

        An entity that is a stream has no store: what comes back is its :meth:`stream`.
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
                raise ConfigError(f"{model.name} is a stream and has no store: bind it with its name alone")
            stream: Any = self.stream(model.cls, name=name)
            return cast("Table[Any]", stream)
        registration = Registration(entity_or_topic, self._resolver.table(logical, topic, model, given))
        options = registration.table.options
        with self._mutex:
            self._check_open()
            if logical in self._tables:
                self._registrations[logical].check_same(logical, registration)
                return cast("Table[Any] | BytesTable", self._tables[logical])
            other = next((one.name for one in self._tables.values() if one.topic == topic), None)
            if other is not None:
                raise ConfigError(f"topic {topic!r} is bound already, as {other!r}: use that table")
            self._opener.check_backend(options.backend)
            binder = self._connected()
            info = None
            if self._connect == "eager":
                info = binder.source.topic_info(topic, self._settings.defaults.request_timeout)
            codec = None if model is None else self._codec_of(model)
            record_filter = None
            if codec is not None and options.on_undecodable != "raise":
                record_filter = DecodingFilter(codec.decode, skip=options.on_undecodable == "skip")
            binding = self._make_binding(binder, logical, topic, model, options, record_filter)
            if info is not None:
                binding.found(info.partitions)
                binder.cluster_id = info.cluster_id
                self._writer.topic_exists(topic)
            table: Table[Any] | BytesTable
            if model is None or codec is None:
                table = BytesTable(binding)
            else:
                table = Table(binding, codec, model.cls, self._writer)
            self._tables[logical] = table
            self._registrations[logical] = registration
            binder.add(binding)
            binding.start()
            return table

    def _make_binding(
        self,
        binder: Binder,
        logical: str,
        topic: str,
        model: EntityModel | None,
        options: TableOptions,
        record_filter: DecodingFilter | None,
    ) -> Binding:
        declared = model is not None and logical == model.logical_name
        physical = model.physical_name if model and declared else physical_name(logical)
        serialisation = "bytes" if model is None else model.serialisation
        schema = None if model is None else model.stored_schema
        wanted = StoreFile(logical, options.backend, "timestamped", serialisation, topic=topic, schema=schema)
        storage = self._opener.mirror(wanted, physical, options)
        self._opener.claim(logical, physical)
        # Where the ends are is known to within two questions, and the fetch that follows the second.
        grace = 2 * self._settings.defaults.confirm_interval + 1
        mirror = Mirror(logical, topic, storage, grace, record_filter)
        return Binding(binder, mirror, options, on_close=lambda: self._release(logical))

    def ensure_topics(self, *entities: type[Any], mode: Mode = "warn") -> TopicsReport:
        """Create the topics of ``entities`` that are missing, as their classes and the settings say.

        An existing topic is never altered. In what it is not as was stated (what nobody stated is not
        compared; a table's topic must be compacted) is told all at once: as a warning and in the report, or
        with ``mode="error"`` as a ``ConfigError``, and then nothing is created. Raises ``KafkaError`` where
        the broker is away or refuses.
        """
        self._check_open()
        return self._writer.topics.ensure(
            [self._resolver.wanted_topic(model_of(one)) for one in entities], mode
        )

    def stream(self, entity: type[T], *, name: str | None = None) -> Stream[T]:
        """Return the stream of an entity without key fields, or of one declared with ``kind="stream"``.

        ``bind`` returns the same, which type checkers cannot know. Raises what ``bind`` raises.
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
            if logical in self._registrations:
                self._registrations[logical].check_same(logical, registration)
                return cast("Stream[T]", self._streams[logical])
            source = self._connected().source
            if self._connect == "eager":
                source.topic_info(model.topic, source.request_timeout)
            skip = registration.table.options.on_undecodable == "skip"
            stream = Stream[T](logical, model, self._codec_of(model), source, self._check_open, skip=skip)
            self._streams[logical] = stream
            self._registrations[logical] = registration
            return stream

    def store(self, name: str) -> KeyValueStore | BoundTable[Any]:
        """Return the open store, or the bound table, with this logical name; ``ConfigError`` lists them."""
        with self._mutex:
            self._check_open()
            found = self._stores.get(name) or self._tables.get(name)
            if found is None:
                known = ", ".join(sorted([*self._stores, *self._tables])) or "none"
                raise ConfigError(f"no store is named {name!r}; open: {known}")
            return found

    # Reports

    def health(self) -> ManagerHealth:
        """Return a report of all tables and streams, and of what was written; ``asdict`` of it is JSON."""
        self._check_open()
        return ManagerHealth(
            directory=str(self._opener.path),
            status=self.state,
            ready=self.is_ready,
            fetcher=None if self._binder is None else self._binder.source.fetcher,
            producer=self._writer.health(),
            tables={table.name: table.health() for table in self._all_tables()},
            streams={stream.name: stream.health() for stream in list(self._streams.values())},
        )

    def describe(self) -> list[dict[str, Any]]:
        """Return one entry for each open store and bound table: names, path, backend, size in bytes."""
        with self._mutex:
            self._check_open()
            entries: list[dict[str, Any]] = []
            for name, store in self._stores.items():
                entries.append(self._described(name, None, store.size()))
            for name, table in self._tables.items():
                entries.append(self._described(name, table.topic, table.health().size))
            return sorted(entries, key=lambda entry: entry["logical"])

    def explain(self) -> Explanation:
        """Return every setting with its value and where that comes from.

        A mapping from the dotted path to ``value`` and ``from``; bound tables, and the topics of the
        entities that are bound, streams too, have all of theirs. Secrets are ``***``. JSON-serialisable;
        ``str`` of it is a table.
        """
        with self._mutex:
            self._check_open()
            bound = {name: self._registrations[name] for name in self._tables}
            streams = [stream.entity for stream in self._streams.values()]
            backends = self._opener.backends
        classes = [subject for subject, _ in bound.values() if isinstance(subject, type)]
        models = [model_of(one) for one in (*classes, *streams)]
        tables = {name: table for name, (_, table) in bound.items()}
        return Explanation.of(self._resolver.explained_settings(tables, models, backends))

    def _described(self, logical: str, topic: str | None, size: int | None) -> dict[str, Any]:
        subject, table = self._registrations[logical]
        backend = table.options.backend
        physical, path = self._opener.place(logical, backend)
        return {
            "entity": subject.__name__ if isinstance(subject, type) else None,
            "topic": topic,
            "logical": logical,
            "physical": physical,
            "path": None if path is None else str(path),
            "backend": backend,
            "size": size,
        }

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
            for store in list(self._stores.values()):
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
        with self._mutex:
            return list(self._tables.values())

    def _warn_of_unmatched_sections(self) -> None:
        with self._mutex:
            if self._has_warned_of_unmatched:
                return
            self._has_warned_of_unmatched = True
            bound = [*self._tables, *self._streams]
            subjects = [one for name in bound if (one := self._registrations[name].subject) is not None]
        for fault in self._resolver.unmatched_sections(subjects, bound):
            log.warning("%s", fault)

    def _connected(self) -> Binder:
        if self._binder is None:
            if "bootstrap.servers" not in self._settings.kafka:
                raise ConfigError(
                    "bind needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under [kafka]"
                )
            self._binder = Binder(self._settings.kafka, self._opener.directory_id, self._settings.defaults)
        return self._binder

    def _release(self, logical: str) -> None:
        with self._mutex:
            self._opener.release(logical)
            self._stores.pop(logical, None)
            self._tables.pop(logical, None)
            self._registrations.pop(logical, None)

    def _codec_of(self, model: EntityModel) -> EntityCodec[Any]:
        return EntityCodec(model, self._formats)

    def _forked(self) -> None:
        self._forked_here = True


def _check_windows(model: EntityModel) -> None:
    if model.windowing is not None:
        raise ConfigError(f"{model.name} has windows: they can be declared and checked, and not bound yet")


@atexit.register
def _close_all() -> None:
    for manager in list(_open_managers):
        with contextlib.suppress(StateStoreError):
            manager.close()
