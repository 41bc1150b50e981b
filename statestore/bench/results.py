"""``results.json``: what was measured, where and how. The docstrings are the schema's words.

Sizes are bytes, latencies microseconds, all else seconds; ``None`` is what this machine does not tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from statestore.errors import ConfigError

FORMAT = 1

_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class Sample(msgspec.Struct, kw_only=True):
    """One workload, measured once with one candidate."""

    workload: str
    threads: int
    unit: str
    """What ``throughput`` counts in a second: ``ops``, ``keys`` or ``records``."""
    operations: int
    seconds: float
    """While the clock ran: operations are made ahead, and the clock stands still meanwhile."""
    throughput: float
    p50: float
    p95: float
    p99: float
    p999: float
    longest: float
    mean: float
    histogram: str
    """All latencies in nanoseconds: an HDR histogram V2, compressed, as base64."""
    interval: float
    series: list[int]
    """Operations that ended in each interval, from the begin on."""
    cpu_seconds: float
    """Processor time of the whole process while the clock ran."""
    memory: int | None = None
    """Most private memory of the process meanwhile: RssAnon, looked at from outside every 5 ms."""
    given: int | None = None
    """Bytes of the keys and values of all writes, warm-up included; ``None``: not counted by that version."""
    written: int | None = None
    """Bytes that the process had written to disk meanwhile, and where it writes, by a flush afterwards.

    What an engine compacts later counts for the workload that runs then. ``None`` without files.
    """
    paced: bool = False
    """Whether operations were due at a fixed rate: the latencies then say which candidate is faster."""
    late: bool = False
    """Whether a fixed rate was more than the candidate could do."""


class Turn(msgspec.Struct, kw_only=True):
    """One process that opened a store of one candidate, filled it and ran workloads on it.

    Workloads on the store of records, restores, windows and entities have a process each. What is said of
    bytes on disk is of the store of records.
    """

    candidate: str
    keys: int
    round: int
    store: str = "records"
    """Which store: ``records``, ``restored``, ``windows`` or ``entities``."""
    load: float | None = None
    """The machine's load average of the last minute, before."""
    overhead: float | None = None
    """Microseconds that the measuring itself adds to one operation; they are in the throughput."""
    content: float | None = None
    """Bytes of the keys and values that were loaded."""
    loaded: int | None = None
    """Bytes on disk after the load and a flush; ``None`` without files."""
    used: int | None = None
    """Bytes on disk after all workloads and a flush."""
    compacted: int | None = None
    """Bytes on disk after a compaction."""
    samples: list[Sample]


class CandidateInfo(msgspec.Struct, kw_only=True):
    """What was measured."""

    name: str
    kind: str
    """``backend`` or ``reference``."""
    beside: str | None
    """Of a reference, the backend that stands on the same library."""
    says: str


class Left(msgspec.Struct, kw_only=True):
    """What was not measured, and why."""

    candidate: str
    workload: str | None
    """``None``: none of its workloads, or not the rest of them."""
    why: str
    failed: bool = False
    """Whether it should have been measured: something went wrong."""
    keys: int | None = None


class Results(msgspec.Struct, kw_only=True):
    """A run of ``statestore bench``."""

    format: int
    started: str
    """In UTC, ISO 8601."""
    seconds: float
    machine: dict[str, Any]
    """Processor, cores, governor, memory, kernel, file system, load: what there is to tell."""
    versions: dict[str, str]
    options: dict[str, Any]
    """Those of ``statestore bench``, as they were in force."""
    candidates: list[CandidateInfo]
    workloads: dict[str, str]
    """What each workload does, in the order in which they were run."""
    turns: list[Turn]
    left: list[Left]


def write_results(results: msgspec.Struct, path: Path) -> None:
    """Write the file. Raises ``OSError``."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read_results(path: Path) -> Results:
    """Read the file. Raises ``ConfigError`` for one that cannot be read, or is of a later version."""
    return read_as(Results, path, "statestore bench")


def read_as(kind: type[_Kept], path: Path, writer: str) -> _Kept:
    """Read a file of results, which ``writer`` wrote, as ``read_results`` does."""
    try:
        results = msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a results.json that {writer} wrote") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not a results.json of {writer} ({error}); measure again, or give another file"
        ) from error
    version: int = getattr(results, "format", FORMAT)
    if version > FORMAT:
        raise ConfigError(
            f"{path}: has format {version}, this version reads up to {FORMAT}; "
            "compare it with the version that wrote it"
        )
    return results
