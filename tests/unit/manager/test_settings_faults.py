"""All faults of all settings come in one ConfigError, when the manager is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import ConfigError, Key, StoreManager, entity
from statestore.cli import main
from statestore.settings import layer_settings


@entity(topic="rows_of_settings_faults")
@dataclass(frozen=True)
class RowOfSettingsFaults:
    number: Annotated[int, Key]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no.such.property", "1"),
        ("fetch.wait.max.ms", "soon"),
        ("fetch.wait.max.ms", -7),
        ("security.protocol", "nope"),
        ("compression.type", "brotli"),  # of producers
        ("max.poll.interval.ms", 0),  # of consumers
        ("ssl.ca.location", "/no/such/file"),
        ("linger.ms", [1]),
    ],
)
def test_a_property_that_librdkafka_refuses(tmp_path: Path, name: str, value: Any) -> None:
    more = {"security.protocol": "SSL"} if name.startswith("ssl.") else {}
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", kafka={"bootstrap.servers": "127.0.0.1:1", **more, name: value})
    assert "kafka" in caught.value.faults[0]
    assert name in caught.value.faults[0] or "ssl" in caught.value.faults[0]
    assert len(caught.value.faults) == 1
    assert not (tmp_path / "state").exists()


def test_properties_of_either_client_are_taken(tmp_path: Path) -> None:
    properties = {
        "bootstrap.servers": "127.0.0.1:1",
        "compression.type": "zstd",
        "fetch.min.bytes": 5,
        "socket.keepalive.enable": True,
        "statistics.interval.ms": 1000,
        "stats_cb": lambda text: None,
    }
    StoreManager(tmp_path / "state", kafka=properties).close()


def test_all_kinds_of_faults_come_together(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        "[kafka]\n"
        'bootstrap.servers = "127.0.0.1:1"\n'
        'no.such.property = "1"\n'
        'group.id = "g"\n'
        "[defaults]\n"
        "max_lag = 0\n"
        'backend = "rocks"\n'
        "[backends.rocksdb]\n"
        "bloom_bits = 99\n"
        "[tables.Nope]\n"
        "max_lag = 3\n"
        "[tables.RowOfSettingsFaults]\n"
        "ttl = -1\n"
        "[schema_registry]\n"
        'url = "https://me:hunter2@host"\n'
    )
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", settings=file, entities=[RowOfSettingsFaults], connect="lazy")
    found = sorted(caught.value.faults)
    wanted = sorted(
        f"file {file}, line {line}: {start}"
        for line, start in (
            (1, "kafka: the library sets these itself: group.id"),
            (3, "kafka.no.such.property: refused by librdkafka: "),
            (6, "defaults.max_lag: "),
            (7, "defaults.backend: backend 'rocks'"),
            (9, "backends.rocksdb.bloom_bits: "),
            (11, "[tables.Nope]: no entity"),
            (13, "tables.RowOfSettingsFaults.ttl: "),
            (15, "schema_registry.url: "),
        )
    )
    assert [one[: len(start)] for one, start in zip(found, wanted, strict=True)] == wanted
    assert "hunter2" not in str(caught.value)
    assert main(["config", "check", str(file)]) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"topics": {"orders": {"config": {"retention": {"ms": 5}}}}},
        {"topics": {"orders": {"config": {"retention": {"ms": [5]}, "segment": {"bytes": None}}}}},
        {"topics": {"orders": {"config": {"a": {"b": "1"}, "a.b": "2"}}}},
        {"topics": {"orders": {"config": [1]}}},
        {"tables": {"rows": [1], "more": None}, "backends": 5, "kafka": [7], "defaults": "x"},
    ],
)
def test_faults_below_names_with_dots_end_the_search(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        layer_settings({**settings, "logging": {"level": "loud"}}, {})
    assert any("logging.level" in fault for fault in caught.value.faults)
    assert len(caught.value.faults) > 1


def test_a_comment_is_not_taken_for_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("# [defaults]\n[defaults]\n# max_lag = 3, was too few\nmax_lag = -1\n")
    with pytest.raises(ConfigError, match=r"line 4: defaults\.max_lag"):
        layer_settings(file, {})


@pytest.mark.parametrize(
    "value",
    [
        '"""\nmax_lag = 3\n\\"""max_lag = 3\n"""',
        "'''\nmax_lag = 3\n\n'''",
        '"max_lag = 3, was \\"too\\" few"\n\n# max_lag = 3, it\'s too few\n',
        "'max_lag = 3'\n\n\n",
    ],
)
def test_a_text_is_not_taken_for_the_setting_in_it(tmp_path: Path, value: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'[kafka]\n"client.id" = {value}\n["defaults"]\n"max_lag" = -1\n')
    with pytest.raises(ConfigError, match=r"line 7: defaults\.max_lag"):
        layer_settings(file, {})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"kafka": {"client.id": "a"}, "kafka": {}}', "kafka is given twice"),
        ('{"kafka": {"client.id": "a", "client.id": "a"}}', r"client\.id is given twice"),
        ("[" * 100_000, "nests too deeply"),
    ],
)
def test_a_json_file_that_says_something_twice_or_nests_too_deeply(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        layer_settings(file, {})


@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        ("DEFAULTS", '{"max_lag": 1, "max_lag": 2}', "DEFAULTS: max_lag is given twice"),
        ("TABLES", '{"t": {"max_lag": 1, "max_lag": 2}}', "TABLES: max_lag is given twice"),
        ("TABLES__t", '{"max_lag": 1, "max_lag": 2}', "t: max_lag is given twice"),
        ("KAFKA", '{"client.id": "a", "client.id": "a"}', r"KAFKA: client\.id is given twice"),
        ("TABLES", "[" * 100_000, "TABLES: tables is a section"),
    ],
)
def test_a_variable_that_says_something_twice_or_nests_too_deeply(
    variable: str, text: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        layer_settings(None, {f"STATESTORE_{variable}": text})


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        ({"bootstrap.servers": ["a:1", "b:1"]}, r"kafka\.bootstrap\.servers: the value is a list"),
        ({"bootstrap.servers": ""}, r"kafka\.bootstrap\.servers: names no broker"),
        ({"bootstrap.servers": " , "}, r"kafka\.bootstrap\.servers: names no broker"),
        ({"bootstrap.servers": "a:1,http://b:1"}, "'http://b:1' is no broker's address"),
        ({"sasl.password": b"hunter2"}, r"kafka\.sasl\.password: the value is a bytes.*: decode it"),
    ],
)
def test_a_property_that_no_client_could_use_is_a_fault(
    tmp_path: Path, properties: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        StoreManager(tmp_path, kafka={"client.id": "a", **properties})
    assert len(caught.value.faults) == 1
    assert "hunter2" not in str(caught.value)
