"""Entities checked as a whole: warnings, relaxed classes, what classes share, and undeclared ones."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import F, Key, Name, StoreManager, agg, entity
from statestore.entity import declared_classes, deferred_faults, location_of, model_of
from statestore.errors import ConfigError
from statestore.fields.attributes import Alias, Int32, MaxLength, Precision
from statestore.manager.validation import check_entities

Faults = Callable[..., tuple[str, ...]]
KEY = ("id", Annotated[int, Key])


def made(name: str, *fields: Any, **declared: Any) -> type:
    """Return an entity class; where its declaration has faults, they come with its first use."""
    cls = make_dataclass(name, fields or [KEY])
    with deferred_faults():
        return entity(cls, **declared)


# One class


def test_a_relaxed_class_takes_its_name_as_topic(faults: Faults) -> None:
    model = model_of(made("TradeLog", validation="relaxed"))
    assert model.topic == "tradelog"
    assert model.warnings == (
        "TradeLog: no topic: 'tradelog' is taken (validation='relaxed'); write @entity(topic=…)",
    )
    assert faults(model_of, made("TradeLog")) == ("TradeLog: no topic: write @entity(topic=…)",)


def test_a_relaxed_class_leaves_out_what_cannot_be_stored(faults: Faults) -> None:
    fields = (KEY, ("odd", set[int] | None, None))
    model = model_of(made("Loose", *fields, topic="loose", validation="relaxed"))
    assert [field.name for field in model.record_type.fields] == ["id"]
    assert model.warnings[0].startswith("Loose.odd: set[int] is not a type that can be stored")
    assert faults(model_of, made("Tight", *fields, topic="tight"))[0].startswith("Tight.odd: set[int] is not")


@pytest.mark.parametrize(
    ("fields", "declared", "warning"),
    [
        ([("x", int)], {}, "Made: no key field, so the entity is a stream"),
        ([("x", int)], {"kind": "stream"}, None),
        ([KEY], {}, None),
        ([KEY], {"topic": "Orders"}, "Made: topic 'Orders' has upper-case letters"),
        ([KEY], {"topic": "ORDERS", "ksql": True}, None),
        ([KEY, ("size", int)], {"ksql": True}, "Made: 'SIZE' is a reserved word of KSQL"),
        ([KEY, ("x", Annotated[int, Name("Rows"), Alias("size")])], {"ksql": True}, None),
        ([KEY], {"topic": "topics", "ksql": True}, "Made: 'topics' is a reserved word of KSQL"),
        ([KEY, ("size", int)], {}, None),
    ],
)
def test_warnings(fields: list[Any], declared: dict[str, Any], warning: str | None) -> None:
    found = model_of(made("Made", *fields, **{"topic": "made", **declared})).warnings
    assert [one.startswith(str(warning)) for one in found] == ([] if warning is None else [True])


def test_warnings_are_logged_once_with_the_place(caplog: pytest.LogCaptureFixture) -> None:
    cls = make_dataclass("Quiet", [("x", int)])
    with caplog.at_level(logging.WARNING, "statestore.entity"):
        entity(cls, topic="quiet")
        model_of(cls)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{location_of(cls)}: Quiet: no key field")
    assert f"{Path(__file__).name}:" in location_of(cls)


def test_names_that_ksqldb_takes_for_one(faults: Faults) -> None:
    twice = made("Twice", KEY, ("a", int), ("A", int), ("rowtime", int), topic="t", ksql=True)
    assert faults(model_of, twice) == (
        "Twice: several fields have the name 'A' in records: a, A",
        "Twice: rowtime: ROWTIME is a system column of ksqlDB: give the field another name with Name(…)",
    )
    assert (
        faults(model_of, made("Both", topic="t", partitions=0, replication=0, retention=float("nan"))) != ()
    )


def test_arguments_out_of_bounds(faults: Faults) -> None:
    wrong = {"partitions": 0, "replication": -1, "validation": "lax", "colour": 3}
    found = faults(model_of, made("Odd", topic="t", **wrong))
    assert sorted(fault.partition("=")[0] for fault in found) == [f"Odd: {name}" for name in sorted(wrong)]
    (fault,) = faults(model_of, made("Ever", topic="t", retention=float("nan")))
    assert fault.startswith("Ever: retention=nan: should be a valid timedelta or ")
    (fault,) = faults(model_of, made("Typo", topic="t", partitons=3))
    assert fault == "Typo: partitons=3: unknown argument (did you mean 'partitions'?)"


# Declared or not


def test_an_undeclared_class_is_told_which_are_declared() -> None:
    known = made("KnownToTheRegistry", topic="t")
    with (
        deferred_faults(),
        pytest.raises(ConfigError, match=r"Unknown is not declared.*Declared entities: .+"),
    ):
        model_of(make_dataclass("Unknown", [KEY]))
    assert known in declared_classes()


@dataclass(slots=True)
@entity(topic="copied")
class CopiedBySlots:
    id: Annotated[int, Key]


@entity(topic="forgotten")
class Undecorated:
    id: Annotated[int, Key]


def test_classes_are_found_before_their_first_use() -> None:
    found = declared_classes()
    assert CopiedBySlots in found
    assert Undecorated in found
    places = [location_of(cls).rpartition(":") for cls in found]
    assert places == sorted(places, key=lambda place: (place[0], int(place[2] or 0)))


def test_collected_declarations_raise_later_and_can_be_judged_otherwise(faults: Faults) -> None:
    cls = make_dataclass("Later", [KEY])
    with deferred_faults("relaxed"):
        entity(cls)
        assert model_of(cls).topic == "later"
        assert entity(cls, topic="other") is cls
    twice = make_dataclass("Twice", [KEY])
    with deferred_faults():
        entity(twice)
        entity(twice, topic="a")
    assert faults(model_of, twice) == (
        "Twice is declared twice, first with nothing, now with topic='a': declare it once",
        "Twice: no topic: write @entity(topic=…)",
    )


def test_a_second_declaration_that_differs_is_told_with_the_rest(faults: Faults) -> None:
    cls = made("Again", topic="a")
    with deferred_faults():
        entity(cls, topic="b")
    report = check_entities([cls])
    assert [error.text for error in report.errors] == [
        "Again is declared twice, first with topic='a', now with topic='b': declare it once"
    ]


# Several


def texts(*classes: type) -> list[str]:
    return [error.text for error in check_entities(classes).errors]


def test_all_faults_of_all_classes_at_once(tmp_path: Path) -> None:
    no_topic, no_key, fine = (
        made("NoTopic"),
        made("NoKey", ("x", set[int]), topic="t"),
        made("Fine", topic="f"),
    )
    report = check_entities([no_topic, fine, no_key, no_topic])
    assert [error.text.partition(" ")[0] for error in report.errors] == ["NoTopic:", "NoKey.x:"]
    assert [error.location for error in report.errors] == [location_of(no_topic), location_of(no_key)]
    assert [model.name for model in report.models] == ["Fine"]
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", kafka="localhost:1", entities=[no_topic, fine, no_key])
    assert caught.value.faults == tuple(map(str, report.errors))
    assert not (tmp_path / "state").exists()


def test_formats_have_their_say() -> None:
    unknown = made("Unknown", topic="a", value_format="clay")
    stream = made("Stream", ("x", int), topic="b", kind="stream", value_format="wax")
    default = made("Default", KEY, ("x", int, "five"), topic="c")
    found = texts(unknown, stream, default)
    assert len(found) == 3
    assert "value_format='clay' is not known; installed: " in found[0]
    assert "value_format='wax' is not known" in found[1]
    assert found[2].startswith("Default.x: ")


@dataclass
class Part:
    code: Annotated[str, MaxLength(3)] = "abcd"
    flag: bool = False


def test_every_default_that_does_not_fit() -> None:
    cls = made(
        "Defaults",
        KEY,
        ("money", Annotated[Decimal, Precision(5, 2)], Decimal("1.234")),
        ("small", Annotated[int, Int32], 2**40),
        ("at", datetime, datetime(2026, 1, 1)),
        ("never", int, None),
        ("fine", float | None, 3),
        ("parts", list[Part], field(default_factory=list)),
        topic="defaults",
    )
    found = texts(cls)
    assert [text.partition(": its default: ")[0] for text in found] == [
        "Part.code", "Defaults.money", "Defaults.small", "Defaults.at", "Defaults.never"
    ]  # fmt: skip


def test_one_topic_is_of_one_schema() -> None:
    order = made("Order", KEY, ("x", int), topic="orders")
    same = made("Same", KEY, ("x", int), topic="orders")
    other = made("Other", KEY, ("x", str), topic="orders")
    assert texts(order, same) == []
    (found,) = texts(order, same, other)
    assert found.startswith(f"Other: topic 'orders' is Order's ({location_of(order)}), with other fields")


def test_stores_do_not_share_a_name_or_a_directory() -> None:
    first, again = made("Order", topic="a"), made("Order", topic="b")
    assert "Order_Store' already: give one of them another store_name=" in texts(first, again)[0]
    dots, dashes = made("D", topic="c", store_name="a.b"), made("E", topic="d", store_name="a-b")
    assert (
        "would share the directory 'a_b': give one of them another physical_name=" in texts(dots, dashes)[0]
    )


BAR = (("id", Annotated[int, Key]), ("n", Annotated[int, agg.count()]))


def test_derived_topics_meet_no_other() -> None:
    trade = made("Trade", topic="trades")
    bars = made("Bars", *BAR, source=trade, windows=[1, 5])
    final = made("Final", topic="trades_5min_final")
    assert texts(trade, bars) == []
    (found,) = texts(bars, final)
    assert found.startswith("Bars: 'trades_5min_final' would be topics of Final (")
    others = made("Others", *BAR, source=trade, windows=[5])
    (found,) = texts(trade, bars, others)
    assert found.startswith(
        "Others: 'trades_5min_final', 'trades_5min_corrections', 'trades_state' and 3 more would"
    )
    assert found.endswith("give one of them another topic=…, from which these names are made")
    assert texts(trade, bars, made("Apart", *BAR, source=trade, topic="apart", windows=[5])) == []


def test_a_source_by_its_topic_is_a_class_that_is_declared() -> None:
    trade = made("Trade", KEY, ("price", Decimal), topic="named.trades")
    high = ("high", Annotated[Decimal, agg.max(F.price)])
    low = ("low", Annotated[Decimal, agg.min(F.cost)])
    for classes in ([trade], []):  # it need not be one of those that are checked
        assert texts(made("Bars", BAR[0], high, source="named.trades", windows=[1]), *classes) == []
        (found,) = texts(made("Lows", BAR[0], high, low, source="named.trades", windows=[1]), *classes)
        assert found.startswith("Lows.low: F.cost: Trade has no field 'cost'")
    (found,) = texts(made("Bars", BAR[0], high, source="unnamed", windows=[1]))
    assert found.startswith("Bars: no entity class is declared for its source, topic 'unnamed'")
