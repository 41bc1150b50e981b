"""Groups: what ksqlDB refuses of them after it has read the statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest

from statestore import F, Key, KsqlError, Query, WindowStart, agg, entity, ksql
from statestore.fields.windows import Window
from statestore.ksql import PersistentQuery
from tests.unit.ksql.shop import Counted, Customer, Order


def faults(query: PersistentQuery | Query[Any]) -> tuple[str, ...]:
    with pytest.raises(KsqlError) as caught:
        query.to_ksql() if isinstance(query, PersistentQuery) else query.to_ksql("changes")
    return caught.value.faults


BY_CUSTOMER = Query.of(Order).group_by(F.customer).aggregate(n=agg.count())
BY_DOZENS = Query.of(Order).group_by(dozens=F.pieces * 12).aggregate(n=agg.count())


def test_groups_have_an_aggregate_in_select_or_having() -> None:
    assert faults(BY_CUSTOMER.select(F.customer)) == (
        "select: it has no aggregate, and ksqlDB wants one of groups: select one, too, such as F.n",
    )
    assert "GROUP BY" in BY_CUSTOMER.select(F.customer, F.n).to_ksql("changes")
    assert "HAVING COUNT(*) > 1" in BY_CUSTOMER.having(F.n > 1).select(F.customer).to_ksql("changes")


def test_no_key_is_there_twice() -> None:
    twice = Query.of(Order).group_by(F.customer, again=F.customer).aggregate(n=agg.count())
    assert faults(twice) == (
        "group_by: F.customer is there twice, which ksqlDB refuses: leave one out, and write "
        "select(…, again=F.customer) for a second column",
    )
    remedy = BY_CUSTOMER.select(F.customer, F.n, again=F.customer)
    assert "AS_VALUE(CUSTOMER) AS AGAIN" in PersistentQuery(remedy, into="X").to_ksql()
    moved = PersistentQuery(Query.of(Order), into="X", partition_by=[F.customer, F.customer])
    assert [one[:40] for one in faults(moved)] == ["partition_by: F.customer is there twice,"]


def test_a_computed_key_comes_before_aggregates_or_is_refused_beside_one() -> None:
    text = BY_DOZENS.having((F.n > 1) & (F.dozens > 3)).to_ksql("changes")
    assert "HAVING (CAST(PIECES AS BIGINT) * 12) > 3 AND COUNT(*) > 1" in text
    assert [one[:8] for one in faults(BY_DOZENS.having(F.n > F.dozens))] == ["having: "]
    (fault,) = faults(BY_DOZENS.select(F.dozens, sum=F.n + F.dozens))
    assert "select dozens as a column in a PersistentQuery before, and group by that" in fault
    assert "COUNT(*) + NUMBER" in (
        Query.of(Order)
        .group_by(F.number)
        .aggregate(n=agg.count())
        .select(sum=F.n + F.number)
        .to_ksql("changes")
    )


@entity(topic="raw", kind="stream", ksql=True, key_format="kafka", value_format="kafka")
@dataclass(frozen=True)
class Raw:
    id: Annotated[str, Key]
    n: int


@entity(topic="bars", source=Raw, windows=[1], grace=3, ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Bar:
    id: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    highest: Annotated[int, agg.max(F.n)]


def test_values_of_kafka_are_neither_grouped_nor_joined() -> None:
    assert "WHERE N > 1" in Query.of(Raw).where(F.n > 1).to_ksql("changes")
    (fault,) = faults(Query.of(Raw).group_by(F.id).aggregate(n=agg.count()))
    assert fault.startswith('group_by: Raw has value_format="kafka"')
    joined = Query.of(Raw).join(Customer, on=F[Raw].id == F[Customer].id)
    (fault,) = faults(joined.select(F[Raw].id, F[Raw].n))
    assert fault.startswith("join: Raw has")
    with pytest.raises(KsqlError, match="source=Raw: Raw has value_format"):
        ksql.statements(Bar)


def test_values_of_kafka_are_one_field() -> None:
    @entity(topic="two", kind="stream", ksql=True, key_format="kafka", value_format="kafka")
    @dataclass(frozen=True)
    class Two:
        id: Annotated[str, Key]
        n: int
        m: int

    with pytest.raises(KsqlError, match="is for one value field, and there are n, m"):
        ksql.create(Two)


@entity(topic="tagged", kind="stream", ksql=True, key_format="json", value_format="json")
@dataclass(frozen=True)
class Tagged:
    id: Annotated[str, Key]
    tags: dict[str, int]


def test_no_key_has_a_map() -> None:
    (fault,) = faults(PersistentQuery(Query.of(Tagged), into="X", partition_by=F.tags))
    assert fault == "F.tags is MAP<VARCHAR, BIGINT> in ksqlDB, which no key can be: take a part of it"
    query = Query.of(Tagged).select(F.id, tag=F.tags["a"])
    assert "PARTITION BY TAGS['a']" in PersistentQuery(query, into="X", partition_by=F.tags["a"]).to_ksql()


@pytest.mark.parametrize("argument", ["window_start", "window_end"])
@pytest.mark.parametrize("given", [5, "", b"x", [], Order])
def test_a_column_for_a_bound_has_a_name(argument: str, given: Any) -> None:
    with pytest.raises(KsqlError, match=f"{argument}=.*: give the name of a column"):
        PersistentQuery(BY_CUSTOMER, into="X", window=5, **{argument: given})


def test_a_limit_is_a_number_of_32_bits() -> None:
    assert Query.of(Order).take(2**31 - 1).to_ksql().endswith("LIMIT 2147483647;")
    assert faults(Query.of(Order).take(2**31)) == (
        "take(2147483648): LIMIT of ksqlDB is at most 2147483647: leave take out",
    )


@entity(topic="lettered", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Lettered:
    id: Annotated[str, Key]
    v: str | None
    v0: int


def test_the_argument_of_a_lambda_is_no_column() -> None:
    query = Query.of(Lettered).group_by(F.id).aggregate(all=agg.collect_list(F.v), mean=agg.avg(F.v0))
    (statement,) = PersistentQuery(query, into="X").statements()
    assert "FILTER(COLLECT_LIST(V), (V1) => V1 IS NOT NULL)" in statement.text
    assert any("beyond 64 bits wraps around" in note for note in statement.notes)


def test_a_name_is_that_of_a_topic_too() -> None:
    assert len(PersistentQuery(Query.of(Order), into="A" * 249).statements()) == 1
    (fault,) = faults(PersistentQuery(Query.of(Order), into="A" * 250))
    assert "at most 249 characters" in fault


def test_a_class_without_windows_has_none_to_choose() -> None:
    with pytest.raises(KsqlError, match=r"Customer has no windows: leave window=.* out"):
        ksql.create(Customer, window=Window(timedelta(minutes=5), "5min"))


@pytest.mark.parametrize("argument", ["window_start", "window_end"])
def test_a_field_that_the_key_fills_is_no_column_for_a_bound(argument: str) -> None:
    query = Query.of(Order).group_by(F.customer).aggregate(orders=agg.count(), opened=agg.max(F.placed))
    given: dict[str, Any] = {argument: "start"}
    (fault,) = faults(PersistentQuery(query, into=Counted, window=5, **given))
    assert fault == f"{argument}='start': Counted has it from the key of the topic: leave {argument}= out"
