"""Opening the stores of a data directory: whose names they have, which engine and which files."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from statestore.backends import Backend, Engine, ReadOnlyBackend, StoreOptions, find_engine, sharing
from statestore.core import RecordCache, uses
from statestore.entity import WindowKeyForm
from statestore.errors import (
    ConfigError,
    DirectoryLockedError,
    StoreCorruptError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.runtime import fork
from statestore.runtime.budget import MemoryShares
from statestore.runtime.times import Clock
from statestore.serde.indexes import EntityIndexes
from statestore.settings import Role, Settings, TableOptions, make_options
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import (
    DataDirectory,
    StoreDirectory,
    StoreFile,
    described_store,
    directory_id_of,
)
from statestore.storage.expiry import ExpiringBackend
from statestore.storage.followed_backend import FollowedBackend
from statestore.storage.followed_store import FollowedStore
from statestore.storage.identity import identify
from statestore.storage.layout import LONGEST_INDEX_KEY, LONGEST_KEY
from statestore.storage.location import data_path
from statestore.storage.shared_state import SHARED
from statestore.storage.spellings import KeySpellings
from statestore.storage.store import KeyValueStore
from statestore.storage.stored_window import StoredWindow, continued_window
from statestore.storage.user_store import UserStore
from statestore.storage.window_expiry import WindowExpiry
from statestore.storage.window_store import SessionStore, WindowStore

log = logging.getLogger("statestore.store")


OpenFiles = Callable[[Path, StoreOptions], Backend]


class Damage:
    """Tells who listens of damage to the files of an open store, whoever meets it."""

    listener: Callable[[StoreUnavailableError], None] | None = None
    """Called on any thread, inside of a call of the store: it waits for nothing."""

    def tell(self, error: StoreUnavailableError) -> None:
        if self.listener is not None:
            self.listener(error)


def _not_shared(*_: object) -> Any:
    raise NotImplementedError("the store is of one process")


@dataclass(frozen=True, slots=True)
class MirrorStorage:
    """How the mirror of a topic gets at its store."""

    open_directory: Callable[[], StoreDirectory | None]
    """Return the store's directory; ``None`` for an engine without files."""
    open_store: Callable[[StoreDirectory | None], ChangelogStore]
    """Open the current generation in that directory, an empty one where there is none."""
    remember: Callable[[], None]
    """Note that the store is complete, and that its absence is an error from now on."""
    options: TableOptions = field(default_factory=TableOptions)
    max_key_size: int = LONGEST_KEY
    """Bytes of the longest key that the store takes."""
    damage: Damage = field(default_factory=Damage)
    follow: Callable[[], FollowedStore] = _not_shared
    """Open the current generation for reading, where another process writes it."""
    promote: Callable[[FollowedStore, StoreDirectory], ChangelogStore] = _not_shared
    """Open the store for writing that was followed, while reads of it go on."""
    needs_compaction: bool = True
    """Whether the topic must keep the last record of each key. Windows of other programs end by age."""


class StoreOpener:
    """Opens the stores of one data directory, each with the engine that its backend names.

    With ``role="owner"`` it raises ``DirectoryLockedError`` while another process owns the directory. With
    ``"auto"`` it then opens the stores for reading, as with ``"reader"`` always.

    Not thread-safe: the manager's mutex guards it. Raises ``ConfigError`` for an unknown backend, and for one
    that cannot share its stores where they are to be shared, before anything is created.
    """

    def __init__(self, directory: str | Path, settings: Settings, clock: Clock = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._role: Role = settings.defaults.role
        self.path = data_path(directory)
        self._engines: dict[str, Engine] = {}
        self._physical: dict[str, str] = {}
        self.cache = RecordCache(MemoryShares.of(settings.defaults.memory_budget).records)
        fork.register(self.cache)
        self._engine(settings.defaults.backend)
        self._directory: DataDirectory | None = None
        self._replaced: list[ReadOnlyBackend] = []
        """Stores that were read only; somebody may still do so."""
        if self._role != "reader":
            self._take_directory()

    def _take_directory(self) -> None:
        try:
            self._directory = DataDirectory(self.path)
        except DirectoryLockedError as error:
            if self._role == "owner" or error.is_here:
                raise
        else:
            if not self.shares:  # what an earlier owner has told is not so any more
                (self.path / SHARED).unlink(missing_ok=True)

    def take_over(self) -> bool:
        """Own the directory from now on, unless another process does; tell whether that is so."""
        if self._directory is None:
            self._take_directory()
        return self.owns

    @property
    def owns(self) -> bool:
        """Whether this process owns the directory; otherwise it only reads it."""
        return self._directory is not None

    @property
    def shares(self) -> bool:
        """Whether other processes read the stores while this one owns them."""
        return self._role != "owner"

    @property
    def _data(self) -> DataDirectory:
        if self._directory is None:
            raise StoreUnavailableError(
                self.path, "another process owns the data directory", "do that in the process that owns it"
            )
        return self._directory

    @property
    def directory_id(self) -> str:
        """A random name of the directory; the same each time, once a process has made it."""
        if self._directory is None:
            return directory_id_of(self.path) or uuid.uuid4().hex
        return self._directory.directory_id

    @property
    def backends(self) -> list[str]:
        """The names of the backends in use."""
        return list(self._engines)

    def check_backend(self, backend: str) -> None:
        """Raise ``ConfigError`` for an unknown backend, and what an engine has against this process."""
        self._engine(backend).check_process()

    def claim(self, logical: str, physical: str) -> None:
        """Have the directory ``physical`` belong to ``logical`` from now on."""
        owner = next((name for name, taken in self._physical.items() if taken == physical), logical)
        if owner != logical or logical in self._physical:
            raise ConfigError(
                f"stores {owner!r} and {logical!r} would share the directory {physical!r}: give one of them "
                "another name"
            )
        self._physical[logical] = physical

    def release(self, logical: str) -> None:
        self._physical.pop(logical, None)

    @property
    def claimed(self) -> set[str]:
        """The directories that belong to somebody."""
        return set(self._physical.values())

    def drop(self, physical: str) -> None:
        """Delete a store that is not open. Raises ``StoreUnavailableError`` in a process that only reads."""
        self._data.drop(physical)

    def note_orphans(self, found: Collection[str], declared: Collection[str]) -> bool:
        """Note that nothing declares the stores ``found`` any more; return whether one is new."""
        return self._data.note_orphans(found, declared)

    def place(self, logical: str, backend: str) -> tuple[str, Path | None]:
        """Return the physical name of a store, and the path of its directory where it has one."""
        physical = self._physical[logical]
        return physical, self.path / physical if self._engine(backend).persistent else None

    def open_bytes(
        self, name: str, physical: str, backend: str, on_close: Callable[[], None], on_missing: str = "fail"
    ) -> KeyValueStore:
        """Open the store of bytes ``name``, which is not bound to a topic."""
        engine = self._engine(backend)
        wanted = StoreFile(name, backend, values="raw", serialisation="bytes")
        opened, _ = self._open_for_user(engine, physical, wanted, on_missing)
        cache = self._cache_of(engine) if self.owns else None
        return KeyValueStore(name, opened, engine.max_key_size, on_close, cache)

    def open_windows(
        self,
        name: str,
        physical: str,
        backend: str,
        window: StoredWindow,
        on_close: Callable[[], None],
        on_missing: str = "fail",
    ) -> WindowStore | SessionStore:
        """Open the store ``name`` of windows, or where ``window`` has no size, of sessions."""
        engine = self._engine(backend)
        kind = "sessions" if window["size_ms"] is None else "windows"
        wanted = StoreFile(name, backend, values=kind, serialisation="bytes", window=window)
        opened, file = self._open_for_user(engine, physical, wanted, on_missing)
        made = SessionStore if window["size_ms"] is None else WindowStore
        continued = continued_window(file.window, window) or window
        try:
            return made(name, opened, engine.max_key_size, continued, on_close)
        except BaseException:
            opened.close()
            raise

    def _open_for_user(
        self, engine: Engine, physical: str, wanted: StoreFile, on_missing: str
    ) -> tuple[Backend, StoreFile]:
        """Open a store without a topic; return what its ``store.json`` says, too, where it has one."""
        engine.check_process()  # before anything is created
        if not self.owns:
            reader, found = self._open_reader(engine, physical, wanted, StoreOptions(), Damage())
            return FollowedBackend(reader, found, wanted), found.file
        directory = self._data.store(physical, wanted, on_missing=on_missing) if engine.persistent else None
        opened = self._open_backend(engine, physical, directory, wanted, StoreOptions(shared=self.shares))
        try:
            if directory is not None:
                if not self._data.is_remembered(physical):
                    opened.flush()  # whose the files are stays in them from now on
                self._data.remember(physical)
                directory.mark_complete()
        except BaseException:
            opened.close()
            raise
        return opened, wanted if directory is None else directory.file

    def promote(self, store: UserStore) -> None:
        """Have a store without a topic written by this process, which has read it until now."""
        if (followed := store.followed) is None:
            return
        physical, reader = self._physical[store.name], followed.inner
        wanted = followed.wanted
        engine = self._engine(wanted.backend)
        opened = self._open_backend(
            engine,
            physical,
            self._data.store(physical, wanted),
            wanted,
            StoreOptions(shared=self.shares),
            open_files=lambda _, options: reader.promote(options),
        )
        self._replaced.append(reader)
        store.promoted(opened, self._cache_of(engine))

    def mirror(
        self,
        wanted: StoreFile,
        physical: str,
        options: TableOptions,
        spellings: KeySpellings | None = None,
        indexes: EntityIndexes | None = None,
        window: WindowKeyForm | None = None,
    ) -> MirrorStorage:
        """Return how the mirror of a topic gets at its store, and log where that will be.

        ``spellings`` tells the texts of keys apart, in a format that has several for one key. ``indexes`` are
        the secondary indexes of the class. ``window`` says how the keys of a window's table end; its rows end
        by event time.

        Raises ``ConfigError`` for a compression that the backend does not offer, and for indexes that it
        cannot hold.
        """
        engine = self._engine(wanted.backend)
        self._check_mirror(engine, wanted.logical, options, indexes)
        if self.owns:
            self._log_place(engine, wanted.logical, physical, options)
        described = replace(wanted, ttl=options.ttl)
        damage = Damage()

        def open_directory() -> StoreDirectory | None:
            if not engine.persistent:
                return None
            return self._data.store(physical, described, on_missing=options.on_missing)

        how = StoreOptions(changelog=True, compression=options.compression, shared=self.shares)

        def open_store(
            directory: StoreDirectory | None, followed: FollowedStore | None = None
        ) -> ChangelogStore:
            open_files = engine.open if followed is None else _promoting(followed)
            backend = self._open_backend(engine, physical, directory, described, how, damage, open_files)
            cache = self._cache_of(engine)
            if window is not None:
                backend, cache = WindowExpiry(backend, window), None  # what is cached would not end
            if options.ttl is not None:
                backend = ExpiringBackend(backend, options.ttl, self._clock)
                cache = None  # what is cached would not end
            try:
                largest = engine.max_key_size
                return ChangelogStore(
                    wanted.logical, backend, largest, cache, spellings, indexes, self._clock
                )
            except BaseException:  # its index of keys may have to be made, which reads and writes
                backend.close()
                raise

        def follow() -> FollowedStore:
            reader, found = self._open_reader(engine, physical, described, how, damage)
            try:
                return FollowedStore(
                    found, reader, indexes, spells=spellings is not None, clock=self._clock, window=window
                )
            except BaseException:
                reader.close()
                raise

        return MirrorStorage(
            open_directory,
            open_store,
            lambda: self._data.remember(physical),
            options,
            engine.max_key_size,
            damage,
            follow,
            lambda followed, directory: open_store(directory, followed),
            needs_compaction=window is None or window.layout == "final",
        )

    def _check_mirror(
        self, engine: Engine, logical: str, options: TableOptions, indexes: EntityIndexes | None
    ) -> None:
        if options.compression is not None and options.compression not in engine.compressions:
            raise ConfigError(
                f"{logical!r}: compression={options.compression!r}: backend {engine.name!r} offers "
                f"{', '.join(engine.compressions) or 'no choice of it'}"
            )
        if indexes is not None and engine.max_key_size < LONGEST_INDEX_KEY:
            raise ConfigError(
                f"{logical!r}: backend {engine.name!r} takes keys of {engine.max_key_size} bytes, "
                f"and secondary indexes need {LONGEST_INDEX_KEY}: use another backend, or remove the indexes"
            )
        if self.shares and not options.persistent:
            raise ConfigError(
                f"{logical!r}: cache=False keeps the store in the memory of one process, and with "
                f"role={self._role!r} others are to read it: leave out one of the two"
            )

    def _log_place(self, engine: Engine, logical: str, physical: str, options: TableOptions) -> None:
        if not options.persistent:
            log.warning(
                "store %r is in memory only, and read anew from Kafka at each start: cache=False%s",
                logical,
                f" ({options.cache_reason})" if options.cache_reason else "",
            )
        elif engine.persistent:
            log.info(
                "store %r: stored on local disk, %s: %s",
                logical,
                "size not limited (set max_bytes)"
                if options.max_bytes is None
                else f"at most {options.max_bytes} bytes",
                self.path / physical,
            )

    def _open_backend(
        self,
        engine: Engine,
        physical: str,
        directory: StoreDirectory | None,
        wanted: StoreFile,
        options: StoreOptions,
        damage: Damage | None = None,
        open_files: OpenFiles | None = None,
    ) -> Backend:
        """Open a store's files, which must be its own; ``damage`` is told of damage that is met later."""
        options = replace(options, damaged=_telling(damage, wanted))
        try:
            opened = (open_files or engine.open)(self._files(physical, directory), options)
        except (StoreMissingError, StoreCorruptError) as error:
            raise type(error)(error.path, error.cause, wanted.remedy) from error
        try:
            if directory is not None:
                is_complete = self._data.is_remembered(physical) and not directory.file.rebuilding
                identify(opened, directory, is_complete=is_complete)
        except BaseException:
            opened.close()
            raise
        return opened

    def _open_reader(
        self, engine: Engine, physical: str, wanted: StoreFile, options: StoreOptions, damage: Damage
    ) -> tuple[ReadOnlyBackend, StoreDirectory]:
        """Open a store's files, which another process writes; return their directory, too."""
        file = described_store(self.path / physical, wanted)
        directory = StoreDirectory(self.path / physical, file)
        options = replace(options, damaged=_telling(damage, wanted))
        return sharing(engine).open_reader(directory.generation_path, options), directory

    def close_replaced(self) -> bool:
        """Close stores of bytes that were only read until ``promote``, and that nobody has in use any more.

        A thread that has just got hold of one begins to read it within seconds: wait so long. Return whether
        all are closed.
        """
        for reader in [one for one in self._replaced if not one.is_in_use]:
            self._replaced.remove(reader)
            reader.close()
        return not self._replaced

    def give_up(self) -> None:
        """Say that ``close`` follows soon, on another thread. Takes no lock."""
        if self._directory is not None:
            self._directory.give_up()

    def close(self) -> None:
        """Close the engines, whose stores are closed, and give the directory up."""
        with contextlib.ExitStack() as closing:  # one that fails keeps none from closing
            if self._directory is not None:
                closing.callback(self._directory.close)
            for reader in self._replaced:
                closing.callback(reader.close)
            for engine in self._engines.values():
                closing.callback(engine.close)

    def _engine(self, name: str) -> Engine:
        """Return the engine of the backend ``name``; each is made once."""
        if name not in self._engines:
            kind = find_engine(name)
            options = make_options(name, self._settings.backends.get(name, {}))
            shares = MemoryShares.of(self._settings.defaults.memory_budget)
            engine = kind(shares.engine, options)
            if self.shares:
                sharing(engine)
            self._engines[name] = engine
        return self._engines[name]

    def _cache_of(self, engine: Engine) -> RecordCache | None:
        """Return where reads of a store of ``engine`` keep what they read; one in memory needs no cache."""
        return self.cache if engine.persistent and uses("cache") else None

    def _files(self, physical: str, directory: StoreDirectory | None) -> Path:
        return self.path / physical if directory is None else directory.generation_path


def _promoting(followed: FollowedStore) -> OpenFiles:
    """Return what opens the files that this process has open for reading already."""
    return lambda _, options: followed.promote(options)


def _telling(
    damage: Damage | None, wanted: StoreFile
) -> Callable[[StoreUnavailableError], StoreUnavailableError]:
    """Return what puts damage into the words of its store, and tells ``damage`` of it."""

    def damaged(error: StoreUnavailableError) -> StoreUnavailableError:
        own = type(error)(error.path, error.cause, wanted.remedy)
        if damage is not None:
            damage.tell(own)
        return own

    return damaged
