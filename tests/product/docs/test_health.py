"""docs/health.md explains every state, every reason and every field of ``health()``, and its sample runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from statestore import (
    CacheHealth,
    ManagerHealth,
    ProducerHealth,
    Reason,
    State,
    StreamHealth,
    TableHealth,
    TransactionHealth,
)
from statestore.changelog.undecodable import SkippedRecord
from statestore.testing.kafka import Broker

DOCUMENT = (Path(__file__).parents[3] / "docs" / "health.md").read_text(encoding="utf-8")


def names(cls: type) -> list[str]:
    return [one.name for one in fields(cls)]


def test_every_table_names_what_the_code_has_in_its_order() -> None:
    tables = [
        re.findall(r"^\| `([^`]*)` \| [A-Z`].*\. \|$", table, re.MULTILINE)
        for table in re.split(r"^\|---\|---\|$", DOCUMENT, flags=re.MULTILINE)[1:]
    ]
    assert tables == [
        [*State],
        [str(reason) or '""' for reason in Reason],
        names(TableHealth),
        names(SkippedRecord),
        names(StreamHealth),
        names(ManagerHealth),
        names(CacheHealth),
        names(ProducerHealth),
        names(TransactionHealth),
    ]


@pytest.mark.kafka
def test_the_sample(broker: Broker, run_sample: Callable[[str, dict[str, str]], None]) -> None:
    (sample,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    broker.create_topic("stock")
    broker.produce("stock", [(b"1", b"a"), (b"2", b"b")])
    try:
        run_sample(sample, {"localhost:9092": broker.bootstrap})
    finally:
        broker.delete_topic("stock")
