"""Any query that can be built: it is translated clause by clause, or refused."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from statestore import F, Hopping, KsqlError, Query, agg
from statestore.ksql import PersistentQuery, Sessions
from tests.unit.ksql.lexer import Token, tokens
from tests.unit.ksql.shop import ByCustomer, City, Counted, Customer, Order, Payment, Shipped, Total, Visit

CLAUSES = ("SELECT", "FROM", "WINDOW", "WHERE", "GROUP", "PARTITION", "HAVING", "EMIT", "LIMIT")

JOINS: list[Query[Any]] = [
    Query.of(Order).join(Customer, on=F[Order].customer == F[Customer].id),
    Query.of(Order).left_join(Payment, on=F[Order].number == F[Payment].order),
    Query.of(Customer).join(City, on=F[Customer].city == F[City].name),
    Query.of(Order)
    .join(Customer, on=F[Order].customer == F[Customer].id)
    .left_join(City, on=F[Order].country == F[City].name),
]
"""Queries with joins; where ``Order`` is in them, its fields are those that are drawn."""


def constants() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.text(max_size=20), st.sampled_from(["it's", "--", ";", "`", "'; DROP STREAM ORDERS; --"])
    )


@st.composite
def conditions(draw: st.DrawFn, text: Any, number: Any) -> Any:
    value = draw(constants())
    many = [text == value, text.in_([value, "x"]), text.startswith(value), number > draw(st.integers())]
    return draw(st.sampled_from([*many, ~many[0] | many[3]]))


@st.composite
def queries(draw: st.DrawFn, *, is_local: bool = True) -> Any:
    """A query of one entity or several, with any of the clauses."""
    query: Any = draw(st.sampled_from([Query.of(Order), Query.of(City), *JOINS]))
    field = F[query.entity]
    names = {Order: ("customer", "number"), Customer: ("city", "id"), City: ("name", "people")}[query.entity]
    first, second = field[names[0]], field[names[1]]
    if query.entity is not Customer and draw(st.booleans()):
        query = query.where(draw(conditions(first, second)))
    if draw(st.booleans()):
        query = query.where(~first.is_null())
        places = draw(st.sampled_from([[0], [1, 0]]))
        keys = [(first, second)[place] for place in places]
        wanted = [agg.count(), agg.count(second), agg.last(second), agg.topk(second, 3)]
        query = query.group_by(*keys).aggregate(orders=draw(st.sampled_from(wanted)), n=agg.count())
        if draw(st.booleans()):
            query = query.having(F.n > 2)
        if draw(st.booleans()):
            query = query.select(*(F[names[place]] for place in places), twice=F.n * 2)
    elif query.joins or draw(st.booleans()):
        query = query.select(
            *draw(st.sampled_from([(first, second), (second, first), (first,)])), again=second
        )
    if not is_local or query.columns is not None:
        return query
    term = first if query.keys is None else F.n
    others = [query.take(3), query.skip(1), query.map(len), query.order_by(term)]
    return draw(st.sampled_from([query, query, query, *others]))


ODD: dict[str, list[Any]] = {
    "into": [ByCustomer, Counted, Shipped, Total, Visit, "", "a b"],
    "window": ["1w", "nonsense", 5],
    "grace": ["3s", 3],
    "retention": ["7d", "1s"],
    "window_start": ["opened", "windowstart"],
    "within": ["1h"],
    "partition_by": [F.customer],
    "emit": ["final"],
}
"""Arguments that few queries can have."""


@st.composite
def persistent(draw: st.DrawFn) -> PersistentQuery:
    """A persistent query, most of which ksqlDB has; now and then one with an odd argument."""
    query = draw(queries(is_local=False))
    arguments: dict[str, Any] = {"into": draw(st.sampled_from(["MADE", "made-by-us"]))}
    is_stream = query.entity is Order
    if is_stream and query.keys and draw(st.booleans()):
        arguments["window"] = draw(st.sampled_from([5, "1d", Hopping(5, 1), Sessions("30min")]))
        arguments["grace"] = draw(st.sampled_from([None, "3s", "0s"]))
        arguments["retention"] = draw(st.sampled_from([None, "7d"]))
        arguments["window_start"] = draw(st.sampled_from([None, "opened"]))
        arguments["emit"] = draw(st.sampled_from(["changes", "final"]))
    if any(join.entity is Payment for join in query.joins):
        arguments |= {"within": draw(st.sampled_from(["1h", ("0s", "1h")])), "grace": "1min"}
    if is_stream and not query.keys and draw(st.booleans()):
        arguments["partition_by"] = F[Order].customer
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(ODD)))
        arguments[name] = draw(st.sampled_from(ODD[name]))
    try:
        made = PersistentQuery(query, **arguments)
    except KsqlError:
        made = PersistentQuery(Query.of(City), into="MADE")
    ways: list[PersistentQuery] = [made, made.as_stream(), made.as_table(), made.or_replace(), made.insert()]
    return draw(st.sampled_from(ways))


def clauses_of(found: list[Token]) -> list[str]:
    """Return the clauses of the first SELECT, in their order."""
    depth = 0
    clauses: list[str] = []
    for token in found:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        is_clause = token.kind == "keyword" and token.text in CLAUSES and depth == 0
        if is_clause and (clauses or token.text == "SELECT"):
            clauses.append(token.text)
    return clauses


def check(text: str, expected: dict[str, bool]) -> None:
    found = tokens(text)
    assert [one.text for one in found if one.kind == "sign"].count(";") == 1
    assert found[-1].text == ";"
    clauses = clauses_of(found)
    wanted = {"SELECT": True, "FROM": True, **expected}
    assert clauses == [one for one in CLAUSES if wanted.get(one)]


@given(queries(), st.sampled_from([None, "changes"]))
@example(Query.of(City).where(F.name == "'; DROP TABLE CITIES; --").take(1), None)
def test_each_clause_of_a_query_is_in_its_select(query: Query[Any], emit: Any) -> None:
    try:
        text = query.to_ksql(emit)
    except KsqlError:
        return
    assert not any((query.predicates, query.functions, query.order, query.skipped))
    check(
        text,
        {
            "WHERE": query.condition is not None,
            "GROUP": bool(query.keys),
            "HAVING": query.group_condition is not None,
            "EMIT": emit is not None,
            "LIMIT": query.limit is not None,
        },
    )


@given(persistent())
def test_each_clause_of_a_persistent_query_is_in_its_statement(given_query: PersistentQuery) -> None:
    try:
        first, *others = given_query.statements()
    except KsqlError:
        return
    query = given_query.query
    assert query.limit is None
    check(
        first.text,
        {
            "WINDOW": given_query.window is not None,
            "WHERE": query.condition is not None,
            "GROUP": bool(query.keys),
            "PARTITION": bool(given_query.partition_by),
            "HAVING": query.group_condition is not None,
            "EMIT": True,
        },
    )
    words = [one.text for one in tokens(first.text)]
    assert words.count("JOIN") == len(query.joins)
    assert ("GRACE" in words) == (given_query.grace is not None)
    assert ("RETENTION" in words) == (given_query.retention is not None)
    assert ("WITHIN" in words) == (given_query.within is not None)
    assert ("WINDOWSTART" in words) == (given_query.window_start is not None)
    for one in others:
        tokens(one.text)
