"""Options of the LMDB engine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from statestore.backends.options import EngineOptions

_MapSize = Annotated[int, Field(ge=64 * 1024)]


class LMDBOptions(EngineOptions):
    """Options of the LMDB engine; all stores opened through one engine have the same."""

    map_size: _MapSize = 64 << 30
    """Bytes of address space reserved for each store when it is opened; at least 64 KiB.

    It takes neither disk nor memory, and where the system refuses it, it is halved until it is granted. Lower
    it where address space is limited (``ulimit -v``), raise it for larger stores: growing needs a moment
    in which no snapshot is open.
    """

    max_map_size: Annotated[_MapSize, Field(validate_default=True)] = 1 << 40
    """Bytes up to which a store may grow; a write beyond raises ``StoreFullError``. At least ``map_size``.

    Lower it together with ``map_size`` to bound the disk a store can take.
    """

    grow_timeout: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """Seconds a write that needs more space than is reserved waits for open snapshots and scans; from 0.

    Growing would invalidate them. After that the write raises ``StoreFullError`` and can be given again.
    """

    sync: bool = True
    """Whether LMDB forces writes to disk, in the order that keeps the file sound.

    With ``False`` power loss (not the death of the process) can destroy the whole store: only for content
    that is cheap to rebuild.
    """

    max_readers: Annotated[int, Field(ge=8)] = 1024
    """Snapshots and scans that may be open at once in one store, plus one for each reading thread; from 8.

    One more raises ``StoreUnavailableError``. Each takes 64 bytes.
    """

    readahead: bool = False
    """Whether the system reads ahead from the file.

    Off suits point reads in stores larger than memory. Turn it on where large stores are mostly scanned.
    """

    @field_validator("max_map_size")
    @classmethod
    def _not_below_map_size(cls, value: int, info: ValidationInfo) -> int:
        if value < (least := info.data.get("map_size", value)):
            raise ValueError(f"must be at least map_size, {least}")
        return value
