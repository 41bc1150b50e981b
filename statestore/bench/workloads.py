"""What is done to a store while it is measured: each workload says it in one line.

A to F are the core workloads of YCSB (Cooper et al., SoCC 2010, table 2), with its mixes and distributions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

from statestore.bench.candidates import Abilities, Candidate, Pair
from statestore.bench.content import Content
from statestore.bench.draws import CHOOSERS, Chooser, Distribution, Uniform
from statestore.errors import ConfigError

LONGEST_SCAN = 100
"""Most pairs of a short scan; each length from 1 on is equally likely, as in YCSB."""

LOAD_BATCH = 1_000

Operation = tuple[Callable[..., object], tuple[Any, ...]]
"""A call and its arguments, made before the clock runs."""


class Ground:
    """What the workloads of one process share: the open candidate, the content, the number of records."""

    def __init__(self, content: Content, records: int, open_: Callable[[], Candidate]) -> None:
        self.content = content
        self.candidate = open_()
        self.loaded = records
        self._numbers = itertools.count(records)
        self.records = records
        self._open = open_

    def insert(self) -> int:
        """Return the number of a record that is there from now on."""
        number = next(self._numbers)
        self.records = number + 1
        return number

    def reopen(self) -> None:
        """Close the candidate, open it, and read one record."""
        self.candidate.close()
        self.candidate = self._open()
        if self.candidate.get(self.content.key(0)) is None:
            raise RuntimeError("record 0 is gone after a reopen")


def _needs(**abilities: bool) -> Abilities:
    none = dict.fromkeys(("ordered", "snapshots", "files", "atomic", "threads"), False)
    return Abilities(**{**none, **abilities})


@dataclass(frozen=True, slots=True)
class Workload:
    """See the module. ``operations`` gives operations without end, or until there is nothing left to do."""

    name: str
    says: str
    operations: Callable[[Ground, Random], Iterator[Operation]]
    needs: Abilities = field(default_factory=_needs)
    chunk: int = 1_024
    """Most operations that are made ahead of the clock."""
    keys: int = 1
    """Keys of one operation; of several, throughput counts the keys. 0: all keys of the store."""
    hold: Callable[[Ground, ExitStack], None] | None = None
    """Opens what is held while the workload runs."""
    mend: Callable[[Ground], None] | None = None
    """Puts back what the workload took away; not measured."""
    threads: bool = True
    """Whether several threads can do it at once."""
    once: bool = False
    """Whether it is done once, from beginning to end, however long that takes."""


# Each kind of operation, as a generator of its own


def _read(ground: Ground, chooser: Chooser) -> Operation:
    return ground.candidate.get, (ground.content.key(chooser.draw(ground.records)),)


def _update(ground: Ground, chooser: Chooser) -> Operation:
    return ground.candidate.put, (ground.content.key(chooser.draw(ground.records)), ground.content.value())


def _modify(ground: Ground, chooser: Chooser) -> Operation:
    return _read_and_write, (
        ground.candidate,
        ground.content.key(chooser.draw(ground.records)),
        ground.content.value(),
    )


def _read_and_write(candidate: Candidate, key: bytes, value: bytes) -> None:
    candidate.get(key)
    candidate.put(key, value)


def _insert(ground: Ground, _: Chooser) -> Operation:
    return ground.candidate.put, (ground.content.key(ground.insert()), ground.content.value())


def _scan(ground: Ground, chooser: Chooser, random: Random) -> Operation:
    start = ground.content.key(chooser.draw(ground.records))
    return ground.candidate.scan, (start, 1 + int(random.random() * LONGEST_SCAN))


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of operations, which add up to 1, and who draws their records."""

    distribution: Distribution
    read: float = 0.0
    update: float = 0.0
    insert: float = 0.0
    scan: float = 0.0
    modify: float = 0.0

    def __call__(self, ground: Ground, random: Random) -> Iterator[Operation]:
        chooser = CHOOSERS[self.distribution](random)
        read = self.read
        update = read + self.update
        insert = update + self.insert
        scan = insert + self.scan
        while True:
            what = random.random()
            if what < read:
                yield _read(ground, chooser)
            elif what < update:
                yield _update(ground, chooser)
            elif what < insert:
                yield _insert(ground, chooser)
            elif what < scan:
                yield _scan(ground, chooser, random)
            else:
                yield _modify(ground, chooser)


YCSB: dict[str, Mix] = {
    "a": Mix("zipfian", read=0.5, update=0.5),
    "b": Mix("zipfian", read=0.95, update=0.05),
    "c": Mix("zipfian", read=1.0),
    "d": Mix("latest", read=0.95, insert=0.05),
    "e": Mix("zipfian", scan=0.95, insert=0.05),
    "f": Mix("zipfian", read=0.5, modify=0.5),
}


def _loading(shuffled: bool) -> Callable[[Ground, Random], Iterator[Operation]]:
    def operations(ground: Ground, random: Random) -> Iterator[Operation]:
        numbers: list[int] | range = range(ground.loaded)
        if shuffled:
            numbers = list(numbers)
            random.shuffle(numbers)
        for start in range(0, ground.loaded, LOAD_BATCH):
            yield ground.candidate.write, (pairs_of(ground, numbers[start : start + LOAD_BATCH]),)

    return operations


def pairs_of(ground: Ground, numbers: list[int] | range) -> list[Pair]:
    return [(ground.content.key(number), ground.content.value()) for number in numbers]


def _absent(ground: Ground, random: Random) -> Iterator[Operation]:
    chooser = Uniform(random)
    while True:
        yield ground.candidate.get, (ground.content.absent(chooser.draw(ground.records)),)


def _full_scans(ground: Ground, _: Random) -> Iterator[Operation]:
    while True:
        yield ground.candidate.scan, (None, None)


def _deletes(ground: Ground, random: Random) -> Iterator[Operation]:
    numbers = list(range(ground.records))
    random.shuffle(numbers)
    for number in numbers:
        yield ground.candidate.delete, (ground.content.key(number),)


def _put_back(ground: Ground) -> None:
    for start in range(0, ground.records, LOAD_BATCH):
        numbers = range(start, min(ground.records, start + LOAD_BATCH))
        missing = [n for n in numbers if ground.candidate.get(ground.content.key(n)) is None]
        ground.candidate.write(pairs_of(ground, missing))


def _batches(size: int) -> Callable[[Ground, Random], Iterator[Operation]]:
    def operations(ground: Ground, random: Random) -> Iterator[Operation]:
        chooser = Uniform(random)
        while True:
            numbers = [chooser.draw(ground.records) for _ in range(size)]
            yield ground.candidate.write, (pairs_of(ground, numbers),)

    return operations


def _reopens(ground: Ground, _: Random) -> Iterator[Operation]:
    while True:
        yield ground.reopen, ()


def _hold_snapshot(ground: Ground, held: ExitStack) -> None:
    snapshot = ground.candidate.snapshot()
    held.callback(snapshot.close)


_SCANS = _needs(ordered=True)

WORKLOADS: dict[str, Workload] = {
    one.name: one
    for one in (
        Workload(
            "load-order",
            "write every record once, in the order of the keys, in batches of 1,000",
            _loading(shuffled=False),
            chunk=16,
            keys=LOAD_BATCH,
            threads=False,
            once=True,
        ),
        Workload(
            "load-random",
            "write every record once, in random order, in batches of 1,000",
            _loading(shuffled=True),
            chunk=16,
            keys=LOAD_BATCH,
            threads=False,
            once=True,
        ),
        Workload(
            "ycsb-a", "YCSB A, update heavy: 50 % reads, 50 % updates, zipfian: a session store", YCSB["a"]
        ),
        Workload("ycsb-b", "YCSB B, read mostly: 95 % reads, 5 % updates, zipfian: photo tags", YCSB["b"]),
        Workload("ycsb-c", "YCSB C, read only: 100 % reads, zipfian: a cache of profiles", YCSB["c"]),
        Workload(
            "ycsb-f",
            "YCSB F, read-modify-write: 50 % reads, 50 % read-modify-writes, zipfian: a user database",
            YCSB["f"],
        ),
        Workload(
            "ycsb-d", "YCSB D, read latest: 95 % reads of what is new, 5 % inserts: status updates", YCSB["d"]
        ),
        Workload(
            "ycsb-e",
            "YCSB E, short ranges: 95 % scans of 1 to 100 pairs, 5 % inserts, zipfian: threads of messages",
            YCSB["e"],
            needs=_SCANS,
            chunk=256,
        ),
        Workload(
            "read-uniform", "point reads, each record as likely as the others", Mix("uniform", read=1.0)
        ),
        Workload("read-zipf", "point reads, few records get most of them", Mix("zipfian", read=1.0)),
        Workload("read-hot", "point reads of one record in a hundred", Mix("hot", read=1.0)),
        Workload("read-absent", "point reads of keys that are not there", _absent),
        Workload("update", "overwrite records, each as likely as the others", Mix("uniform", update=1.0)),
        Workload("rmw", "read a record and write it back, uniform", Mix("uniform", modify=1.0)),
        Workload("mixed", "80 % reads, 15 % updates, 5 % inserts, zipfian", Mix("zipfian", 0.8, 0.15, 0.05)),
        Workload(
            "scan-short", "scans of 1 to 100 pairs, uniform", Mix("uniform", scan=1.0), _SCANS, chunk=256
        ),
        Workload("scan-full", "scans of the whole store", _full_scans, chunk=1, keys=0),
        Workload("batch-1", "batches of one write, uniform", _batches(1), chunk=512),
        Workload("batch-100", "batches of 100 writes, uniform", _batches(100), chunk=16, keys=100),
        Workload("batch-10000", "batches of 10,000 writes, uniform", _batches(10_000), chunk=1, keys=10_000),
        Workload(
            "snapshot",
            "overwrite records, uniform, while a snapshot from before is held open",
            Mix("uniform", update=1.0),
            needs=_needs(snapshots=True),
            hold=_hold_snapshot,
        ),
        Workload(
            "delete",
            "delete records in random order; they are put back afterwards",
            _deletes,
            threads=False,
            mend=_put_back,
        ),
        Workload(
            "reopen",
            "close the store, open it, read one record",
            _reopens,
            needs=_needs(files=True),
            chunk=1,
            threads=False,
        ),
    )
}
"""By name, in the order in which they are run: what inserts comes late, as the authors of YCSB advise."""

GROUPS: dict[str, tuple[str, ...]] = {
    "ycsb": tuple(name for name in WORKLOADS if name.startswith("ycsb-")),
    "load": ("load-order", "load-random"),
    "read": tuple(name for name in WORKLOADS if name.startswith("read-")),
    "scan": ("scan-short", "scan-full"),
    "batch": tuple(name for name in WORKLOADS if name.startswith("batch-")),
    "all": tuple(WORKLOADS),
}
"""Names for several at once."""

LOADS = GROUPS["load"]


def chosen(names: str) -> tuple[Workload, ...]:
    """Return the workloads of a list of names and groups, in the order in which they are run, a load first.

    Each load fills a new store; the others run on that of the last one. Raises ``ConfigError`` for a name
    that is neither.
    """
    wanted: set[str] = set()
    for name in filter(None, (one.strip() for one in names.split(","))):
        if name not in WORKLOADS and name not in GROUPS:
            raise ConfigError(
                f"--workload {name}: no workload has this name; there are {', '.join(WORKLOADS)}, "
                f"and the groups {', '.join(GROUPS)}"
            )
        wanted.update(GROUPS.get(name, (name,)))
    if not wanted:
        raise ConfigError("--workload names no workload; give one, such as ycsb-a, or a group, such as ycsb")
    loads = [WORKLOADS[name] for name in LOADS if name in wanted] or [WORKLOADS["load-random"]]
    others = [one for one in WORKLOADS.values() if one.name in wanted and one.name not in LOADS]
    return (*loads, *others)


def lacking(workload: Workload, abilities: Abilities) -> str | None:
    """Return what a candidate lacks for ``workload``, ``None`` where it lacks nothing."""
    words = {
        "ordered": "no scans in the order of the keys",
        "snapshots": "no snapshots",
        "files": "no files",
        "atomic": "no atomic batches",
        "threads": "not for several threads",
    }
    for ability, lack in words.items():
        if getattr(workload.needs, ability) and not getattr(abilities, ability):
            return lack
    return None
