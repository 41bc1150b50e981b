"""The byte work under everything: key codec, window keys, runs of writes, apply loop; native or in Python.

``STATESTORE_PURE_PYTHON=1`` in the environment at the first import chooses the pure-Python twin, which does
the same three to forty times slower; otherwise the extension ``statestore._native`` must be there.
``IMPLEMENTATION`` is ``"native"`` or ``"pure"``.

``STATESTORE_WITHOUT``, a list with commas, turns single fast paths off, to compare them with what they
replace.
"""

import os
from typing import TYPE_CHECKING, Literal, get_args

from statestore.core.common import (
    ALL_PARTITIONERS,
    PARTITION_SIZE,
    PARTITIONERS,
    ClientError,
    CountedWrites,
    Folded,
    KeyLimit,
    PairRun,
    Partitioning,
    RecordFilter,
    RejectedRecord,
    SortedRun,
    Writes,
)

IMPLEMENTATION: Literal["native", "pure"]

if not TYPE_CHECKING and os.environ.get("STATESTORE_PURE_PYTHON") == "1":
    from statestore.core.pure import (
        BytesReads,
        KeyCodec,
        KeyPattern,
        KeyRange,
        OpenWindows,
        PointReads,
        Readable,
        RecordCache,
        WindowFold,
        WriteRun,
        acyclic,
        fold,
        place_of,
        split_window_key,
        window_key,
    )
    from statestore.core.pure_segments import (
        SegmentChanges,
        SegmentKeys,
        SegmentRows,
        SessionChanges,
        WindowChanges,
    )

    IMPLEMENTATION = "pure"
else:
    try:
        from statestore._native import (
            BytesReads,
            Fetcher,
            KeyCodec,
            KeyPattern,
            KeyRange,
            OpenWindows,
            PointReads,
            Readable,
            RecordCache,
            SegmentChanges,
            SegmentKeys,
            SegmentRows,
            SessionChanges,
            WindowChanges,
            WindowFold,
            WriteRun,
            acyclic,
            find_kafka,
            fold,
            place_of,
            split_window_key,
            window_key,
        )
    except ImportError as error:
        raise ImportError(
            f"the extension statestore._native is missing or cannot be loaded ({error}): install statestore "
            "again, from source with a C compiler; or set STATESTORE_PURE_PYTHON=1 to run without it, slower"
        ) from error

    IMPLEMENTATION = "native"

FastPath = Literal["fetcher", "bulk", "cache", "scan", "decoder", "program"]
FAST_PATHS: tuple[FastPath, ...] = get_args(FastPath)
"""What ``STATESTORE_WITHOUT`` may name."""

_WITHOUT = {name for name in os.environ.get("STATESTORE_WITHOUT", "").replace(" ", "").split(",") if name}
if _unknown := sorted(_WITHOUT - set(FAST_PATHS)):
    raise ImportError(f"STATESTORE_WITHOUT={','.join(_unknown)}: choose of {', '.join(FAST_PATHS)}")


def uses(path: FastPath) -> bool:
    """Whether the fast path is on; its slower twin does the same work otherwise."""
    return path not in _WITHOUT


if not TYPE_CHECKING and (IMPLEMENTATION == "pure" or not uses("scan")):
    from statestore.core.pure_scan import (
        CallGuard,
        ChainedPairs,
        CountedRows,
        CursorPairs,
        GuardedPairs,
        PairQueue,
        Pairs,
        PlainPairs,
        UnendedPairs,
        count_pairs,
        mean_size,
        read_pairs,
    )
else:
    from statestore._native import (
        CallGuard,
        ChainedPairs,
        CountedRows,
        CursorPairs,
        GuardedPairs,
        PairQueue,
        Pairs,
        PlainPairs,
        UnendedPairs,
        count_pairs,
        mean_size,
        read_pairs,
    )

__all__ = [
    "KeyLimit",
    "ALL_PARTITIONERS",
    "PARTITIONERS",
    "PARTITION_SIZE",
    "RecordFilter",
    "ClientError",
    "CountedWrites",
    "FAST_PATHS",
    "Fetcher",
    "IMPLEMENTATION",
    "BytesReads",
    "FastPath",
    "Folded",
    "CallGuard",
    "ChainedPairs",
    "CountedRows",
    "CursorPairs",
    "GuardedPairs",
    "KeyCodec",
    "KeyPattern",
    "KeyRange",
    "PairQueue",
    "OpenWindows",
    "PairRun",
    "Pairs",
    "Partitioning",
    "PlainPairs",
    "PointReads",
    "Readable",
    "RecordCache",
    "RejectedRecord",
    "SegmentChanges",
    "SegmentKeys",
    "SegmentRows",
    "SessionChanges",
    "SortedRun",
    "UnendedPairs",
    "WindowChanges",
    "WindowFold",
    "WriteRun",
    "Writes",
    "count_pairs",
    "find_kafka",
    "fold",
    "mean_size",
    "acyclic",
    "place_of",
    "read_pairs",
    "split_window_key",
    "uses",
    "window_key",
]
