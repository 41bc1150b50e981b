"""Bar classes: how their fields are made, and what of a declaration cannot be."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore import (
    EventTime,
    F,
    Key,
    Name,
    Precision,
    StoreManager,
    WindowEnd,
    WindowSize,
    WindowStart,
    agg,
    entity,
)
from statestore.entity import model_of
from statestore.errors import ConfigError
from statestore.expressions.aggregates import aggregate_type
from statestore.fields.types import type_name

Faults = Callable[..., tuple[str, ...]]


@entity(topic="trades", kind="stream")
@dataclass(frozen=True, slots=True)
class Trade:
    symbol: Annotated[str, Key]
    venue: str
    price: Annotated[Decimal, Precision(18, 4)]
    quantity: int
    fee: float | None
    at: Annotated[datetime, EventTime]


@entity(source=Trade, windows=[15, 1, 5], grace=2)
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    size: Annotated[int, WindowSize]
    open: Annotated[Decimal, agg.first(F.price)]
    high: Annotated[Decimal, Precision(18, 2), agg.max(F.price), Name("HIGH")]
    low: Annotated[Decimal | None, agg.min(F.price)]
    close: Annotated[Decimal, agg.last(F[Trade].price, by="event_time")]
    volume: Annotated[int, agg.sum(F.quantity)]
    turnover: Annotated[Decimal, agg.sum(F.price * F.quantity)]
    trades: Annotated[int, agg.count()]
    fee: Annotated[float | None, agg.avg(F.fee)]


def test_a_bar_class_says_how_it_is_made() -> None:
    model = model_of(Candle)
    assert (model.topic, model.kind) == ("trades", "table")
    assert [(one.label, one.size) for one in model.windows] == [
        ("1min", timedelta(minutes=1)), ("5min", timedelta(minutes=5)), ("15min", timedelta(minutes=15))
    ]  # fmt: skip
    assert model.windowing is not None
    assert (model.windowing.source, model.windowing.grace) == (Trade, timedelta(seconds=2))
    made = {name: repr(one) for name, one in model.windowing.aggregates.items()}
    assert made == {
        "open": "agg.first(F.price)",
        "high": "agg.max(F.price)",
        "low": "agg.min(F.price)",
        "close": "agg.last(F[Trade].price, by='event_time')",
        "volume": "agg.sum(F.quantity)",
        "turnover": "agg.sum(F.price * F.quantity)",
        "trades": "agg.count()",
        "fee": "agg.avg(F.fee)",
    }
    assert [field.name for field in model.value_fields] == list(made)
    assert model.warnings == ()


def test_names_that_come_of_it() -> None:
    model = model_of(Candle)
    assert model.stores == [
        ("Candle_Store", "candle_store"),
        ("Candle_1min_Store", "candle_1min_store"),
        ("Candle_5min_Store", "candle_5min_store"),
        ("Candle_15min_Store", "candle_15min_store"),
    ]
    assert model.windowing is not None
    assert model.windowing.topics("bars")[2:] == [
        "bars_5min_final",
        "bars_5min_corrections",
        "bars_15min_final",
        "bars_15min_corrections",
        "bars_state",
        "bars_late",
        "bars_repartition",
        "bars-heartbeat",
    ]


def test_bars_that_others_make_name_no_source() -> None:
    @entity(topic="trades", windows=["1h"])
    @dataclass
    class Mirrored:
        symbol: Annotated[str, Key]
        close: Decimal

    model = model_of(Mirrored)
    assert model.windowing is not None
    assert (model.windowing.source, model.windowing.grace) == (None, timedelta(seconds=3))
    assert model.windowing.topics(model.topic) == ["trades_60min_final"]


def test_another_key_than_the_sources_warns_of_the_order() -> None:
    @entity(source=Trade, windows=[1])
    @dataclass
    class ByVenue:
        venue: Annotated[str, Key]
        close: Annotated[Decimal, agg.last(F.price)]
        high: Annotated[Decimal, agg.max(F.price)]

    (warning,) = model_of(ByVenue).warnings
    assert warning.startswith("ByVenue: its key (venue) differs from that of Trade (symbol), ")
    assert warning.endswith("decides close: write by='event_time'")


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        ({}, "1w"),
        ({"retention": timedelta(days=1)}, "1d, 1w"),
        ({"retention": timedelta(days=8)}, None),
    ],
)
def test_windows_as_long_as_they_are_kept_are_a_warning(more: Any, labels: str | None) -> None:
    @entity(topic="trades", windows=["1h", "1d", "1w"], **more)
    @dataclass
    class Mirrored:
        symbol: Annotated[str, Key]
        close: Decimal

    found = [
        one.partition("a window of ")[2].partition(" is as long")[0] for one in model_of(Mirrored).warnings
    ]
    assert found == ([] if labels is None else [labels])


SYMBOL = ("symbol", Annotated[str, Key])


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (Decimal, "no aggregate makes this field: add one, as in Annotated[Decimal, agg.last(F.x)]"),
        (
            Annotated[float, agg.max(F.price)],
            "agg.max(F.price) returns Decimal: annotate the field as Decimal, not float",
        ),
        (
            Annotated[float, agg.avg(F.price)],
            "agg.avg(F.price) returns Decimal: annotate the field as Decimal, not float",
        ),
        (
            Annotated[int, agg.avg(F.quantity)],
            "agg.avg(F.quantity) returns float: annotate the field as float, not int",
        ),
        (
            Annotated[float, agg.avg(F.fee)],
            "agg.avg(F.fee) returns float | None: annotate the field as float | None, since a window may "
            "have no value",
        ),
        (Annotated[Decimal, agg.max(F.pric)], "F.pric: Trade has no field 'pric' (did you mean 'price'?)"),
        (
            Annotated[str, agg.sum(F.venue)],
            "agg.sum(F.venue): F.venue is of type str; it must be one of int",
        ),
        (
            Annotated[bool, agg.max(F.quantity > 1)],
            "agg.max(F.quantity > 1): F.quantity > 1 is of type bool; it must be one of int, float",
        ),
        (Annotated[int, agg.first(F.price + "x")], "F.price + 'x': 'x' is a str: + is for int"),
        (Annotated[int, agg.count(F.zzz)], "F.zzz: Trade has no field"),
        (
            Annotated[int, agg.count(), agg.sum(F.quantity)],
            "several aggregates are given, agg.count(), ",
        ),
        (Annotated[int, WindowEnd, agg.count()], "a WindowEnd has no aggregate: remove agg.count()"),
        (Annotated[str, Key], "Trade has no field 'x' to group by; its fields: symbol, venue"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_made(annotation: Any, fault: str, faults: Faults) -> None:
    bars = make_dataclass("Bars", [SYMBOL, ("x", annotation)])
    found = faults(entity, bars, source=Trade, windows=[1])
    assert found[0].replace("Bars: x: ", "Bars.x: ").startswith(f"Bars.x: {fault}")
    assert len(found) == 1


def test_faults_of_a_bar_class_come_together(faults: Faults) -> None:
    fields = [SYMBOL, ("venue", Annotated[str, Key, agg.last(F.venue)]), ("n", int)]
    found = faults(entity, make_dataclass("Bars", fields), source=Trade, windows=[1, "60s"])
    assert [fault.partition(", as in")[0] for fault in found] == [
        "Bars: venue: a Key has no aggregate: remove agg.last(F.venue)",
        "Bars: windows: 1, '60s' are the same size, '1min': give it once",
        "Bars.n: no aggregate makes this field: add one",
    ]


def test_keys_of_another_type(faults: Faults) -> None:
    for type_, name in ((int, "symbol"), (Decimal, "price"), (float, "fee")):
        key = int if type_ is not Decimal else str
        (found,) = faults(
            entity, make_dataclass("Bars", [(name, Annotated[key, Key])]), source=Trade, windows=[1]
        )
        assert found.startswith(f"Bars.{name}: ")
        assert "None" in found if name == "fee" else f"Trade.{name}, of type" in found


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ({"source": Trade}, "source= requires windows=[…]"),
        ({"topic": "t", "grace": 3}, "grace= requires windows=[…]"),
        ({"topic": "t"}, "n: agg.count() requires source=… and windows=[…]"),
        ({"topic": "t", "windows": [1]}, "n: agg.count() requires source=…"),
        ({"source": Trade, "windows": []}, "windows=[]: give at least one size"),
        ({"source": Trade, "windows": [0]}, "window 0: the size must be positive"),
        ({"source": Trade, "windows": 5}, "windows=5: give a list of sizes"),
        (
            {"source": Trade, "windows": [1], "grace": -1},
            "grace=-1: should be a valid timedelta or should be greater",
        ),
        ({"source": Trade, "windows": [1], "grace": 1e300}, "grace=1e+300: should be"),
        (
            {"source": Trade, "windows": [timedelta(days=400)]},
            "windows: 576000min: a window that is computed here has 366 days at most",
        ),
        (
            {"source": Trade, "windows": [1], "grace": timedelta(days=400), "retention": "500d"},
            "grace=400 days, 0:00:00: 366 days at most",
        ),
        (
            {"source": Trade, "windows": [1], "cache": False},
            "cache=False is not possible with windows",
        ),
        ({"source": Trade, "windows": [1], "kind": "stream"}, "kind='stream' is not possible with windows"),
        ({"source": int, "windows": [1]}, "source=int: int is not declared as an entity"),
        ({"source": Candle, "windows": [1]}, "source=Candle has windows itself"),
        ({"source": "no way", "windows": [1]}, "source: topic 'no way': ' ' is not allowed"),
        ({"source": "t" * 245, "windows": [1]}, "topic 'tttt"),
        ({"source": Trade, "windows": [1], "store_name": "x" * 252}, "physical name 'xxx"),
    ],
    ids=str,
)
def test_declarations_that_cannot_be(declared: dict[str, Any], fault: str, faults: Faults) -> None:
    bars = make_dataclass("Bars", [SYMBOL, ("n", Annotated[int, agg.count()])])
    assert faults(entity, bars, **declared)[0].startswith(f"Bars: {fault}")


def test_a_bar_class_has_a_key(faults: Faults) -> None:
    bars = make_dataclass("Bars", [("n", Annotated[int, agg.count()])])
    (fault,) = faults(entity, bars, source=Trade, windows=[1])
    assert fault.startswith("Bars: an entity with windows needs a key field")


def test_parts_of_a_window_need_windows(faults: Faults) -> None:
    plain = make_dataclass("Plain", [SYMBOL, ("start", Annotated[datetime, WindowStart])])
    assert faults(entity, plain, topic="t") == ("Plain: start: WindowStart requires windows=[…]",)


def test_faults_of_the_source_are_told(faults: Faults) -> None:
    odd = make_dataclass("Odd", [("id", Annotated[float, Key])])

    @dataclass
    @entity(topic="odd")
    class Late(odd):  # type: ignore[valid-type,misc]
        pass

    bars = make_dataclass("Bars", [SYMBOL])
    (fault,) = faults(entity, bars, source=Late, windows=[1])
    assert fault.startswith("Bars: source=Late: Late.id: float cannot be a key")


@pytest.mark.parametrize(
    ("act", "refusal"),
    [
        (lambda stores: stores.ensure_topics(Trade, Candle), "its topics cannot be created yet"),
        (lambda stores: stores.delete(Candle, "AAPL"), "its rows are made of other records, not written"),
    ],
)
def test_what_bars_cannot_do_yet(act: Callable[[StoreManager], Any], refusal: str, tmp_path: Any) -> None:
    refused = pytest.raises(ConfigError, match=f"^Candle has windows: .*{refusal}")
    with StoreManager(tmp_path, kafka="localhost:1") as stores, refused:
        act(stores)


def test_an_aggregate_is_a_value() -> None:
    assert agg.first(F.price) == agg.first(F["price"])
    assert agg.first(F.price) != agg.first(F.price, by="event_time")
    assert hash(agg.sum(F.a + 1)) == hash(pickle.loads(pickle.dumps(agg.sum(F.a + 1))))
    assert repr(agg.count()) == "agg.count()"
    with pytest.raises(TypeError, match=r"as in agg\.sum\(F\.price\)"):
        agg.sum("price")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'offset' or 'event_time'"):
        agg.last(F.price, by="time")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aggregate", "name"),
    [
        (agg.first(F.fee), "float | None"),
        (agg.last(F.venue), "str"),
        (agg.first(F.quantity > 1), "bool"),
        (agg.min(F.at), "datetime"),
        (agg.sum(F.fee), "float"),
        (agg.count(F.fee), "int"),
        (agg.avg(F.quantity), "float"),
        (agg.avg(F.price * F.quantity), "Decimal"),
        (agg.max(F.price / F.quantity), "Decimal | None"),
    ],
    ids=str,
)
def test_types_of_aggregates(aggregate: Any, name: str) -> None:
    faults: list[str] = []
    type_ = aggregate_type(aggregate, faults, model_of(Trade).record_type)
    assert type_ is not None
    assert (type_name(type_), faults) == (name, [])
