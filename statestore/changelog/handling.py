"""How a binding gives its state machine an event: what it decides is shown under the lock, then done."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable

from statestore.changelog.effects import NOTHING, Effect, Effects, Transition
from statestore.changelog.host import Host
from statestore.changelog.status import Status
from statestore.errors import StateStoreError, StoreCorruptError, StoreMissingError, StoreUnavailableError
from statestore.runtime.interrupts import shielded, start_thread

log = logging.getLogger("statestore.changelog")


class EffectHandling(Status):
    """See the module."""

    host: Host
    _damage: tuple[int | None, StoreUnavailableError] | None = None
    """The damage that is not noted on disk yet, with the generation of the files."""
    _noting: threading.RLock
    _lifecycle: threading.RLock

    @abstractmethod
    def _carry_out(self, effect: Effect) -> None:
        """Do what the machine decided."""

    def _handle(self, event: Callable[[], Effects]) -> Effects:
        """Give the machine an event, and do what it decides."""
        with self.changed:
            effects = self._decide(event)
        self._carry_out_all(effects)
        return effects

    def _decide(self, event: Callable[[], Effects]) -> Effects:
        """Give the machine an event, and show what it decides; the caller holds the lock."""
        effects = event()
        for effect in effects:
            if isinstance(effect, Transition):
                self.publish(effect)
        return effects

    def _carry_out_all(self, effects: Effects) -> None:
        for effect in effects:
            self._carry_out(effect)

    def damaged(self, error: StoreUnavailableError) -> None:
        """A read or a write met damage: fail, or rebuild. Any thread, inside of a call of the store.

        It waits for nothing: whoever holds the lock may wait for that very call to end.
        """
        generation = self.mirror.generation

        def lost() -> Effects:
            return self.machine.lost(error, self.clock()) if self.mirror.generation == generation else NOTHING

        def later() -> None:
            self._handle(lost)
            self.keep_damage()

        def at_once() -> None:
            if self.changed.acquire(blocking=False):
                try:
                    effects = self._decide(lost)
                finally:
                    self.changed.release()
                self._carry_out_all(effects)

        self._damage = generation, error
        self.host.supervisor.soon(later)
        shielded(at_once)

    def keep_damage(self) -> None:
        """Have the damage that was met noted on disk, if that is not done; a restart must not overtake it."""
        with self._noting:
            found, self._damage = self._damage, None
            if found is not None:
                self.mirror.keep_damage(*found)

    def leave_files(self) -> None:
        """Close a store whose files are lost: it must not write where a backup is put in their place."""
        failure = self.machine.failure

        def leave() -> None:
            self.keep_damage()
            with self._lifecycle:
                if self.machine.failure is failure:
                    self.close_failed()

        if isinstance(failure, (StoreMissingError, StoreCorruptError)) and self.mirror.store is not None:
            start_thread("statestore-close", leave)

    def close_failed(self) -> None:
        """Close a store that has failed, whatever it says to that."""
        try:
            self.mirror.close()
        except StateStoreError as error:
            log.warning("table %r: the failed store could not be closed: %s", self.name, error)
