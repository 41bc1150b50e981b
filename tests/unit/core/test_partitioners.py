"""The partitioners that are known put keys where the clients do, and the records elsewhere are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.core.common import ALL_PARTITIONERS, PARTITIONERS, Partitioning
from tests.unit.core.messages import Message

KEYS = [b"", b"a", b"ab", b"abc", b"abcd", b"\xff" * 5, *(b"key-%05d" % number * 2 for number in range(200))]


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # out of the tests of Kafka's own clients
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_java(core: ModuleType, key: bytes, hashed: int) -> None:
    most = (1 << 31) - 1
    assert core.place_of(0, key, most) == (hashed & most) % most
    for number, cut in ((3, 8), (4, 12), (5, 16)):
        assert core.place_of(number, key + b"w" * cut, most) == (hashed & most) % most
        assert core.place_of(number, b"w" * (cut - 1), most) == -1


@pytest.mark.parametrize(("number", "name"), [(0, "murmur2"), (1, "consistent"), (2, "fnv1a")])
def test_keys_lie_where_librdkafka_puts_them(core: ModuleType, number: int, name: str) -> None:
    places: dict[bytes, int] = {}

    def delivered(error: Any, message: Any) -> None:
        assert error is None
        places[message.key()] = message.partition()

    producer = Producer(
        {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0, "partitioner": name}
    )
    for key in KEYS:
        producer.produce("t", b"", key, on_delivery=delivered)
    assert producer.flush(60) == 0
    partitions = len(producer.list_topics("t", timeout=10).topics["t"].partitions)
    assert places == {key: core.place_of(number, key, partitions) for key in KEYS}


@given(st.binary(max_size=70), st.integers(1, 1 << 20))
@settings(deadline=None)
def test_native_and_twin_agree(native: ModuleType, pure: ModuleType, key: bytes, partitions: int) -> None:
    for number in range(len(PARTITIONERS)):
        assert native.place_of(number, key, partitions) == pure.place_of(number, key, partitions)


@pytest.mark.parametrize(("number", "partitions"), [(-1, 4), (len(PARTITIONERS), 4), (0, 0)])
def test_there_is_no_such_partitioner(core: ModuleType, number: int, partitions: int) -> None:
    with pytest.raises(ValueError, match="no partitioner"):
        core.place_of(number, b"k", partitions)


def folded(core: ModuleType, records: Sequence[tuple[int, bytes, bytes | None]], candidates: int) -> Any:
    messages = [
        Message("t", partition, offset, key, value, timestamp=(1, offset))
        for offset, (partition, key, value) in enumerate(records)
    ]
    places = {("t", number): 0 for number in range(4)}
    tables, _ = core.fold(messages, places, b"\x01", partitioning={"t": Partitioning(4, candidates)})
    return tables["t"]


def test_what_no_candidate_explains_is_a_stray(core: ModuleType) -> None:
    places = {key: core.place_of(0, key, 4) for key in KEYS}
    records: list[tuple[int, bytes, bytes | None]] = [(place, key, b"v") for key, place in places.items()]
    found = folded(core, records, ALL_PARTITIONERS)
    assert (found.candidates, len(found.writes), len(found.strays)) == (1, len(KEYS), 0)
    strays = [(places[b"abc"] + 1) % 4, (places[b"abc"] + 2) % 4]
    records += [(strays[0], b"abc", b"1"), (strays[1], b"abc", None), (strays[0], b"abc", b"22")]
    found = folded(core, records, ALL_PARTITIONERS)
    offset = len(KEYS)
    assert sorted(found.strays.records()) == sorted(
        [
            (b"abc" + bytes([0, 0, 0, strays[0]]), offset + 2, b"22"),
            (b"abc" + bytes([0, 0, 0, strays[1]]), offset + 1, None),
        ]
    )
    assert (found.candidates, len(found.writes), found.longest_key) == (1, len(KEYS), 18)
    assert (found.records, found.upserts, found.tombstones) == (offset + 3, offset + 2, 1)
    assert folded(core, records[:1], 1 << 1 | 1 << 2).candidates in (2, 4, 6)


def test_the_only_candidate_stays_whatever_comes(core: ModuleType) -> None:
    wrong = [((core.place_of(1, key, 4) + 1) % 4, key, b"v") for key in KEYS]
    found = folded(core, wrong, 1 << 1)
    assert (found.candidates, len(found.writes), len(found.strays)) == (1 << 1, 0, len(KEYS))
