"""Which writes with ``unless_newer_than`` are let through. No broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import pytest

from statestore import Key, NewerRecordError, entity
from statestore.delivery import Delivery
from statestore.entity import model_of
from statestore.producing.encoding import BoundStore, Encoder
from statestore.producing.unless_newer import NewerRecords
from statestore.producing.watch import DeliveryWatch
from statestore.serde.entities import EntityCodec


@entity(topic="stock")
@dataclass(frozen=True, slots=True)
class Stock:
    item: Annotated[str, Key]
    left: int = 0


class Read(NamedTuple):
    value: Stock
    timestamp: datetime | None = datetime(2024, 1, 1, tzinfo=UTC)


class Mirror:
    """The table of the topic: its log, its position, its rows."""

    def __init__(self) -> None:
        self.topic_id: str | None = "first"
        self.positions: dict[int, int] = {0: 0}
        self.rows: dict[str, Read] = {}

    def delivered(self, positions: Mapping[int, int], deliveries: Iterable[Delivery]) -> None:
        pass


class Writer:
    """One process that writes and has a table."""

    def __init__(self) -> None:
        self.mirror = Mirror()
        watch = DeliveryWatch()
        watch.add("stock", self.mirror)
        store = BoundStore(
            "stock", "memory", 1000, cls=Stock, record_of=lambda key: self.mirror.rows.get(*key)
        )
        self._newer = NewerRecords({"stock": store}, watch)
        self._encoder = Encoder(model_of(Stock), EntityCodec(model_of(Stock)), 1000)

    def write(self, row: Stock, read: Any, offset: int) -> None:
        claim = self._newer.claim(self._encoder, row, (row.item,), read)
        claim.delivered(Delivery("stock", 0, offset, 0))
        claim.release()

    def apply(self, row: Stock, offset: int) -> None:
        self.mirror.rows[row.item] = Read(row)
        self.mirror.positions[0] = offset + 1


@pytest.fixture
def writer() -> Writer:
    return Writer()


def test_the_next_write_waits_for_the_record_of_this_one(writer: Writer) -> None:
    writer.apply(Stock("tea", 10), offset=6)
    read = writer.mirror.rows["tea"]
    writer.write(Stock("tea", 9), read, offset=7)
    with pytest.raises(
        NewerRecordError, match=r"written one \(partition 0, offset 7\), which the table has not"
    ):
        writer.write(Stock("tea", 8), read, offset=8)
    writer.apply(Stock("tea", 9), offset=7)
    writer.write(Stock("tea", 8), writer.mirror.rows["tea"], offset=8)


@pytest.mark.parametrize(
    ("before", "after", "position"),
    [("first", "second", 7), ("first", "second", 3), (None, None, 3)],
    ids=["as long", "shorter", "shorter, and the broker tells no ids"],
)
def test_of_a_topic_that_was_created_anew_no_earlier_write_is_waited_for(
    writer: Writer, before: str | None, after: str | None, position: int
) -> None:
    writer.mirror.topic_id = before
    writer.apply(Stock("tea", 10), offset=6)
    writer.write(Stock("tea", 9), writer.mirror.rows["tea"], offset=7)
    writer.mirror.topic_id = after
    writer.mirror.positions = {}
    with pytest.raises(NewerRecordError, match="has not applied yet"):
        writer.write(Stock("tea", 8), writer.mirror.rows["tea"], offset=0)
    writer.apply(Stock("tea", 5), offset=position - 1)
    writer.write(Stock("tea", 4), writer.mirror.rows["tea"], offset=position)


def test_a_row_is_written_first_only_where_there_is_none(writer: Writer) -> None:
    writer.write(Stock("tea", 10), None, offset=0)
    with pytest.raises(NewerRecordError, match="has not applied yet"):
        writer.write(Stock("tea", 1), None, offset=1)
    writer.apply(Stock("tea", 10), offset=0)
    with pytest.raises(
        NewerRecordError, match=r"since no record was read, the table has applied one"
    ) as refused:
        writer.write(Stock("tea", 1), None, offset=1)
    assert refused.value.read is None
    assert refused.value.found == Read(Stock("tea", 10))
