"""Which record comes next: the shares that the distributions promise, and the same draws each time."""

from collections import Counter
from random import Random

import pytest

from statestore.bench.draws import CHOOSERS, ZIPFIAN_CONSTANT, Latest, Ranks, Zipfian, scattered, zeta

DRAWS = 20_000


@pytest.mark.parametrize("count", [1, 2, 999, 1_000, 1_001, 30_000])
def test_the_sum_of_the_zipfian_shares_is_that_of_its_terms(count: int) -> None:
    assert zeta(count) == pytest.approx(sum(1 / i**ZIPFIAN_CONSTANT for i in range(1, count + 1)), rel=1e-9)


def test_zipfian_ranks_have_their_shares() -> None:
    ranks = Ranks(Random(1))
    drawn = Counter(ranks.draw(1_000) for _ in range(DRAWS))
    for rank in (0, 1):
        expected = DRAWS / (rank + 1) ** ZIPFIAN_CONSTANT / zeta(1_000)
        assert abs(drawn[rank] - expected) < 5 * expected**0.5
    assert 0 <= min(drawn) <= max(drawn) < 1_000
    assert sum(drawn[rank] for rank in range(100)) > DRAWS * 0.6  # a tenth of the records, most of the draws


@pytest.mark.parametrize("count", [1, 2, 3, 100, 2_654_435_761])
@pytest.mark.parametrize("distribution", CHOOSERS)
def test_every_draw_is_a_record(distribution: str, count: int) -> None:
    chooser = CHOOSERS[distribution](Random(3))  # type: ignore[index]
    assert all(0 <= chooser.draw(count) < count for _ in range(200))


@pytest.mark.parametrize("distribution", CHOOSERS)
def test_a_seed_gives_the_same_draws(distribution: str) -> None:
    one, other = (CHOOSERS[distribution](Random(5)) for _ in range(2))  # type: ignore[index]
    assert [one.draw(500) for _ in range(100)] == [other.draw(500) for _ in range(100)]


def test_latest_draws_what_was_inserted_last() -> None:
    latest = Latest(Random(1))
    drawn = Counter(latest.draw(100 + number) - number for number in range(5_000))
    assert drawn.most_common(1)[0][0] == 99


def test_popular_records_lie_far_from_each_other() -> None:
    zipfian = Zipfian(Random(1))
    popular = [number for number, _ in Counter(zipfian.draw(10_000) for _ in range(DRAWS)).most_common(10)]
    assert min(abs(one - other) for one in popular for other in popular if one != other) > 1


@pytest.mark.parametrize("count", [1, 7, 100, 4_096])
def test_no_two_ranks_are_one_record(count: int) -> None:
    assert {scattered(rank, count) for rank in range(count)} == set(range(count))
