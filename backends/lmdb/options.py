"""Options of the LMDB engine."""

from __future__ import annotations

from dataclasses import dataclass

from statestore.errors import ConfigError

_SMALLEST_MAP = 64 * 1024


@dataclass(frozen=True)
class LMDBOptions:
    """Options of the LMDB engine; all stores opened through one engine have the same.

    Raises :class:`~statestore.errors.ConfigError` naming every fault.
    """

    map_size: int = 64 << 30
    """Bytes of address space reserved for each store when it is opened; at least 64 KiB.

    It takes neither disk nor memory, and where the system refuses it, it is halved until it is granted. Lower
    it where address space is limited (``ulimit -v``), raise it for larger stores: growing needs a moment
    in which no snapshot is open.
    """

    max_map_size: int = 1 << 40
    """Bytes up to which a store may grow; a write beyond raises ``StoreFullError``. At least ``map_size``.

    Lower it together with ``map_size`` to bound the disk a store can take.
    """

    grow_timeout: float = 10.0
    """Seconds a write that needs more space than is reserved waits for open snapshots and scans; from 0.

    Growing would invalidate them. After that the write raises ``StoreFullError`` and can be given again.
    """

    sync: bool = True
    """Whether LMDB forces writes to disk, in the order that keeps the file sound.

    With ``False`` power loss (not the death of the process) can destroy the whole store: only for content
    that is cheap to rebuild.
    """

    max_readers: int = 1024
    """Snapshots and scans that may be open at once in one store, plus one for each reading thread; from 8.

    One more raises ``StoreUnavailableError``. Each takes 64 bytes.
    """

    readahead: bool = False
    """Whether the system reads ahead from the file.

    Off suits point reads in stores larger than memory. Turn it on where large stores are mostly scanned.
    """

    def __post_init__(self) -> None:
        faults = [
            f"LMDBOptions.{name} must be {wanted}, not {getattr(self, name)!r}"
            for name, fine, wanted in (
                ("map_size", self.map_size >= _SMALLEST_MAP, "at least 65536 bytes"),
                ("max_map_size", self.max_map_size >= self.map_size, f"at least map_size, {self.map_size}"),
                ("grow_timeout", self.grow_timeout >= 0, "0 seconds or more"),
                ("sync", isinstance(self.sync, bool), "True or False"),
                ("max_readers", self.max_readers >= 8, "at least 8"),
                ("readahead", isinstance(self.readahead, bool), "True or False"),
            )
            if not fine
        ]
        if faults:
            raise ConfigError(faults)
