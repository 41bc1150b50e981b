"""Secrets are shown nowhere, whichever way they are given, and however their names are spelt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from statestore.cli import main
from statestore.errors import ConfigError
from statestore.manager import StoreManager
from statestore.settings import Settings, layer_settings, load_settings

SECRET = "hunter2-secret"


def test_unquoted_names_of_toml_are_properties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[kafka]\nbootstrap.servers = "b:1"\nsasl.password = "{SECRET}"\n'
        f'[kafka.ssl.key]\npassword = "{SECRET}"\n[topics.orders.config]\nsegment.bytes = "1048576"\n'
    )
    settings = load_settings(file)
    assert settings.kafka == {
        "bootstrap.servers": "b:1",
        "sasl.password": SECRET,
        "ssl.key.password": SECRET,
    }
    assert settings.topics["orders"].config == {"segment.bytes": "1048576"}
    assert SECRET not in repr(settings)
    assert main(["config", "check", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "kafka.sasl.password" in printed
    assert SECRET not in printed


@pytest.mark.parametrize(
    "environment",
    [
        {"STATESTORE_KAFKA__SASL__PASSWORD": SECRET},
        {"STATESTORE_KAFKA__SASL_PASSWORD": SECRET},
        {"STATESTORE_KAFKA": json.dumps({"sasl": {"password": SECRET}})},
    ],
)
def test_nested_names_of_the_environment_are_properties(environment: dict[str, str]) -> None:
    settings = layer_settings(None, environment).settings
    assert settings.kafka == {"sasl.password": SECRET}
    assert SECRET not in repr(settings)


def test_a_property_given_twice_is_a_fault(tmp_path: Path) -> None:
    given = {"kafka": {"sasl.password": SECRET, "sasl": {"password": "other"}}}
    with pytest.raises(ConfigError, match=r"sasl\.password is given twice") as caught:
        load_settings(given)
    assert SECRET not in str(caught.value)
    both = {"STATESTORE_KAFKA__SASL__PASSWORD": SECRET, "STATESTORE_KAFKA__SASL_PASSWORD": SECRET}
    with pytest.raises(ConfigError, match="keep one of them"):
        layer_settings(None, both)


@pytest.mark.parametrize(
    "name",
    [
        "sasl.pasword",
        "sasl.passwd",
        "sasl_password",
        "sasl_pasword",
        "ssl.key.pass",
        "ssl.keypassword",
        "sasl.oauthbearer.client.secrt",
    ],
)
def test_a_misspelt_secret_is_refused_and_masked(tmp_path: Path, name: str) -> None:
    assert SECRET not in repr(Settings(kafka={name: SECRET}))
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", kafka={"bootstrap.servers": "b:1", name: SECRET})
    assert name in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        f"https://me:{SECRET}@host/token",
        f"https://{SECRET}@host",
        f"me:{SECRET}@host:9092,other:9092",
        f"https://me:a/b@c{SECRET}@host",
        f"me:a/b@c{SECRET}@host:9092",
    ],
)
def test_user_names_and_passwords_in_addresses_are_masked(address: str) -> None:
    for name in ("client.id", "bootstrap.servers", "sasl.oauthbearer.extensions"):
        shown = repr(Settings(kafka={name: address}))
        assert SECRET not in shown
        assert "host" in shown
    assert SECRET not in repr(Settings(backends={"rocksdb": {"dir": address}}))
    assert SECRET not in repr(Settings(backends={"rocksdb": {"dirs": [address, {"at": address}]}}))


def test_what_is_no_secret_is_shown() -> None:
    properties: dict[str, Any] = {
        "bootstrap.servers": "kafka-1:9092,kafka-2:9092",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me@corp.example",
        "ssl.ca.location": "/etc/ca.pem",
        "security.protocol": "SASL_SSL",
    }
    shown = repr(Settings(kafka=properties))
    assert all(value in shown for value in properties.values())
