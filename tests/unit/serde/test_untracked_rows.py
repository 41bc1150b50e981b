"""Rows that can be in no cycle are not tracked by the garbage collector; all others are."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import Key, core, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

pytestmark = pytest.mark.skipif(
    core.IMPLEMENTATION == "pure" or not core.uses("decoder"), reason="there is no native decoder here"
)


@entity(topic="all")
@dataclass(frozen=True, slots=True)
class All:
    id: Annotated[UUID, Key]
    text: str | None
    number: int
    ratio: float
    price: Decimal
    data: bytes
    at: datetime
    day: date
    good: bool


def row() -> All:
    at, day = datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1)
    return All(UUID(int=2**70), "text", 2**40, 0.5, Decimal("1.5"), b"data", at, day, True)


def decoded(thing: Any, count: int = 1) -> list[Any]:
    codec: EntityCodec[Any] = EntityCodec(model_of(type(thing)))
    key, payload = codec.encode(thing)
    assert codec.decoder is not None
    return list(codec.decoder.rows(iter([(key, payload)] * count), 0, 0, codec.decode))


def test_rows_of_scalars_are_not_tracked() -> None:
    (found,) = decoded(row())
    assert found == row()
    assert not gc.is_tracked(found)
    assert not gc.is_tracked(found.id)
    assert gc.is_tracked(row())  # what a program makes itself is tracked as ever


def test_the_collector_neither_sees_nor_keeps_them() -> None:
    gc.collect()
    before = len(gc.get_objects())
    rows = decoded(row(), 1000)
    assert len(gc.get_objects()) - before < 100
    holder: list[Any] = [rows.pop(), None]
    holder[1] = holder  # a cycle that holds a row
    gc.collect()
    del holder
    assert gc.collect() >= 1
    assert rows[-1] == row()


def test_copies_are_equal() -> None:
    (found,) = decoded(row())
    for made in (
        copy.copy(found),
        copy.deepcopy(found),
        pickle.loads(pickle.dumps(found)),
        dataclasses.replace(found),
    ):
        assert made == found
        assert gc.is_tracked(made)


ENDED: list[Any] = []


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Watched:
    id: Annotated[int, Key]
    text: str

    def __del__(self) -> None:
        ENDED.append(self)  # it lives on


def test_a_row_may_be_watched_and_have_a_method_for_its_end() -> None:
    entity(Watched, topic="watched")
    (found,) = decoded(Watched(1, "text"))
    assert not gc.is_tracked(found)
    told: list[object] = []
    reference = weakref.ref(found, told.append)
    ENDED.clear()
    del found
    (again,) = ENDED
    assert reference() is again
    assert not told
    ENDED.clear()
    del again  # this time its method is not called
    assert told == [reference]
    assert not ENDED


@dataclass(slots=True)
class Changeable:
    id: Annotated[int, Key]
    text: str


@dataclass(frozen=True)
class WithDict:
    id: Annotated[int, Key]
    text: str


class Place:
    __slots__ = ("other",)


@dataclass(frozen=True, slots=True)
class OtherSlot(Place):
    id: Annotated[int, Key]
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    id: Annotated[int, Key]
    text: str

    def __post_init__(self) -> None:
        pass


@pytest.mark.parametrize("cls", [Changeable, WithDict, OtherSlot, Called])
def test_rows_that_may_be_in_a_cycle_later_are_tracked(cls: Any) -> None:
    entity(cls, topic="others")
    (found,) = decoded(cls(1, "text"))
    assert found == cls(1, "text")
    assert gc.is_tracked(found)


def test_a_cycle_through_a_row_that_changes_is_freed() -> None:
    entity(Changeable, topic="others")
    codec: EntityCodec[Any] = EntityCodec(model_of(Changeable))
    (found,) = decoded(Changeable(1, "text"))
    ended = weakref.finalize(marker := Marker(), lambda: None)
    found.text = [found, marker]
    del found, marker
    gc.collect()
    assert not ended.alive
    assert codec.decoder is not None
    assert not codec.decoder.acyclic


class Marker:
    pass
