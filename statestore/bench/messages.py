"""What the measuring process is asked, and what it tells: one line of JSON each."""

from __future__ import annotations

import msgspec

from statestore.bench.results import Sample, Turn


class Job(msgspec.Struct, kw_only=True):
    """What the process does: ``workloads`` of one store."""

    candidate: str
    is_reference: bool
    directory: str
    workloads: list[str]
    keys: int
    key_size: int
    value_size: str
    threads: list[int]
    seconds: float
    rate: float | None
    durable: bool
    seed: int
    round: int
    kafka: str | None = None
    topics: dict[str, str] = {}
    """Names of topics, by what is in them."""


class Phase(msgspec.Struct, tag=True):
    """A workload begins, or where it has none, something that is not measured."""

    workload: str | None


class Done(msgspec.Struct, tag=True):
    """A workload has ended."""

    sample: Sample


class Ended(msgspec.Struct, tag=True):
    """All have. The samples of ``turn`` were told before."""

    turn: Turn


class Broke(msgspec.Struct, tag=True):
    """Something went wrong, and the process ends."""

    workload: str | None
    error: str


Message = Phase | Done | Ended | Broke
