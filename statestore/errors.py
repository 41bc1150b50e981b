"""The errors of the library: a class for each case that a user would handle differently.

::

    StateStoreError
    ├── ConfigError(faults)                      all faults of the settings or entities at once
    │   └── KsqlError                            what ksqlDB cannot do, or means otherwise
    ├── DirectoryLockedError(pid, path)          another process, or manager, owns the data directory
    ├── StoreClosedError                         the store, snapshot, iterator or manager is closed
    ├── StoreNotReadyError(lag, reason)          retry: the table has not reached the end of its topic
    │   └── ReadyTimeoutError                    a wait took too long (also a TimeoutError)
    ├── StoreUnavailableError(path, cause, remedy)   act: the data cannot be used as it is
    │   ├── StoreMissingError                    files that should exist do not
    │   ├── StoreCorruptError                    files are damaged, or not ours
    │   ├── StoreFormatError                     written by a newer version of the library
    │   ├── StoreIdentityError                   files of another topic, cluster or serialisation
    │   ├── StorePositionError                   the topic no longer continues at the stored position
    │   └── StoreFullError                       no space left for a write
    ├── StartupError                             StoreManager(entities=…, wait=…): not all became ready
    ├── KafkaError(address, cause)               the broker is unreachable, or refuses the request
    ├── RegistryError(address, subject, cause)   the schema registry refuses the request
    │   └── UnreachableRegistryError             retry: it does not answer, or denies access
    ├── KsqlServerError(url, message, code)      ksqlDB refuses a request, or does not answer
    ├── DeployError(report)                      a deployment stopped: apply again, and it goes on there
    ├── DeliveryError(undelivered, delivered)    Kafka did not confirm all records: perhaps write them again
    │   └── EntityRejectedError                  an entity cannot be written as it is (also an EncodeError)
    ├── NewerRecordError(read, found)            unless_newer_than: read the record again and decide anew
    ├── EncodeError / DecodeError                a value or key does not fit its declared type
    │   └── KeyTypeError                         a key of another type, or an entity (also a TypeError)
    ├── QueryError                               a query is wrong as it is written (also a ValueError)
    ├── RowCountError                            first(), single() found none or several (also a LookupError)
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
    """Settings, names or entities are wrong. ``faults`` lists all faults that were found."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        if len(self.faults) == 1:
            text = self.faults[0]
        else:
            text = f"{len(self.faults)} faults:\n" + "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(text)


class KsqlError(ConfigError):
    """An entity or query has no KSQL that means the same. Each fault names the Python expression, the reason
    and what would work."""


class DirectoryLockedError(StateStoreError):
    """Another live process, or another manager of this one, owns the data directory.

    ``pid`` is ``None`` where it could not be read. ``is_here``: the owner is in this process. ``place`` says
    where the owner's process is, if not on this host and in this container: its ``pid`` counts there only.
    With ``slots`` others own all the directories that there may be; the text names them, and ``pid`` is
    ``None``.
    """

    def __init__(
        self, pid: int | None, path: Path, *, is_here: bool = False, place: str = "", slots: str = ""
    ) -> None:
        self.pid = pid
        self.path = path
        self.is_here = is_here
        self.place = place
        if slots:
            super().__init__(
                f"{path}: {slots}; stop one of these, or give more slots, or wait for the end of one with "
                "lock_timeout=…"
            )
            return
        if is_here:
            super().__init__(
                f"{path} is already open in this process: close the other StoreManager first, or open this "
                "one with replace=True, which closes it, as for a notebook's cell that runs again"
            )
            return
        owner = f"process {pid}" if pid is not None else "another process"
        if place:
            owner += f" {place}"
        super().__init__(
            f"{path} is owned by {owner}: have both open it with role='auto', so that one mirrors and the "
            "other reads; or stop that process, or wait for its end with lock_timeout=…, or give this one a "
            "data directory of its own"
        )


class StoreClosedError(StateStoreError):
    """The store, or the snapshot or iterator taken from it, was closed."""


class StoreNotReadyError(StateStoreError):
    """The table has not reached the end of its topic: retry later, or read with ``allow_stale=True``.

    ``lag`` is the number of offsets still to apply (``None``: not known yet), ``reason`` the table's
    :class:`~statestore.Reason`.
    """

    def __init__(self, message: str, *, lag: int | None = None, reason: str | None = None) -> None:
        self.lag = lag
        self.reason = reason
        super().__init__(message)


class ReadyTimeoutError(StoreNotReadyError, TimeoutError):
    """A table did not become ready, or did not apply the awaited records, in the time given.

    ``delivered`` are the deliveries that were waited for, as with ``add(…, wait=True)``. Kafka has these
    records: wait for them again (``table.wait_for``), and do not write them again. A wait for readiness has
    none.
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
    """The topic cannot be continued from the stored position: truncated, re-created or too old."""


class StoreFullError(StoreUnavailableError):
    """A write failed because no space is left. No part of the batch was written."""


class StartupError(StateStoreError):
    """Not every table of ``StoreManager(entities=…, wait=…)`` became READY in time; all are closed again."""


class KafkaError(StateStoreError):
    """The Kafka broker at ``address`` is unreachable, or refuses the request."""

    def __init__(self, address: str, cause: str) -> None:
        self.address = address
        self.cause = cause
        super().__init__(f"Kafka at {address}: {cause}")


class RegistryError(StateStoreError):
    """The schema registry at ``address`` refuses a request about ``subject``, such as a new schema.

    Of a write, ``undelivered`` and ``delivered`` are as in :class:`DeliveryError`; otherwise empty.
    """

    def __init__(self, address: str, subject: str, cause: str) -> None:
        self.address = address
        self.subject = subject
        self.cause = cause
        self.undelivered: tuple[Any, ...] = ()
        self.delivered: tuple[Delivery, ...] = ()
        super().__init__(f"schema registry at {address}: subject {subject}: {cause}")


class UnreachableRegistryError(RegistryError):
    """The schema registry does not answer, or denies access. The data may be right: retry."""


class KsqlServerError(StateStoreError):
    """ksqlDB at ``url`` refuses a request, or does not answer.

    ``code`` is the server's ``error_code``, or the status of HTTP where it gives none; ``None``: no answer
    came. ``statement`` is the text that it is about; empty: none.
    """

    def __init__(self, url: str, message: str, *, code: int | None = None, statement: str = "") -> None:
        self.url = url
        self.message = message
        self.code = code
        self.statement = statement
        shown = f" (error {code})" if code is not None else ""
        about = f"; statement: {statement}" if statement else ""
        super().__init__(f"ksqlDB at {url}: {message}{shown}{about}")


class DeployError(StateStoreError):
    """A deployment stopped at a statement; the cause is the ``__cause__``.

    ``report`` has what was applied before it. The history has it, too: the next ``apply`` of the plan goes on
    where this one stood.
    """

    def __init__(self, message: str, report: Any) -> None:
        self.report = report
        super().__init__(message)


class EncodeError(StateStoreError):
    """A key or value does not fit its declared type and was not written."""


class KeyTypeError(EncodeError, TypeError):
    """What was given as a key is none: of another type, an entity, or a tuple where its values belong."""


class DeliveryError(StateStoreError):
    """Kafka did not confirm every record of ``add``, ``add_all`` or ``delete``.

    ``undelivered`` are the entities without a delivery report, in order, or the key values that were given to
    ``delete``; for an iterator, only those already consumed. After a timeout one of them may still have
    reached the topic. ``delivered`` are the deliveries of the others, in order.
    """

    def __init__(
        self, message: str, *, undelivered: Sequence[Any] = (), delivered: Sequence[Delivery] = ()
    ) -> None:
        self.undelivered = tuple(undelivered)
        self.delivered = tuple(delivered)
        super().__init__(message)


class ProducerFencedError(DeliveryError):
    """Another producer took over the transactions of the data directory; this manager's raise from now on."""


class EntityRejectedError(DeliveryError, EncodeError):
    """An entity or key cannot be written as it is. It was not sent, and retrying cannot help."""


class NewerRecordError(StateStoreError):
    """A write with ``unless_newer_than`` was not sent: the record that was read is not the newest any more.

    ``subject`` is the entity, or the values of the key, that was to be written. ``read`` is the record that
    was given (``None``: no row was found), ``found`` the one that the table has now; ``None``: it has none,
    or a write of this process is on its way. Read again and decide anew.
    """

    def __init__(self, message: str, *, subject: Any, read: Any, found: Any) -> None:
        self.subject = subject
        self.read = read
        self.found = found
        super().__init__(message)


class DecodeError(StateStoreError):
    """Stored bytes do not fit the declared type."""


class QueryError(StateStoreError, ValueError):
    """A query cannot be answered as it is written: an unknown field, operands that do not go together, …"""


class RowCountError(StateStoreError, LookupError):
    """``first()`` found no row, or ``single()`` found none or several."""


class ForkedProcessError(StateStoreError):
    """What was made before ``os.fork()`` cannot be used in the child, nor RocksDB once its parent has run it.

    A child can make a StoreManager of its own, with LMDB or in memory.
    """
