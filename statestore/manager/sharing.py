"""Which part a manager plays: it owns its directory, or reads beside the owner and may become it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from statestore.changelog.binder import Binder
from statestore.changelog.binding import Binding
from statestore.changelog.machine import Connection
from statestore.changelog.mirror_files import STILL_READ
from statestore.changelog.owner_publisher import OwnerPublisher
from statestore.changelog.owner_watch import Sight
from statestore.changelog.succession import OwnerFollower
from statestore.errors import ConfigError, DirectoryLockedError, StateStoreError, StoreUnavailableError
from statestore.manager.opened import OpenStores
from statestore.runtime.times import Clock
from statestore.settings import Settings
from statestore.storage.opening import StoreOpener

log = logging.getLogger("statestore.store")


def open_directory(directory: str | Path, settings: Settings, slots: int | None, clock: Clock) -> StoreOpener:
    """Open a data directory, or with ``slots`` the first that is free of so many below it.

    Raises ``DirectoryLockedError``, also where all slots are taken.
    """
    if slots is None:
        return StoreOpener(directory, settings, clock)
    if slots < 1:
        raise ConfigError(f"slots={slots}: give the number of directories, 1 or more")
    if settings.defaults.role != "owner":
        raise ConfigError(
            f"slots={slots} gives each process a copy of its own, role={settings.defaults.role!r} has all "
            "share one: choose one of them"
        )
    taken, is_here = [], True
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(slots):
        try:
            return StoreOpener(Path(directory) / str(number), settings, clock)
        except DirectoryLockedError as error:
            owner = "this process" if error.is_here else f"process {error.pid} {error.place}".rstrip()
            taken.append(f"{number} by {owner}")
            is_here = is_here and error.is_here
    told = f"slots={slots} are all taken: {', '.join(taken)}"
    raise DirectoryLockedError(None, Path(directory).absolute(), is_here=is_here, slots=told)


class Sharing:
    """See the module. ``binder`` gives the manager's, once it is made."""

    def __init__(
        self,
        opener: StoreOpener,
        opened: OpenStores,
        settings: Settings,
        binder: Callable[[], Binder | None],
        is_closed: Callable[[], bool],
    ) -> None:
        self._opener = opener
        self._opened = opened
        self._defaults = settings.defaults
        self._binder = binder
        self._is_closed = is_closed
        self._publisher: OwnerPublisher | None = None
        self._follower: OwnerFollower | None = None
        self._refusal = ""
        """Why the directory could not be taken over, the last time."""

    def begin(self) -> None:
        """Tell readers of this process's stores, or follow their owner."""
        if self._opener.owns:
            self._publish(at_once=True)
            return
        binder = self._binder()
        assert binder is not None
        succeeds = self._defaults.role == "auto" and self._defaults.takeover
        self._follower = OwnerFollower(
            binder, self._opener.path, self._take_over if succeeds else None, self._catch_up
        )

    @property
    def owner(self) -> str | None:
        """Who owns the directory, and what is wrong with it; ``None``: this process."""
        if self._follower is None or self._opener.owns:
            return None
        sight = self._follower.sight
        return sight.cause or sight.owner.removeprefix("its owner, ")

    def check(self, binding: Binding) -> None:
        """Raise ``ConfigError`` where the owner has bound the table in another way."""
        if self._follower is not None and not self._opener.owns:
            binding.check_options(self._follower.sight)

    def leave(self) -> None:
        """Say that the tables end because the directory is given up; ``close`` follows."""
        if self._publisher is not None:
            self._publisher.leave()

    def close(self) -> None:
        """End; the stores are closed, and the lock is still held."""
        if self._publisher is not None:
            self._publisher.close()
        if self._follower is not None:
            self._follower.close()

    def _publish(self, *, at_once: bool) -> None:
        if not self._opener.shares:
            return
        nobody = Connection()

        def connection() -> Connection:
            binder = self._binder()
            return nobody if binder is None else binder.connection

        opened = self._opened
        try:
            self._publisher = OwnerPublisher(
                self._opener.path, lambda: opened.bindings, connection, at_once=at_once
            )
        except OSError as error:
            raise StoreUnavailableError(
                self._opener.path,
                f"what readers are told cannot be written: {error.strerror}",
                "give a directory this user can write, and see that there is room",
            ) from error

    def _close_replaced(self) -> None:
        """Close what was only read before this process took over, when nobody reads it any more."""
        with self._opened.mutex:
            binder, is_done = self._binder(), self._is_closed() or self._opener.close_replaced()
        if not is_done and binder is not None:
            binder.supervisor.later(STILL_READ, self._close_replaced)

    def _catch_up(self) -> None:
        """Have the stores without a topic show what their owner has written."""
        for store in self._opened.all_stores:
            try:
                store.follow()
            except StateStoreError as error:
                log.warning("store %r: %s", store.name, error)

    def _take_over(self, sight: Sight) -> bool:
        """Own the directory from now on, unless another process does; tell whether that is so."""
        with self._opened.mutex:
            binder = self._binder()
            if binder is None or self._is_closed():
                return False
            began = time.monotonic()
            try:
                if not self._opener.take_over():
                    return False
            except StateStoreError as error:
                if str(error) != self._refusal:  # it is tried again at each look
                    log.warning("%s cannot be taken over: %s", self._opener.path, error)
                self._refusal = str(error)
                return False
            cause = f"taken over: {sight.cause}"
            for store in self._opened.all_stores:
                try:
                    self._opener.promote(store)
                except StateStoreError:
                    log.exception("store %r cannot be written", store.name)
            if binder.address:  # without a broker there are no tables
                binder.own()
            for member in list(binder.members):
                try:
                    member.take_over(cause)
                except Exception:  # the others go on
                    log.exception("table %r could not be taken over", member.name)
                    member.fail("it could not be taken over; the log says why", "restart()")
            self._publish(at_once=False)
            binder.supervisor.later(STILL_READ, self._close_replaced)
        log.info(
            "%s is owned by this process, after %.3f s: %s",
            self._opener.path,
            time.monotonic() - began,
            cause,
        )
        return True
