"""What goes wrong, one class for each thing a user would handle differently.

::

    StateStoreError
    ├── ConfigError(faults)                      every fault of the settings or entities at once
    ├── DirectoryLockedError(pid, path)          another process owns the data directory
    ├── StoreClosedError                         the store, snapshot, iterator or manager is closed
    ├── StoreNotReadyError(lag, reason)          retry: the mirror has not reached the end of its topic
    │   └── ReadyTimeoutError                    a wait ran out (also a TimeoutError)
    ├── StoreUnavailableError(path, cause, remedy)   act: the data cannot be used
    │   ├── StoreMissingError                    files that should exist do not
    │   ├── StoreCorruptError                    files are damaged, or not ours
    │   ├── StoreFormatError                     written by a newer version of the library
    │   ├── StoreIdentityError                   files of another topic, cluster or serialisation
    │   ├── StorePositionError                   the topic no longer continues at the stored position
    │   └── StoreFullError                       no space left for a write
    ├── StartupError                             StoreManager(entities=…, wait=…) gave up
    ├── KafkaError(address, cause)               the broker is away or refuses
    ├── RegistryError(address, subject, cause)   the schema registry refuses
    │   └── UnreachableRegistryError             retry: it does not answer, or does not let us in
    ├── DeliveryError(undelivered, delivered)    Kafka did not take what was written: perhaps try again
    │   └── RefusedError                         it cannot be written as it is (also an EncodeError)
    ├── EncodeError / DecodeError                a value or key does not fit its declared type
    └── ForkedProcessError                       used in a child made by os.fork()
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from statestore.delivery import Delivery


class StateStoreError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigError(StateStoreError):
    """Settings, names or entities are wrong. ``faults`` lists every fault found, not just the first."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        if len(self.faults) == 1:
            text = self.faults[0]
        else:
            text = f"{len(self.faults)} faults:\n" + "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(text)


class DirectoryLockedError(StateStoreError):
    """Another live process owns the data directory. ``pid`` is ``None`` where it could not be read."""

    def __init__(self, pid: int | None, path: Path) -> None:
        self.pid = pid
        self.path = path
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{path} is owned by {owner}: stop it, or give this process a data directory of its own"
        )


class StoreClosedError(StateStoreError):
    """The store, or the snapshot or iterator taken from it, was closed."""


class StoreNotReadyError(StateStoreError):
    """The mirror has not reached the end of its topic: retry later, or read with ``allow_stale=True``.

    ``lag`` is the number of offsets still to apply (``None``: not known yet), ``reason`` one word of
    ``readiness.reason``.
    """

    def __init__(self, message: str, *, lag: int | None = None, reason: str | None = None) -> None:
        self.lag = lag
        self.reason = reason
        super().__init__(message)


class ReadyTimeoutError(StoreNotReadyError, TimeoutError):
    """A wait for readiness, or for what was written to be applied, ran out of time.

    ``delivered`` are the deliveries that were waited for, as with ``add(…, wait=True)``: Kafka has these
    records, so wait again (``table.wait_for``) instead of writing them again. Empty in a wait for readiness.
    """

    def __init__(
        self,
        message: str,
        *,
        lag: int | None = None,
        reason: str | None = None,
        delivered: Sequence[Delivery] = (),
    ) -> None:
        self.delivered = tuple(delivered)
        super().__init__(message, lag=lag, reason=reason)


class StoreUnavailableError(StateStoreError):
    """The data of a store cannot be used until somebody acts.

    ``path`` says where, ``cause`` what happened, ``remedy`` what to do.
    """

    def __init__(self, path: Path | str, cause: str, remedy: str) -> None:
        self.path = Path(path)
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{path}: {cause}; {remedy}")


class StoreMissingError(StoreUnavailableError):
    """Files of a store that should exist are missing or empty."""


class StoreCorruptError(StoreUnavailableError):
    """Files of a store are damaged, or were not written by this library."""


class StoreFormatError(StoreUnavailableError):
    """Files were written in a format newer than this version of the library can read."""


class StoreIdentityError(StoreUnavailableError):
    """Files belong to another topic, cluster, backend or serialisation."""


class StorePositionError(StoreUnavailableError):
    """The topic cannot be continued from the stored position (truncated, recreated, too old)."""


class StoreFullError(StoreUnavailableError):
    """A write failed because no space is left. Nothing of the batch was written."""


class StartupError(StateStoreError):
    """``StoreManager(entities=…, wait=…)`` could not bring every table to READY; all is closed again."""


class KafkaError(StateStoreError):
    """The Kafka broker at ``address`` is unreachable or refuses what was asked."""

    def __init__(self, address: str, cause: str) -> None:
        self.address = address
        self.cause = cause
        super().__init__(f"Kafka at {address}: {cause}")


class RegistryError(StateStoreError):
    """The schema registry at ``address`` refuses what was asked about ``subject``, such as a new schema."""

    def __init__(self, address: str, subject: str, cause: str) -> None:
        self.address = address
        self.subject = subject
        self.cause = cause
        super().__init__(f"schema registry at {address}: subject {subject}: {cause}")


class UnreachableRegistryError(RegistryError):
    """The schema registry does not answer, or does not let us in. It says nothing about the data: retry."""


class EncodeError(StateStoreError):
    """A key or value does not fit its declared type and was not written."""


class DeliveryError(StateStoreError):
    """Kafka did not take what ``add``, ``add_all`` or ``delete`` were to write.

    ``undelivered`` are the entities, or the key values where those were given to ``delete``, of which no
    delivery is known, in order; of an iterator those that were taken from it. One of them can be in the topic
    all the same where time ran out. ``delivered`` are the deliveries of the others, in order.
    """

    def __init__(
        self, message: str, *, undelivered: Sequence[Any] = (), delivered: Sequence[Delivery] = ()
    ) -> None:
        self.undelivered = tuple(undelivered)
        self.delivered = tuple(delivered)
        super().__init__(message)


class RefusedError(DeliveryError, EncodeError):
    """An entity or key cannot be written as it is; nothing of it was sent, and another try is in vain."""


class DecodeError(StateStoreError):
    """Stored bytes do not fit the declared type."""


class ForkedProcessError(StateStoreError):
    """The object was made before ``os.fork()`` and is used in the child: make a manager there."""
