"""Filters, counts and groups of a table's scan, natively and in Python; ``explain()`` tells which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from statestore import F, Key, QueryError, Table, agg, core, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position

NATIVE = core.IMPLEMENTATION == "native" and core.uses("decoder") and core.uses("program")


@entity(topic="sales")
@dataclass(frozen=True, slots=True)
class Sale:
    shop: Annotated[str, Key]
    id: Annotated[int, Key]
    customer: str | None
    amount: Decimal
    count: int


ROWS = [
    Sale("ber", -1, "ada", Decimal("10.5"), 1),
    Sale("ber", 2, None, Decimal(20), 2**62),
    Sale("ber", 7, "alan", Decimal(5), 2**62),
    Sale("par", 1, "ada", Decimal(1), 4),
    Sale("par", 3, "grace", Decimal("7.25"), 2**62),
    Sale("rom", 4, "alan", Decimal(100), -1),
]


class Source(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable = store
        self.name = "sales"
        self.mirror = SimpleNamespace(counts=Counts())


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def sales(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table[Sale]]:
    engine = find_engine(request.param)(64 << 20)
    backend = engine.open(tmp_path / "store", StoreOptions(changelog=True))
    codec: EntityCodec[Sale] = EntityCodec(model_of(Sale))
    with closing(ChangelogStore("sales", backend, engine.max_key_size)) as store:
        run = WriteRun(DATA)
        for row in ROWS:
            run.write(*codec.encode(row), 1_000)
        store.apply(run, {0: Position(1)})
        yield Table(cast("Any", Source(store)), codec, Sale, cast("Any", None))
    engine.close()


def test_explain_says_what_runs_in_python(sales: Table[Sale]) -> None:
    text = sales.where(F.amount > 6, F.customer.like("%a%")).explain()
    groups = sales.where(F.amount > 6).group_by(F.customer).aggregate(total=agg.sum(F.amount)).explain()
    if NATIVE:
        assert "filter: F.amount > 6\n" in text
        assert "filter, in Python: F.customer.like('%a%'): there is no native step for it" in text
    else:
        assert "filter: (F.amount > 6) & F.customer.like('%a%')" in text
    assert "\ngroup by customer, in memory" in groups
    by_decimal = sales.group_by(F.amount).aggregate(n=agg.count()).explain()
    assert ("in memory, in Python (F.amount: groups by a Decimal" in by_decimal) == NATIVE


def test_filters_and_counts(sales: Table[Sale]) -> None:
    assert sales.where(F.amount > 6).to_list() == [row for row in ROWS if row.amount > 6]
    some = sales.where(F.amount > 6, F.customer.like("%a%"), lambda row: row.id != 4)
    assert some.to_list() == [ROWS[0], ROWS[4]]
    assert (some.count(), sales.where(F.amount > 6, F.customer.like("%a%")).count()) == (2, 3)
    assert sales.where(F.shop == "ber", F.count > 1).to_list() == ROWS[1:3]
    assert sales.where(F.amount > 6).skip(1).take(2).to_list() == [ROWS[1], ROWS[4]]
    assert sales.where(F.amount > 6).take(3).count() == 3
    assert sales.where(F.count * 4 > 2**63).to_list() == [ROWS[1], ROWS[2], ROWS[4]]
    assert sales.where(F.amount > 6).order_by(F.shop.desc()).first() == ROWS[5]


def test_groups_and_aggregates(sales: Table[Sale]) -> None:
    late = sales.where(F.amount > 6)
    totals = late.group_by(F.customer).aggregate(total=agg.sum(F.amount), n=agg.count())
    assert totals.to_list() == [
        ("ada", Decimal("10.5"), 1),
        (None, Decimal(20), 1),
        ("grace", Decimal("7.25"), 1),
        ("alan", Decimal(100), 1),
    ]
    assert totals.having(F.total > 10).order_by(F.total.desc()).take(1).to_list() == [
        ("alan", Decimal(100), 1)
    ]
    assert sales.sum(F.count) == 3 * 2**62 + 4
    assert sales.sum(F.count * 4) == 4 * (3 * 2**62 + 4)
    assert (sales.avg(F.amount), sales.max(F.customer), sales.min(F.id)) == (
        Decimal("23.958333333333333333333333333333333333"),
        "grace",
        -1,
    )
    assert sales.where(F.amount > 10**9).aggregate(n=agg.count(), most=agg.max(F.amount)).to_list() == [
        (0, None)
    ]
    assert sales.where(F.amount > 10**9).group_by(F.shop).aggregate(n=agg.count()).to_list() == []
    seen = sales.group_by(F.shop).aggregate(n=agg.count()).to_list()
    assert seen == [("ber", 3), ("par", 2), ("rom", 1)]


def test_columns_are_refused_where_rows_are(sales: Table[Sale]) -> None:
    refusing = sales.on_scan("error")
    assert refusing.where(F.shop == "ber", F.amount > 6).select(F.id).to_arrow().num_rows == 2
    with pytest.raises(QueryError, match="looks at all rows"):
        refusing.where(F.amount > 6).select(F.id).to_arrow()
