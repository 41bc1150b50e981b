"""docs/consistency.md: its samples run on a real broker, and each sentence of its tables has its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statestore.testing.kafka import Broker

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "consistency.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
TOPICS = re.findall(r'@entity\(topic="([a-z.]+)"', DOCUMENT)


def test_each_sentence_has_a_test_that_exists() -> None:
    promises = DOCUMENT.partition("## One key in several partitions")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", promises, re.MULTILINE)
    sentences = [(sentence, test) for sentence, test in rows if "::" in test]
    assert all(test == "test" or set(test) == {"-"} or "::" in test for _, test in rows)
    assert len(sentences) > 15
    for sentence, test in sentences:
        path, _, name = test.strip("`").partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{sentence}: {test} is not there"


@pytest.fixture
def address(broker: Broker) -> Iterator[str]:
    yield broker.bootstrap
    for name in TOPICS:
        if broker.has_topic(name):
            broker.delete_topic(name)


@pytest.mark.kafka
@pytest.mark.parametrize("sample", SAMPLES, ids=["one_writer", "events", "ownership"])
def test_sample_prints_what_it_says(sample: str, address: str, run_sample: Callable[..., None]) -> None:
    run_sample(sample, {"localhost:9092": address})
