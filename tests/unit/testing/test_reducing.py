"""The fewest items that still fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from statestore.testing.machine.reducing import reduced


@given(st.sets(st.integers(0, 39), max_size=4))
def test_what_a_failure_needs_is_left_in_its_order(needed: set[int]) -> None:
    assert reduced(range(40), lambda some: needed <= set(some)) == sorted(needed)


def test_no_single_item_can_be_left_out() -> None:
    assert reduced([1, 2, 3, 4, 5], lambda some: sum(some) >= 5) == [3, 4]
    assert reduced([], lambda _: True) == []
    assert reduced([1], lambda _: False) == [1]
    assert reduced([1, 2, 3], lambda _: True) == []


def test_few_tries_are_enough() -> None:
    tries: list[int] = []

    def fails(some: list[int]) -> bool:
        tries.append(len(some))
        return {3, 60} <= set(some)

    assert reduced(range(100), fails) == [3, 60]
    assert len(tries) < 60
