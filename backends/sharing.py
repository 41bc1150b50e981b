"""The ability of an engine to let several processes read a store while one writes it.

One process *owns* the store: it opened it by ``Engine.open`` with ``StoreOptions.shared``. Any others open
*readers*: :meth:`SharingEngine.open_reader`. An engine with this ability has that method; it needs no other
sign of it. One without is refused by :func:`sharing`.

**What a reader sees** is the content as of one of the owner's writes, whole: never half of a batch or of what
was loaded, never rows without the position that was written with them. Later reads never see an earlier
state, whatever becomes of the owner: not after ``kill -9``, nor when the next process takes over. What the
owner wrote before a ``catch_up`` is seen after it. Where ``live`` is true it is seen at once; otherwise a
reader's content changes in ``catch_up`` alone.

**What a reader leaves alone.** It makes, repairs and removes no file of the store, and keeps nobody from
opening it, except on a file system where it may not write what protects it from a writer (that of LMDB). It
may be killed at any instant. Files that the owner deletes meanwhile go when the reader's last snapshot or
scan of them ends.

**Isolation, lifetime, threads, forks and errors** are those of :mod:`statestore.backends.contract`. One
``catch_up`` runs at a time, beside reads of other threads.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from statestore.backends.contract import Backend, Engine, OpenStore, StoreOptions
from statestore.errors import ConfigError


class ReadOnlyBackend(OpenStore):
    """The content of one store that another process owns."""

    live: ClassVar[bool]
    """Whether reads see what the owner writes at once. If not, nothing changes but in ``catch_up``."""

    @abstractmethod
    def catch_up(self) -> bool:
        """Make visible what the owner wrote before this call; say whether the content may have changed.

        Called every few milliseconds, so it is cheap where nothing happened. It also moves on to files that
        replaced those which are open. Raises ``StoreMissingError`` where the store's files are gone; reads
        go on, and give what they gave.
        """

    @property
    @abstractmethod
    def is_in_use(self) -> bool:
        """Whether a snapshot or scan of this is open, which ``close`` would end."""

    @abstractmethod
    def promote(self, options: StoreOptions) -> Backend:
        """Make this process the owner: open the store for writing, without a moment in which reads stop.

        ``options`` are those that ``Engine.open`` would get. Raises ``StoreUnavailableError`` as long as
        another process owns the store; this is then the reader that it was.

        Afterwards this still answers, at least what it answered before, and its snapshots and scans go on,
        until it or the backend is closed. Close it when nobody reads it any more; that leaves the backend
        open. ``catch_up`` has nothing to do from then on.
        """


@runtime_checkable
class SharingEngine(Protocol):
    """An engine whose stores may be read by other processes than their owner."""

    def open_reader(self, directory: Path, options: StoreOptions) -> ReadOnlyBackend:
        """Open the store in ``directory`` for reading, beside its owner or without one.

        Raises ``StoreMissingError`` where there is no store yet, and ``StoreUnavailableError`` where the
        store is open in this process already, or this user may not do what reading beside a writer needs.
        """
        ...


def sharing(engine: Engine) -> SharingEngine:
    """Return ``engine`` as one with this ability; raises ``ConfigError`` for one without."""
    if isinstance(engine, SharingEngine):
        return engine
    why = "" if engine.persistent else ", as it keeps them in the memory of one process"
    raise ConfigError(
        f"backend {engine.name!r} cannot share its stores with other processes{why}: use backend='lmdb' or "
        "'rocksdb', or give each process a data directory of its own"
    )
