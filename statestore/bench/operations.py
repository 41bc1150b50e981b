"""What is done to a store of records: reads, writes, scans, loads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from statestore.bench.candidates import Candidate, Pair
from statestore.bench.draws import CHOOSERS, Chooser, Distribution, Uniform
from statestore.bench.workload import LOAD_BATCH, Ground, Operation, Site

LONGEST_SCAN = 100
"""Most pairs of a short scan; each length from 1 on is equally likely, as in YCSB."""


class RecordGround(Ground):
    """An open candidate, its content, and how many records there are."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.content = site.content
        self.loaded = self.records = site.records
        self._numbers = itertools.count(site.records)
        self._site = site
        self.candidate = site.open("store")

    def insert(self) -> int:
        """Return the number of a record that is there from now on."""
        number = next(self._numbers)
        self.records = number + 1
        return number

    def pair(self, number: int) -> Pair:
        """Return a record to be written, with a new value."""
        key, value = self.content.key(number), self.content.value()
        self.writes(len(key) + len(value))
        return key, value

    def pairs(self, numbers: list[int] | range) -> list[Pair]:
        return [self.pair(number) for number in numbers]

    def reopen(self) -> None:
        """Close the candidate, open it, and read one record."""
        self.candidate.close()
        self.candidate = self._site.open("store")
        if self.candidate.get(self.content.key(0)) is None:
            raise RuntimeError("record 0 is gone after a reopen")

    def flush(self) -> None:
        self.candidate.flush()

    def close(self) -> None:
        self.candidate.close()


# Each kind of operation, as a generator of its own


def _read(ground: RecordGround, chooser: Chooser) -> Operation:
    return ground.candidate.get, (ground.content.key(chooser.draw(ground.records)),)


def _update(ground: RecordGround, chooser: Chooser) -> Operation:
    return ground.candidate.put, ground.pair(chooser.draw(ground.records))


def _modify(ground: RecordGround, chooser: Chooser) -> Operation:
    return _read_and_write, (ground.candidate, *ground.pair(chooser.draw(ground.records)))


def _read_and_write(candidate: Candidate, key: bytes, value: bytes) -> None:
    candidate.get(key)
    candidate.put(key, value)


def _insert(ground: RecordGround, _: Chooser) -> Operation:
    return ground.candidate.put, ground.pair(ground.insert())


def _scan(ground: RecordGround, chooser: Chooser, random: Random) -> Operation:
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

    def __call__(self, ground: RecordGround, random: Random) -> Iterator[Operation]:
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


def loading(shuffled: bool) -> Callable[[RecordGround, Random], Iterator[Operation]]:
    def operations(ground: RecordGround, random: Random) -> Iterator[Operation]:
        numbers: list[int] | range = range(ground.loaded)
        if shuffled:
            numbers = list(numbers)
            random.shuffle(numbers)
        for start in range(0, ground.loaded, LOAD_BATCH):
            yield ground.candidate.write, (ground.pairs(numbers[start : start + LOAD_BATCH]),)

    return operations


def absent(ground: RecordGround, random: Random) -> Iterator[Operation]:
    chooser = Uniform(random)
    while True:
        yield ground.candidate.get, (ground.content.absent(chooser.draw(ground.records)),)


def full_scans(ground: RecordGround, _: Random) -> Iterator[Operation]:
    while True:
        yield ground.candidate.scan, (None, None)


def deletes(ground: RecordGround, random: Random) -> Iterator[Operation]:
    numbers = list(range(ground.records))
    random.shuffle(numbers)
    for number in numbers:
        key = ground.content.key(number)
        ground.writes(len(key))
        yield ground.candidate.delete, (key,)


def put_back(ground: RecordGround) -> None:
    for start in range(0, ground.records, LOAD_BATCH):
        numbers = range(start, min(ground.records, start + LOAD_BATCH))
        missing = [n for n in numbers if ground.candidate.get(ground.content.key(n)) is None]
        ground.candidate.write(ground.pairs(missing))


def batches(size: int) -> Callable[[RecordGround, Random], Iterator[Operation]]:
    def operations(ground: RecordGround, random: Random) -> Iterator[Operation]:
        chooser = Uniform(random)
        while True:
            numbers = [chooser.draw(ground.records) for _ in range(size)]
            yield ground.candidate.write, (ground.pairs(numbers),)

    return operations


def reopens(ground: RecordGround, _: Random) -> Iterator[Operation]:
    while True:
        yield ground.reopen, ()


def hold_snapshot(ground: RecordGround, held: ExitStack) -> None:
    snapshot = ground.candidate.snapshot()
    held.callback(snapshot.close)
