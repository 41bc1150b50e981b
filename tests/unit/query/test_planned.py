"""Every query gives by its plan what looking at each row gives, on every engine and key format."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import F, Query, agg
from statestore.expressions.evaluation import evaluate
from statestore.expressions.expr import Condition, Expr
from statestore.query import plan
from tests.unit.query.tables import COMPARE, KEYS, POOLS, constants_of, filled, in_order

# Random rows and queries

SMALL = st.sampled_from([-1, 0, 1, 2])
VALUES = (
    st.none() | SMALL,
    st.sampled_from([Decimal("0.5"), Decimal(1), Decimal(2), Decimal("-3.25")]),
    st.none() | st.sampled_from([0.5, 1.0, -2.0]),
    st.sampled_from(["", "a", "ab%", "b_", "ba"]),
    st.booleans(),
)


def rows_of(cls: type[Any], kinds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.builds(cls, *[st.sampled_from(POOLS[kind]) for kind in kinds], *VALUES)


def keys_of(kinds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.tuples(*[st.sampled_from(POOLS[kind]) for kind in kinds])


@st.composite
def one_condition(
    draw: Callable[[Any], Any], field: Any, of: st.SearchStrategy[Any], is_text: bool
) -> Condition:
    """A condition on one field."""
    kind = draw(
        st.sampled_from(["compare", "flipped", "in", "between", "either", "text" if is_text else "compare"])
    )
    if kind == "compare":
        return cast("Condition", draw(st.sampled_from(COMPARE))(field, draw(of)))
    if kind == "flipped":
        return cast("Condition", draw(st.sampled_from(COMPARE))(draw(of), field))
    if kind == "in":
        return cast("Condition", field.in_(draw(st.lists(of, max_size=3))))
    if kind == "between":
        return cast("Condition", field.between(draw(of), draw(of)))
    if kind == "either":
        return cast("Condition", (field == draw(of)) | (field == draw(of)) | field.in_([draw(of)]))
    op = draw(st.sampled_from(["startswith", "endswith", "contains", "like"]))
    return cast(
        "Condition", getattr(field, op)(draw(st.sampled_from(["", "a", "b", "%", "a%", "_\U0010ffff"])))
    )


def conditions(kinds: tuple[Any, ...]) -> st.SearchStrategy[Condition]:
    keys = [
        one_condition(F[f"k{place}"], st.sampled_from(constants_of(kind)), kind is str)
        for place, kind in enumerate(kinds)
    ]
    others = [
        one_condition(F.n, SMALL | st.sampled_from([0.5, Decimal(1)]), False),
        one_condition(F.d, SMALL | st.just(Decimal("0.5")), False),
        one_condition(F.s, st.sampled_from(["", "a", "b_"]), True),
        st.sampled_from([F.n.is_null(), F.ok, F.n + 1 > F.d, F.w * 2 < 2]),
    ]
    one = st.one_of(*keys, *keys, *others)
    either = st.builds(operator.or_, one, one)
    return st.lists(one | one | one | either | one.map(operator.invert), min_size=1, max_size=4).map(
        lambda parts: reduce(operator.and_, parts)
    )


def terms(names: list[str]) -> st.SearchStrategy[Any]:
    in_key_order = st.integers(0, len(names)).flatmap(
        lambda count: st.booleans().map(
            lambda down: [F[name].desc() if down else F[name] for name in names[:count]]
        )
    )
    of_any = st.lists(
        st.sampled_from([F.n, F.w, F.n.desc(), F.w.desc(), F.d * 2, F.s, F.ok.desc(), F[names[-1]].desc()]),
        max_size=3,
    )
    return st.builds(operator.add, in_key_order, of_any)


@st.composite
def queries(
    draw: Callable[[Any], Any], cls: type[Any], kinds: tuple[Any, ...], names: list[str]
) -> Query[Any]:
    query: Query[Any] = Query.of(cls)
    for _ in range(draw(st.integers(0, 2))):
        query = query.where(draw(conditions(kinds)))
    if draw(st.booleans()) and draw(st.booleans()):
        query = query.where(is_odd)
    if draw(st.integers(0, 3)) == 0:
        query = query.group_by(*draw(st.sampled_from([(), (F.s,), (F.n, F.ok)]))).aggregate(**AGGREGATES)
        query = query.having(draw(st.sampled_from([F.many > 0, F.many > 1, F.total > 0])))
        order = draw(st.sampled_from([[], [F.many.desc(), F.total], [F.mean]]))
    else:
        order = draw(terms(names))
    query = query.order_by(*order) if order else query
    if draw(st.booleans()):
        query = query.skip(draw(st.integers(0, 3)))
    if draw(st.booleans()):
        query = query.take(draw(st.integers(0, 4)))
    return query


def is_odd(row: Any) -> bool:
    return len(row.s) % 2 == 1


AGGREGATES = {
    "many": agg.count(),
    "some": agg.count(F.n),
    "total": agg.sum(F.d),
    "mean": agg.avg(F.n),
    "low": agg.min(F.w),
    "high": agg.max(F.s),
}


# What SQL says, row by row


def by_looking_at_all(query: Query[Any], rows: list[Any]) -> list[Any]:
    if query.condition is not None:
        rows = [row for row in rows if evaluate(Expr(query.condition), row) is True]
    for predicate in query.predicates:
        rows = [row for row in rows if predicate(row)]
    if query.keys is not None:
        rows = groups_of(query, rows)
        if query.group_condition is not None:
            rows = [row for row in rows if evaluate(Expr(query.group_condition), row) is True]
    stop = None if query.limit is None else query.skipped + query.limit
    return in_order(query, rows)[query.skipped : stop]


def groups_of(query: Query[Any], rows: list[Any]) -> list[Any]:
    keys = [Expr(column.node) for column in query.keys or ()]
    found: dict[tuple[Any, ...], list[Any]] = {} if keys else {(): []}
    for row in rows:
        found.setdefault(tuple(evaluate(key, row) for key in keys), []).append(row)
    names = [column.name for column in query.keys or ()]
    return [
        SimpleNamespace(**dict(zip(names, key, strict=True)), **aggregates_of(group))
        for key, group in found.items()
    ]


def aggregates_of(rows: list[Any]) -> dict[str, Any]:
    numbers = [row.n for row in rows if row.n is not None]
    return {
        "many": len(rows),
        "some": len(numbers),
        "total": sum((row.d for row in rows), Decimal(0)),
        "mean": sum(numbers) / len(numbers) if numbers else None,
        "low": min((row.w for row in rows if row.w is not None), default=None),
        "high": max((row.s for row in rows), default=None),
    }


def shown(rows: list[Any]) -> list[Any]:
    return [tuple(vars(row).values()) if isinstance(row, SimpleNamespace) else row for row in rows]


@pytest.mark.parametrize("backend", ["memory", "rocksdb", "lmdb"])
@pytest.mark.parametrize(("key_format", "kinds"), KEYS[1::2], ids=str)
def test_a_planned_query_gives_what_looking_at_all_rows_gives(
    backend: str, key_format: str, kinds: tuple[Any, ...], tmp_path: Path
) -> None:
    with filled(key_format, kinds, backend, tmp_path) as table:
        asked = queries(table.cls, kinds, table.names)
        some_row = rows_of(table.cls, kinds)

        @settings(max_examples=10, deadline=None)
        @given(st.lists(some_row, max_size=12), st.data())
        def check(rows: list[Any], data: st.DataObject) -> None:
            table.change([*list(table.rows), *rows])
            for _ in range(3):
                query = data.draw(asked)
                wanted = shown(by_looking_at_all(query, table.naive()))
                run = table.table.query(query)
                assert run.to_list() == wanted, run.explain()
                assert run.count() == len(wanted), run.explain()
                assert run.first_or_default() == (wanted[0] if wanted else None)
                if query.keys is None:
                    columns = run.select(F.n, F.w, F.s, F.ok).to_arrow()
                    assert list(zip(*columns.to_pydict().values(), strict=True)) == [
                        (row.n, row.w, row.s, row.ok) for row in wanted
                    ], run.explain()
                table.change(data.draw(st.lists(some_row | keys_of(kinds), max_size=3)))

        check()


def test_a_query_that_is_asked_again_is_not_planned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Query[Any]] = []

    def plan_of(query: Query[Any], *of: Any) -> plan.Plan:
        made.append(query)
        return planned_anew(query, *of)

    planned_anew = plan.plan_of
    monkeypatch.setattr(plan, "plan_of", plan_of)
    with filled("ordered", (int,), "memory", tmp_path) as table:
        asked = table.table.where(F.k0 > 0, F.n > 1)
        assert [asked.to_list(), asked.count(), list(asked)] == [[], 0, []]
        table.change([table.cls(1, 2, Decimal(3), None, "s", True)])
        assert [len(asked.to_list()), asked.count(), len(list(asked))] == [1, 1, 1]
        assert "seek" in asked.explain()
    assert made == [asked.value]
