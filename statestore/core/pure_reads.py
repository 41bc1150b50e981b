"""Point reads in Python: what ``_native/reads.pxi`` must do, without a cache in front of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

from statestore.core.common import joined, must_be_bytes


@final
class RecordCache:
    """What was read lately, of all stores of a manager: at most ``limit`` bytes. Thread-safe.

    ``limit`` counts keys, values and the cache's own tables; 0 keeps nothing. Above it the records go that
    were not read again since they came (CLOCK). Stores take part by being made with the cache.
    """

    # In Python a cache would hardly be faster than the engine: this one stays empty.

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = self.used = self.hits = self.misses = 0

    def _forked(self) -> None:
        """Answer nothing any more: in a forked child every store raises."""


class PointReads:
    """What a store and a snapshot read single keys with: keys without namespace, values without header.

    ``get`` and ``get_many`` are the engine's; ``namespace`` is in front of its keys, and as many bytes as
    ``header`` says in front of its values. With a ``cache``, what was read is kept there, and every write has
    to run inside of ``_change``.
    """

    def __init__(
        self,
        get: Callable[[bytes], bytes | None],
        get_many: Callable[[Sequence[bytes]], list[bytes | None]],
        namespace: bytes,
        header: int,
        cache: RecordCache | None = None,  # noqa: ARG002 - the native one's
    ) -> None:
        self._engine_get = get
        self._engine_get_many = get_many
        self._namespace = namespace
        self._header = header

    @property
    def cache_reads(self) -> tuple[int, int] | None:
        """How many reads the cache answered, and how many not; ``None``: there is no cache."""
        return None

    def get(self, key: bytes, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``. An empty value is not an absent one."""
        value = self._engine_get(joined(self._namespace, key))
        return default if value is None else value[self._header :]

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the values of ``keys`` in their order, ``None`` for absent ones, as of one instant."""
        wanted = [joined(self._namespace, key) for key in keys]
        values = self._engine_get_many(wanted) if wanted else []
        if len(values) != len(wanted):
            raise RuntimeError(f"get_many of an engine gave {len(values)} values for {len(wanted)} keys")
        return [None if value is None else value[self._header :] for value in values]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self._engine_get(self._namespace + key) is not None

    def _change(
        self,
        puts: Sequence[tuple[bytes, bytes]] | None,  # noqa: ARG002 - as above
        deletes: Sequence[bytes] | None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Return what a write of these pairs and keys has to run in; ``None``: one of any keys."""
        return nullcontext()

    def _forget(self) -> None:
        """Keep nothing in the cache any more, and give back what is there."""


class Readable:
    """What may be ``readable``: a store while reads are allowed, else ``None``."""

    readable: Any = None


class BytesReads:
    """Point reads of a table of bytes, whose ``_binding`` says which store may be read."""

    _binding: Any

    def get(self, key: bytes, *, default: Any = None, allow_stale: bool = False) -> Any:
        """Return the value of ``key``, or ``default``."""
        return self._readable(allow_stale).get(key, default)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            raise must_be_bytes("a key", key)
        return key in self._readable(False)

    def _readable(self, allow_stale: bool) -> Any:
        store = self._binding.readable  # once: another thread may take it away
        return self._binding.reading(allow_stale) if store is None else store
