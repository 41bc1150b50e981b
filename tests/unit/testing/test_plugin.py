"""The fixtures that pytest finds by the library's entry point, and their sample in docs/testing.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(# test_.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)

# Collected first, so it sees what pytest alone has imported.
USE = """
import sys

import pytest

BEFORE = {*sys.modules}


def test_nothing_was_imported_for_those_who_use_no_fixture():
    assert "statestore_pytest" in BEFORE
    assert not {"statestore", "confluent_kafka", "hypothesis"} & BEFORE


def test_drivers(driver):
    one = driver("orders", partitions=3)
    two = driver()
    one.record("orders", b"key", b"value")
    assert one.table("orders").get(b"key") == b"value"
    assert "orders" not in two.manager.health().tables
    global driven
    driven = one.manager


def test_managers_of_two_directories(manager):
    from statestore import StoreClosedError

    with pytest.raises(StoreClosedError):
        driven.open("sums")
    manager(backend="memory").open("sums").put(b"a", b"1")
    assert manager("another", backend="memory").open("sums").get(b"a") is None


def test_a_broker(broker):
    assert broker.bootstrap == "127.0.0.1:9"


def test_no_proxy_before_a_broker_of_others(proxy):
    raise AssertionError("clients would go past it")


class TestOfTheUser:
    @pytest.fixture
    def driver(self):
        return "a driver of another kind"

    def test_the_users_own_fixture_goes_first(self, driver):
        assert driver == "a driver of another kind"
"""


def test_fixtures_make_what_a_test_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATESTORE_TEST_KAFKA", "127.0.0.1:9")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of the plugins of others
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_0.py").write_text(USE)
    for number, sample in enumerate(SAMPLES, 1):
        (tmp_path / f"test_{number}.py").write_text(sample)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-qrs", "-p", "pytest_timeout", "-p", "statestore_pytest"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "7 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "no proxy: the broker at 127.0.0.1:9 sends its clients to an address of its own" in done.stdout
