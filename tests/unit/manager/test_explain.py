"""What a manager makes of its settings: one value for each table, and where it comes from."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import ConfigError, Key, ReadyTimeoutError, StoreManager, entity

NOWHERE = "127.0.0.1:1"


@entity(topic="bars", windows=[5])
@dataclass(frozen=True)
class Bars:
    id: Annotated[int, Key]
    high: float


@entity(topic="orders", partitions=3, config={"segment.bytes": 1000000}, on_undecodable="fail")
@dataclass(frozen=True)
class Order:
    id: Annotated[int, Key]


@entity(topic="trades")
@dataclass(frozen=True)
class Trade:
    id: Annotated[int, Key]


@entity(topic="prints", replication=3)
@dataclass(frozen=True)
class Print:
    price: int


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(
        f"""
        [kafka]
        "bootstrap.servers" = "{NOWHERE}"
        "ssl.key.password" = "hunter2"
        [schema_registry]
        password = "hunter2"
        [backends.rocksdb]
        compression = "zstd"
        [defaults]
        max_staleness = 9
        [tables.Order]
        backend = "memory"
        max_lag = 4
        on_undecodable = "skip"
        [topics.orders]
        replication = 2
        retention = 60
        [topics.orders.config]
        "min.insync.replicas" = "2"
        """
    )
    return path


@pytest.fixture
def manager(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreManager]:
    monkeypatch.setenv("STATESTORE_TABLES__Order__MAX_LAG", "5")
    with StoreManager(tmp_path / "state", backend="lmdb", settings=file, connect="lazy") as made:
        made.bind(Order, max_staleness=2)
        made.bind(Trade)
        yield made


def test_each_setting_has_its_value_and_origin(manager: StoreManager, file: Path) -> None:
    found = manager.explain()
    expected = {
        "kafka.bootstrap.servers": (NOWHERE, f"file {file}"),
        "kafka.ssl.key.password": ("***", f"file {file}"),
        "schema_registry.password": ("***", f"file {file}"),
        "schema_registry.retries": (3, "default"),
        "backends.rocksdb.compression": ("zstd", f"file {file}"),
        "backends.rocksdb.block_size": (4096, "default"),
        "backends.lmdb.max_readers": (1024, "default"),
        "defaults.backend": ("lmdb", "StoreManager(backend=…)"),
        "defaults.retry_waits": ([1.0, 2.0, 4.0, 8.0], "default"),
        "tables.Order_Store.backend": ("memory", f"file {file}"),
        "tables.Order_Store.max_lag": (5, "environment STATESTORE_TABLES__Order__MAX_LAG"),
        "tables.Order_Store.max_staleness": (2.0, "bind(max_staleness=…)"),
        "tables.Order_Store.on_undecodable": ("skip", f"file {file}"),
        "tables.Order_Store.on_missing": ("fail", "default"),
        "tables.Trade_Store.backend": ("lmdb", "StoreManager(backend=…)"),
        "tables.Trade_Store.max_staleness": (9.0, f"file {file}"),
        "tables.Trade_Store.on_undecodable": ("raise", "default"),
        "topics.orders.partitions": (3, "class Order"),
        "topics.orders.replication": (2, f"file {file}"),
        "topics.orders.retention": (60.0, f"file {file}"),
        "topics.orders.cleanup_policy": ("compact", "default"),
        "topics.orders.config.segment.bytes": ("1000000", "class Order"),
        "topics.orders.config.min.insync.replicas": ("2", f"file {file}"),
        "topics.trades.partitions": (1, "default"),
    }
    assert {path: (found[path]["value"], found[path]["from"]) for path in expected} == expected


def test_sections_that_nothing_is_bound_for_are_shown_as_they_are(tmp_path: Path) -> None:
    settings = {
        "tables": {"A": {"max_lag": 3}},
        "topics": {"a": {"partitions": 2}},
    }
    with StoreManager(tmp_path, settings=settings) as manager:
        found = manager.explain()
    code = "StoreManager(settings=…)"
    assert {path: entry for path, entry in found.items() if path.startswith(("tables", "topics"))} == {
        "tables.A.max_lag": {"value": 3, "from": code},
        "topics.a.partitions": {"value": 2, "from": code},
    }


def test_it_is_json_and_a_table_without_secrets(manager: StoreManager, file: Path) -> None:
    found = manager.explain()
    assert json.loads(json.dumps(found)) == found
    lines = str(found).splitlines()
    assert lines[0].split() == ["setting", "value", "from"]
    (line,) = [line for line in lines if line.startswith("tables.Order_Store.backend ")]
    assert line.split(maxsplit=2) == ["tables.Order_Store.backend", "memory", f"file {file}"]
    assert "hunter2" not in str(found) + repr(found)


def test_topics_of_bound_streams_have_their_settings_too(tmp_path: Path) -> None:
    settings = {"kafka": NOWHERE, "topics": {"prints": {"partitions": 2}}}
    with StoreManager(tmp_path / "state", settings=settings, connect="lazy") as manager:
        manager.stream(Print)
        found = manager.explain()
        assert found["topics.prints.partitions"] == {"value": 2, "from": "StoreManager(settings=…)"}
        assert found["topics.prints.replication"] == {"value": 3, "from": "class Print"}


def test_what_is_chosen_is_what_the_tables_have(manager: StoreManager) -> None:
    assert [entry["backend"] for entry in manager.describe()] == ["memory", "lmdb"]


def test_sections_of_nothing_declared_are_faults_that_list_what_is(tmp_path: Path) -> None:
    settings = {
        "tables": {"Ordr": {"max_lag": 1}, "unlike": {}, "Trade_Store": {}, "orders": {}, "bytes_Store": {}},
        "topics": {"ordres": {"partitions": 2}, "trades": {}, "bytes": {}, "Trade": {}},
    }
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", settings=settings, entities=[Order, Trade, "bytes"])
    where, no_table = "StoreManager(settings=…)", "no entity, topic or store has this name"
    assert caught.value.faults == (
        f"{where}: [tables.Ordr]: {no_table} (did you mean 'Order'?)",
        f"{where}: [tables.unlike]: {no_table}; bound: Order, Trade, bytes",
        f"{where}: [topics.ordres]: no topic has this name (did you mean 'orders'?)",
        f"{where}: [topics.Trade]: no topic has this name (did you mean 'trades'?)",
    )
    assert not (tmp_path / "state").exists()


def test_sections_of_nothing_declared_are_warned_of_once_where_tables_are_bound_one_by_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {
        "kafka": NOWHERE,
        "tables": {"Ordr": {"max_lag": 1}, "Trade": {}, "mine": {}, "bytes_Store": {}, "prints": {}},
        "topics": {"ordres": {"partitions": 2}, "orders": {}},
    }
    with StoreManager(tmp_path / "state", settings=settings, connect="lazy") as manager:
        manager.bind(Order, name="mine")
        manager.bind("bytes")
        manager.stream(Print)
        for _ in range(2):
            with pytest.raises(ReadyTimeoutError):
                manager.wait_until_ready(timeout=0)
    told = [text for text in caplog.messages if "has this name" in text]
    where = "StoreManager(settings=…)"
    assert told == [
        f"{where}: [tables.Ordr]: no entity, topic or store has this name (did you mean 'Order'?)",
        f"{where}: [topics.ordres]: no topic has this name (did you mean 'orders'?)",
    ]


def test_two_sections_of_one_table_are_refused(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"Order": {}, "orders": {}}
    with (
        StoreManager(tmp_path / "state", NOWHERE, settings={"tables": tables}, connect="lazy") as manager,
        pytest.raises(ConfigError, match=r"\[tables\.orders\] and \[tables\.Order\] name the same table"),
    ):
        manager.bind(Order)


def orders_again() -> type:
    """Return the class as the second run of a notebook's cell makes it."""
    again = type("Order", (), {"__annotations__": {"id": Annotated[int, Key]}, "__module__": __name__})
    return entity(dataclass(frozen=True)(again), topic="orders", on_undecodable="fail")


def test_binding_in_another_way_names_what_differs(tmp_path: Path) -> None:
    settings = {"defaults": {"max_staleness": 9}}
    with StoreManager(tmp_path, NOWHERE, settings=settings, connect="lazy") as manager:
        table = manager.bind(Order, name="mine")
        assert manager.bind(Order, name="mine", max_staleness=9) is table
        with pytest.raises(ConfigError) as caught:
            manager.bind(Order, name="mine", max_lag=5, backend="memory")
        assert caught.value.faults == (
            "'mine' is already bound with backend='rocksdb', max_lag=None; this call asks for "
            "backend='memory', max_lag=5: use the same options, or close() it first",
        )
        for other, says in (
            (Trade, r"class Order; this call asks for class Trade"),
            ("orders", r"class Order; this call asks for topic 'orders'"),
            (orders_again(), r"class Order; this call asks for another class Order"),
        ):
            with pytest.raises(ConfigError, match=rf"'mine' is already bound to {says}: "):
                manager.bind(other, name="mine")
        manager.open("bytes")
        with pytest.raises(ConfigError, match=r"open with backend='rocksdb'; this call .* backend='lmdb'"):
            manager.open("bytes", backend="lmdb")


def test_sections_may_name_what_is_declared_and_bound_later(tmp_path: Path) -> None:
    """Bars has windows: its own topic and those derived from it have sections."""
    settings = {
        "kafka": NOWHERE,
        "tables": {"Bars": {"max_lag": 3}, "Trade": {}},
        "topics": {"bars": {}, "bars_5min_final": {}},
    }
    with StoreManager(tmp_path, settings=settings, entities=[Order], connect="lazy") as manager:
        assert [entry["entity"] for entry in manager.describe()] == ["Order"]


def test_levels_are_those_of_our_loggers_only(tmp_path: Path) -> None:
    ours, root = logging.getLogger("statestore.serde"), logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    try:
        StoreManager(tmp_path / "state", settings={"logging": {"serde": "ERROR"}}).close()
        assert ours.level == logging.ERROR
        assert (root.level, root.handlers, ours.handlers) == (before, handlers, [])
    finally:
        ours.setLevel(logging.NOTSET)


def test_the_environment_is_read_when_a_manager_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATESTORE_DEFAULTS__BACKEND", "memory")
    with StoreManager(tmp_path / "a") as manager:
        monkeypatch.setenv("STATESTORE_DEFAULTS__BACKEND", "lmdb")
        assert manager.explain()["defaults.backend"] == {
            "value": "memory",
            "from": "environment STATESTORE_DEFAULTS__BACKEND",
        }
    monkeypatch.setenv("STATESTORE_DEFAULTS__BACKENT", "lmdb")
    with pytest.raises(
        ConfigError, match=r"STATESTORE_DEFAULTS__BACKENT: defaults\.backent: no such setting"
    ):
        StoreManager(tmp_path / "b")


@entity(topic="quotes", cache=False, cache_reason="a day's quotes, read again in a second")
@dataclass(frozen=True)
class Quote:
    id: Annotated[int, Key]


def test_an_entity_that_is_not_cached_leaves_nothing_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    with StoreManager(state, NOWHERE, connect="lazy") as manager, caplog.at_level("INFO", "statestore.store"):
        quotes, orders = manager.bind(Quote), manager.bind(Order)
        health = quotes.health()
        assert (health.persistent, health.cache_reason) == (False, "a day's quotes, read again in a second")
        assert (orders.health().persistent, orders.health().cache_reason) == (True, None)
        backend = manager.explain()["tables.Quote_Store.backend"]
        assert backend == {"value": "memory", "from": "cache=False, class Quote"}
        assert [entry.name for entry in state.iterdir() if entry.is_dir()] == ["order_store"]
    told = {record.levelname: record.message for record in caplog.records if "_Store" in record.message}
    assert "cache=False (a day's quotes, read again in a second)" in told["WARNING"]
    assert "'Order_Store': stored on local disk, size not limited (set max_bytes)" in told["INFO"]


def test_settings_can_turn_the_cache_of_a_table_on_and_off(tmp_path: Path) -> None:
    tables = {"Quote": {"cache": True, "backend": "lmdb"}, "Order": {"cache": False}}
    with StoreManager(tmp_path, NOWHERE, settings={"tables": tables}, connect="lazy") as manager:
        manager.bind(Quote)
        manager.bind(Order)
        assert [entry["backend"] for entry in manager.describe()] == ["memory", "lmdb"]


def test_a_backend_for_a_table_that_is_not_cached_is_refused(tmp_path: Path) -> None:
    with (
        StoreManager(tmp_path, NOWHERE, backend="lmdb", connect="lazy") as manager,
        pytest.raises(
            ConfigError, match=r"cache=False \(class Quote\) .* backend='rocksdb' \(bind\(backend="
        ),
    ):
        manager.bind(Quote, backend="rocksdb")


@entity(topic="limited", ttl=timedelta(hours=2), max_bytes=1000)
@dataclass(frozen=True)
class Limited:
    id: Annotated[int, Key]


def test_limits_come_from_the_class_or_the_settings(tmp_path: Path) -> None:
    settings = {"tables": {"Limited": {"ttl": 60}}}
    with StoreManager(tmp_path, NOWHERE, settings=settings, connect="lazy") as manager:
        health = manager.bind(Limited).health()
        assert (health.ttl, health.max_bytes) == (60, 1000)
        found = manager.explain()
        assert found["tables.Limited_Store.ttl"] == {"value": 60, "from": "StoreManager(settings=…)"}
        assert found["tables.Limited_Store.max_bytes"] == {"value": 1000, "from": "class Limited"}


def test_a_table_can_be_compressed_in_another_way(tmp_path: Path) -> None:
    tables = {"Order": {"compression": "zstd"}}
    with StoreManager(tmp_path, NOWHERE, settings={"tables": tables}, connect="lazy") as manager:
        manager.bind(Order)
        manager.bind(Trade)
    chosen = {
        store: re.findall(r"^\s*compression=(\w+)", max(files).read_text(), re.MULTILINE)
        for store in ("order", "trade")
        if (files := list((tmp_path / f"{store}_store").rglob("OPTIONS-*")))
    }
    assert chosen == {"order": ["kZSTD"], "trade": ["kLZ4Compression"]}


@pytest.mark.parametrize(
    ("backend", "says"),
    [("lmdb", "'lmdb' offers no choice of it"), ("rocksdb", "offers none, lz4, zstd, snappy")],
)
def test_a_compression_that_an_engine_has_not_is_refused(tmp_path: Path, backend: str, says: str) -> None:
    settings = {"kafka": NOWHERE, "tables": {"Order": {"compression": "lz5"}}}
    with StoreManager(tmp_path, backend=backend, settings=settings, connect="lazy") as manager:
        for _ in range(2):  # nothing is left of the first try
            with pytest.raises(ConfigError, match=f"'Order_Store': compression='lz5': .*{says}"):
                manager.bind(Order)


@pytest.mark.parametrize("given", [{"ttl": 0}, {"ttl": timedelta(0)}, {"ttl": -1.5}, {"max_bytes": 0}])
def test_a_limit_is_greater_than_nothing(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Order: .*should be greater than 0"):
        entity(dataclass(frozen=True)(type("Order", (Order,), {})), topic="o", **given)


def test_a_reason_belongs_to_an_entity_that_is_not_cached() -> None:
    with pytest.raises(ConfigError, match=r"Order: cache_reason='why' requires cache=False"):
        entity(dataclass(frozen=True)(type("Order", (Order,), {})), topic="o", cache_reason="why")


def test_a_table_of_bytes_decodes_nothing(tmp_path: Path) -> None:
    settings = {"tables": {"events": {"on_undecodable": "skip"}}}
    with (
        StoreManager(tmp_path, kafka=NOWHERE, settings=settings, connect="lazy") as stores,
        pytest.raises(
            ConfigError, match=r"on_undecodable='skip' \(StoreManager\(settings=…\)\) has no effect"
        ),
    ):
        stores.bind("events")


def test_a_table_that_is_being_closed_is_left_out_of_the_health(tmp_path: Path) -> None:
    with StoreManager(tmp_path, NOWHERE, "memory", connect="lazy") as manager:
        table = manager.bind("orders")
        manager.bind("trades")
        table.shut()  # as a close begins, which may wait for a broker
        assert list(manager.health().tables) == ["trades_Store"]
        assert [entry["size"] is None for entry in manager.describe()] == [True, False]
