"""Collections that keep none of their objects alive."""

from __future__ import annotations

from statestore.runtime.weak import LivingValues


class One:
    pass


def test_an_object_is_known_by_its_key_for_as_long_as_it_lives() -> None:
    known: LivingValues[str, One] = LivingValues()
    assert known.get("a") is None
    known.remove("a")
    first = One()
    known.put("a", first)
    assert known.get("a") is first
    del first
    assert known.get("a") is None
    assert not known._known, "an entry is left"


def test_the_end_of_an_earlier_object_takes_a_later_one_of_the_key_not_away() -> None:
    known: LivingValues[str, One] = LivingValues()
    first, second = One(), One()
    known.put("a", first)
    known.put("a", second)
    del first
    assert known.get("a") is second
    known.remove("a")
    assert known.get("a") is None
