"""What a query reads from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from statestore.changelog.counts import Counts
from statestore.errors import QueryError
from statestore.relational.values import Query
from statestore.serde.entities import EntityCodec
from statestore.settings import OnScan
from statestore.storage.changelog_store import ChangelogSnapshot, Rows
from statestore.storage.view import StoreReader

T = TypeVar("T")

log = logging.getLogger("statestore.query")


class ScanPolicy:
    """What happens when a query of one table must look at all of its rows. Threads may share it."""

    def __init__(self, on_scan: OnScan = "allow") -> None:
        self.on_scan = on_scan
        self._told: set[str] = set()

    def check(self, name: str, query: Query[Any], why: str) -> None:
        """Warn of a ``query`` that reads all rows of the table ``name``, or raise ``QueryError``.

        It is warned of once for each reason ``why``. What the query says goes before what the table says.
        """
        wanted = query.scan or self.on_scan
        if wanted == "allow" or (wanted == "warn" and why in self._told):
            return
        text = f"{query!r} looks at all rows of {name!r}: {why}; if that is meant, add .on_scan('allow')"
        if wanted == "error":
            raise QueryError(text)
        self._told.add(why)
        log.warning("%s", text)


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """A store of entities that may be read now, and how its rows are decoded."""

    name: str
    """The logical store name."""
    store: Rows
    codec: EntityCodec[T]
    counts: Counts
    """What counts faults that reads meet."""
    decode: Callable[[StoreReader, bytes, bytes], T]
    """Makes an entity of a key and a payload, and gets what they were read from. Raises ``DecodeError``."""
    scans: ScanPolicy

    def pinned(self) -> tuple[Source[T], Callable[[], None]]:
        """Return the same over a snapshot taken now, and what releases it."""
        if isinstance(self.store, ChangelogSnapshot):
            return self, _nothing
        snapshot = self.store.pinned()
        return replace(self, store=snapshot), snapshot.close

    def refuses_scan(self, query: Query[Any]) -> bool:
        """Whether ``query`` may not read all rows."""
        return (query.scan or self.scans.on_scan) == "error"

    def check_scan(self, query: Query[Any], why: str) -> None:
        """Allow a ``query`` to read all rows, warn of it or raise ``QueryError``, as is wanted."""
        self.scans.check(self.name, query, why)

    def approximate_count(self) -> int:
        """Return about how many rows there are, cheaply."""
        return self.store.approximate_count()


def _nothing() -> None:
    pass
