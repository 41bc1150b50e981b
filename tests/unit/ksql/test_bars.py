"""Bar classes as KSQL: each setting that ksqlDB cannot honour is an error that names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore import EventTime, F, Gap, Key, KsqlError, Precision, WindowStart, agg, entity, ksql
from statestore.expressions.aggregates import Aggregate
from tests.unit.ksql.shop import Tick

PRICE = Annotated[Decimal, Precision(9, 2)]


@entity(topic="kept", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Kept:
    """A source that is a table."""

    symbol: Annotated[str, Key]
    price: PRICE


@entity(topic="plain", kind="stream")
@dataclass(frozen=True)
class Plain:
    symbol: Annotated[str, Key]
    price: Decimal
    at: Annotated[datetime, EventTime]


def bars(of: Aggregate | None = None, extra: dict[str, Any] | None = None, **arguments: Any) -> type[Any]:
    fields = {
        "symbol": Annotated[str, Key],
        "start": Annotated[datetime, WindowStart],
        "close": Annotated[Decimal | None, Precision(9, 2), of or agg.last(F.price)],
        **(extra or {}),
    }
    of_ksqldb: dict[str, Any] = {"ksql": True, "key_format": "kafka", "value_format": "json"}
    given: dict[str, Any] = {"topic": "bars", "source": Tick, "windows": [5], **of_ksqldb}
    return entity(dataclass(type("Bar", (), {"__annotations__": fields})), **(given | arguments))


REFUSED: list[tuple[type[Any], str]] = [
    (bars(gap="empty"), "gap='empty'"),
    (bars(gap="carry"), "gap='carry'"),
    (bars(gap="empty", gap_keys=["AAPL"]), "gap='empty'"),
    (bars(extra={"no_ticks": Annotated[bool, Gap]}), "Bar.no_ticks: Gap"),
    (bars(scope="key"), "scope='key'"),
    (bars(max_future=60), "max_future="),
    (bars(windows=["1w"], retention=50_000), "windows='1w'"),
    (bars(agg.last(F.price, by="event_time")), "by offset only"),
    (bars(source="ticks"), "source='ticks'"),
    (bars(source=Kept), 'kind="stream" in Kept'),
    (bars(source=Plain), "source=Plain: Plain: the class does not say ksql=True"),
    (bars(ksql=False), "ksql=True"),
    (bars(key_format="ordered", value_format="msgpack"), "msgpack"),
    (bars(retention=1, grace=3), "retention"),
]


@pytest.mark.parametrize(("cls", "setting"), REFUSED, ids=[one for _, one in REFUSED])
def test_a_setting_that_ksqldb_cannot_honour_is_named(cls: type[Any], setting: str) -> None:
    with pytest.raises(KsqlError) as raised:
        ksql.statements(cls)
    assert setting in str(raised.value)


def test_reducers_run_here_only() -> None:
    cls = bars(extra={"last_two": Annotated[list[int], agg.reduce(lambda state, _: state, [])]})
    with pytest.raises(KsqlError, match="reduce"):
        ksql.statements(cls)


def test_all_settings_come_at_once() -> None:
    with pytest.raises(KsqlError) as raised:
        ksql.statements(bars(gap="empty", scope="key", max_future=60))
    assert len(raised.value.faults) == 3


def test_the_statements_are_of_the_settings() -> None:
    stream, table = ksql.statements(bars(windows=["1h"], grace=60, retention=1_440))
    assert "WINDOW TUMBLING (SIZE 1 HOUR, RETENTION 1 DAY, GRACE PERIOD 1 MINUTE)" in table.text
    assert table.name == "BARS_60MIN"
    replaced = ksql.statements(bars(), or_replace=True)
    assert all(one.text.startswith("CREATE OR REPLACE") for one in replaced)
    assert stream.reads == ()
