"""Filled stores: ours, with and without a topic, and the same pairs in the binding alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bindings import BINDINGS, Binding
from content import Pairs
from mock_topics import MockTopics
from topics import PATIENCE

from statestore import BytesTable, KeyValueStore, StoreManager


@dataclass(frozen=True, slots=True)
class Filled:
    """The same pairs in three stores."""

    backend: str
    pairs: Pairs
    table: BytesTable
    """Ours, bound to a topic, as most users have it."""
    store: KeyValueStore
    """Ours, without Kafka."""
    theirs: Binding


@contextmanager
def filled(directory: Path, backend: str, pairs: Pairs, mock_topics: MockTopics) -> Iterator[Filled]:
    """Fill all three below ``directory``, and return when they are on disk."""
    topic = f"pairs-{len(pairs)}"
    if topic not in mock_topics.topics:
        mock_topics.fill(topic, pairs)
    kafka = mock_topics.bootstrap
    with (
        StoreManager(directory / "ours", kafka=kafka, backend=backend) as stores,
        BINDINGS[backend](directory / "theirs").fill(pairs) as theirs,
    ):
        table = stores.bind(topic)
        table.wait_until_ready(PATIENCE)
        table.flush()
        assert table.count() == len(pairs), "the mock broker keeps 5 MB of a partition: fewer --rows"
        yield Filled(backend, pairs, table, fill(stores.open("pairs"), pairs), theirs)


def fill(store: KeyValueStore, pairs: Iterable[tuple[bytes, bytes]], batch: int = 10_000) -> KeyValueStore:
    """Write ``pairs`` to ``store`` and return it when they are on disk."""
    left = iter(pairs)
    while some := list(islice(left, batch)):
        with store.batch() as changes:
            for key, value in some:
                changes.put(key, value)
    store.flush()
    return store
