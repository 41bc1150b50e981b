"""The samples of docs/asyncio.md run, and print what they say they print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

DOCUMENT = (Path(__file__).parents[3] / "docs" / "asyncio.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def address(broker: Broker) -> Iterator[str]:
    yield broker.bootstrap
    if broker.has_topic("aio.orders"):
        broker.delete_topic("aio.orders")


@pytest.mark.parametrize("sample", SAMPLES, ids=["service", "timeout"])
def test_sample_prints_what_it_says(sample: str, address: str, run_sample: Callable[..., None]) -> None:
    run_sample(sample, {"localhost:9092": address})
