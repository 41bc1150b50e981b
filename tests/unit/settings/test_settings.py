"""Settings: complete with defaults, checked as a whole, and no secret ever shown."""

import json
import re
from pathlib import Path

import pytest

from statestore.errors import ConfigError
from statestore.settings import Settings, layer_settings, load_settings


def test_every_fault_of_a_file_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        """
        [kafka]
        "group.id" = "mine"
        [defaults]
        memory_budget = 3
        flush_intervall = 1
        [tables.Order]
        backend = 7
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert len(caught.value.faults) == 4
    for part in ("kafka", "defaults.memory_budget", "defaults.flush_intervall", "tables.Order.backend"):
        assert any(re.match(rf"file {path}, line \d+: {part}: ", fault) for fault in caught.value.faults)


def test_an_owned_property_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"auto\.offset\.reset: a stored position .* must fail or rebuild"):
        load_settings({"kafka": {"auto.offset.reset": "earliest"}})


def test_any_other_librdkafka_property_is_taken() -> None:
    settings = load_settings({"kafka": {"bootstrap.servers": "b:1", "fetch.min.bytes": 5}})
    assert settings.kafka == {"bootstrap.servers": "b:1", "fetch.min.bytes": 5}


@pytest.mark.parametrize(
    "key", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"]
)
def test_secrets_appear_nowhere(key: str) -> None:
    settings = load_settings({"kafka": {key: "hunter2"}})
    assert "hunter2" not in repr(settings) + str(settings)
    with pytest.raises(ConfigError) as caught:
        load_settings({"kafka": {key: "hunter2", "group.id": "x"}})
    assert "hunter2" not in str(caught.value)


def test_a_section_made_in_code_shows_no_secret_when_it_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"group\.id") as caught:
        Settings(kafka={"sasl.password": "hunter2", "group.id": "g"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Settings(backends={"mine": {"secret": "hunter2"}}))


def test_toml_and_json_mean_the_same(tmp_path: Path) -> None:
    content = {"defaults": {"flush_interval": 5.0, "retry_waits": [1, 2]}, "tables": {"T": {"max_lag": 9}}}
    as_json, as_toml = tmp_path / "s.json", tmp_path / "s.toml"
    as_json.write_text(json.dumps(content))
    as_toml.write_text("[defaults]\nflush_interval = 5.0\nretry_waits = [1, 2]\n[tables.T]\nmax_lag = 9\n")
    assert load_settings(as_json) == load_settings(as_toml) == load_settings(content)
    assert load_settings(as_json).defaults.retry_waits == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("s.yaml", "a: 1", "ends in .toml or .json"), ("s.json", "{", "line 1"), ("s.toml", "=", "s.toml")],
)
def test_a_file_that_is_no_settings_file_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        load_settings(tmp_path / "nowhere.toml")


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings().defaults, "memory_budget", 1)  # noqa: B010 - type checkers refuse it too


def test_every_section_is_taken_and_keeps_its_secret() -> None:
    settings = load_settings(
        {
            "topics": {"orders": {"partitions": 4, "config": {"segment.bytes": "1048576"}}},
            "schema_registry": {"url": "http://r:8081", "username": "u", "password": "hunter2"},
            "logging": {"changelog": "DEBUG"},
            "tables": {"Bar": {"max_lag": 3}},
        }
    )
    assert settings.topics["orders"].partitions == 4
    assert settings.tables["Bar"].max_lag == 3
    password = settings.schema_registry.password
    assert password is not None
    assert password.get_secret_value() == "hunter2"
    registry = settings.schema_registry
    assert "hunter2" not in repr(settings) + str(settings) + repr(registry) + str(registry)


def test_the_registry_has_defaults_for_all_but_its_address() -> None:
    registry = Settings().schema_registry
    assert (registry.url, registry.auto_register, registry.compatibility) == (None, True, None)
    assert (registry.timeout, registry.retries, registry.retry_wait) == (30.0, 3, 1.0)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"schema_registry": {"compatibility": "backward"}}, "schema_registry.compatibility: "),
        (
            {"schema_registry": {"url": "http://u:hunter2@r:8081"}},
            "schema_registry.url: .*username and password",
        ),
        ({"schema_registry": {"url": "r:8081"}}, "schema_registry.url: "),
        ({"ksql": {"url": "https://u:hunter2@k"}}, "ksql.url: .*appears in logs"),
        ({"ksql": {"password": ["hunter2"]}}, "ksql.password: "),
        ({"ksql": {"offset_reset": "none"}}, "ksql.offset_reset: "),
        ({"logging": {"root": "INFO"}}, "logging.root: "),
        (
            {"tables": {"Bar": {"windows": {"1h": {}, "60min": {}}}}},
            "tables.Bar.windows: '1h' and '60min' are the same window, '60min': keep one",
        ),
        ({"tables": {"Bar": {"windows": {"5m": {}}}}}, "tables.Bar.windows: window '5m': not a size"),
        ({"tables": {"Bar": {"windows": 5}}}, "tables.Bar.windows: "),
        (
            {"tables": {"Bar": {"windows": {"5min": {"max_lagg": 1}}}}},
            r"tables.Bar.windows.5min.max_lagg: no such",
        ),
        (
            {"tables": {"Bar": {"windows": {"5min": {"topic": "a b"}}}}},
            "tables.Bar.windows.5min.topic: topic 'a b'",
        ),
        (
            {"tables": {"Bar": {"windows": {"5min": {"store_name": ""}}}}},
            "tables.Bar.windows.5min.store_name: ",
        ),
        ({"topics": {"t": {"cleanup_policy": "compacted"}}}, "topics.t.cleanup_policy: "),
        ({"topics": {"t": {"config": {"segment.bytes": 1}}}}, r"topics.t.config.segment\.bytes: "),
    ],
)
def test_a_bad_value_is_refused_at_its_path(section: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        load_settings(section)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"dlq": {}}, "[dlq]"),
        ({"logging": {"windowing": "DEBUG"}}, "logging.windowing"),
    ],
)
def test_a_setting_that_nothing_reads_yet_is_refused_by_its_name(
    given: dict[str, object], shown: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(given)
    assert caught.value.faults == (
        f"StoreManager(settings=…): {shown} is not read by this version: remove it",
    )


def test_a_window_is_one_section_however_its_sources_spell_it() -> None:
    given = {"tables": {"Bar": {"windows": {"60min": {"max_lag": 3}, 5: {"max_lag": 2}, "sessions": {}}}}}
    environment = {
        "STATESTORE_TABLES__Bar__WINDOWS__1h__MAX_STALENESS": "7",
        "STATESTORE_TABLES__Bar__WINDOWS__5min__MAX_LAG": "1",
    }
    found = layer_settings(given, environment)
    windows = found.settings.tables["Bar"].windows
    assert {label: (one.max_lag, one.max_staleness) for label, one in windows.items()} == {
        "60min": (3, 7.0),
        "5min": (2, None),
        "sessions": (None, None),
    }
    at = ("tables", "Bar", "windows")
    assert found.origin(*at, "5min", "max_lag") == "StoreManager(settings=…)"
    variable = "STATESTORE_TABLES__Bar__WINDOWS__1h__MAX_STALENESS"
    assert found.origin(*at, "60min", "max_staleness") == f"environment {variable}"
    both = {"STATESTORE_TABLES__Bar__WINDOWS__60min__MAX_STALENESS": "8", variable: "7"}
    with pytest.raises(ConfigError, match=r"also sets tables\.Bar\.windows\.60min\.max_staleness: keep one"):
        layer_settings(None, both)


def test_such_a_setting_in_the_environment_is_refused_too() -> None:
    for name, shown in (
        ("STATESTORE_DLQ", "[dlq]"),
        ("STATESTORE_DLQ__TOPIC", "[dlq]"),
        ("STATESTORE_LOGGING__QUERY", "logging.query"),
    ):
        with pytest.raises(ConfigError) as caught:
            layer_settings(None, {name: "1"})
        assert caught.value.faults == (f"environment {name}: {shown} is not read by this version: remove it",)
