"""A mirror says when the topic does not continue its store: each case leaves data that the topic has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.backends import StoreOptions
from statestore.backends.memory import MemoryEngine
from statestore.changelog.mirror import Mirror
from statestore.core import Folded, WriteRun
from statestore.errors import StateStoreError
from statestore.kafka.answers import Bounds, TopicState
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA
from statestore.storage.opening import MirrorStorage

DAY = 86_400.0
KNOWN = TopicState("id", 2, "compact", 86_400_000)


@pytest.fixture
def storage(tmp_path: Path) -> MirrorStorage:
    """A store that outlives the mirrors over it."""
    backend = MemoryEngine(0).open(tmp_path / "store", StoreOptions(changelog=True))
    return MirrorStorage(lambda: None, lambda _: ChangelogStore("T_Store", backend, 65536), lambda: None)


def opened(storage: MirrorStorage) -> Mirror:
    mirror = Mirror("T_Store", "t", storage)
    mirror.open()
    return mirror


def apply(mirror: Mirror, folded: Folded) -> None:
    """As the binding does it."""
    mirror.write(folded)
    mirror.advance(folded)


def wrote(partition: int, offset: int, epoch: int = -1) -> Folded:
    run = WriteRun(DATA)
    run.write(b"k", b"", 0)
    return Folded(run, {partition: (offset, epoch)}, 1, 1, 0, 0, 0, 9, 1, -1)


def test_a_store_knows_all_its_partitions_from_the_first_batch_on(storage: MirrorStorage) -> None:
    """A death before partition 1 had a record must not look like a topic that has grown."""
    mirror = opened(storage)
    assert mirror.capture({0: Bounds(0, 10), 1: Bounds(3, 10)}, now=DAY) is None
    apply(mirror, wrote(0, 5))
    again = opened(storage)
    assert again.written_offsets() == {0: 5, 1: 3}
    assert again.capture({0: Bounds(0, 10), 1: Bounds(3, 10)}, now=DAY) is None


def test_a_refused_batch_moves_no_position(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 10)}, now=DAY)
    assert mirror.store is not None
    mirror.store.max_key_size = 0
    with pytest.raises(StateStoreError, match="longer than"):
        apply(mirror, wrote(0, 5))
    assert mirror.progress.partitions[0].position == 0
    assert mirror.counts.records == 0


@pytest.mark.parametrize("identified_first", [True, False])
@pytest.mark.parametrize("finished", [True, False])
def test_older_than_the_tombstones_retention(
    storage: MirrorStorage, finished: bool, identified_first: bool
) -> None:
    """Also when the first pass never got to the end: what it read may have been deleted since."""
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 5 if finished else 10)}, now=DAY)
    apply(mirror, wrote(0, 5))
    again = opened(storage)
    asked: list[Callable[[], str | None]] = [
        lambda: again.identify(KNOWN, None),
        lambda: again.capture({0: Bounds(0, 20)}, now=2 * DAY + 1),
    ]
    answers = [ask() for ask in (asked if identified_first else asked[::-1])]
    assert answers[0] is None
    assert "tombstones may be gone" in (answers[1] or "")


def test_nothing_written_since_is_never_too_old(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 5)}, now=DAY)
    apply(mirror, wrote(0, 5))
    again = opened(storage)
    assert again.identify(KNOWN, None) is None
    assert again.capture({0: Bounds(0, 5)}, now=9 * DAY) is None


def test_the_broker_was_away_for_longer_than_tombstones_are_kept(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.identify(KNOWN, None)
    mirror.capture({0: Bounds(0, 0)}, now=DAY)
    apply(mirror, wrote(0, 1))
    assert mirror.confirm({0: 1}, asked_at=DAY + 10) is None
    apply(mirror, wrote(0, 2))
    assert "tombstones may be gone" in (mirror.reached_end(0, 2, now=2 * DAY + 11) or "")


def test_an_answer_without_the_id_does_not_forget_it(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    assert mirror.identify(KNOWN, None) is None
    assert mirror.identify(TopicState(), None) is None
    assert "created again" in (mirror.identify(TopicState("another"), None) or "")


def test_a_log_that_starts_past_the_position(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 10)}, now=DAY)
    apply(mirror, wrote(0, 5))
    assert "starts at offset 6" in (opened(storage).capture({0: Bounds(6, 10)}, now=DAY) or "")


def test_marking_complete_flushes_once_and_always(
    storage: MirrorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = opened(storage)
    assert mirror.store is not None
    flushes: list[None] = []
    monkeypatch.setattr(mirror.store, "flush", lambda: flushes.append(None))
    mirror.capture({0: Bounds(0, 5)}, now=DAY)
    apply(mirror, wrote(0, 5))
    mirror.mark_complete()
    assert len(flushes) == 1
    mirror.make_durable()
    assert len(flushes) == 1, "nothing is left to flush"
    mirror.mark_complete()
    assert len(flushes) == 2, "an engine's loading ends with it"


def test_positions_whose_flush_failed_are_flushed_by_the_next(
    storage: MirrorStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = opened(storage)
    assert mirror.store is not None
    mirror.capture({0: Bounds(0, 5)}, now=DAY)
    flush, failing = mirror.store.flush, [OSError("disk")]
    flushed: list[None] = []

    def flush_or_fail() -> None:
        if failing:
            raise failing.pop()
        flushed.append(flush())

    monkeypatch.setattr(mirror.store, "flush", flush_or_fail)
    with pytest.raises(OSError, match="disk"):
        mirror.make_durable()
    mirror.make_durable()
    assert flushed == [None]


# Records that were lost, or are of another topic


def test_the_log_is_asked_where_its_leader_is_another_than_the_last_records(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({number: Bounds(0, 9) for number in range(3)}, now=DAY)
    for number, epoch in enumerate((4, 5, -1)):
        apply(mirror, wrote(number, 5, epoch))
    again = opened(storage)
    assert again.unchecked_positions({number: Bounds(0, 9, 5) for number in range(3)}) == {0: (5, 4)}
    assert again.unchecked_positions({number: Bounds(5, 9, 6) for number in range(3)}) == {}, "none is below"
    assert again.unchecked_positions({number: Bounds(0, 9) for number in range(3)}) == {0: (5, 4), 1: (5, 5)}


def test_a_position_past_the_last_record_is_not_taken_to_be_of_its_epoch(storage: MirrorStorage) -> None:
    """Markers and removed records have offsets, too: they may be of a later epoch. They are read again."""
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 9)}, now=DAY)
    apply(mirror, wrote(0, 5, 4))
    mirror.reached_end(0, 9, now=DAY)
    mirror.make_durable()
    again = opened(storage)
    assert again.written_offsets() == {0: 9}
    assert again.progress.partitions[0].anchor == (5, 4)
    assert again.unchecked_positions({0: Bounds(0, 9, 6)}) == {0: (5, 4)}
    assert again.capture({0: Bounds(7, 9, 6)}, now=DAY) is None
    assert again.progress.partitions[0].anchor == (9, -1), "what was read has left the log"
    apply(again, wrote(0, 10, 6))
    assert opened(storage).progress.partitions[0].anchor == (10, 6)


def test_records_of_an_earlier_leader_contradict_the_log(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 9)}, now=DAY)
    assert mirror.contradiction(wrote(0, 5, 4)) is None
    apply(mirror, wrote(0, 5, 4))
    assert mirror.contradiction(wrote(0, 6, 4)) is None
    assert mirror.contradiction(wrote(0, 6, -1)) is None
    assert "went back from 4 to 3" in (mirror.contradiction(wrote(0, 6, 3)) or "")


@pytest.mark.parametrize("applied_since", [False, True])
def test_a_store_is_not_read_where_rows_of_another_topic_may_be_in_it(
    storage: MirrorStorage, applied_since: bool
) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 9)}, now=DAY)
    apply(mirror, wrote(0, 5))
    assert mirror.identify(KNOWN, None, applied=mirror.counts.records) is None
    asked_when = mirror.counts.records
    if applied_since:
        apply(mirror, wrote(0, 6))
    another = mirror.identify(TopicState("another"), None, applied=asked_when)
    assert another is not None
    error = mirror.position_lost(another)
    assert ("rows of another topic may be in the store" in str(error)) is applied_since
    assert (mirror.foreign is not None) is applied_since


def test_a_loss_for_another_cause_leaves_the_rows_readable(storage: MirrorStorage) -> None:
    mirror = opened(storage)
    mirror.capture({0: Bounds(0, 9)}, now=DAY)
    apply(mirror, wrote(0, 5))
    assert "tombstones" in str(mirror.position_lost("tombstones may be gone"))
    assert mirror.foreign is None


def test_the_id_that_a_topic_had_before_it_was_read(storage: MirrorStorage) -> None:
    """Made anew before its id was first told: what was read may be of the topic before."""
    mirror = opened(storage)
    mirror.found_id = "first"
    assert "created again" in (mirror.identify(TopicState("another"), None) or "")
    assert mirror.identify(TopicState("first"), None) is None
    assert "created again" in (mirror.identify(TopicState("another"), None, applied=1) or "")
