"""Keys in other texts than ours, found by their values: an index beside the rows, in the same atomic units.

JSON has many texts for one value, and Kafka takes each for another key. The row of a key in another text than
the class writes has an entry here: ``0x03 ‖ digest of the values ‖ digest of the key``, whose value is
``timestamp ‖ key``, as that of a row. A store of canonical keys has none. The metadata key ``0x00 ‖ "spell"``
holds the fingerprint of the names and types that the entries were made with; without it, or with another one,
they are made anew when the store is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from statestore.backends import Backend, BackendReader, Batch, KeyRange
from statestore.core import KeyPattern, Writes
from statestore.serde.formats import digest_of
from statestore.storage.layout import DATA, HEADER, SPELLINGS

log = logging.getLogger("statestore.store")

_MARK = b"\x00spell"
_AT_ONCE = 10_000
"""Entries that are written in one batch when they are made anew."""

Pairs = list[tuple[bytes, bytes]]


class KeySpellings(Protocol):
    """What a key format knows of the texts of its keys."""

    @property
    def pattern(self) -> KeyPattern:
        """The form of canonical keys: a key that fits is in our text, or does not decode."""
        ...

    @property
    def fingerprint(self) -> bytes:
        """Stands for the names and types of the key fields."""
        ...

    def respelled(self, key: bytes) -> bytes | None:
        """Return the digest of the values of a key in another text; ``None`` for any other key."""
        ...


class SpellingIndex:
    """The entries of one store. One thread writes."""

    def __init__(self, spellings: KeySpellings, backend: Backend) -> None:
        self._spellings = spellings
        self._mark = (_MARK, spellings.fingerprint)
        self._is_marked = backend.get(_MARK) == spellings.fingerprint
        if not self._is_marked:
            self._make_anew(backend)
        self.has_entries = _has_any(backend, SPELLINGS)
        """Whether the store may have a key in another text."""

    def changes(self, writes: Writes, rows: Pairs, removed: Iterable[bytes]) -> tuple[Pairs, list[bytes]]:
        """Return the entries to put and to delete together with ``writes``, ``rows`` and ``removed``."""
        odd = writes.unlike(self._spellings.pattern)
        others: list[tuple[bytes, bytes | None]] = [(key[len(DATA) :], value[:HEADER]) for key, value in rows]
        others += [(key[len(DATA) :], None) for key in removed]
        odd += [one for one in others if not self._spellings.pattern.fits(one[0])]
        entries = list(self._entries(odd)) if odd else []
        puts = [(entry, header + key) for entry, header, key in entries if header is not None]
        self.has_entries = self.has_entries or bool(puts)
        deletes = [entry for entry, header, _ in entries if header is None] if self.has_entries else []
        return puts, deletes

    def mark(self) -> Pairs:
        """Return what a write into a new store has to put, too."""
        return [] if self._is_marked else [self._mark]

    def marked(self) -> None:
        """Note that it was put."""
        self._is_marked = True

    def _entries(
        self, odd: Iterable[tuple[bytes, bytes | None]]
    ) -> Iterator[tuple[bytes, bytes | None, bytes]]:
        for key, header in odd:
            digest = self._spellings.respelled(key)
            if digest is not None:
                yield SPELLINGS + digest + digest_of(key), header, key

    def _make_anew(self, backend: Backend) -> None:
        old = [key for key, _ in backend.scan(KeyRange(prefix=SPELLINGS))]
        if not old and not _has_any(backend, DATA):
            return
        fits = self._spellings.pattern.fits
        rows = (
            (key[len(DATA) :], value[:HEADER])
            for key, value in backend.scan(KeyRange(prefix=DATA))
            if not fits(key[len(DATA) :])
        )
        entries = ((entry, (header or b"") + key) for entry, header, key in self._entries(rows))
        backend.write(Batch((), old))
        count = 0
        while puts := list(islice(entries, _AT_ONCE)):
            backend.write(Batch(puts, ()))
            count += len(puts)
        backend.write(Batch([self._mark], ()))
        self._is_marked = True
        log.info("indexed %d keys that are in other texts than the class writes", count)


def spelled(reader: BackendReader, digest: bytes) -> list[bytes]:
    """Return the keys in other texts whose values have ``digest``."""
    return [value[HEADER:] for _, value in reader.scan(KeyRange(prefix=SPELLINGS + digest))]


def _has_any(backend: Backend, namespace: bytes) -> bool:
    return any(True for _ in backend.scan(KeyRange(prefix=namespace), limit=1))
