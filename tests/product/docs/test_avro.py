"""The samples of docs/avro.md print what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from statestore.testing.registry import StandInRegistry

TEXT = (Path(__file__).parents[3] / "docs" / "avro.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=["table", "stand-in"])
def test_sample_prints_what_it_says(sample: str, run_sample: Callable[..., None]) -> None:
    mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    mock.produce("orders", b"", None)  # so that the topic is there
    assert mock.flush(60) == 0
    broker = next(iter(mock.list_topics(timeout=60).brokers.values()))
    with StandInRegistry() as registry:
        own = {"localhost:9092": f"{broker.host}:{broker.port}", "http://localhost:8081": registry.url}
        run_sample(sample, own)
