"""The sample of docs/workers.md runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.testing.kafka import Broker

DOCUMENT = (Path(__file__).parents[3] / "docs" / "workers.md").read_text(encoding="utf-8")
(SAMPLE,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.kafka
def test_sample_prints_what_it_says(broker: Broker, run_sample: Callable[..., None]) -> None:
    try:
        run_sample(SAMPLE, {"localhost:9092": broker.bootstrap})
    finally:
        broker.delete_topic("shop.prices")
