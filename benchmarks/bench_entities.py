"""``to_list()`` of an entity of six fields, against decoding the same payloads in a loop without a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from conftest import Bench, Fresh
from mock_topics import MockTopics
from ticks import Tick, decode, encoded
from topics import PATIENCE

from statestore import StoreManager, Table
from statestore.bench.turns import Work

WANTED = 0.8


Pairs = list[tuple[bytes, bytes]]


def bare(pairs: Pairs) -> list[Any]:
    return [decode(payload) for _, payload in pairs]


def dicts(pairs: Pairs) -> list[Any]:
    return [msgpack.unpackb(payload) for _, payload in pairs]


def by_hand(pairs: Pairs) -> list[Any]:
    made = []
    for key, payload in pairs:
        value = decode(payload)
        made.append(Tick(key.decode(), value.price, value.quantity, value.venue, value.sequence, value.open))
    return made


LOOPS: dict[str, Callable[[Pairs], list[Any]]] = {
    "msgspec into a dataclass": bare,
    "msgpack.unpackb into dicts": dicts,
    "the same entities by hand": by_hand,
}


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest, mock_topics: MockTopics) -> Pairs:
    """The records of the topic, in the order of their keys."""
    made = encoded(max(1, request.getfixturevalue("sizes").rows // 3))
    if "ticks" not in mock_topics.topics:
        mock_topics.fill("ticks", made)
    return made


@pytest.fixture(scope="module", params=["rocksdb", "lmdb", "memory"])
def table(
    request: pytest.FixtureRequest, fresh: Fresh, mock_topics: MockTopics, pairs: Pairs
) -> Iterator[Table[Tick]]:
    with StoreManager(fresh(), kafka=mock_topics.bootstrap, backend=request.param) as stores:
        bound = stores.bind(Tick)
        bound.wait_until_ready(PATIENCE)
        bound.flush()
        assert bound.to_list() == by_hand(pairs)
        yield bound


@pytest.mark.parametrize("loop", LOOPS)
def measure_to_list(
    bench: Bench, request: pytest.FixtureRequest, table: Table[Tick], pairs: Pairs, loop: str
) -> None:
    backend = request.node.callspec.params["table"]
    bench.speed(
        f"{backend}, to_list() of 6 fields",
        loop,
        Work.of(table.to_list),
        Work.of(lambda: LOOPS[loop](pairs)),
        items=len(pairs),
        of="rows",
        wanted=WANTED,
    )
