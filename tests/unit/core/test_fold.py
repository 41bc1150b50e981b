"""The apply loop: by example, and against a model that knows nothing but a dict."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.core import Folded, Partitioning
from tests.unit.core.messages import Message

UNHURRIED = settings(deadline=None)
CREATE_TIME = 1
NOT_AVAILABLE = 0


def record(
    offset: int,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    *,
    topic: str = "t",
    partition: int = 0,
    timestamp: tuple[int, int] = (CREATE_TIME, 1_000),
    epoch: int | None = 5,
) -> Message:
    if epoch is None:
        return Message(topic, partition, offset, key, value, timestamp=timestamp)
    return Message(topic, partition, offset, key, value, timestamp=timestamp, leader_epoch=epoch)


def event(offset: int = 0, topic: str = "t") -> Message:
    return Message(topic, 0, offset, error=KafkaError(KafkaError._PARTITION_EOF))


def stamped(timestamp: int, payload: bytes) -> bytes:
    return timestamp.to_bytes(8, "big", signed=True) + payload


def fold_one(core: ModuleType, messages: list[Message], position: int = 0) -> Any:
    tables, events = core.fold(messages, {("t", 0): position}, b"\x01")
    assert events == []
    return tables["t"]


def test_nothing_gives_nothing(core: ModuleType) -> None:
    assert core.fold([], {("t", 0): 0}, b"\x01") == ({}, [])


def test_the_last_write_of_a_key_counts(core: ModuleType) -> None:
    folded = fold_one(
        core,
        [
            record(0, b"a", b"1"),
            record(1, b"b", b"2"),
            record(2, b"a", b"3", timestamp=(CREATE_TIME, 2_000)),
            record(3, b"", b"4"),
        ],
    )
    assert folded.writes.puts() == [
        (b"\x01a", stamped(2_000, b"3")),
        (b"\x01b", stamped(1_000, b"2")),
        (b"\x01", stamped(1_000, b"4")),
    ]
    assert folded.writes.deletes() == []
    assert (folded.records, folded.upserts) == (4, 4)


def test_a_key_is_put_or_deleted_as_its_last_record_says(core: ModuleType) -> None:
    folded = fold_one(
        core,
        [
            record(0, b"gone", b"x"),
            record(1, b"back", None),
            record(2, b"gone", None),
            record(3, b"back", b"y"),
        ],
    )
    assert folded.writes.puts() == [(b"\x01back", stamped(1_000, b"y"))]
    assert folded.writes.deletes() == [b"\x01gone"]
    assert (folded.upserts, folded.tombstones, folded.records) == (2, 2, 4)


def test_an_empty_value_is_not_a_tombstone(core: ModuleType) -> None:
    folded = fold_one(core, [record(0, b"k", b"")])
    assert folded.writes.puts() == [(b"\x01k", stamped(1_000, b""))]
    assert folded.writes.deletes() == []


def test_a_record_without_key_is_counted_and_moves_the_position(core: ModuleType) -> None:
    folded = fold_one(core, [record(0, None, b"abc"), record(1, None, None, timestamp=(CREATE_TIME, 3_000))])
    assert (folded.writes.puts(), folded.writes.deletes()) == ([], [])
    assert (folded.null_keys, folded.records, folded.upserts, folded.tombstones) == (2, 2, 0, 0)
    assert folded.bytes == 3
    assert folded.last_timestamp == 3_000
    assert folded.positions == {0: (2, 5)}


def test_no_timestamp_is_stored_as_minus_one(core: ModuleType) -> None:
    folded = fold_one(core, [record(0, timestamp=(NOT_AVAILABLE, 0))])
    assert folded.writes.puts() == [(b"\x01k", b"\xff" * 8 + b"v")]
    assert folded.last_timestamp == -1


def test_sizes_and_the_latest_time_are_counted(core: ModuleType) -> None:
    folded = fold_one(
        core,
        [
            record(0, b"abc", b"12345", timestamp=(CREATE_TIME, 9)),
            record(1, b"abcdef", None, timestamp=(CREATE_TIME, 7)),
        ],
    )
    assert (folded.bytes, folded.longest_key, folded.last_timestamp) == (14, 6, 9)


def test_records_below_the_position_are_stale(core: ModuleType) -> None:
    folded = fold_one(core, [record(8, b"a"), record(9, b"b", None), record(12, b"c", b"new")], position=10)
    assert folded.writes.puts() == [(b"\x01c", stamped(1_000, b"new"))]
    assert folded.writes.deletes() == []
    assert (folded.stale, folded.records) == (2, 1)
    assert folded.positions == {0: (13, 5)}


def test_a_record_that_comes_twice_is_applied_once(core: ModuleType) -> None:
    folded = fold_one(core, [record(0, b"a", b"old"), record(1, b"a", b"new"), record(0, b"a", b"old")])
    assert folded.writes.puts() == [(b"\x01a", stamped(1_000, b"new"))]
    assert (folded.stale, folded.records) == (1, 2)
    assert folded.positions == {0: (2, 5)}


def test_with_only_stale_records_no_position_moves(core: ModuleType) -> None:
    folded = fold_one(core, [record(3)], position=10)
    assert folded.positions == {}
    assert (folded.stale, folded.records, folded.last_timestamp) == (1, 0, -1)


def test_the_epoch_is_that_of_the_last_record_applied(core: ModuleType) -> None:
    assert fold_one(core, [record(0, epoch=3), record(1, epoch=4), record(0, epoch=9)]).positions == {
        0: (2, 4)
    }
    assert fold_one(core, [record(0, epoch=None)]).positions == {0: (1, -1)}


def test_each_topic_and_partition_is_kept_apart(core: ModuleType) -> None:
    messages = [
        record(5, b"k", b"first", partition=0),
        record(7, b"k", b"other topic", topic="u", partition=1),
        record(2, b"k", b"second", partition=1),
        record(6, b"j", b"third", partition=0),
    ]
    tables, _ = core.fold(messages, {("t", 0): 5, ("t", 1): 0, ("u", 1): 0, ("quiet", 0): 0}, b"\x01")
    assert sorted(tables) == ["t", "u"]
    assert tables["t"].writes.puts() == [
        (b"\x01k", stamped(1_000, b"second")),
        (b"\x01j", stamped(1_000, b"third")),
    ]
    assert tables["t"].positions == {0: (7, 5), 1: (3, 5)}
    assert tables["u"].positions == {1: (8, 5)}


def test_partitions_that_are_not_ours_leave_no_trace(core: ModuleType) -> None:
    messages = [record(0, topic="foreign"), record(0, partition=1), record(1, topic="foreign")]
    assert core.fold(messages, {("t", 0): 0}, b"\x01") == ({}, [])


def test_events_come_back_untouched_and_in_order(core: ModuleType) -> None:
    end, other, mine = event(1), event(7, topic="foreign"), record(0)
    tables, events = core.fold([end, mine, other], {("t", 0): 0}, b"\x01")
    assert events[0] is end
    assert events[1] is other
    assert len(events) == 2
    assert tables["t"].positions == {0: (1, 5)}


def test_a_result_cannot_be_changed(core: ModuleType) -> None:
    folded = fold_one(core, [record(0)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        folded.records = 7


def test_a_key_that_is_not_bytes_is_a_type_error(core: ModuleType) -> None:
    message = record(0)
    message.set_key("text")
    with pytest.raises(TypeError):
        core.fold([message], {("t", 0): 0}, b"\x01")


def test_arguments_are_left_as_they_are(core: ModuleType) -> None:
    positions = {("t", 0): 0}
    messages = [record(0), event(1)]
    before = list(messages)
    core.fold(messages, positions, b"\x01")
    assert positions == {("t", 0): 0}
    assert messages == before


KEYS = st.none() | st.sampled_from([b"", b"a", b"b", b"ab"])
VALUES = st.none() | st.binary(max_size=3)
STAMPS = st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 5))
RECORDS = st.builds(
    record,
    st.integers(0, 12),
    KEYS,
    VALUES,
    topic=st.sampled_from(["t", "u", "foreign"]),
    partition=st.integers(0, 2),
    timestamp=STAMPS,
    epoch=st.none() | st.integers(0, 3),
)
MESSAGES = st.lists(RECORDS | st.builds(event, st.integers(0, 3)), max_size=30)
POSITIONS = st.dictionaries(st.tuples(st.sampled_from(["t", "u"]), st.integers(0, 2)), st.integers(0, 6))


@UNHURRIED
@given(messages=MESSAGES, positions=POSITIONS)
def test_fold_leaves_what_applying_record_by_record_leaves(
    core: ModuleType, messages: list[Message], positions: dict[tuple[str, int], int]
) -> None:
    rows: dict[tuple[str, bytes], bytes | None] = {}
    reached = dict(positions)
    for message in messages:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        if message.error() is None and offset >= reached.get((topic, partition), 1 << 62):
            reached[topic, partition] = offset + 1
            key, value, (kind, ms) = message.key(), message.value(), message.timestamp()
            if key is not None:
                rows[topic, key] = None if value is None else stamped(ms if kind else -1, value)

    tables, events = core.fold(messages, positions, b"\x01")

    assert events == [message for message in messages if message.error() is not None]
    written = {
        **{(t, key[1:]): value for t, folded in tables.items() for key, value in folded.writes.puts()},
        **{(t, key[1:]): None for t, folded in tables.items() for key in folded.writes.deletes()},
    }
    assert written == rows
    assert sum(len(folded.writes) for folded in tables.values()) == len(rows)
    moved = {(t, p): place[0] for t, folded in tables.items() for p, place in folded.positions.items()}
    assert {**positions, **moved} == reached


def plain(folded: Folded) -> tuple[object, ...]:
    runs = ("writes", "strays")
    fields = [getattr(folded, field.name) for field in dataclasses.fields(folded) if field.name not in runs]
    strays = [] if folded.strays is None else folded.strays.records()
    return folded.writes.puts(), folded.writes.deletes(), folded.writes.size, strays, *fields


@UNHURRIED
@given(messages=MESSAGES, positions=POSITIONS, partitions=st.integers(0, 2))
def test_both_fold_alike(
    native: ModuleType,
    pure: ModuleType,
    messages: list[Message],
    positions: dict[tuple[str, int], int],
    partitions: int,
) -> None:
    partitioning = {"t": Partitioning(partitions)} if partitions else None
    ours, twin = (
        core.fold(messages, positions, b"\x01", partitioning=partitioning) for core in (native, pure)
    )
    assert ours[1] == twin[1]
    assert list(ours[0]) == list(twin[0])
    assert [plain(folded) for folded in ours[0].values()] == [plain(folded) for folded in twin[0].values()]
    for folded in ours[0].values():
        assert folded.records == folded.upserts + folded.tombstones + folded.null_keys
