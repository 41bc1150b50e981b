"""The apply loop with a record filter: a rejected record leaves nothing, one that stops ends its topic."""

from __future__ import annotations

from types import ModuleType

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.core import RejectedRecord
from tests.unit.core.messages import Message

BAD = ValueError("bad")

Written = tuple[int, bytes | None, bytes | None, tuple[int, int]]

RECORD = st.builds(
    lambda partition, key, value, timed: (partition, key, value, (1, 1_000) if timed else (0, 0)),
    st.integers(0, 1),
    st.none() | st.sampled_from([b"", b"a", b"b"]),
    st.none() | st.sampled_from([b"1", b"2", b"bad", b"stop"]),
    st.booleans(),
)


def judge(partition: int, offset: int, key: bytes, value: bytes, timestamp: int) -> RejectedRecord | None:
    if value in (b"1", b"2"):
        return None
    return RejectedRecord(partition, offset, key, timestamp, BAD, stops=value == b"stop")


@settings(deadline=None)
@given(records=st.lists(RECORD, max_size=30), first=st.integers(0, 3), checked=st.booleans())
def test_a_checked_topic_is_the_fold_of_what_passes(
    core: ModuleType, records: list[Written], first: int, checked: bool
) -> None:
    messages = []
    rows: dict[bytes, bytes | None] = {}
    reached = {0: first, 1: first}
    skipped: list[RejectedRecord] = []
    stopped: RejectedRecord | None = None
    counts = [0, 0, 0]  # applied, without a key, stale
    offsets = {0: 0, 1: 0}
    for partition, key, value, timestamp in records:
        offset = offsets[partition]
        offsets[partition] += 1
        messages.append(Message("t", partition, offset, key, value, timestamp=timestamp, leader_epoch=3))
        stamp = 1_000 if timestamp[0] else -1
        if stopped is not None:
            continue
        if offset < first:
            counts[2] += 1
            continue
        rejected = None
        if checked and key is not None and value is not None:
            rejected = judge(partition, offset, key, value, stamp)
        if rejected is not None and rejected.stops:
            stopped = rejected
            continue
        reached[partition] = offset + 1
        if rejected is not None:
            skipped.append(rejected)
            continue
        counts[0] += 1
        counts[1] += key is None
        if key is not None:
            rows[key] = None if value is None else stamp.to_bytes(8, "big", signed=True) + value
    end = Message("t", 0, 99, error=KafkaError(KafkaError._PARTITION_EOF))
    other = Message("u", 0, 0, b"k", b"stop", timestamp=(1, 5), leader_epoch=3)

    tables, events = core.fold(
        [*messages, end, other],
        {("t", 0): first, ("t", 1): first, ("u", 0): 0},
        b"\x01",
        {"t": judge} if checked else {},
    )

    assert events == [end]
    assert tables["u"].writes.puts() == [(b"\x01k", (5).to_bytes(8, "big") + b"stop")], "not the other topic"
    if not messages:
        assert "t" not in tables
        return
    folded = tables["t"]
    written = dict(folded.writes.puts()) | dict.fromkeys(folded.writes.deletes())
    assert written == {b"\x01" + key: value for key, value in rows.items()}
    moved = {number: offset for number, (offset, _) in folded.positions.items()}
    assert {0: first, 1: first, **moved} == reached
    assert (folded.records, folded.null_keys, folded.stale) == tuple(counts)
    assert (folded.skipped, folded.last_skipped) == (len(skipped), skipped[-1] if skipped else None)
    assert folded.stopped == stopped


def test_a_good_record_stays_before_a_bad_one_of_its_key(core: ModuleType) -> None:
    records = [
        *((b"a", value) for value in (b"1", b"bad", None, b"2", b"bad")),
        *((b"b", value) for value in (b"1", b"bad", None)),
    ]
    messages = [
        Message("t", 0, offset, key, value, timestamp=(1, 0), leader_epoch=3)
        for offset, (key, value) in enumerate(records)
    ]
    folded = core.fold(messages, {("t", 0): 0}, b"\x01", {"t": judge})[0]["t"]
    assert folded.writes.puts() == [(b"\x01a", bytes(8) + b"2")]
    assert folded.writes.deletes() == [b"\x01b"]
    assert (folded.positions, folded.skipped) == ({0: (8, 3)}, 3)


class AtMostTwo:
    """A key limit of two bytes."""

    longest = 2

    def __call__(
        self, partition: int, offset: int, key: bytes, value: bytes, timestamp: int
    ) -> RejectedRecord:
        return RejectedRecord(partition, offset, key, timestamp, BAD, stops=value == b"stop")


@pytest.mark.parametrize("checked", [True, False])
def test_only_records_with_long_keys_are_judged_by_the_key_limit(core: ModuleType, checked: bool) -> None:
    records: list[tuple[bytes | None, bytes | None]] = [
        (b"aa", b"1"),
        (b"aaa", b"1"),
        (b"aaa", None),
        (b"bb", b"2"),
        (None, b"1"),
        (b"aa", None),
        (b"bbb", b"bad"),
        (b"bbb", b"stop"),
        (b"cc", b"1"),
    ]
    messages = [
        Message("t", 0, offset, key, value, timestamp=(1, 7), leader_epoch=3)
        for offset, (key, value) in enumerate(records)
    ]
    filters = {"t": judge} if checked else {}
    folded = core.fold(messages, {("t", 0): 0}, b"\x01", filters, {"t": AtMostTwo()})[0]["t"]
    assert folded.writes.puts() == [(b"\x01bb", (7).to_bytes(8, "big") + b"2")]
    assert folded.writes.deletes() == [b"\x01aa"]
    assert (folded.skipped, folded.long_keys, folded.longest_key) == (2, 3, 2)
    assert (folded.records, folded.upserts, folded.tombstones, folded.null_keys) == (5, 2, 2, 1)
    assert folded.positions == {0: (7, 3)}
    assert folded.last_skipped == RejectedRecord(0, 6, b"bbb", 7, BAD, stops=False)
    assert folded.stopped == RejectedRecord(0, 7, b"bbb", 7, BAD, stops=True)


def test_what_a_check_raises_is_raised(core: ModuleType) -> None:
    def broken(*_record: object) -> None:
        raise ZeroDivisionError

    message = Message("t", 0, 0, b"k", b"v", timestamp=(1, 0), leader_epoch=3)
    with pytest.raises(ZeroDivisionError):
        core.fold([message], {("t", 0): 0}, b"\x01", {"t": broken})
