"""One key in several partitions: the rows follow from the records alone, however these were read and cut."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.backends import Backend, Engine, KeyRange, StoreOptions, find_engine
from statestore.backends.memory import MemoryEngine
from statestore.core import PARTITIONERS, Partitioning, WriteRun, fold, place_of
from statestore.storage import changelog_store
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.expiry import ExpiringBackend
from statestore.storage.layout import DATA, DELETED, PARTITIONING, SHARED, Position, StoredPartitioning
from statestore.storage.partitions import OldTombstones
from statestore.storage.placement import Placement

KEYS = [b"", b"a", b"a\0", b"a\0\0\0\0\0", b"b" * 9, b"0123456789abcdef", *(b"k%d" % one for one in range(9))]
MURMUR2, CRC32 = PARTITIONERS.index("murmur2"), PARTITIONERS.index("crc32")


@dataclass(frozen=True)
class Record:
    """A record as the apply loop sees it."""

    number: int
    at: int
    name: bytes
    payload: bytes | None
    time: int

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes:
        return self.name

    def value(self) -> bytes | None:
        return self.payload

    def timestamp(self) -> tuple[int, int]:
        return (0, -1) if self.time < 0 else (1, self.time)

    def error(self) -> None:
        return None

    def leader_epoch(self) -> int:
        return 1


Log = list[list[Record]]
"""The records of each partition."""


def expected(log: Log) -> dict[bytes, bytes]:
    """Fold by the rule: the last of each partition, of these the latest, of these the highest partition."""
    last = {(record.name, record.number): record for records in log for record in records}
    rows = {}
    for key in {key for key, _ in last}:
        records = [record for (name, _), record in last.items() if name == key]
        winner = max(records, key=lambda record: (record.time, record.number))
        if winner.payload is not None:
            rows[key] = winner.payload
    return rows


def log_of(partitions: int, records: list[tuple[int, bytes, bytes | None, int]]) -> Log:
    log: Log = [[] for _ in range(partitions)]
    for partition, key, payload, timestamp in records:
        log[partition].append(Record(partition, len(log[partition]), key, payload, timestamp))
    return log


def batches(log: Log, choose: Callable[[int], int]) -> Iterator[list[Record]]:
    """Cut the log into batches; ``choose(n)`` gives a number below ``n``."""
    positions = [0] * len(log)
    batch: list[Record] = []
    while left := [number for number, records in enumerate(log) if positions[number] < len(records)]:
        number = left[choose(len(left))]
        count = 1 + choose(4)
        batch += log[number][positions[number] : positions[number] + count]
        positions[number] += count
        if choose(2):
            yield batch
            batch = []
    yield batch


def apply(store: ChangelogStore, batch: list[Record]) -> None:
    """Fold a batch and write it, as a mirror does it."""
    partitioning = store.partitioning
    assert partitioning is not None
    places = {("t", number): 0 for number in range(partitioning.partitions)}
    by_topic, _ = fold(batch, places, DATA, partitioning={"t": partitioning})
    for folded in by_topic.values():
        positions = {number: Position(*one) for number, one in folded.positions.items()}
        store.apply(folded.writes, positions, folded.strays, folded.candidates)


def opened(backend: Backend, partitions: int) -> ChangelogStore:
    store = ChangelogStore("T_Store", backend, 65536)
    store.track(partitions, is_new=not store.positions())
    return store


def memory() -> Backend:
    return MemoryEngine(0).open(Path("nowhere"), StoreOptions(changelog=True))


logs = st.integers(2, 5).flatmap(
    lambda partitions: st.lists(
        st.tuples(
            st.sampled_from(KEYS),
            st.one_of(st.none(), st.binary(max_size=3)),
            st.integers(-1, 6),
            st.sampled_from(["murmur2", "crc32", "any"]),
            st.integers(0, partitions - 1),
        ).map(
            lambda drawn: (
                drawn[4]
                if drawn[3] == "any"
                else place_of(PARTITIONERS.index(drawn[3]), drawn[0], partitions),
                *drawn[:3],
            )
        ),
        max_size=60,
    ).map(lambda records: log_of(partitions, records))
)


@pytest.mark.parametrize("bulk", [False, True])
def test_the_rows_follow_from_the_records_alone(bulk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if bulk:
        monkeypatch.setattr(changelog_store, "SMALL_COUNT", -1)

    @settings(deadline=None, max_examples=60)
    @given(logs, st.randoms(use_true_random=False))
    def check(log: Log, chance: random.Random) -> None:
        with closing(memory()) as backend:
            store = opened(backend, len(log))
            for batch in batches(log, chance.randrange):
                if chance.randrange(4) == 0:
                    store = opened(backend, len(log))  # a restart
                apply(store, batch)
            assert dict(store.scan()) == expected(log)
            assert store.count() == len(expected(log))

    check()


@pytest.fixture(params=["rocksdb", "lmdb"])
def engine(request: pytest.FixtureRequest) -> Engine:
    kind: Any = find_engine(request.param)
    made: Engine = kind(16 << 20)
    return made


@pytest.mark.parametrize("bulk", [False, True])
def test_on_engines_with_files(
    engine: Engine, tmp_path: Path, bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some two thousand keys, by two partitioners, a third of the records tombstones; reopened in between."""
    if bulk:
        monkeypatch.setattr(changelog_store, "SMALL_COUNT", 100)
    chance = random.Random(7)
    records = []
    for number in range(12_000):
        key = b"%06d" % chance.randrange(2000)
        partition = place_of(chance.choice([MURMUR2, MURMUR2, CRC32]), key, 6)
        payload = None if chance.randrange(3) == 0 else b"%d" % number
        records.append((partition, key, payload, chance.randrange(1000)))
    log = log_of(6, records)
    rest = [record for records in log for record in records]  # one partition after the other
    cut = [0, 1000, 5000, 5100, 9000, 12_000]
    for start, stop in itertools.pairwise(cut):
        with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as backend:
            store = opened(backend, 6)
            apply(store, rest[start:stop])
            backend.flush()
            found = dict(store.scan())
    assert found == expected(log)


def test_a_regular_topic_writes_no_more_than_its_rows() -> None:
    backend = memory()
    store = opened(backend, 4)
    log = log_of(4, [(place_of(MURMUR2, b"%d" % key, 4), b"%d" % key, b"v", 1) for key in range(100)])
    apply(store, [record for records in log for record in records])
    assert store.partitioning == Partitioning(4, 1 << MURMUR2)
    assert store.newly_shared == 0
    assert [key for key, _ in backend.scan() if key[:1] not in (b"\0", DATA)] == []


@pytest.mark.parametrize("partitioner", range(len(PARTITIONERS)))
def test_each_known_partitioner_is_found(partitioner: int) -> None:
    backend = memory()
    keys = [b"%024d" % key for key in range(300)]
    log = log_of(7, [(place_of(partitioner, key, 7), key, b"v", 1) for key in keys])
    store = opened(backend, 7)
    for records in log:
        apply(store, records)
    assert store.partitioning == Partitioning(7, 1 << partitioner)
    assert dict(store.scan()) == dict.fromkeys(keys, b"v")
    assert list(backend.scan(KeyRange(prefix=SHARED))) == []


@pytest.mark.parametrize(
    ("by_murmur2", "by_crc32", "found"),
    [
        (200, 0, MURMUR2),
        (0, 200, CRC32),
        (190, 10, MURMUR2),
        (10, 190, CRC32),  # whichever the first record was
        (100, 100, None),
        (15, 0, None),
    ],
)
def test_the_topic_has_the_partitioner_of_nine_records_in_ten(
    by_murmur2: int, by_crc32: int, found: int | None
) -> None:
    store = opened(memory(), 5)
    writers = [MURMUR2] * by_murmur2 + [CRC32] * by_crc32
    for number, writer in enumerate(writers):
        name = b"%d" % number
        apply(store, [Record(place_of(writer, name, 5), number, name, b"", 1)])
    assert store.partitioner() == found
    other = {MURMUR2: CRC32, CRC32: MURMUR2, None: MURMUR2}[found]
    assert store.contradicts(other) == found
    assert store.contradicts(other if found is None else found) is None


def test_the_partitioner_is_looked_for_again_after_a_while() -> None:
    backend = memory()
    store = opened(backend, 5)
    clock = iter([0.0, 9.0, 10.0])
    placement = Placement(backend, lambda: next(clock))
    known = StoredPartitioning(5)
    assert placement.partitioner(known) is None
    for number in range(50):
        name = b"%d" % number
        apply(store, [Record(place_of(CRC32, name, 5), number, name, b"", 1)])
    known = StoredPartitioning(5, 1 << CRC32)
    assert [placement.partitioner(known) for _ in range(2)] == [None, CRC32]


def test_nothing_is_said_of_a_topic_of_one_partition() -> None:
    assert opened(memory(), 1).partitioner() is None


def test_keys_in_several_partitions_are_counted_once() -> None:
    store = opened(memory(), 4)
    home = place_of(MURMUR2, b"twice", 4)
    other = (home + 1) % 4
    for key in range(50):
        name = b"%d" % key
        apply(store, [Record(place_of(MURMUR2, name, 4), key, name, b"", 1)])
    assert store.partitioning == Partitioning(4, 1 << MURMUR2)
    apply(store, [Record(home, 100, b"twice", b"1", 5)])
    assert store.newly_shared == 0
    apply(store, [Record(other, 100, b"twice", b"2", 6)])
    apply(store, [Record(other, 101, b"twice", b"3", 7)])
    assert (store.newly_shared, store.shared_example) == (1, b"twice")


def of_two_partitioners(store: ChangelogStore) -> tuple[int, int]:
    """Have the store know that murmur2 is the partitioner; return where ``k`` belongs, and another place."""
    for number in range(50):
        name = b"%d" % number
        apply(store, [Record(place_of(MURMUR2, name, 4), number, name, b"", 1)])
    home = place_of(MURMUR2, b"k", 4)
    return home, (home + 1) % 4


def test_a_tombstone_read_before_an_older_record_of_another_partition() -> None:
    backend = memory()
    store = opened(backend, 4)
    home, other = of_two_partitioners(store)
    apply(store, [Record(home, 100, b"k", None, 10)])
    store = opened(backend, 4)
    apply(store, [Record(other, 100, b"k", b"older", 9)])
    assert store.get(b"k") is None
    apply(store, [Record(other, 101, b"k", b"newer", 11)])
    assert store.get(b"k") == b"newer"


def test_the_last_of_a_partition_counts_though_an_earlier_one_is_later() -> None:
    """As compaction keeps it: a fresh mirror sees the last alone."""
    store = opened(memory(), 4)
    home, other = of_two_partitioners(store)
    apply(store, [Record(other, 100, b"k", b"other", 5)])
    apply(store, [Record(home, 100, b"k", b"late", 10)])
    assert store.get_with_timestamp(b"k") == (10, b"late")
    apply(store, [Record(home, 101, b"k", b"early", 3)])
    assert store.get_with_timestamp(b"k") == (5, b"other")


def test_what_is_remembered_of_tombstones_goes_when_the_topic_need_not_have_them() -> None:
    now = [1_000_000.0]
    backend = memory()
    store = opened(backend, 4)
    home, other = of_two_partitioners(store)
    apply(store, [Record(place_of(MURMUR2, b"gone", 4), 100, b"gone", None, 10)])
    apply(store, [Record(home, 101, b"k", None, 10), Record(other, 100, b"k", None, 11)])
    apply(store, [Record(number, 102, b"kept", b"%d" % number, 10) for number in range(4)])

    def remembered() -> list[bytes]:
        return sorted(key for key, _ in backend.scan(KeyRange(SHARED)))

    before = remembered()
    assert DELETED + b"gone" in before
    assert SHARED + b"k" in before
    tombstones = OldTombstones(backend, lambda: now[0])
    tombstones.retention = 1000
    assert tombstones.remove_expired(None, 100) == (None, 0)  # the clock of the store is ahead of it
    now[0] = 1e12
    start: bytes | None = None
    removed = 0
    while True:
        start, some = tombstones.remove_expired(start, 2)
        removed += some
        if start is None:
            break
    assert remembered() == [SHARED + b"kept"]
    assert removed == len(before) - 1


@pytest.mark.parametrize("ttl", [None, 1e12])
def test_the_approximate_count_is_that_of_rows(ttl: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statestore.storage.partitions._FEW", 50)
    now = [0.0]
    monkeypatch.setattr("statestore.storage.expiry.time", SimpleNamespace(monotonic=lambda: now[0]))
    backend = memory() if ttl is None else ExpiringBackend(memory(), ttl, lambda: 0.0)
    offset = itertools.count()
    day = 86_400_000

    def written(store: ChangelogStore, names: Iterable[int], payload: bytes | None) -> None:
        keys = [b"%d" % number for number in names]
        apply(store, [Record(place_of(MURMUR2, key, 2), next(offset), key, payload, 1) for key in keys])

    def rows(store: ChangelogStore) -> int:
        return store.view.approximate_count() - 3  # positions, and what is known of partitions

    store = opened(backend, 2)
    written(store, range(10_000), b"1")
    for start in range(0, 9000, 1000):
        written(store, range(start, start + 1000), None)
    assert rows(store) == 1000
    written(store, range(9000), None)  # again: what was there is known only after a look
    for _ in range(10):
        now[0] += 1.0
        store.sweep(day)
        assert rows(store) <= 1000
    assert rows(store) == 1000
    for _ in range(100):  # it is looked at again long before the next sweep
        written(store, range(50), b"2")
        written(store, range(50), None)
    written(store, range(9500, 10_000), None)
    for _ in range(3000):
        written(store, range(1), None)
    for _ in range(10):
        now[0] += 1.0
        store.sweep(day)
    assert rows(store) == 500
    other = opened(backend, 2)  # another process
    for _ in range(10):
        now[0] += 1.0
        other.sweep(day)
    assert rows(other) == 500


def test_rows_that_end_by_age() -> None:
    now = [100.0]
    backend = ExpiringBackend(memory(), 50.0, lambda: now[0])
    store = opened(backend, 4)
    home, other = of_two_partitioners(store)
    apply(store, [Record(home, 100, b"k", b"new", 90_000), Record(other, 100, b"k", b"old", 60_000)])
    assert store.get(b"k") == b"new"
    now[0] = 145.0
    apply(store, [Record(home, 101, b"k", b"newest", 91_000)])  # while the row is hidden
    assert store.get(b"k") is None
    now[0] = 120.0
    assert store.get(b"k") == b"newest"
    now[0] = 200.0
    assert backend.remove_expired(None, 1000)[1] > 0
    apply(store, [Record(other, 101, b"k", b"late", 80_000)])  # its row is gone, and the record counts still
    now[0] = 120.0
    assert store.get(b"k") is None


def test_a_row_that_ended_takes_the_tombstone_before_it_along() -> None:
    """The last record of a partition counts, though a tombstone before it has a later timestamp."""
    backend = ExpiringBackend(memory(), 50.0, lambda: 145.0)
    store = opened(backend, 4)
    home, other = of_two_partitioners(store)
    apply(store, [Record(home, 100, b"k", None, 120_000)])
    apply(store, [Record(home, 101, b"k", b"ended", 90_000)])
    assert backend.remove_expired(None, 1000)[1] > 0
    apply(store, [Record(other, 100, b"k", b"counts", 110_000)])
    assert store.get(b"k") == b"counts"


def test_a_store_from_before_knows_that_it_does_not_know() -> None:
    backend = memory()
    old = ChangelogStore("T_Store", backend, 65536)
    run = WriteRun(DATA)
    run.write(b"k", b"1", 1)
    old.apply(run, {0: Position(1), 1: Position(0)})
    assert backend.get(PARTITIONING) is None
    store = opened(backend, 2)
    assert not store.tracked
    apply(store, [Record(place_of(MURMUR2, b"k", 2), 1, b"k", b"2", 2)])
    assert not opened(backend, 2).tracked
    assert store.get(b"k") == b"2"


def test_one_partition_needs_nothing() -> None:
    store = ChangelogStore("T_Store", memory(), 65536)
    store.track(1, is_new=True)
    assert store.partitioning is None
    assert store.tracked
