"""Tables, streams and their queries as KSQL; none of it reads anything, so there need be no broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from statestore import AsyncStoreManager, F, KsqlError, QueryError, StoreManager, agg, ksql
from tests.unit.ksql.shop import Candle, City, Counted, Customer, Order

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StoreManager]:
    with StoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as made:
        yield made


def test_tables_and_streams(manager: StoreManager) -> None:
    assert manager.bind(City).to_ksql() == ksql.create(City).text
    assert manager.stream(Order).to_ksql() == ksql.create(Order).text
    counted = manager.bind(Counted)
    assert counted.to_ksql() == counted.window(5).to_ksql() == ksql.create(Counted).text
    candles = manager.bind(Candle)
    assert candles.to_ksql().count("CREATE ") == 3
    assert candles.window(5).to_ksql().startswith("CREATE TABLE IF NOT EXISTS CANDLES_5MIN (")


def test_queries_of_tables(manager: StoreManager) -> None:
    cities = manager.bind(City)
    large = cities.where(F.people > 10)
    assert large.to_ksql() == "SELECT\n  NAME,\n  PEOPLE\nFROM CITIES\nWHERE PEOPLE > 10;"
    assert large.to_ksql("changes") == large.value.to_ksql("changes")
    joined = manager.bind(Customer).join(cities, on=F[Customer].city == F[City].name)
    assert "FROM CUSTOMERS\n  JOIN CITIES ON" in joined.select(F[City].people).to_ksql("changes")
    by_window = manager.bind(Candle).window("5min").where(F.symbol == "AAPL")
    assert "FROM CANDLES_5MIN\nWHERE SYMBOL = 'AAPL'" in by_window.to_ksql()


def test_explain_tells_the_other_side(manager: StoreManager) -> None:
    cities = manager.bind(City)
    text = cities.where(F.people > 10).explain(side="ksql")
    assert text.startswith("-- A table: its rows are those of CITIES (table).\n")
    assert text.endswith("WHERE PEOPLE > 10;")
    grouped = cities.group_by(F.people).aggregate(n=agg.count())
    assert grouped.explain(side="ksql").endswith("EMIT CHANGES;")
    with pytest.raises(KsqlError, match="map"):
        cities.map(len).explain(side="ksql")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="'local' or 'ksql'"):
        cities.where(F.people > 10).explain(side="here")  # type: ignore[arg-type]


def test_the_same_awaited(tmp_path: Path) -> None:
    async def asked() -> None:
        async with AsyncStoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as stores:
            cities = await stores.bind(City)
            assert cities.to_ksql() == ksql.create(City).text
            large = cities.where(F.people > 10)
            assert large.to_ksql().endswith("WHERE PEOPLE > 10;")
            assert (await large.explain(side="ksql")).endswith("WHERE PEOPLE > 10;")
            assert (await stores.stream(Order)).to_ksql() == ksql.create(Order).text

    asyncio.run(asked())
