"""Persistent queries and SELECT: what is inferred, what the key is, and what is refused."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest

from statestore import F, Format, Hopping, Key, KsqlError, Query, QueryError, WindowStart, agg, entity, ksql
from statestore.ksql import PersistentQuery, Sessions
from tests.unit.ksql.shop import (
    ByCustomer,
    City,
    Counted,
    Customer,
    Living,
    Order,
    Paid,
    Payment,
    Shipped,
    Total,
    Visit,
)

COUNTS = Query.of(Order).group_by(F.customer).aggregate(orders=agg.count())
SHIPPED = Query.of(Order).join(Customer, on=F[Order].customer == F[Customer].id)
PAID = Query.of(Order).join(Payment, on=F[Order].number == F[Payment].order)


def only(query: PersistentQuery) -> ksql.Statement:
    (statement,) = query.statements()
    return statement


def faults(query: PersistentQuery) -> tuple[str, ...]:
    with pytest.raises(KsqlError) as raised:
        query.statements()
    return raised.value.faults


# Stream or table


def test_groups_are_a_table_and_other_rows_a_stream() -> None:
    assert only(PersistentQuery(COUNTS, into=ByCustomer)).action == "create table"
    assert only(PersistentQuery(Query.of(Order), into="COPY")).action == "create stream"
    assert only(PersistentQuery(Query.of(City), into="COPY")).action == "create table"
    assert only(PersistentQuery(SHIPPED, into=Shipped)).action == "create stream"
    of_tables = Query.of(Customer).join(City, on=F[Customer].city == F[City].name)
    assert only(PersistentQuery(of_tables, into=Living)).action == "create table"


def test_it_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "statestore.ksql"):
        text = PersistentQuery(COUNTS, into=ByCustomer).explain()
    assert "-- A table: it has one row for each group of a stream." in text
    assert "-- Its key: F.customer." in text
    assert "BY_CUSTOMER: A table: it has one row for each group of a stream." in caplog.messages


def test_a_table_as_a_stream_is_a_stream_over_its_topic() -> None:
    table, stream = PersistentQuery(COUNTS, into="COUNTS").as_stream().statements()
    assert (table.action, table.name) == ("create table", "COUNTS_TABLE")
    assert (stream.action, stream.name, stream.reads) == ("create stream", "COUNTS", ("COUNTS_TABLE",))
    assert table.topic == stream.topic == "COUNTS"
    assert "CUSTOMER VARCHAR KEY" in stream.text
    windowed = PersistentQuery(COUNTS, into="COUNTS", window=5, grace="3s").as_stream().statements()
    assert "WINDOW_SIZE = '5 MINUTES'" in windowed[1].text


def test_a_stream_as_a_table_is_a_table_over_its_topic() -> None:
    stream, table = PersistentQuery(Query.of(Order), into="LATEST").as_table().statements()
    assert (stream.name, table.name) == ("LATEST_STREAM", "LATEST")
    assert "NUMBER BIGINT PRIMARY KEY" in table.text
    assert PersistentQuery(Query.of(City), into="COPY").as_table().statements()[0].name == "COPY"


def test_the_class_says_what_it_is() -> None:
    (fault,) = faults(PersistentQuery(COUNTS, into=Shipped).as_stream())[-1:]
    assert "Shipped" in fault
    assert any("as_table()" in one for one in faults(PersistentQuery(SHIPPED, into=Total)))


def test_insert_and_replace() -> None:
    inserted = only(PersistentQuery(SHIPPED, into=Shipped).insert())
    assert inserted.text.startswith("INSERT INTO SHIPPED\nSELECT\n")
    assert (inserted.action, inserted.name) == ("insert into", "SHIPPED")
    turned = SHIPPED.select(F[Customer].city, F[Order].number, F[Order].customer)
    assert only(PersistentQuery(turned, into=Shipped).insert()).text == inserted.text
    replaced = only(PersistentQuery(COUNTS, into=ByCustomer).or_replace()).text
    assert replaced.startswith("CREATE OR REPLACE TABLE BY_CUSTOMER WITH (")
    assert any("insert()" in one for one in faults(PersistentQuery(COUNTS, into=ByCustomer).insert()))


# The key


@dataclass(frozen=True)
class _Keyed:
    country: Annotated[str, Key]
    customer: Annotated[str, Key]
    orders: int


def test_several_key_columns_have_the_order_of_the_class() -> None:
    right = Query.of(Order).group_by(F.country, F.customer).aggregate(orders=agg.count())
    assert "GROUP BY COUNTRY, CUSTOMER" in only(PersistentQuery(right, into=Total)).text
    wrong = Query.of(Order).group_by(F.customer, F.country).aggregate(orders=agg.count())
    (fault,) = faults(PersistentQuery(wrong, into=Total))
    assert "give both the same order" in fault
    assert "(country, customer)" in fault


def test_keys_of_several_columns_need_a_format_that_has_them() -> None:
    cls = entity(_Keyed, topic="keyed", ksql=True, key_format="kafka", value_format="json")
    query = Query.of(Order).group_by(F.country, F.customer).aggregate(orders=agg.count())
    assert any('key_format="json"' in one for one in faults(PersistentQuery(query, into=cls)))
    assert "KEY_FORMAT = 'JSON'" in only(PersistentQuery(query, into="KEYED")).text


def test_another_key_of_a_stream() -> None:
    query = Query.of(Order).select(F.customer, F.number, F.country)
    statement = only(PersistentQuery(query, into="BY_CUSTOMER", partition_by=F.customer))
    assert "PARTITION BY CUSTOMER" in statement.text
    assert [one.name for one in statement.columns if one.is_key] == ["CUSTOMER"]
    assert "PARTITION BY CUSTOMER, COUNTRY" in (
        only(PersistentQuery(query, into="X", partition_by=[F.customer, F.country])).text
    )


def test_each_key_column_is_selected_once() -> None:
    (fault,) = faults(PersistentQuery(Query.of(Order).select(F.country), into="X"))
    assert fault == (
        "select: F.number is the key of the rows, and ksqlDB wants each key column selected: add F.number"
    )
    twice = only(PersistentQuery(Query.of(Order).select(F.number, again=F.number), into="X"))
    assert "  NUMBER,\n  AS_VALUE(NUMBER) AS AGAIN\n" in twice.text


def test_of_both_sides_of_a_join_the_first_one_is_the_key() -> None:
    joined = Query.of(Order).join(Customer, on=F[Order].customer == F[Customer].id)
    query = joined.select(F[Customer].id, F[Order].customer, F[Order].number)
    statement = only(PersistentQuery(query, into="X"))
    assert [one.name for one in statement.columns if one.is_key] == ["CUSTOMER_ID"]
    # As a plain column it would be the key of what ksqlDB makes: it is left of the other one in the join.
    assert "  AS_VALUE(ORDERS.CUSTOMER) AS CUSTOMER,\n" in statement.text


def test_groups_of_none_are_no_groups_of_ksqldb() -> None:
    query = Query.of(Order).group_by(F.coupon).aggregate(n=agg.count())
    (fault,) = faults(PersistentQuery(query, into="X"))
    assert "where(~F.coupon.is_null())" in fault


def test_a_key_may_be_of_a_field_that_where_leaves_no_none_of() -> None:
    @entity(topic="coupons", ksql=True, key_format="kafka", value_format="json")
    @dataclass(frozen=True)
    class Coupon:
        coupon: Annotated[str, Key]
        n: int

    kept = Query.of(Order).where(~F.coupon.is_null(), F.pieces > 1)
    only(PersistentQuery(kept.group_by(F.coupon).aggregate(n=agg.count()), into=Coupon))
    all_ = Query.of(Order).group_by(F.coupon).aggregate(n=agg.count())
    assert any("can be None" in one for one in faults(PersistentQuery(all_, into=Coupon)))


# Joins


def test_a_join_of_streams_is_within_a_time() -> None:
    assert any("within=" in one for one in faults(PersistentQuery(PAID, into=Paid)))
    text = only(PersistentQuery(PAID, into=Paid, within="1h")).text
    assert "JOIN PAYMENTS WITHIN 1 HOUR ON ORDERS.NUMBER = PAYMENTS.ORDER" in text.replace("`", "")
    text = only(PersistentQuery(PAID, into=Paid, within=("0s", "1d"), grace="1min")).text
    assert "WITHIN (0 SECONDS, 1 DAY) GRACE PERIOD 1 MINUTE ON" in text
    assert any("within=" in one for one in faults(PersistentQuery(SHIPPED, into=Shipped, within="1h")))


def test_a_left_join_of_streams_needs_its_grace() -> None:
    joined = Query.of(Order).left_join(Payment, on=F[Order].number == F[Payment].order)
    query = joined.select(F.number, F.customer)
    assert any("grace='0s'" in one for one in faults(PersistentQuery(query, into="X", within="1h")))
    text = only(PersistentQuery(query, into="X", within="1h", grace="0s")).text
    assert "LEFT JOIN PAYMENTS WITHIN 1 HOUR GRACE PERIOD 0 SECONDS ON" in text


def test_three_sources() -> None:
    joined = SHIPPED.join(Payment, on=F[Order].number == F[Payment].order)
    query = joined.select(F[Order].number, F[Customer].city, paid=F[Payment].order)
    text = only(PersistentQuery(query, into="X", within="1h")).text
    assert text.count("JOIN ") == 2
    assert "  ORDERS.NUMBER AS NUMBER,\n  CUSTOMERS.CITY AS CITY,\n" in text


@entity(topic="stock", ksql=True, key_format="json", value_format="json")
@dataclass(frozen=True)
class Stock:
    city: Annotated[str, Key]
    shop: Annotated[str, Key]
    pieces: int


@entity(topic="numbered", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Numbered:
    id: Annotated[int, Key]


JOINS: list[tuple[Query[Any], str]] = [
    (
        Query.of(Order).join(
            Stock, on=(F[Order].country == F[Stock].city) & (F[Order].customer == F[Stock].shop)
        ),
        "ksqlDB joins by one column, not by several",
    ),
    (Query.of(Order).join(City, on=F[Order].number == F[City].people), "is not the key of City (name)"),
    (
        Query.of(Order).join(Stock, on=F[Order].country == F[Stock].city),
        "is not the key of Stock (city, shop)",
    ),
    (Query.of(Customer).join(Order, on=F[Customer].id == F[Order].customer), "begin with the stream"),
    (Query.of(Order).join(Numbered, on=F[Order].pieces == F[Numbered].id), "INT in ksqlDB"),
    (Query.of(Order).join(Numbered, on=F[Order].number + 1 == F[Numbered].id), "is computed"),
    (
        Query.of(Customer)
        .join(City, on=F[Customer].city == F[City].name)
        .join(ByCustomer, on=F[Customer].id == F[ByCustomer].customer),
        "joins no third table by a foreign key",
    ),
    (Query.of(Order).left_join(City, on=F[Order].coupon == F[City].name), "can be None"),
]


@pytest.mark.parametrize(("query", "reason"), JOINS, ids=[one for _, one in JOINS])
def test_joins_that_ksqldb_does_not_have(query: Query[Any], reason: str) -> None:
    found = faults(PersistentQuery(query, into="X"))
    assert any(reason in one for one in found)


def test_times_of_two_formats_are_not_joined() -> None:
    of_ksqldb: Any = {"ksql": True, "key_format": "json", "value_format": "json"}

    @entity(topic="german", **of_ksqldb)
    @dataclass
    class German:
        day: Annotated[datetime, Format("%d.%m.%Y"), Key]

    @entity(topic="iso", **of_ksqldb)
    @dataclass
    class Iso:
        day: Annotated[datetime, Format("%Y-%m-%d"), Key]
        n: int

    query = Query.of(German).join(Iso, on=F[German].day == F[Iso].day).select(F[German].day, F[Iso].n)
    assert any("another Format" in one for one in faults(PersistentQuery(query, into="X")))


def test_topics_of_other_numbers_of_partitions() -> None:
    @entity(topic="twelve", ksql=True, key_format="kafka", value_format="json", partitions=12)
    @dataclass
    class Twelve:
        id: Annotated[str, Key]

    query = Query.of(Order).join(Twelve, on=F[Order].customer == F[Twelve].id)
    assert any(
        "Order has 6 partitions, and Twelve 12" in one for one in faults(PersistentQuery(query, into="X"))
    )


def test_no_join_with_itself() -> None:
    class Boss(City):
        pass

    query = Query.of(City).join(Boss, on=F[City].name == F[Boss].name)
    assert any("with itself" in one for one in faults(PersistentQuery(query, into="X")))


# Windows


def test_windows() -> None:
    def clause(**arguments: Any) -> str:
        text = only(PersistentQuery(COUNTS, into="X", **arguments)).text
        return next(line for line in text.splitlines() if line.startswith("WINDOW"))

    assert clause(window=5) == "WINDOW TUMBLING (SIZE 5 MINUTES)"
    assert clause(window="1d", retention="7d", grace=timedelta(milliseconds=1500)) == (
        "WINDOW TUMBLING (SIZE 1 DAY, RETENTION 7 DAYS, GRACE PERIOD 1500 MILLISECONDS)"
    )
    assert clause(window=Hopping("1h", "5min"), grace="0s") == (
        "WINDOW HOPPING (SIZE 1 HOUR, ADVANCE BY 5 MINUTES, GRACE PERIOD 0 SECONDS)"
    )
    assert clause(window=Sessions("30min")) == "WINDOW SESSION (30 MINUTES)"


def test_the_clauses_of_a_window_come_before_where() -> None:
    text = only(PersistentQuery(COUNTS, into=Counted, window=5, grace="3s", window_start="opened")).text
    assert text.index("FROM ORDERS") < text.index("WINDOW TUMBLING") < text.index("GROUP BY CUSTOMER")
    assert "FROM_UNIXTIME(WINDOWSTART) AS OPENED" in text
    assert text.startswith("CREATE TABLE IF NOT EXISTS COUNTS_5MIN WITH (")
    assert "KAFKA_TOPIC = 'counts'" in text
    visits = only(PersistentQuery(COUNTS, into=Visit, window=Sessions(30)))
    assert visits.name == "VISITS_SESSIONS"


def test_finals() -> None:
    statement = only(PersistentQuery(COUNTS, into="X", window=5, emit="final"))
    assert statement.text.endswith("EMIT FINAL;")
    assert any("24 hours" in one for one in statement.notes)


@entity(topic="closed", windows=[5], ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Closed:
    customer: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    orders: int


WINDOWS: list[tuple[PersistentQuery, str]] = [
    (PersistentQuery(COUNTS, into="X", window="1w"), "a week begins on a Monday here"),
    (PersistentQuery(COUNTS, into="X", window="5m"), "minutes are 'min'"),
    (PersistentQuery(COUNTS, into="X", window=5, grace=3), "grace=3: give a length with its unit"),
    (
        PersistentQuery(COUNTS, into="X", window=5, grace="1min", retention="5min"),
        "retention=5 MINUTES is shorter",
    ),
    (PersistentQuery(COUNTS, into="X", grace="1min"), "requires window="),
    (PersistentQuery(COUNTS, into="X", retention="1d"), "requires window="),
    (PersistentQuery(COUNTS, into="X", window_start="at"), "requires window="),
    (PersistentQuery(COUNTS, into="X", emit="final"), "emit='final'"),
    (PersistentQuery(Query.of(Order), into="X", window=5), "group_by"),
    (
        PersistentQuery(Query.of(City).group_by(F.people).aggregate(n=agg.count()), into="X", window=5),
        "streams only",
    ),
    (PersistentQuery(COUNTS, into=ByCustomer, window=5), "window_layout='sink'"),
    (PersistentQuery(COUNTS, into=Counted), "the class has windows"),
    (
        PersistentQuery(COUNTS, into=Counted, window=1, window_start="opened"),
        "none of the class's windows (5min)",
    ),
    (PersistentQuery(COUNTS, into=Closed, window=5), "emit='final'"),
    (PersistentQuery(COUNTS, into=Counted, window=5, window_start="when"), "has no such field"),
    (PersistentQuery(COUNTS, into="X", window=5, window_start="customer"), "is another column, too"),
    (
        PersistentQuery(Query.of(Counted).where(F.orders > 3), into="X"),
        "no persistent queries over tables of windows",
    ),
]


@pytest.mark.parametrize(("query", "reason"), WINDOWS)
def test_windows_that_ksqldb_does_not_have(query: PersistentQuery, reason: str) -> None:
    assert any(reason in one for one in faults(query))


# What runs locally only


LOCAL: list[tuple[Query[Any], str]] = [
    (Query.of(City).where(lambda city: bool(city.people)), "where("),
    (Query.of(City).map(lambda city: city.name), "map("),
    (Query.of(City).order_by(F.people.desc()), "order_by(F.people.desc())"),
    (Query.of(City).skip(2), "skip(2)"),
]


@pytest.mark.parametrize(("query", "clause"), LOCAL, ids=[clause for _, clause in LOCAL])
def test_clauses_that_run_locally_only(query: Query[Any], clause: str) -> None:
    for call in (query.to_ksql, PersistentQuery(query, into="X").to_ksql):
        with pytest.raises(KsqlError) as raised:
            call()
        assert clause in str(raised.value)
        assert "locally only" in str(raised.value)


def test_a_limit_is_for_what_returns_rows() -> None:
    assert Query.of(City).take(3).to_ksql().endswith("FROM CITIES\nLIMIT 3;")
    assert any("take(3)" in one for one in faults(PersistentQuery(Query.of(City).take(3), into="X")))


# SELECT


def test_pull_and_push() -> None:
    query = Query.of(City).select(F.name)
    assert query.to_ksql() == "SELECT\n  NAME\nFROM CITIES;"
    assert query.to_ksql("changes") == "SELECT\n  NAME\nFROM CITIES\nEMIT CHANGES;"
    statement = ksql.select(query)
    assert (statement.action, statement.name, statement.reads) == ("select", "", ("CITIES",))
    with pytest.raises(KsqlError, match="emit='final'"):
        query.to_ksql("final")
    for grouped in (COUNTS, SHIPPED.select(F[Order].number)):
        with pytest.raises(KsqlError, match="a pull query of ksqlDB has none"):
            grouped.to_ksql()
        assert grouped.to_ksql("changes").endswith("EMIT CHANGES;")


def test_windows_are_neither_joined_nor_grouped() -> None:
    for query in (
        Query.of(Counted).group_by(F.customer).aggregate(n=agg.count()),
        Query.of(Counted).join(Customer, on=F[Counted].customer == F[Customer].id).select(F[Customer].city),
    ):
        with pytest.raises(KsqlError, match="neither joins nor groups tables of windows"):
            query.to_ksql("changes")


def test_joined_rows_need_columns() -> None:
    with pytest.raises(KsqlError, match="write select"):
        SHIPPED.to_ksql("changes")


# What fits


def test_the_columns_are_those_of_the_class() -> None:
    few = Query.of(Order).group_by(F.customer).aggregate(n=agg.count())
    found = faults(PersistentQuery(few, into=ByCustomer))
    assert any("has no field 'n'" in one for one in found)
    assert any("ByCustomer.orders has no value" in one for one in found)
    wrong = Query.of(Order).group_by(F.customer).aggregate(orders=agg.max(F.country))
    assert any("is declared int" in one for one in faults(PersistentQuery(wrong, into=ByCustomer)))
    none = Query.of(Order).group_by(F.customer).aggregate(orders=agg.max(F.number))
    only(PersistentQuery(none, into=ByCustomer))
    two = Query.of(Order).select(F.number, a=F.customer, A=F.country)
    assert any("both A in ksqlDB" in one for one in faults(PersistentQuery(two, into="X")))
    system = Query.of(Order).select(F.number, rowtime=F.customer)
    assert any("ROWTIME" in one for one in faults(PersistentQuery(system, into="X")))


def test_one_row_for_all_is_no_table() -> None:
    query = Query.of(Order).aggregate(n=agg.count())
    assert any("one row for all" in one for one in faults(PersistentQuery(query, into="X")))
    assert query.to_ksql("changes") == "SELECT\n  COUNT(*) AS N\nFROM ORDERS\nEMIT CHANGES;"


def test_arguments_of_another_kind() -> None:
    with pytest.raises(KsqlError, match="give a query value"):
        PersistentQuery(Order, into="X")  # type: ignore[arg-type]
    with pytest.raises(KsqlError, match="give an entity class"):
        PersistentQuery(COUNTS, into=5)  # type: ignore[arg-type]
    with pytest.raises(KsqlError, match="emit='never'"):
        PersistentQuery(COUNTS, into="X", emit="never")  # type: ignore[arg-type]
    with pytest.raises(KsqlError, match="window="):
        PersistentQuery(COUNTS, into="X", window=object())  # type: ignore[arg-type]
    with pytest.raises(KsqlError, match="partition_by"):
        PersistentQuery(COUNTS, into="X", partition_by="customer")  # type: ignore[arg-type]
    with pytest.raises(KsqlError, match=r"partition_by: F\.custmer"):
        PersistentQuery(Query.of(Order), into="X", partition_by=F.custmer)
    with pytest.raises(QueryError):
        Query.of(Order).group_by(F.nothing)
    assert any("letters, digits" in one for one in faults(PersistentQuery(COUNTS, into="a b")))
    assert any(
        "reads ORDERS itself" in one for one in faults(PersistentQuery(Query.of(Order), into="ORDERS"))
    )


def test_queries_are_values() -> None:
    one, other = (PersistentQuery(COUNTS, into=ByCustomer, window=5, grace="3s") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.as_stream()
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one.as_stream()).endswith(", into=ByCustomer, window=5, grace='3s').as_stream()")
