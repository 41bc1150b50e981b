"""The samples of docs/producing.md run, and print what they say they print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

DOCUMENT = (Path(__file__).parents[3] / "docs" / "producing.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def address(broker: Broker) -> Iterator[str]:
    yield broker.bootstrap
    for name in ("shop.orders", "shop.customers", "shop.notes", "shop.accounts", "shop.stock"):
        if broker.has_topic(name):
            broker.delete_topic(name)


@pytest.mark.parametrize(
    "sample", SAMPLES, ids=["table", "unless_newer_than", "awaiting", "errors", "transaction"]
)
def test_sample_prints_what_it_says(sample: str, address: str, run_sample: Callable[..., None]) -> None:
    run_sample(sample, {"localhost:9092": address})
