"""Stores on disk that nothing declares any more: telling of them, and removing them."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

from statestore.entity import EntityModel, declared_classes, model_of
from statestore.errors import ConfigError
from statestore.manager.opened import OpenStores
from statestore.manager.resolve import SettingsResolver
from statestore.runtime.interrupts import shielded
from statestore.storage.listing import stores_of_windows
from statestore.storage.opening import StoreOpener

log = logging.getLogger("statestore.store")


class OrphansMixin:
    """The part of a manager that finds and removes orphans. Thread-safe."""

    _resolver: SettingsResolver
    _opener: StoreOpener
    _opened: OpenStores

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    @abstractmethod
    def describe(self) -> list[dict[str, Any]]:
        """Return one entry for each store."""

    def drop_orphans(self) -> list[str]:
        """Remove the stores of topics that are orphans in ``describe()``; return their logical names.

        That is: mirrors that are not bound and that no entity class declares which is imported now, such as
        those of a window that was taken out of ``windows=[…]``. Bind all topics first; one that is bound
        later is read from Kafka again. A store without a topic (``open()``, ``open_window()``) is never
        removed, since nothing else has its rows. A process that only reads the directory removes none, and
        raises ``StoreUnavailableError`` where there is one.
        """
        return shielded(self._drop_orphans)

    def _drop_orphans(self) -> list[str]:
        with self._opened.mutex:
            found = [one for one in self.describe() if one["orphan"] and one["topic"] is not None]
            for one in found:
                self._opener.drop(one["physical"])
                log.info("store %r of topic %r is removed: nothing declares it", one["logical"], one["topic"])
        return [one["logical"] for one in found]

    def _report_orphans(self, model: EntityModel) -> None:
        """Log, and note for ``statestore ls``, which windows of a class have a store and are not declared."""
        if not self._opener.owns:
            return
        with self._opened.mutex:
            declared = self._declared()
            found = stores_of_windows(self._opener.path, model.name)
            gone = {name for name in found if name not in declared}
            is_new = self._opener.note_orphans(gone, {name for name in found if name in declared})
        for name in sorted(gone) if is_new else ():
            log.warning(
                "store %r is an orphan: it is of a window of %s, and nothing declares it any more; "
                "drop_orphans(), or StoreManager(prune=True), removes it",
                found[name],
                model.name,
            )

    def _declared(self) -> set[str]:
        """Return the physical names of the stores that are open, or that a declared class may have."""
        return self._opener.claimed.union(*(self._names_of(cls) for cls in declared_classes()))

    def _names_of(self, cls: type) -> list[str]:
        """Return the physical names of the stores that a declared class may have; none for a faulty one."""
        try:
            return self._resolver.physical_names(model_of(cls))
        except ConfigError:
            return []
