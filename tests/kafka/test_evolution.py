"""Stores and topics that an older class wrote, read by a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import (
    Alias,
    DecodeError,
    Key,
    StartupError,
    StoreIdentityError,
    StoreManager,
    entity,
)
from statestore.testing.kafka import Broker
from statestore.testing.registry import StandInRegistry

pytestmark = pytest.mark.kafka

TIMEOUT = 60.0
FORMATS = ("msgpack", "json", "avro")


@dataclass(frozen=True)
class Written:
    """A topic and a store that the older class has written."""

    topic: str
    value_format: str
    open: Callable[..., StoreManager]

    def declare(self, *fields: Any) -> Any:
        cls = make_dataclass("Row", [("id", Annotated[int, Key]), *fields], frozen=True)
        return entity(cls, topic=self.topic, value_format=self.value_format)


@pytest.fixture(params=FORMATS)
def written(
    request: pytest.FixtureRequest, broker: Broker, topic: Callable[..., str], tmp_path: Path
) -> Iterator[Written]:
    name = topic("rows")
    with StandInRegistry() as registry:

        def open_(directory: str, *entities: Any) -> StoreManager:
            settings = {"schema_registry": {"url": registry.url}}
            return StoreManager(
                tmp_path / directory, broker.bootstrap, entities=entities, wait=TIMEOUT, settings=settings
            )

        written = Written(name, request.param, open_)
        older = written.declare(("qty", int), ("text", str))
        with open_("writer") as writer:
            writer.ensure_topics(older)
            writer.add_all([older(1, 10, "one"), older(2, 20, "two")])
        with open_("state", older) as stores:
            assert stores.bind(older).count() == 2
        yield written


@pytest.mark.parametrize("directory", ["state", "anew"], ids=["store", "topic"])
def test_added_removed_and_renamed_fields(written: Written, directory: str) -> None:
    newer = written.declare(("amount", Annotated[int, Alias("qty")]), ("note", str | None, None))
    with written.open(directory, newer) as stores:
        rows = stores.bind(newer)
        assert rows.to_list() == [newer(1, 10, None), newer(2, 20, None)]
        rows.add(newer(3, 30, "new"), wait=True, timeout=TIMEOUT)
    with written.open(directory, newer) as stores:
        rows = stores.bind(newer)
        assert rows.to_list() == [newer(1, 10, None), newer(2, 20, None), newer(3, 30, "new")]


def test_a_type_that_gets_wider(written: Written) -> None:
    newer = written.declare(("qty", float | None), ("text", str))
    with written.open("state", newer) as stores:
        assert stores.bind(newer).get(2) == newer(2, 20.0, "two")


def test_another_type_is_refused_by_the_store_and_told_of_the_topics_records(written: Written) -> None:
    newer = written.declare(("qty", str), ("text", str))
    with pytest.raises(StartupError, match="field qty is int, but in the class str") as caught:
        written.open("state", newer)
    assert isinstance(caught.value.__cause__, StoreIdentityError)
    with written.open("anew", newer) as stores, pytest.raises(DecodeError, match=r"Row\.qty"):
        stores.bind(newer).to_list()


def test_a_removed_field_does_not_come_back_as_another(written: Written) -> None:
    without = written.declare(("text", str))
    with written.open("state", without) as stores:
        assert stores.bind(without).get(1) == without(1, "one")
    with pytest.raises(StartupError, match="field qty is int, but in the class list"):
        written.open("state", written.declare(("text", str), ("qty", list[int] | None, None)))
