"""The sample of docs/testing-outages.md, whose tests pass, and its table, which has every method."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from statestore import StoreManager
from statestore.testing.kafka import Broker, Proxy

DOCUMENT = (Path(__file__).parents[3] / "docs" / "testing-outages.md").read_text(encoding="utf-8")
(SAMPLE,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def sample(broker: Broker) -> Iterator[dict[str, Any]]:
    module = ModuleType("test_outage")  # where dataclasses look their annotations up
    sys.modules["test_outage"] = module
    exec(compile(SAMPLE, "docs/testing-outages.md", "exec", dont_inherit=True), module.__dict__)
    yield vars(module)
    del sys.modules["test_outage"]
    for topic in ("outage.prices", "outage.orders"):
        if broker.has_topic(topic):
            broker.delete_topic(topic)


@pytest.mark.kafka(seconds=2)
@pytest.mark.parametrize("test", re.findall(r"^def (test_\w+)", SAMPLE, re.MULTILINE))
def test_the_tests_of_the_sample_pass(
    test: str, sample: dict[str, Any], broker: Broker, proxy: Proxy, manager: Callable[..., StoreManager]
) -> None:
    sample[test](broker, proxy, manager)


def test_the_table_has_every_method_and_figure() -> None:
    named = set(re.findall(r"`proxy\.(\w+)", DOCUMENT))
    public = {name for name, _ in inspect.getmembers(Proxy) if not name.startswith("_")}
    assert named == {*public, "connections", "resets"} - {"close"}
