"""Opening the stores of a data directory: whose names they have, which engine and which files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from statestore.backends import Engine, StoreOptions, find_engine
from statestore.core import RecordCache, uses
from statestore.errors import ConfigError
from statestore.runtime import fork
from statestore.runtime.budget import MemoryShares
from statestore.settings import Settings, TableOptions, make_options
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import DataDirectory, StoreDirectory, StoreFile
from statestore.storage.expiry import expiring
from statestore.storage.store import KeyValueStore

log = logging.getLogger("statestore.store")


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


class StoreOpener:
    """Opens the stores of one data directory, which it owns, each with the engine that its backend names.

    Not thread-safe: the manager's mutex guards it. Raises ``DirectoryLockedError`` while another process owns
    the directory, and ``ConfigError`` for an unknown backend before anything is created.
    """

    def __init__(self, directory: str | Path, settings: Settings) -> None:
        self._settings = settings
        self._engines: dict[str, Engine] = {}
        self._physical: dict[str, str] = {}
        self.cache = RecordCache(MemoryShares.of(settings.defaults.memory_budget).records)
        fork.register(self.cache)
        self._engine(settings.defaults.backend)
        self._data = DataDirectory(directory)

    @property
    def path(self) -> Path:
        return self._data.path

    @property
    def directory_id(self) -> str:
        return self._data.directory_id

    @property
    def backends(self) -> list[str]:
        """The names of the backends in use."""
        return list(self._engines)

    def check_backend(self, backend: str) -> None:
        """Raise ``ConfigError`` for a backend that cannot be used."""
        self._engine(backend)

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

    def place(self, logical: str, backend: str) -> tuple[str, Path | None]:
        """Return the physical name of a store, and the path of its directory where it has one."""
        physical = self._physical[logical]
        return physical, self.path / physical if self._engine(backend).persistent else None

    def open_bytes(
        self, name: str, physical: str, backend: str, on_close: Callable[[], None]
    ) -> KeyValueStore:
        """Open the store of bytes ``name``, which is not bound to a topic."""
        engine = self._engine(backend)
        wanted = StoreFile(name, backend, values="raw", serialisation="bytes")
        directory = self._data.store(physical, wanted) if engine.persistent else None
        opened = engine.open(self._files(physical, directory), StoreOptions())
        try:
            if directory is not None:
                self._data.remember(physical)
        except BaseException:
            opened.close()
            raise
        return KeyValueStore(name, opened, engine.max_key_size, on_close, self._cache_of(engine))

    def mirror(self, wanted: StoreFile, physical: str, options: TableOptions) -> MirrorStorage:
        """Return how the mirror of a topic gets at its store, and log where that will be.

        Raises ``ConfigError`` for a compression that the backend does not offer.
        """
        engine = self._engine(wanted.backend)
        if options.compression is not None and options.compression not in engine.compressions:
            raise ConfigError(
                f"{wanted.logical!r}: compression={options.compression!r}: backend {wanted.backend!r} offers "
                f"{', '.join(engine.compressions) or 'no choice of it'}"
            )
        if not options.persistent:
            log.warning(
                "store %r is in memory only, and read anew from Kafka at each start: cache=False%s",
                wanted.logical,
                f" ({options.cache_reason})" if options.cache_reason else "",
            )
        elif engine.persistent:
            log.info(
                "store %r: stored on local disk, %s: %s",
                wanted.logical,
                "size not limited (set max_bytes)"
                if options.max_bytes is None
                else f"at most {options.max_bytes} bytes",
                self.path / physical,
            )
        described = replace(wanted, ttl=options.ttl)

        def open_directory() -> StoreDirectory | None:
            if not engine.persistent:
                return None
            return self._data.store(physical, described, on_missing=options.on_missing)

        def open_store(directory: StoreDirectory | None) -> ChangelogStore:
            how = StoreOptions(changelog=True, compression=options.compression)
            backend = engine.open(self._files(physical, directory), how)
            cache = self._cache_of(engine)
            if options.ttl is not None:
                backend, cache = expiring(backend, options.ttl), None  # what is cached would not end
            return ChangelogStore(wanted.logical, backend, engine.max_key_size, cache)

        return MirrorStorage(open_directory, open_store, lambda: self._data.remember(physical), options)

    def close(self) -> None:
        """Close the engines, whose stores are closed, and give the directory up."""
        with contextlib.ExitStack() as closing:  # one that fails keeps none from closing
            closing.callback(self._data.close)
            for engine in self._engines.values():
                closing.callback(engine.close)

    def _engine(self, name: str) -> Engine:
        """Return the engine of the backend ``name``; each is made once."""
        if name not in self._engines:
            kind = find_engine(name)
            options = make_options(name, self._settings.backends.get(name, {}))
            shares = MemoryShares.of(self._settings.defaults.memory_budget)
            self._engines[name] = kind(shares.engine, options)
        return self._engines[name]

    def _cache_of(self, engine: Engine) -> RecordCache | None:
        """Return where reads of a store of ``engine`` keep what they read; one in memory needs no cache."""
        return self.cache if engine.persistent and uses("cache") else None

    def _files(self, physical: str, directory: StoreDirectory | None) -> Path:
        return self.path / physical if directory is None else directory.generation_path
