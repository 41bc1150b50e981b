"""What a ``ConfigError`` or a refusal at ``open``, ``bind`` and the reads says to do is done, and helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

from statestore import (
    ConfigError,
    DirectoryLockedError,
    EncodeError,
    Key,
    Settings,
    State,
    StateStoreError,
    StoreManager,
    StoreNotReadyError,
    entity,
)


@entity(topic="rows")
@dataclass(frozen=True)
class Row:
    id: Annotated[int, Key]
    text: str = ""


@entity(topic="events", kind="stream")
@dataclass(frozen=True)
class Event:
    text: str = ""


class Case:
    """A fault of a caller."""

    def __init__(
        self,
        says: str,
        wrong: Callable[[Any], object],
        *remedies: Callable[[Any], object],
        error: type[StateStoreError] = ConfigError,
        **made: Any,
    ) -> None:
        self.says = says
        self.wrong = wrong
        self.remedies = remedies
        self.error = error
        self.made = made
        """The arguments of the manager."""


def tables(**options: Any) -> Settings:
    return Settings(tables=options)


CASES = [
    Case(
        "choose 'fail' or 'empty'",
        lambda stores: stores.open("rows", on_missing="rebuild"),
        lambda stores: stores.open("rows", on_missing="fail"),
        lambda stores: stores.open("more", on_missing="empty"),
    ),
    Case(
        "registered: lmdb, memory, rocksdb",
        lambda stores: stores.open("rows", "leveldb"),
        lambda stores: stores.open("rows", "lmdb"),
    ),
    Case(
        r"use the same options, or close\(\) it first",
        lambda stores: (stores.open("rows", "memory"), stores.open("rows", "lmdb")),
        lambda stores: stores.open("rows", "memory"),
        lambda stores: (stores.store("rows").close(), stores.open("rows", "lmdb")),
    ),
    Case(
        "would share the directory 'a_b': give one of them another name",
        lambda stores: (stores.open("a.b"), stores.open("a/b")),
        lambda stores: stores.open("another"),
    ),
    Case(
        "no store is named 'row'; open: rows",
        lambda stores: (stores.open("rows"), stores.store("row")),
        lambda stores: stores.store("rows"),
    ),
    Case(
        r"binding needs a broker: StoreManager\(kafka='host:port'\)",
        lambda stores: stores.bind("raw"),
        kafka=None,
    ),
    Case(
        "topic 'raw' is already bound, as 'raw_Store': use that table",
        lambda stores: (stores.bind("raw"), stores.bind("raw", name="other")),
        lambda stores: stores.store("raw_Store").wait_until_ready(60),
    ),
    Case(
        "Event is a stream and has no store: bind it without options",
        lambda stores: stores.bind(Event, max_lag=5),
        lambda stores: stores.bind(Event),
    ),
    Case(
        "Row is a table: bind it",
        lambda stores: stores.stream(Row),
        lambda stores: stores.bind(Row),
    ),
    Case(
        "has no effect: a table of bytes decodes nothing; remove it, or bind an entity",
        lambda stores: stores.bind("rows"),
        lambda stores: stores.bind(Row),
        settings=tables(rows={"on_undecodable": "skip"}),
    ),
    Case(
        "has no effect: remove one of them",
        lambda stores: stores.bind("raw", backend="lmdb"),
        lambda stores: stores.bind("raw"),
        settings=tables(raw={"cache": False}),
    ),
    Case(
        r"\[tables.raw_Store\] and \[tables.raw\] name the same table: keep one of them",
        lambda stores: stores.bind("raw"),
        settings=tables(raw={"max_lag": 5}, raw_Store={"max_lag": 5}),
    ),
    Case(
        "'lmdb' offers no choice of it",
        lambda stores: stores.bind("raw", backend="lmdb"),
        lambda stores: stores.bind("raw", backend="rocksdb"),
        settings=tables(raw={"compression": "lz4"}),
    ),
    Case(
        r"a key of 600 bytes is longer than .*; shorten it, or use backend=\"rocksdb\", which takes 65536",
        lambda stores: stores.open("rows", "lmdb").put(b"k" * 600, b"v"),
        lambda stores: stores.store("rows").put(b"k" * 100, b"v"),
        lambda stores: stores.open("more", "rocksdb").put(b"k" * 600, b"v"),
        error=EncodeError,
    ),
    Case(
        r"call restart\(\)",
        lambda stores: (stores.bind("raw").stop(), stores.store("raw_Store").sync(60)),
        lambda stores: (stores.store("raw_Store").restart(), stores.store("raw_Store").wait_until_ready(60)),
        error=StoreNotReadyError,
    ),
    Case(
        r"call resume\(\)",
        lambda stores: (
            stores.bind("raw").wait_until_ready(60),
            stores.store("raw_Store").pause(),
            stores.store("raw_Store").sync(60),
        ),
        lambda stores: (stores.store("raw_Store").resume(), stores.store("raw_Store").wait_until_ready(60)),
        error=StoreNotReadyError,
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with the topics of the cases."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for topic in ("rows", "events", "raw"):
        producer.produce(topic, key=b"k", value=b"v")
    assert producer.flush(60) == 0
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


@pytest.mark.parametrize("case", CASES, ids=[case.says for case in CASES])
def test_what_an_error_says_to_do_helps(case: Case, address: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"kafka": address, "backend": "memory", **case.made}
    with StoreManager(tmp_path, **given) as stores:
        with pytest.raises(case.error, match=case.says):
            case.wrong(stores)
        for remedy in case.remedies:
            remedy(stores)


def test_a_manager_without_a_broker_gets_one_and_one_of_two_sections_is_kept(
    address: str, tmp_path: Path
) -> None:
    """The remedies that need another manager."""
    with StoreManager(tmp_path, address, "memory", settings=tables(raw={"max_lag": 5})) as stores:
        table = stores.bind("raw")
        table.wait_until_ready(60)
        assert table.state is State.READY


def test_where_all_slots_are_taken_more_of_them_or_an_end_help(tmp_path: Path) -> None:
    with closing(StoreManager(tmp_path, backend="memory", slots=1)) as first:
        with pytest.raises(
            DirectoryLockedError, match=r"slots=1 are all taken.*stop one of these, or give more"
        ):
            StoreManager(tmp_path, backend="memory", slots=1)
        StoreManager(tmp_path, backend="memory", slots=2).close()
        first.close()
        StoreManager(tmp_path, backend="memory", slots=1).close()


@pytest.mark.parametrize(
    ("wrong", "says", "right"),
    [
        ({"connect": "later"}, "choose 'eager' or 'lazy'", {"connect": "lazy"}),
        ({"lock_timeout": -1}, "give seconds, 0 or more", {"lock_timeout": 0}),
        ({"slots": 0}, "give the number of directories, 1 or more", {"slots": 1}),
        (
            {"slots": 1, "role": "auto", "backend": "lmdb"},
            "choose one of them",
            {"role": "auto", "backend": "lmdb"},
        ),
        ({"role": "auto"}, "use backend='lmdb' or 'rocksdb'", {"role": "auto", "backend": "rocksdb"}),
    ],
)
def test_a_manager_is_made_as_its_error_says(
    wrong: dict[str, Any], says: str, right: dict[str, Any], tmp_path: Path
) -> None:
    with (
        pytest.raises(ConfigError, match=says),
        StoreManager(tmp_path, **{"backend": "memory", **wrong}) as stores,
    ):
        stores.open("rows")
    with StoreManager(tmp_path, **{"backend": "memory", **right}) as stores:
        assert len(stores.open("rows")) == 0
