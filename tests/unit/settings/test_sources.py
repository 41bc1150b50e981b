"""Where settings come from: code before the environment, that before the file, and each one is told."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from statestore.errors import ConfigError
from statestore.settings import Settings, SettingsSource, layer_settings
from statestore.settings.environment import FILE_VARIABLE, NOT_SETTINGS


def settings_from(**environment: str) -> Settings:
    return layer_settings(None, environment).settings


def test_the_environment_reaches_every_kind_of_setting() -> None:
    settings = settings_from(
        STATESTORE_KAFKA__BOOTSTRAP_SERVERS="b:9092",
        STATESTORE_KAFKA__SASL_PASSWORD="0123",
        STATESTORE_DEFAULTS__MAX_LAG="7",
        STATESTORE_DEFAULTS__RETRY_WAITS="[0.5, 1]",
        STATESTORE_DEFAULTS__AUTO_RESTART="false",
        STATESTORE_TABLES__Order__BACKEND="lmdb",
        STATESTORE_TOPICS__orders__CONFIG__SEGMENT_BYTES="1048576",
        STATESTORE_BACKENDS__ROCKSDB__BLOCK_SIZE="8192",
        STATESTORE_BACKENDS__ROCKSDB__COMPRESSION="zstd",
        STATESTORE_SCHEMA_REGISTRY__PASSWORD="42",
        STATESTORE_LOGGING__CHANGELOG="DEBUG",
    )
    assert settings.kafka == {"bootstrap.servers": "b:9092", "sasl.password": "0123"}
    assert settings.defaults.max_lag == 7
    assert settings.defaults.retry_waits == (0.5, 1.0)
    assert settings.defaults.auto_restart is False
    assert settings.tables["Order"].backend == "lmdb"
    assert settings.topics["orders"].config == {"segment.bytes": "1048576"}
    assert settings.backends == {"rocksdb": {"block_size": 8192, "compression": "zstd"}}
    assert settings.schema_registry.password is not None
    assert settings.schema_registry.password.get_secret_value() == "42"
    assert settings.logging.changelog == "DEBUG"


def test_a_section_is_json_and_single_settings_go_before_it() -> None:
    settings = settings_from(
        STATESTORE_TABLES='{"my-topic": {"max_lag": 5}}',
        STATESTORE_DEFAULTS='{"max_lag": 1, "flush_bytes": 2}',
        STATESTORE_DEFAULTS__MAX_LAG="3",
    )
    assert settings.tables["my-topic"].max_lag == 5
    assert (settings.defaults.max_lag, settings.defaults.flush_bytes) == (3, 2)


def test_the_address_alone_is_a_kafka_section(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('kafka = "file:1"')
    environment = {"STATESTORE_KAFKA": "env:1", "STATESTORE_KAFKA__CLIENT_ID": "me"}
    assert layer_settings(file, {}).settings.kafka == {"bootstrap.servers": "file:1"}
    assert layer_settings(file, environment).settings.kafka == {
        "bootstrap.servers": "env:1",
        "client.id": "me",
    }


def test_a_kafka_section_that_is_no_json_is_not_taken_for_an_address() -> None:
    """It would be shown as one, with the secrets in it."""
    with pytest.raises(ConfigError, match="kafka is a section: give a JSON object") as raised:
        settings_from(STATESTORE_KAFKA='{"bootstrap.servers": "b:9092", "sasl.password": "hunter2"')
    assert "hunter2" not in str(raised.value)


def test_a_variable_of_another_purpose_is_no_setting(caplog: pytest.LogCaptureFixture) -> None:
    others = {"STATESTORE_PURE_PYTHON": "1", "STATESTORE_WITHOUT": "scan", "STATESTORE_TEST_KAFKA": "b:1"}
    assert settings_from(**others) == Settings()
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING, "statestore"):
        assert settings_from(STATESTORE_PORT="tcp://10.0.0.1:80") == Settings()
    assert "STATESTORE_PORT" in caplog.text


def test_every_variable_that_the_project_reads_is_known() -> None:
    root = Path(__file__).parents[3]
    reading = [
        *root.glob("statestore/**/*.py"),
        *root.glob("tests/**/*.py"),
        root / "setup.py",
        root / "Makefile",
    ]
    used = {
        name
        for path in reading
        if path != Path(__file__)
        for name in re.findall(r"(?:environ(?:\.get)?[\[(]|= )\"(STATESTORE_[A-Z_]+)\"", path.read_text())
    }
    assert {"STATESTORE_SOAK", "STATESTORE_BUILD", "STATESTORE_PURE_PYTHON", FILE_VARIABLE} <= used
    assert used <= NOT_SETTINGS


def test_faults_of_file_environment_and_code_come_together(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("[defaults]\nmax_lag = 0\n[ksq]\n")
    environment = {
        "STATESTORE_DEFAULTS__FLUSH_INTERVALL": "1",
        "STATESTORE_DEFAULTS__FLUSH_BYTES": "many",
        "STATESTORE_DEFAULTS__flush_bytes": "3",
        "STATESTORE_TABLES": "Order",
        "STATESTORE_KAFKA__GROUP_ID": "hunter2",
    }
    arguments = [SettingsSource("StoreManager(backend=…)", {"defaults": {"backend": 7}})]
    with pytest.raises(ConfigError) as caught:
        layer_settings(file, environment, arguments)
    faults = sorted(caught.value.faults)
    starts = sorted(
        (
            f"file {file}, line 2: defaults.max_lag: ",
            f"file {file}, line 3: ksq: no such setting; known here: kafka, defaults, ",
            "environment STATESTORE_DEFAULTS__FLUSH_INTERVALL: defaults.flush_intervall: no such setting",
            "environment STATESTORE_DEFAULTS__FLUSH_BYTES: defaults.flush_bytes: ",
            "environment STATESTORE_DEFAULTS__flush_bytes: STATESTORE_DEFAULTS__FLUSH_BYTES also",
            "environment STATESTORE_TABLES: tables is a section: give a JSON object",
            "environment STATESTORE_KAFKA__GROUP_ID: kafka: the library sets these itself: group.id: ",
            "StoreManager(backend=…): defaults.backend: ",
        )
    )
    assert len(faults) == len(starts)
    for fault, start in zip(faults, starts, strict=True):
        assert fault.startswith(start)
    assert "hunter2" not in str(caught.value)


def test_code_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap.servers": "file:1", "client.id": "file", "linger.ms": 1},
                "defaults": {"max_lag": 1, "max_staleness": 1, "flush_bytes": 1},
            }
        )
    )
    environment = {
        "STATESTORE_SETTINGS": str(file),
        "STATESTORE_KAFKA__BOOTSTRAP_SERVERS": "env:1",
        "STATESTORE_KAFKA__CLIENT_ID": "env",
        "STATESTORE_DEFAULTS__MAX_LAG": "2",
        "STATESTORE_DEFAULTS__MAX_STALENESS": "2",
    }
    arguments = [SettingsSource("StoreManager(kafka=…)", {"kafka": "code:1"})]
    layers = layer_settings({"defaults": {"max_lag": 3}}, environment, arguments)
    assert layers.settings.kafka == {"bootstrap.servers": "code:1", "client.id": "env", "linger.ms": 1}
    defaults = layers.settings.defaults
    assert (defaults.max_lag, defaults.max_staleness, defaults.flush_bytes) == (3, 2, 1)
    assert layers.origin("kafka", "bootstrap.servers") == "StoreManager(kafka=…)"
    assert layers.origin("kafka", "client.id") == "environment STATESTORE_KAFKA__CLIENT_ID"
    assert layers.origin("kafka", "linger.ms") == f"file {file}"
    assert layers.origin("defaults", "max_lag") == "StoreManager(settings=…)"
    assert layers.origin("defaults", "max_staleness") == "environment STATESTORE_DEFAULTS__MAX_STALENESS"
    assert layers.origin("defaults", "flush_bytes") == f"file {file}"
    assert layers.origin("defaults", "flush_interval") == "default"


def test_a_settings_object_gives_what_was_set_in_it() -> None:
    given = Settings.model_validate({"defaults": {"flush_bytes": 5}})
    layers = layer_settings(given, {"STATESTORE_DEFAULTS__MAX_LAG": "2"})
    assert (layers.settings.defaults.flush_bytes, layers.settings.defaults.max_lag) == (5, 2)


def test_what_is_no_settings_is_not_passed_over() -> None:
    given: Any = [("defaults", {})]
    with pytest.raises(ConfigError, match=r"StoreManager\(settings=…\): list is not a type of settings"):
        layer_settings(given, {})


def test_the_file_that_the_code_names_goes_before_that_of_the_environment(tmp_path: Path) -> None:
    for name, lag in (("code", 1), ("environment", 2)):
        (tmp_path / f"{name}.toml").write_text(f"[defaults]\nmax_lag = {lag}\n")
    environment = {"STATESTORE_SETTINGS": str(tmp_path / "environment.toml")}
    assert layer_settings(None, environment).settings.defaults.max_lag == 2
    assert layer_settings(tmp_path / "code.toml", environment).settings.defaults.max_lag == 1
