"""Windowed classes whose rows others publish: the topic, the names and the key of each window."""

from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest

from statestore import ConfigError, Hopping, Key, WindowEnd, WindowStart, entity
from statestore.entity import EntityModel, model_of

Faults = Callable[..., tuple[str, ...]]


def declared(**arguments: Any) -> EntityModel:
    @entity(topic="counts", **arguments)
    @dataclass(frozen=True)
    class Count:
        symbol: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]
        end: Annotated[datetime, WindowEnd]
        n: int

    return model_of(Count)


def of_windows(model: EntityModel) -> list[EntityModel]:
    return [model.of_window(window) for window in model.windows]


def test_a_window_has_names_a_topic_and_a_key_of_its_own() -> None:
    minute, day = of_windows(declared(windows=["1d", 1], retention=1))
    assert (minute.logical_name, minute.physical_name) == ("Count_1min_Store", "count_1min_store")
    assert (minute.topic, day.topic) == ("counts_1min_final", "counts_1d_final")
    assert [one.name for one in minute.key_fields] == ["symbol", "start"]
    assert [one.name for one in minute.value_fields] == ["n"]
    assert minute.window is not None
    assert (minute.window.window.label, minute.window.size) == ("1min", 8)
    assert minute.window.retention == timedelta(minutes=1)
    assert minute.serialisation == "ordered(str) window 1min msgpack"
    assert minute.of_class.key_fields == declared(windows=[1]).key_fields


def test_the_topic_of_one_window_is_that_of_the_class_where_others_write_it() -> None:
    (sink,) = of_windows(declared(windows=[5], window_layout="sink"))
    (changelog,) = of_windows(declared(windows=[5], window_layout="changelog"))
    assert (sink.topic, changelog.topic) == ("counts", "counts")
    assert sink.window is not None
    assert changelog.window is not None
    assert (sink.window.size, changelog.window.size) == (8, 12)
    assert changelog.serialisation == "ordered(str) window 5min with sequence msgpack"


def test_windows_name_their_topics() -> None:
    model = declared(windows=[1, 5], window_layout="sink", window_topics={"5min": "five", 1: "one"})
    assert [one.topic for one in of_windows(model)] == ["one", "five"]
    assert model.windowing is not None
    assert model.windowing.topics(model.topic) == ["one", "five"]
    some = declared(windows=[1, 5], window_topics={5: "five"})
    assert [one.topic for one in of_windows(some)] == ["counts_1min_final", "five"]
    assert model.of_window(model.windows[0], "other").topic == "other"


def test_hopping_windows_and_sessions() -> None:
    model = declared(windows=[Hopping(5, "30s"), 5, Hopping("1h", timedelta(minutes=1))])
    assert [one.label for one in model.windows] == ["5min", "5min_by_30s", "60min_by_1min"]
    assert of_windows(model)[1].topic == "counts_5min_by_30s_final"
    (sessions,) = of_windows(declared(windows="sessions", window_layout="changelog"))
    assert (sessions.logical_name, sessions.topic) == ("Count_sessions_Store", "counts")
    assert [one.name for one in sessions.key_fields] == ["symbol", "end", "start"]
    assert sessions.window is not None
    assert (sessions.window.size, sessions.window.has_sequence) == (16, False)


def test_a_window_needs_the_fields_that_tell_its_rows_apart() -> None:
    def bound(windows: Any, *fields: Any) -> None:
        cls = make_dataclass("Bars", [("symbol", Annotated[str, Key]), *fields])
        of_windows(model_of(entity(cls, topic="t", windows=windows)))

    with pytest.raises(
        ConfigError, match=r"told apart by WindowStart, .*: add start: Annotated\[datetime, Wi"
    ):
        bound([1], ("end", Annotated[datetime, WindowEnd]))
    with pytest.raises(ConfigError, match=r"by WindowEnd, .*: add end: Annotated\[datetime, WindowEnd\]"):
        bound("sessions", ("start", Annotated[int, WindowStart]))


SYMBOL = ("symbol", Annotated[str, Key])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            {"windows": [1, 5], "window_layout": "sink"},
            "window_layout='sink': each of several windows has a topic",
        ),
        ({"windows": [1], "window_topics": {5: "t"}}, "window_topics: 5 is not one of the windows: 1min"),
        ({"windows": [1], "window_topics": {1: "t", "60s": "u"}}, "window_topics: 1min is given twice"),
        (
            {"windows": [1, 5], "window_topics": {1: "t", 5: "t"}},
            "window_topics: 't' is the topic of several",
        ),
        (
            {"windows": [1], "window_topics": {1: "no way"}},
            "window_topics: topic 'no way': ' ' is not allowed",
        ),
        ({"windows": [1], "window_topics": ["t"]}, "window_topics=['t']: give a topic for each window"),
        ({"windows": [1], "window_layout": "other"}, "window_layout='other': should be 'final', 'sink' or"),
        ({"window_layout": "sink"}, "window_layout= requires windows=[…]"),
        ({"windows": [1, "sessions"]}, "windows: 'sessions' stands alone"),
        (
            {"windows": "5min"},
            "windows='5min': give a list of sizes, as in windows=[1, 5, '1h'], or 'sessions'",
        ),
        (
            {"windows": [Hopping(1, 5)]},
            "Hopping(size=1, advance=5): windows that start 5min apart and are 1min",
        ),
        (
            {"windows": [Hopping(5, 5)]},
            "Hopping(size=5, advance=5): such windows do not overlap: write '5min'",
        ),
        ({"windows": [Hopping(5, 0)]}, "Hopping advance 0: the size must be positive"),
        (
            {"windows": [Hopping(5, 1), Hopping("5min", "60s")]},
            "windows: Hopping(size=5, advance=1), Hopping(",
        ),
        (
            {"windows": [1], "source": "s", "window_topics": {1: "t"}},
            "window_topics= is for a class without source=",
        ),
        ({"windows": "sessions", "source": "s"}, "windows: sessions are not computed here"),
        (
            {"windows": [Hopping(5, 1)], "source": "s"},
            "windows: Hopping windows (5min_by_1min) are not computed",
        ),
    ],
    ids=str,
)
def test_declarations_that_cannot_be(arguments: dict[str, Any], fault: str, faults: Faults) -> None:
    start = ("start", Annotated[datetime, WindowStart])
    bars = make_dataclass("Bars", [SYMBOL, start] if "windows" in arguments else [SYMBOL])
    told, *others = faults(entity, bars, topic="t", **arguments)
    assert told.startswith(f"Bars: {fault}")
    assert not others, "each fault is told once"


def test_a_retention_is_given_as_a_size_is(faults: Faults) -> None:
    for given in (90, "90min", timedelta(minutes=90)):
        windowing = declared(windows=[5], retention=given).windowing
        assert windowing is not None
        assert windowing.retention == timedelta(minutes=90)
    bars = make_dataclass("Bars", [SYMBOL, ("start", Annotated[datetime, WindowStart])])
    (fault,) = faults(entity, bars, topic="t", windows=[5], retention=1.5)
    assert fault.startswith("Bars: retention 1.5: not a size; write a number of minutes, '30s'")
    (fault,) = faults(entity, make_dataclass("Kept", [SYMBOL, ("n", int)]), topic="t", retention="1h")
    assert fault.startswith("Kept: retention='1h': without windows=[…] it is the topic's: give seconds or")
