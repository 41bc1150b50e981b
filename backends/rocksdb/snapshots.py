"""Fixed views of a RocksDB store, and of a secondary instance of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from statestore.backends.contract import ALL_KEYS, BackendIterator, KeyRange, Snapshot, check_limit
from statestore.backends.lifetime import Lifetime, TrackedReader, check_bytes, closed_error
from statestore.backends.rocksdb import errors
from statestore.backends.rocksdb.scan import Moment, RocksDBIterator


class MomentSnapshot(TrackedReader, Snapshot):
    """A fixed view, which reads a moment."""

    def __init__(self, lifetime: Lifetime, directory: Path, moment: Moment) -> None:
        self._lifetime = lifetime
        self._directory = directory
        self._moment: Moment | None = moment
        lifetime.readers.add(self)

    @property
    def holds(self) -> bool:
        return self._moment is not None

    def get(self, key: bytes) -> bytes | None:
        check_bytes("key", key)
        with self._lifetime.call:
            return self._value(self._live(), key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for key in keys:
            check_bytes("key", key)
        with self._lifetime.call:
            moment = self._live()
            return [self._value(moment, key) for key in keys]

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        check_limit(limit)
        with self._lifetime.call:
            return RocksDBIterator(self._lifetime, self._directory, self._live(), keys, reverse, limit)

    def close(self) -> None:
        self._moment = None

    end = close

    def _live(self) -> Moment:
        if self._moment is None:
            raise closed_error()
        return self._moment

    @abstractmethod
    def _value(self, moment: Moment, key: bytes) -> bytes | None: ...

    def _failure(self, error: Exception) -> Exception:
        return self._lifetime.failure(errors.translate(self._directory, "reading", error))


class RocksDBSnapshot(MomentSnapshot):
    """A fixed view of a RocksDB store."""

    def _value(self, moment: Moment, key: bytes) -> bytes | None:
        try:
            value: bytes = moment.snapshot[key]
        except Exception as error:
            if errors.is_absent(error):
                return None
            raise self._failure(error) from error
        return value


class SecondarySnapshot(MomentSnapshot):
    """A fixed view of a secondary instance: an iterator, as RocksDB has no snapshots of one."""

    def _value(self, moment: Moment, key: bytes) -> bytes | None:
        with moment.lock:
            moment.moved_to = None
            moment.iterator.seek(key)
            if moment.iterator.valid():
                return moment.iterator.value() if moment.iterator.key() == key else None
            try:
                moment.iterator.status()
            except Exception as error:
                raise self._failure(error) from error
            return None
