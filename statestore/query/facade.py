"""Queries on a table or a snapshot: the clauses of ``relational`` where they run, and what gives results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, cast, overload

from statestore.entity import is_alias
from statestore.errors import QueryError, RowCountError
from statestore.expressions.aggregates import Aggregate, agg
from statestore.expressions.expr import Condition, Descending, Expr, Value
from statestore.expressions.type_checking import record_of
from statestore.fields.windows import Window
from statestore.query import columns, run
from statestore.query.explain import explained
from statestore.query.grouping import Aggregation
from statestore.query.plan import Planned
from statestore.query.row_iterator import RowIterator
from statestore.query.source import Source
from statestore.relational.checking import Clause, Column
from statestore.relational.results import Row, as_dict
from statestore.relational.translation import Emit, translate_with
from statestore.relational.values import Grouping, Query, check_runs_here
from statestore.runtime.text import bounded_repr
from statestore.settings import OnScan

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

T = TypeVar("T")
S = TypeVar("S")
D = TypeVar("D")
A = TypeVar("A")
B = TypeVar("B")


class Queryable(ABC, Generic[T]):
    """The clauses of a query, and the results that are one value. ``docs/queries.md`` shows them.

    Each clause returns a :class:`TableQuery`, reads nothing and raises ``QueryError`` for what cannot be
    meant. Whatever gives results reads one snapshot, taken at that call, raises what a read raises, and takes
    ``allow_stale`` as a read does.
    """

    @abstractmethod
    def _query(self) -> TableQuery[T]:
        """Return the query so far."""

    def query(self, value: Query[S], *others: Queryable[Any]) -> TableQuery[S]:
        """Return what runs a query that was made without a table: ``orders.query(Query.of(Order))``.

        ``others`` are the tables that it joins, in their order.
        """
        tables = [self._query(), *(_queryable(one)._query() for one in others)]  # noqa: SLF001 - of this class
        classes = [value.entity, *(join.entity for join in value.joins)]
        if [table.value for table in tables] != [Query(cls) for cls in classes]:
            names = ", ".join(cls.__name__ for cls in classes)
            given = ", ".join(repr(table.value) for table in tables)
            raise QueryError(
                f"{value!r} cannot run on {given}: give it the tables of {names}, without clauses"
            )
        opens = tuple(table.opens[0] for table in tables)
        return TableQuery(value, opens, tuple(table.windows[0] for table in tables))

    def alias(self, cls: type[T]) -> TableQuery[T]:
        """Return the table under another name, to join it with itself.

        ``cls`` is the name: a subclass of the entity class that adds nothing, ``class Boss(Employee): pass``.
        ``employees.join(employees.alias(Boss), on=F[Employee].boss == F[Boss].name)`` gives pairs of
        employees; ``F[Boss].name`` is a field of the second. Both are read at one instant.
        """
        here = self._query()
        entity = here.value.entity
        clause = Clause("alias", here.value.rows)
        if here.value != Query(entity):
            raise clause.fault("name the table first, and add clauses then")
        if not is_alias(cls, entity):
            raise clause.fault(
                f"{bounded_repr(cls)} is no other name of {entity.__name__}: give a subclass that adds "
                f"nothing, class Other({entity.__name__}): pass"
            )
        return here.having_value(Query.of(cls))

    @overload
    def join(  # type: ignore[overload-overlap]
        self: Queryable[tuple[A, B]], other: Queryable[S], *, on: Condition
    ) -> TableQuery[tuple[A, B, S]]: ...
    @overload
    def join(self, other: Queryable[S], *, on: Condition) -> TableQuery[tuple[T, S]]: ...
    def join(self, other: Queryable[Any], *, on: Condition) -> TableQuery[Any]:
        """Make a row of each pair of a row and an entity of ``other`` with the same values.

        ``other`` is a table or a snapshot. ``on`` says which belong together:
        ``on=F[Order].customer == F[Customer].id``, several joined by ``&``. Rows are tuples,
        ``(order, customer)``, of up to three tables; ``F[Order].amount`` is a field of one class.

        Partners are looked up where ``on`` gives the leading fields of the key or of an index of ``other``,
        and found in a hash table of its rows where it does not, or where that is less work. ``explain()``
        tells the way. Rows come in the order of the first table's key, the partners of one row in that of
        theirs. Each table is read at one instant of its own, and once if it is joined with itself.

        Conditions may come before or after, a function in ``where`` after only. Raises ``QueryError`` where
        ``on`` does not say which rows belong together, for two tables of one name, and for a fourth table.
        """
        here, table = self._with(other, "join")
        return here.joined(here.value.join(table.value.entity, on=on), table)

    @overload
    def left_join(  # type: ignore[overload-overlap]
        self: Queryable[tuple[A, B]], other: Queryable[S], *, on: Condition
    ) -> TableQuery[tuple[A, B, S | None]]: ...
    @overload
    def left_join(self, other: Queryable[S], *, on: Condition) -> TableQuery[tuple[T, S | None]]: ...
    def left_join(self, other: Queryable[Any], *, on: Condition) -> TableQuery[Any]:
        """Do as ``join``, but keep a row without a partner, with ``None`` for the other entity.

        A condition that is never true of ``None``, ``where(F[Customer].city == "Paris")``, drops such rows.
        """
        here, table = self._with(other, "left_join")
        return here.joined(here.value.left_join(table.value.entity, on=on), table)

    def _with(self, other: object, name: str) -> tuple[TableQuery[T], TableQuery[Any]]:
        here = self._query()
        table = other._query() if isinstance(other, Queryable) else None  # noqa: SLF001 - of this class
        if table is None or table.value != Query(table.value.entity):
            fault = _awaited(other) or (
                f"{other!r} is not a table: give a table or a snapshot, and filter after the join, with "
                "where(F[Customer].city == …)"
            )
            raise Clause(name, here.value.sources).fault(fault)
        return here, table

    def where(self, *conditions: Condition | Callable[[T], object]) -> TableQuery[T]:
        """Keep the rows of which every condition is true: expressions, or functions of a row.

        Expressions on the leading key fields become seeks and reads by key. A function is called with each
        row that the expressions leave.
        """
        here = self._query()
        return here.having_value(here.value.where(*conditions))

    def group_by(self, *keys: Value, **named: Value) -> TableGrouping:
        """Make one group of the rows with the same values of ``keys``; ``.aggregate(…)`` follows.

        A key is a column of the group's row, by the name of its field, or by the name given.
        """
        here = self._query()
        return TableGrouping(here, here.value.group_by(*keys, **named))

    def aggregate(self, **aggregates: Aggregate) -> TableQuery[Row]:
        """Compute aggregates of all rows: the result is one row, also of no rows."""
        here = self._query()
        return here.having_value(here.value.aggregate(**aggregates))

    def order_by(self, *terms: Value | Descending) -> TableQuery[T]:
        """Sort the rows by ``terms``, the first one first: ``order_by(F.country, F.amount.desc())``.

        ``None`` comes last in both directions; NaN counts as greater than every number. Rows that are equal
        in all terms are in the order of the key, reversed where all terms descend.
        """
        here = self._query()
        return here.having_value(here.value.order_by(*terms))

    def skip(self, count: int) -> TableQuery[T]:
        """Leave out the first ``count`` of the rows."""
        here = self._query()
        return here.having_value(here.value.skip(count))

    def take(self, count: int) -> TableQuery[T]:
        """Keep the first ``count`` of the rows."""
        here = self._query()
        return here.having_value(here.value.take(count))

    @overload
    def select(self, into: type[S], /, *columns: Expr, **named: Expr) -> TableQuery[S]: ...
    @overload
    def select(self, /, *columns: Expr, **named: Expr) -> TableQuery[Row]: ...
    def select(self, /, *columns: Any, **named: Any) -> TableQuery[Any]:
        """Make each row one of these columns: ``select(F.customer, total=F.price * F.quantity)``.

        A column has the name of its field, or the name given. Rows are :class:`Row`: tuples whose items are
        attributes, too. With a dataclass first, ``select(Total, total=F.amount)``, rows are its objects; its
        fields that are not named here come from the fields of the same name.
        """
        here = self._query()
        return here.having_value(here.value.select(*columns, **named))

    def map(self, fn: Callable[[T], S]) -> TableQuery[S]:
        """Make of each row what ``fn(row)`` returns. It is never translated, and runs for the rows taken."""
        here = self._query()
        return here.having_value(here.value.map(fn))

    def on_scan(self, action: OnScan) -> TableQuery[T]:
        """Say what happens when all rows must be looked at: ``"allow"``, ``"warn"`` or ``"error"``.

        ``"warn"`` logs one warning for each reason, ``"error"`` raises ``QueryError``. It goes before the
        setting ``on_scan`` of the table.
        """
        here = self._query()
        return here.having_value(here.value.on_scan(action))

    def first(self, *, allow_stale: bool = False) -> T:
        """Return the first row. Raises ``RowCountError`` if there is none."""
        rows = self._query().few(1).to_list(allow_stale=allow_stale)
        if not rows:
            raise RowCountError(f"first(): no row in {self._query().value!r}; first_or_default() allows none")
        return rows[0]

    @overload
    def first_or_default(self, default: None = None, *, allow_stale: bool = False) -> T | None: ...
    @overload
    def first_or_default(self, default: D, *, allow_stale: bool = False) -> T | D: ...
    def first_or_default(self, default: Any = None, *, allow_stale: bool = False) -> Any:
        """Return the first row, or ``default`` if there is none."""
        return next(iter(self._query().few(1).to_list(allow_stale=allow_stale)), default)

    def single(self, *, allow_stale: bool = False) -> T:
        """Return the only row. Raises ``RowCountError`` if there is none, or more than one."""
        rows = self._query().few(2).to_list(allow_stale=allow_stale)
        if len(rows) != 1:
            found = "several rows" if rows else "no row"
            raise RowCountError(f"single(): {found} in {self._query().value!r}")
        return rows[0]

    def any(self, *, allow_stale: bool = False) -> bool:
        """Whether there is a row; no more than one is looked for."""
        return self._query().few(1).count(allow_stale=allow_stale) > 0

    def sum(self, of: Value, *, allow_stale: bool = False) -> Any:
        """Return the sum of numbers over the rows, of their type; 0 of none. ``None`` is left out."""
        return self._query().aggregated("sum", of, allow_stale)

    def avg(self, of: Value, *, allow_stale: bool = False) -> Any:
        """Return the mean of numbers over the rows; ``None`` of none. ``None`` is left out."""
        return self._query().aggregated("avg", of, allow_stale)

    def min(self, of: Value, *, allow_stale: bool = False) -> Any:
        """Return the least value over the rows; ``None`` of none. ``None`` is left out."""
        return self._query().aggregated("min", of, allow_stale)

    def max(self, of: Value, *, allow_stale: bool = False) -> Any:
        """Return the greatest value over the rows; ``None`` of none. ``None`` is left out."""
        return self._query().aggregated("max", of, allow_stale)

    def to_dicts(self, *, allow_stale: bool = False) -> list[dict[str, Any]]:
        """Return the rows as dicts by the names of their fields, as JSON or a data frame takes them.

        A joined row is a dict by the names of the classes, of such dicts.
        """
        here = self._query()
        here.value.check_has_columns("to_dicts")
        as_one = as_dict([record_of(one) for one in here.value.results])
        return [as_one(row) for row in here.scan(allow_stale=allow_stale)]

    def to_arrow(self, *, allow_stale: bool = False) -> pa.Table:
        """Return the rows as a table of ``pyarrow``, a column for each of their fields.

        Raises ``ImportError`` where that is not installed, ``EncodeError`` for a value that its column cannot
        have. Where rows are read as they are stored, no object is made for a row or a value, and no other
        fields than those of ``select`` are looked at.
        """
        return self._query().batches(allow_stale, "to_arrow").read_all()

    def to_pandas(self, *, allow_stale: bool = False) -> pd.DataFrame:
        """Return the same as a ``DataFrame`` of pandas. Raises ``ImportError`` where that is missing."""
        return columns.in_pandas(self._query().batches(allow_stale, "to_pandas"))

    def to_polars(self, *, allow_stale: bool = False) -> pl.DataFrame:
        """Return the same as a ``DataFrame`` of Polars. Raises ``ImportError`` where that is missing."""
        return columns.in_polars(self._query().batches(allow_stale, "to_polars"))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows for whatever takes columns by Arrow's PyCapsule protocol, batch by batch.

        They are of the moment of this call. The stream holds a snapshot until it is read to its end or
        released; once the table is closed, its next batch is an error that says so.
        """
        return self._query().batches(False, "a stream of columns").__arrow_c_stream__(requested_schema)


def _queryable(given: object) -> Queryable[Any]:
    if isinstance(given, Queryable):
        return given
    raise QueryError(_awaited(given) or f"query: {given!r} is not a table: give a table or a snapshot")


def _awaited(given: object) -> str:
    """Say what is wrong with a table of asyncio in a query that blocks; empty: it is none."""
    if not isinstance(getattr(given, "blocking", None), Queryable):
        return ""
    return (
        f"{given!r} is awaited, and this query blocks: give its form `blocking`, or begin with an awaited one"
    )


class TableQuery(Queryable[T]):
    """A query on a table or on a snapshot of one; immutable, and thread-safe.

    ``value`` is what is asked for. Each result is read anew, from one snapshot of the table.
    """

    def __init__(
        self,
        value: Query[T],
        opens: tuple[Callable[[bool], Source[Any]], ...],
        windows: tuple[Window | None, ...] = (None,),
    ) -> None:
        check_runs_here(value)
        self._planned = Planned(value)
        self._few: dict[int, TableQuery[T]] = {}
        self.opens = opens
        """What opens each table of the query; takes whether a stale one will do."""
        self.windows = windows
        """The window of each table of the query; ``None``: it is no window's."""

    @property
    def value(self) -> Query[T]:
        """The query as a plain value, which knows no table."""
        return self._planned.query

    def _query(self) -> TableQuery[T]:
        return self

    def having_value(self, value: Query[S]) -> TableQuery[S]:
        """Return the same with another value."""
        return TableQuery(value, self.opens, self.windows)

    def joined(self, value: Query[S], other: TableQuery[Any]) -> TableQuery[S]:
        """Return a query of the same tables and that of ``other``."""
        return TableQuery(value, (*self.opens, *other.opens), (*self.windows, *other.windows))

    def few(self, count: int) -> TableQuery[T]:
        """Return ``take(count)``, the same each time, so that it is planned once."""
        found = self._few.get(count)
        if found is None:
            found = self._few[count] = self.take(count)
        return found

    def _sources(self, allow_stale: bool) -> list[Source[Any]]:
        return [open_one(allow_stale) for open_one in self.opens]

    def having(self, condition: Condition) -> TableQuery[T]:
        """Keep the groups of which the condition, over the columns of their rows, is true."""
        return self.having_value(self.value.having(condition))

    def to_list(self, *, allow_stale: bool = False) -> list[T]:
        """Return all rows."""
        scan = run.results(self._planned, self._sources(allow_stale))
        try:
            return list(scan.rows)
        finally:
            scan.close()

    def scan(self, *, allow_stale: bool = False) -> RowIterator[T]:
        """Iterate over the rows, as of the moment of this call.

        A table that stops being ready meanwhile changes nothing. Once it is closed, the next step raises
        ``StoreClosedError``.
        """
        scan = run.results(self._planned, self._sources(allow_stale))
        return RowIterator(scan, lambda: f"rows of {self.value!r}", self)

    def __iter__(self) -> RowIterator[T]:
        return self.scan()

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not true or false: ask it with any(), or count()")

    def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(row)`` for every row, in order."""
        for row in self.scan(allow_stale=allow_stale):
            fn(row)

    def batches(self, allow_stale: bool, name: str) -> pa.RecordBatchReader:
        """Return the rows in batches of columns, for the method ``name``."""
        return columns.stream(self._planned, self._sources(allow_stale), name)

    def count(self, *, allow_stale: bool = False) -> int:
        """Return the number of rows. Without a filter nothing is decoded."""
        return run.count(self._planned, self._sources(allow_stale))

    def aggregated(self, function: str, of: object, allow_stale: bool) -> Any:
        """Return one aggregate over the rows."""
        value = self.value
        value.check_has_columns(function)
        aggregate: Aggregate = getattr(agg, function)(of)
        column = Column("value", aggregate)
        clause = Clause(function, value.results)
        clause.aggregate_type(aggregate)
        if value.is_plain:
            rows = self.having_value(replace(value, order=(), keys=(), aggregates=(column,)))
            return cast("Any", rows.to_list(allow_stale=allow_stale)[0])[0]
        aggregation = Aggregation((), (column,), value.results)
        ((result,),) = aggregation.of_rows(self.scan(allow_stale=allow_stale))
        return result

    def to_ksql(self, emit: Emit | None = None) -> str:
        """Return the query as a SELECT of ksqlDB, as ``Query.to_ksql`` does. Raises ``KsqlError``."""
        from statestore.ksql import transient

        return transient.select(self.value, emit, windows=self.windows).text

    def explain(self, *, side: Literal["local", "ksql"] = "local", allow_stale: bool = False) -> str:
        """Return how the rows are found, a line for each step, and how many are read; it reads none.

        With ``side="ksql"`` return the query as a SELECT of ksqlDB, the reasons for it as comments: a pull
        query, or a push query if it joins or groups. Raises ``KsqlError`` for what ksqlDB cannot do.
        """
        if side == "ksql":
            from statestore.ksql import transient

            return transient.shown(self.value, self.windows)
        if side != "local":
            raise QueryError(f"explain(side={bounded_repr(side)}): give 'local' or 'ksql'")
        sources = self._sources(allow_stale)
        return explained(self._planned.plan(sources), sources)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, since it reads a store of this process: pickle its "
            ".value, a Query, and run that on the table there, table.query(value)"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"


class TableGrouping:
    """The rows of a query in groups; ``aggregate`` says what is computed of each."""

    def __init__(self, query: TableQuery[Any], grouping: Grouping) -> None:
        self._of = query
        self._grouping = grouping

    def aggregate(self, **aggregates: Aggregate) -> TableQuery[Row]:
        """Compute aggregates of each group: ``aggregate(total=agg.sum(F.amount), n=agg.count())``.

        A row of the result has the columns of ``group_by``, then these. Groups come in no promised order.
        """
        return self._of.having_value(self._grouping.aggregate(**aggregates))


def _translated(query: Query[Any], emit: Emit | None) -> str:
    # The translator is imported for who translates: it takes a tenth of the time of `import statestore`.
    from statestore.ksql import transient

    return transient.select(query, emit).text


translate_with(_translated)
