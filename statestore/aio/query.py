"""Queries, awaited: the clauses and results of ``statestore.query.facade``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, overload

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.rows import AsyncRows
from statestore.errors import QueryError
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.expr import Condition, Descending, Expr, Value
from statestore.query.facade import Queryable, TableGrouping, TableQuery
from statestore.relational.results import Row
from statestore.relational.translation import Emit
from statestore.relational.values import Query
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


@documented_by(Queryable)
class AsyncQueryable(ABC, Generic[T]):
    """The clauses and results of ``Queryable``: clauses are called, results awaited."""

    _own: OwnLoop

    @property
    @abstractmethod
    def blocking(self) -> Queryable[T]:
        """The same for threads that may block."""

    def query(self, value: Query[S], *others: AsyncQueryable[Any]) -> AsyncTableQuery[S]:
        return self._of(self.blocking.query(value, *map(_blocking, others)))

    def alias(self, cls: type[T]) -> AsyncTableQuery[T]:
        return self._of(self.blocking.alias(cls))

    @overload
    def join(  # type: ignore[overload-overlap]
        self: AsyncQueryable[tuple[A, B]], other: AsyncQueryable[S], *, on: Condition
    ) -> AsyncTableQuery[tuple[A, B, S]]: ...
    @overload
    def join(self, other: AsyncQueryable[S], *, on: Condition) -> AsyncTableQuery[tuple[T, S]]: ...
    def join(self, other: AsyncQueryable[Any], *, on: Condition) -> AsyncTableQuery[Any]:
        return self._of(self.blocking.join(_blocking(other), on=on))

    @overload
    def left_join(  # type: ignore[overload-overlap]
        self: AsyncQueryable[tuple[A, B]], other: AsyncQueryable[S], *, on: Condition
    ) -> AsyncTableQuery[tuple[A, B, S | None]]: ...
    @overload
    def left_join(
        self, other: AsyncQueryable[S], *, on: Condition
    ) -> AsyncTableQuery[tuple[T, S | None]]: ...
    def left_join(self, other: AsyncQueryable[Any], *, on: Condition) -> AsyncTableQuery[Any]:
        return self._of(self.blocking.left_join(_blocking(other), on=on))

    def where(self, *conditions: Condition | Callable[[T], object]) -> AsyncTableQuery[T]:
        return self._of(self.blocking.where(*conditions))

    def group_by(self, *keys: Value, **named: Value) -> AsyncTableGrouping:
        return AsyncTableGrouping(self.blocking.group_by(*keys, **named), self._own)

    def aggregate(self, **aggregates: Aggregate) -> AsyncTableQuery[Row]:
        return self._of(self.blocking.aggregate(**aggregates))

    def order_by(self, *terms: Value | Descending) -> AsyncTableQuery[T]:
        return self._of(self.blocking.order_by(*terms))

    def skip(self, count: int) -> AsyncTableQuery[T]:
        return self._of(self.blocking.skip(count))

    def take(self, count: int) -> AsyncTableQuery[T]:
        return self._of(self.blocking.take(count))

    @overload
    def select(self, into: type[S], /, *columns: Expr, **named: Expr) -> AsyncTableQuery[S]: ...
    @overload
    def select(self, /, *columns: Expr, **named: Expr) -> AsyncTableQuery[Row]: ...
    def select(self, /, *columns: Any, **named: Any) -> AsyncTableQuery[Any]:
        return self._of(self.blocking.select(*columns, **named))

    def map(self, fn: Callable[[T], S]) -> AsyncTableQuery[S]:
        return self._of(self.blocking.map(fn))

    def on_scan(self, action: OnScan) -> AsyncTableQuery[T]:
        return self._of(self.blocking.on_scan(action))

    async def first(self, *, allow_stale: bool = False) -> T:
        return await self._own.in_slices(self.blocking.first, allow_stale=allow_stale)

    @overload
    async def first_or_default(self, default: None = None, *, allow_stale: bool = False) -> T | None: ...
    @overload
    async def first_or_default(self, default: D, *, allow_stale: bool = False) -> T | D: ...
    async def first_or_default(self, default: Any = None, *, allow_stale: bool = False) -> Any:
        return await self._own.in_slices(self.blocking.first_or_default, default, allow_stale=allow_stale)

    async def single(self, *, allow_stale: bool = False) -> T:
        return await self._own.in_slices(self.blocking.single, allow_stale=allow_stale)

    async def any(self, *, allow_stale: bool = False) -> bool:
        return await self._own.in_slices(self.blocking.any, allow_stale=allow_stale)

    async def sum(self, of: Value, *, allow_stale: bool = False) -> Any:
        return await self._own.in_slices(self.blocking.sum, of, allow_stale=allow_stale)

    async def avg(self, of: Value, *, allow_stale: bool = False) -> Any:
        return await self._own.in_slices(self.blocking.avg, of, allow_stale=allow_stale)

    async def min(self, of: Value, *, allow_stale: bool = False) -> Any:
        return await self._own.in_slices(self.blocking.min, of, allow_stale=allow_stale)

    async def max(self, of: Value, *, allow_stale: bool = False) -> Any:
        return await self._own.in_slices(self.blocking.max, of, allow_stale=allow_stale)

    async def to_dicts(self, *, allow_stale: bool = False) -> list[dict[str, Any]]:
        return await self._own.in_slices(self.blocking.to_dicts, allow_stale=allow_stale)

    async def to_arrow(self, *, allow_stale: bool = False) -> pa.Table:
        return await self._own.in_slices(self.blocking.to_arrow, allow_stale=allow_stale)

    async def to_pandas(self, *, allow_stale: bool = False) -> pd.DataFrame:
        return await self._own.in_slices(self.blocking.to_pandas, allow_stale=allow_stale)

    async def to_polars(self, *, allow_stale: bool = False) -> pl.DataFrame:
        return await self._own.in_slices(self.blocking.to_polars, allow_stale=allow_stale)

    def _of(self, query: TableQuery[S]) -> AsyncTableQuery[S]:
        return AsyncTableQuery(query, self._own)


@documented_by(TableQuery)
class AsyncTableQuery(AsyncQueryable[T]):
    """A query on a table or on a snapshot of one, for one event loop: ``TableQuery``, awaited.

    What it reads and computes is done in slices on a worker thread, functions given to ``where`` and ``map``
    included.
    """

    def __init__(self, query: TableQuery[T], own: OwnLoop) -> None:
        self._query = query
        self._own = own

    @property
    def blocking(self) -> TableQuery[T]:
        return self._query

    @property
    def value(self) -> Query[T]:
        return self._query.value

    def having(self, condition: Condition) -> AsyncTableQuery[T]:
        return self._of(self._query.having(condition))

    async def to_list(self, *, allow_stale: bool = False) -> list[T]:
        return await self._own.in_slices(self._query.to_list, allow_stale=allow_stale)

    def scan(self, *, allow_stale: bool = False) -> AsyncRows[T]:
        return AsyncRows(self._own, lambda: self._query.scan(allow_stale=allow_stale))

    def __aiter__(self) -> AsyncRows[T]:
        return self.scan()

    async def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        await self.scan(allow_stale=allow_stale).for_each(fn)

    async def count(self, *, allow_stale: bool = False) -> int:
        return await self._own.in_slices(self._query.count, allow_stale=allow_stale)

    def to_ksql(self, emit: Emit | None = None) -> str:
        return self._query.to_ksql(emit)

    async def explain(self, *, side: Literal["local", "ksql"] = "local", allow_stale: bool = False) -> str:
        return await self._own.in_slices(self._query.explain, side=side, allow_stale=allow_stale)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not true or false: ask it with `await …any()`, or `await …count()`")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"


@documented_by(TableGrouping)
class AsyncTableGrouping:
    """The rows of a query in groups; ``aggregate`` says what is computed of each."""

    def __init__(self, grouping: TableGrouping, own: OwnLoop) -> None:
        self._grouping = grouping
        self._own = own

    def aggregate(self, **aggregates: Aggregate) -> AsyncTableQuery[Row]:
        return AsyncTableQuery(self._grouping.aggregate(**aggregates), self._own)


def _blocking(table: Any) -> Any:
    """Return what joins a table; what is none is refused there."""
    if isinstance(table, Queryable):
        raise QueryError(
            f"{table!r} blocks, and this query is awaited: give what `await bind(…)` of the "
            "AsyncStoreManager returns, or begin with a table that blocks"
        )
    return table.blocking if isinstance(table, AsyncQueryable) else table
