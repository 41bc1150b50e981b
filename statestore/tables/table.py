"""Tables: what a bound topic is read through. Nothing here writes a store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from statestore.changelog.binding import Binding
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth, table_health
from statestore.changelog.readiness import Reason, State
from statestore.core import BytesReads
from statestore.errors import DecodeError
from statestore.producing.mixins import DeliveryWaitMixin, TableWriteMixin
from statestore.producing.writer import EntityWriter
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.changelog_store import ChangelogStore
from statestore.tables.rows import count_rows, find, planned_rows

T = TypeVar("T")
D = TypeVar("D")

_Bounds = tuple[Any, Any, Any]
"""``start``, ``stop`` and ``prefix`` of a scan, as its caller gave them."""


class BoundTable(DeliveryWaitMixin, Generic[T]):
    """What tables of entities and of bytes have in common. Thread-safe.

    Every reading method takes ``allow_stale``; without it, it raises ``StoreNotReadyError`` (carrying the
    lag) while the mirror has not reached the end of its topic, and ``StoreUnavailableError`` once it has
    failed. After ``close`` every method raises ``StoreClosedError``. A read runs on one snapshot and never
    blocks the mirror.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    # Reading

    def scan(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Iterator[T]:
        """Iterate over the rows of a key range in key order, as of the moment of this call.

        A bound is a key: a single key field's value, or a tuple of the leading key fields' values. ``start``
        is included, ``stop`` excluded, also in ``reverse``; ``prefix`` intersects, and if it ends with the
        key's last field, a ``str`` or ``bytes``, keys may go on from there; ``limit=0`` gives nothing. The
        order is that of the keys' values; ``explain`` says what it takes to get it.
        Raises ``EncodeError`` for a bound that is no key, ``ValueError`` for a negative ``limit``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        return self._rows(store, (start, stop, prefix), reverse, limit)

    def to_list(self, *, allow_stale: bool = False) -> list[T]:
        """Return every row, in key order."""
        return list(self.scan(allow_stale=allow_stale))

    def count(self, *, allow_stale: bool = False) -> int:
        """Return the exact number of rows (a scan that decodes nothing)."""
        return (self._binding.readable or self._binding.reading(allow_stale)).count()

    def approximate_count(self, *, allow_stale: bool = False) -> int:
        """Return about how many rows there are, cheaply."""
        return (self._binding.readable or self._binding.reading(allow_stale)).approximate_count()

    def __iter__(self) -> Iterator[T]:
        return self.scan()

    @abstractmethod
    def _rows(self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None) -> Iterator[T]:
        """Iterate over the rows of a range."""

    # Readiness

    @property
    def name(self) -> str:
        """The logical store name."""
        return self._binding.name

    @property
    def topic(self) -> str:
        return self._binding.topic

    @property
    def state(self) -> State:
        return self._binding.state

    @property
    def reason(self) -> Reason:
        """Why the table is in its state, in one word."""
        return self._binding.reason

    @property
    def is_ready(self) -> bool:
        """Whether a read would be answered now (its group included)."""
        return self._binding.readable is not None

    @property
    def lag(self) -> int | None:
        """Offsets still to apply, over all partitions; ``None``: not known, never 0 by default."""
        return self._binding.lag

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        return self._binding.mirror.progress.lag_by_partition

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Return when the table is ready, and with it the group that it is read together with.

        Raises ``ReadyTimeoutError`` after ``timeout`` seconds, and at once the failure of a table that has
        failed; ``RuntimeError`` inside a callback, which would wait for itself.
        """
        binding = self._binding
        together = binding.group

        def done() -> bool:
            for one in together:
                if not one.ready:
                    one.check_may_become_ready()
            return all(one.ready for one in together)

        binding.check_open()
        if not binding.host.wait(done, timeout):
            raise next((one for one in together if not one.ready), binding).timeout_error(timeout or 0.0)

    def on_ready(self, call: Callable[[], None]) -> None:
        """Call ``call()`` on the event thread each time the table becomes ready; at once if it is."""
        self._binding.on_ready(call)

    def on_state_change(self, call: Callable[[StateChange], None]) -> None:
        """Call ``call(StateChange)`` on the event thread, in order; at once with the present state."""
        self._binding.on_state_change(call)

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        """Call ``call(RestoreProgress)`` on the event thread while restoring, every ``progress_interval``."""
        self._binding.on_progress(call)

    def health(self) -> TableHealth:
        """Return a report; its ``str`` is one line, and its ``dataclasses.asdict`` is JSON-serialisable."""
        self._binding.check_open()
        return table_health(self._binding)

    # Lifecycle

    def stop(self) -> None:
        """Stop applying; waits up to 10 s for the final flush, never for the broker. Idempotent."""
        self._binding.stop()

    def restart(self) -> None:
        """Start anew from the stored position, also after a failure."""
        self._binding.restart()

    def pause(self) -> None:
        """Stop applying; a ready table stays readable until ``max_staleness``."""
        self._binding.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._binding.resume()

    def flush(self) -> None:
        """Return when everything applied so far is on disk, together with its position."""
        self._binding.flush()

    def close(self) -> None:
        """Stop, and close the store. Idempotent."""
        self._binding.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._binding.describe()}>"


class BytesTable(BytesReads, BoundTable[tuple[bytes, bytes]]):
    """A topic bound by name: keys and values are the messages' bytes, rows are ``(key, value)``."""

    def for_each(self, fn: Callable[[bytes, bytes], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(key, value)`` for every row of one snapshot, in key order."""
        for key, value in self.scan(allow_stale=allow_stale):
            fn(key, value)

    def _rows(
        self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None
    ) -> Iterator[tuple[bytes, bytes]]:
        for bound in bounds:
            if not isinstance(bound, bytes | None):
                raise TypeError(f"a key of {self.name!r} is bytes, not {type(bound).__name__}")
        return store.scan(*bounds, reverse, limit)


class Table(TableWriteMixin[T], BoundTable[T]):
    """A topic bound by an entity: rows are entities, keys are the values of the key fields.

    What is written goes to the topic, and from there into every mirror of it.
    """

    def __init__(self, binding: Binding, codec: EntityCodec[T], cls: type[T], writer: EntityWriter) -> None:
        super().__init__(binding)
        self._codec = codec
        self._one_key = codec.key_plan().accepts is None  # else there may be several for the same values
        self._cls = cls
        self._writer = writer

    @overload
    def get(self, *key: Any, allow_stale: bool = False) -> T | None: ...
    @overload
    def get(self, *key: Any, default: D, allow_stale: bool = False) -> T | D: ...
    def get(self, *key: Any, default: Any = None, allow_stale: bool = False) -> Any:
        """Return the entity with these key field values, or ``default``.

        Raises ``EncodeError`` for values that are no key of this entity, ``DecodeError`` for a stored value
        that does not fit the class.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        if self._one_key:
            encoded = self._codec.encode_key(key)
            payload = store.get(encoded)
            return default if payload is None else self._decode(store, encoded, payload)
        found = find(store, self._codec, self._binding.mirror.counts, key)
        return default if found is None else self._decode(store, *found)

    def health(self) -> TableHealth:
        codec = self._codec
        return replace(
            super().health(),
            decoder="msgspec" if codec.decoder is None else "native",
            key_mismatches=codec.key_mismatches,
            overlong=codec.overlong,
        )

    def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(entity)`` for every row of one snapshot, in key order."""
        for row in self.scan(allow_stale=allow_stale):
            fn(row)

    def __contains__(self, key: object) -> bool:
        store = self._binding.readable or self._binding.reading(False)
        return any(
            one in store for one in self._codec.key_encodings(key if isinstance(key, tuple) else (key,))
        )

    def count(self, *, allow_stale: bool = False) -> int:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return count_rows(store, self._codec, self._binding.mirror.counts)

    def explain(self, start: Any = None, stop: Any = None, prefix: Any = None) -> str:
        """Say how ``scan`` finds the rows of a range, and in which order: ``"ordered keys: one seek, …"``.

        Raises ``EncodeError`` for a bound that is no key.
        """
        return f"{self._codec.key_format} keys: {self._plan((start, stop, prefix)).note}"

    def _plan(self, bounds: _Bounds) -> KeyPlan:
        return self._codec.key_plan(
            *[bound if bound is None or isinstance(bound, tuple) else (bound,) for bound in bounds]
        )

    def _rows(self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None) -> Iterator[T]:
        counts, decode = self._binding.mirror.counts, partial(self._decode, store)
        return planned_rows(store, self._codec, counts, self._plan(bounds), reverse, limit, decode)

    def _decode(self, store: ChangelogStore, key: bytes, payload: bytes) -> T:
        try:
            return self._codec.decode(key, payload)
        except DecodeError as error:
            self._binding.mirror.counts.decode_errors += 1
            found = store.get_with_timestamp(key)
            timestamp = "deleted meanwhile" if found is None else f"timestamp {found[0]} ms"
            raise DecodeError(f"table {self.name!r}, key {key!r}, {timestamp}: {error}") from error
