"""The windows that a class declares: one table each, with names, directories and settings of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer

from statestore import (
    ConfigError,
    Hopping,
    Key,
    QueryError,
    StoreManager,
    StoreUnavailableError,
    WindowEnd,
    WindowStart,
    entity,
)
from statestore.cli import main
from statestore.manager import orphans

CODE = "StoreManager(settings=…)"

Faults = Callable[..., tuple[str, ...]]


@entity(topic="candles", windows=[5, "30s", "1h"], max_bytes=100_000_000)
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    close: float


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    symbol: Annotated[str, Key]


def declared(*windows: Any, **more: Any) -> Any:
    """Return a class ``Bar`` with these windows, as a later release of a program has it."""

    @entity(topic="bars", windows=list(windows), **more)
    @dataclass(frozen=True, slots=True)
    class Bar:
        symbol: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]
        close: float

    return Bar


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """The address of librdkafka's mock broker, with the topics of all windows."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (found,) = producer.list_topics(timeout=60).brokers.values()
    topics = ["ticks", "candles-of-5", *(f"candles_{label}_final" for label in ("30s", "5min", "60min"))]
    for topic in (*topics, *(f"bars_{label}_final" for label in ("5min", "15min"))):
        producer.produce(topic, b"no key of a window", None)
    assert producer.flush(60) == 0
    yield f"{found.host}:{found.port}"
    del producer  # the broker lives as long as this


@pytest.fixture
def manager(tmp_path: Path, broker: str) -> Iterator[StoreManager]:
    with StoreManager(tmp_path, broker) as made:
        yield made


# One table for each window


def test_each_window_has_a_table_with_its_own_names_topic_and_directory(
    manager: StoreManager, tmp_path: Path
) -> None:
    table = manager.bind(Candle)
    assert [one.label for one in table.windows] == ["30s", "5min", "60min"]
    entries = {one["window"]: one for one in manager.describe()}
    assert list(entries) == ["30s", "5min", "60min"]
    for one in table.all_windows():
        entry = next(entry for entry in entries.values() if entry["logical"] == one.name)
        label = entry["window"]
        assert one is table.window(label)
        assert one is manager.store(f"Candle_{label}_Store")
        assert entry["path"] == str(tmp_path / f"candle_{label}_store")
        assert entry["retention"] == 168 * 3600
        assert (entry["topic"], entry["entity"]) == (f"candles_{label}_final", "Candle")
    assert list(manager.health().tables) == [one.name for one in table.all_windows()]
    assert not (tmp_path / "candle_store").exists()


def test_a_window_is_named_by_its_size_however_it_is_spelled(manager: StoreManager) -> None:
    table = manager.bind(Candle)
    five = table.window(5)
    for spec in ("5min", "300s", timedelta(minutes=5), table.windows[1]):
        assert table.window(spec) is five
    assert manager.bind(Candle) is table is manager.store("Candle_Store")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (7, r"Candle has no window 7; declared: 30s, 5min, 60min\. Give one"),
        ("5m", "Candle has no window '5m'; declared: 30s, 5min, 60min"),
        (None, r"'30s', '5min', '60min': say which, as in window\('30s'\)"),
    ],
)
def test_what_is_not_declared_is_an_error_that_lists_what_is(
    spec: Any, says: str, manager: StoreManager
) -> None:
    with pytest.raises(ConfigError, match=says):
        manager.bind(Candle).window(spec)


def test_a_single_window_needs_no_name_and_a_class_without_has_none(manager: StoreManager) -> None:
    table = manager.bind(declared(15))
    assert table.window() is table.window("15min")
    ticks = manager.bind(Tick)
    for ask in (ticks.window, ticks.all_windows, lambda: ticks.windows):
        with pytest.raises(ConfigError, match="Tick declares no windows, so table 'Tick_Store' has none"):
            ask()


def test_the_table_of_a_window_has_no_windows(manager: StoreManager) -> None:
    five = manager.bind(Candle).window(5)
    for ask in (five.window, five.all_windows, lambda: five.windows):
        with pytest.raises(ConfigError, match="'Candle_5min_Store' is that of window 5min of Candle: "):
            ask()


def test_topics_of_windows_are_created_by_who_writes_them(manager: StoreManager) -> None:
    says = "candles_30s_final, candles_5min_final, candles_60min_final: create them as who writes them wants"
    with pytest.raises(ConfigError, match=f"Candle has windows, whose topics others write, {says}"):
        manager.ensure_topics(Candle)


def test_windows_without_one_size_are_named_by_their_labels(tmp_path: Path) -> None:
    @entity(topic="visits", windows="sessions")
    @dataclass(frozen=True)
    class Visit:
        user: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]
        end: Annotated[datetime, WindowEnd]

    @entity(topic="rates", windows=[Hopping(5, 1)])
    @dataclass(frozen=True)
    class Rate:
        user: Annotated[str, Key]
        start: Annotated[datetime, WindowStart]

    tables = {
        "Visit": {"windows": {"sessions": {"max_lag": 1}}},
        "Rate": {"windows": {"5min_by_1min": {"max_lag": 2}}},
    }
    with StoreManager(tmp_path, "127.0.0.1:1", connect="lazy", settings={"tables": tables}) as manager:
        visits, rates = manager.bind(Visit), manager.bind(Rate)
        assert visits.window("sessions") is visits.window() is manager.store("Visit_sessions_Store")
        assert rates.window("5min_by_1min") is rates.window(Hopping("5min", "1min"))
        found = manager.explain()
        assert found["tables.Visit_sessions_Store.max_lag"]["value"] == 1
        assert found["tables.Rate_5min_by_1min_Store.max_lag"]["value"] == 2


def test_reads_of_the_whole_ask_for_a_window_and_nothing_is_written(manager: StoreManager) -> None:
    table = manager.bind(Candle)
    whole: list[Callable[[], Any]] = [
        lambda: table.get("AAPL"),
        lambda: table["AAPL"],
        lambda: list(table),
        lambda: table.to_list(allow_stale=True),
        lambda: table.where().to_list(),
        table.count,
        table.approximate_count,
        table.snapshot,
    ]
    for read in whole:
        with pytest.raises(QueryError, match=r"Candle has a table for each .* read one .* window\('30s'\)"):
            read()
    for wait in (False, True):
        with pytest.raises(ConfigError, match="Candle has windows: others write its rows, which"):
            table.add(Candle("AAPL", datetime(2026, 1, 1), 1.0), wait=wait)


def test_a_name_takes_the_place_of_the_entitys(manager: StoreManager, tmp_path: Path) -> None:
    table = manager.bind(Candle, name="Mine_Store")
    assert [one.name for one in table.all_windows()] == [
        "Mine_30s_Store",
        "Mine_5min_Store",
        "Mine_60min_Store",
    ]
    assert {entry["physical"] for entry in manager.describe()} >= {"mine_5min_store"}
    with pytest.raises(ConfigError, match="topic 'candles_30s_final' is already bound, as 'Mine_30s_Store'"):
        manager.bind(Candle)
    assert sorted(manager.health().tables) == sorted(one.name for one in table.all_windows())


def test_a_class_needs_the_start_of_its_windows(manager: StoreManager) -> None:
    @entity(topic="bars", windows=[1])
    @dataclass(frozen=True)
    class Bare:
        symbol: Annotated[str, Key]

    with pytest.raises(ConfigError, match="WindowStart"):
        manager.bind(Bare)


# Settings


def test_a_window_has_settings_of_its_own_which_explain_tells(tmp_path: Path, broker: str) -> None:
    file = tmp_path / "statestore.toml"
    file.write_text(
        f"""
        kafka = "{broker}"
        [tables.Candle]
        max_lag = 10
        max_staleness = 60
        [tables.Candle.windows."5min"]
        max_lag = 2
        backend = "memory"
        topic = "candles-of-5"
        store_name = "Fives"
        [tables.Candle.windows.1h]
        backend = "lmdb"
        [topics.candles-of-5]
        partitions = 3
        """
    )
    with StoreManager(tmp_path / "state", settings=file, entities=[Candle]) as manager:
        table = manager.bind(Candle)
        fives = table.window(5)
        assert (fives.name, fives.topic) == ("Fives", "candles-of-5")
        assert manager.store("Fives") is fives
        assert {one["window"]: one["backend"] for one in manager.describe()} == {
            "30s": "rocksdb",
            "5min": "memory",
            "60min": "lmdb",
        }
        found = manager.explain()
    origin = f"file {file}"
    expected = {
        "tables.Fives.max_lag": (2, origin),
        "tables.Fives.max_staleness": (60.0, origin),
        "tables.Fives.backend": ("memory", origin),
        "tables.Fives.topic": ("candles-of-5", origin),
        "tables.Fives.store_name": ("Fives", origin),
        "tables.Candle_30s_Store.max_lag": (10, origin),
        "tables.Candle_30s_Store.topic": ("candles_30s_final", "class Candle"),
        "tables.Candle_60min_Store.backend": ("lmdb", origin),
        "topics.candles-of-5.partitions": (3, origin),
    }
    assert {path: (found[path]["value"], found[path]["from"]) for path in expected} == expected


def test_the_nearest_setting_counts(tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATESTORE_TABLES__Candle__WINDOWS__5min__MAX_BYTES", "7000000")
    settings = {"tables": {"Candle": {"windows": {"1h": {"max_bytes": 3_000_000}}}}}
    with StoreManager(tmp_path, broker, settings=settings) as manager:
        manager.bind(Candle)
        found = manager.explain()
        told = {
            label: (entry["value"], entry["from"])
            for label in ("30s", "5min", "60min")
            if (entry := found[f"tables.Candle_{label}_Store.max_bytes"])
        }
    assert told == {
        "30s": (100_000_000, "class Candle"),
        "5min": (7_000_000, "environment STATESTORE_TABLES__Candle__WINDOWS__5min__MAX_BYTES"),
        "60min": (3_000_000, CODE),
    }
    with StoreManager(tmp_path, broker, settings=settings) as manager:
        manager.bind(Candle, max_lag=1)
        assert manager.explain()["tables.Candle_60min_Store.max_lag"]["from"] == "bind(max_lag=…)"
        with pytest.raises(ConfigError, match=r"'Candle_30s_Store' is already bound with max_lag=1"):
            manager.bind(Candle, max_lag=2)


@pytest.mark.parametrize(
    ("tables", "fault"),
    [
        (
            {"Candle": {"windows": {"15min": {"max_lag": 1}}}},
            '[tables.Candle.windows."15min"]: Candle has no such window; declared: 30s, 5min, 60min',
        ),
        (
            {"Tick": {"windows": {"5min": {}}}},
            '[tables.Tick.windows."5min"]: Tick has no windows: remove it',
        ),
        (
            {"Candle": {"windows": {"5min": {"cache": False}}}},
            '[tables.Candle.windows."5min"]: cache = false is not possible for Candle: windows are always '
            "stored; remove it",
        ),
        (
            {"Candle_5min_Store": {"max_lag": 1}},
            "[tables.Candle_5min_Store]: no entity, topic or store has this name: settings of a window stand "
            'in [tables.Candle.windows."5min"]',
        ),
    ],
)
def test_a_section_that_no_window_has_is_a_fault(
    tables: dict[str, Any], fault: str, tmp_path: Path, broker: str, faults: Faults
) -> None:
    found = faults(StoreManager, tmp_path, broker, entities=[Candle, Tick], settings={"tables": tables})
    assert found == (f"{CODE}: {fault}",)


@pytest.mark.parametrize("setting", ["topic", "store_name"])
def test_windows_share_neither_topic_nor_store(setting: str, tmp_path: Path, broker: str) -> None:
    windows = {"5min": {setting: "x"}, "1h": {setting: "x"}}
    settings = {"tables": {"Candle": {"windows": windows}}}
    with StoreManager(tmp_path, broker, settings=settings) as manager:
        with pytest.raises(ConfigError, match=f"windows 5min and 60min have one {setting}, 'x'"):
            manager.bind(Candle)
        assert manager.describe() == []


# One number more, one less


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the class ``Bar`` with some windows, and make it the only one that the program declares."""

    def release(*windows: Any) -> Any:
        bar = declared(*windows)
        monkeypatch.setattr(orphans, "declared_classes", lambda: [bar])
        return bar

    return release


def told_of(manager: StoreManager) -> dict[str, bool]:
    return {one["logical"]: one["orphan"] for one in manager.describe()}


@pytest.mark.slow
def test_a_window_that_is_taken_off_leaves_an_orphan_until_it_is_dropped(
    release: Callable[..., Any],
    tmp_path: Path,
    broker: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with StoreManager(tmp_path, broker, entities=[release(5)], wait=60) as manager:
        assert told_of(manager) == {"Bar_5min_Store": False}
    with StoreManager(tmp_path, broker, entities=[release(5, 15)], wait=60) as manager:
        manager.open("notes").put(b"k", b"v")
        assert list(manager.health().tables) == ["Bar_5min_Store", "Bar_15min_Store"]
    with StoreManager(tmp_path, broker) as manager:
        manager.bind(release(5))
        (told,) = [text for text in caplog.messages if "orphan" in text]
        assert told.startswith("store 'Bar_15min_Store' is an orphan: it is of a window of Bar, and nothing")
        assert told_of(manager) == {"Bar_5min_Store": False, "Bar_15min_Store": True, "notes": True}
        assert main(["ls", str(tmp_path), "--json"]) == 0
        listed = {one["logical"]: one for one in json.loads(capsys.readouterr().out)}
        assert {name: one["orphan"] for name, one in listed.items() if one["orphan"]} == {
            "Bar_15min_Store": True
        }
        orphan = listed["Bar_15min_Store"]
        assert (orphan["window"], orphan["retention"]) == ("15min", 168 * 3600)
        assert (tmp_path / "bar_15min_store").exists()
        assert manager.drop_orphans() == ["Bar_15min_Store"]
        assert manager.drop_orphans() == []
        assert not (tmp_path / "bar_15min_store").exists()
        assert manager.open("notes").get(b"k") == b"v"
    with StoreManager(tmp_path, broker, entities=[release(5, 15)], wait=60) as manager:
        assert told_of(manager)["Bar_15min_Store"] is False


@pytest.mark.slow
def test_an_orphan_that_is_declared_again_goes_on(
    release: Callable[..., Any], tmp_path: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for windows in ([5, 15], [5], [5, 15]):
        with StoreManager(tmp_path, broker, entities=[release(*windows)], wait=60) as manager:
            assert told_of(manager)["Bar_15min_Store"] is (windows == [5])
    assert main(["ls", str(tmp_path), "--json"]) == 0
    assert [one["orphan"] for one in json.loads(capsys.readouterr().out)] == [None, None]


@pytest.mark.slow
def test_a_removal_that_is_cut_short_leaves_a_store_that_begins_anew(
    release: Callable[..., Any], tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreManager(tmp_path, broker, entities=[release(5, 15)], wait=60):
        pass
    with StoreManager(tmp_path, broker, entities=[release(5)], wait=60) as manager:
        remove = shutil.rmtree

        def interrupted(path: Path) -> None:
            remove(path)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", interrupted)
            with pytest.raises(KeyboardInterrupt):
                manager.drop_orphans()
        assert told_of(manager)["Bar_15min_Store"] is True
    with StoreManager(tmp_path, broker, entities=[release(5, 15)], wait=60) as manager:
        assert told_of(manager) == {"Bar_5min_Store": False, "Bar_15min_Store": False}


@pytest.mark.slow
def test_prune_drops_orphans_at_the_start(release: Callable[..., Any], tmp_path: Path, broker: str) -> None:
    with StoreManager(tmp_path, broker, entities=[release(5, 15), Candle], wait=60) as manager:
        manager.open("notes").put(b"k", b"v")
    with StoreManager(tmp_path, broker, entities=[release(15), "ticks"], prune=True) as manager:
        assert told_of(manager) == {"Bar_15min_Store": False, "ticks_Store": False, "notes": True}
    with pytest.raises(ConfigError, match=r"prune=True .* give all that it binds as entities"):
        StoreManager(tmp_path, broker, prune=True)


def test_only_the_owner_drops(release: Callable[..., Any], tmp_path: Path, broker: str) -> None:
    with StoreManager(tmp_path, broker, entities=[release(5)], wait=60):
        pass
    release(15)
    with (
        StoreManager(tmp_path, broker, role="auto") as owner,
        StoreManager(tmp_path, broker, role="reader") as reader,
    ):
        with pytest.raises(StoreUnavailableError, match="another process owns the data directory"):
            reader.drop_orphans()
        assert owner.drop_orphans() == ["Bar_5min_Store"]
