"""The samples of docs/tables.md run, and its table names every reading method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore import BytesTable, BytesTableSnapshot, Table, TableSnapshot
from statestore.query.facade import Queryable
from statestore.tables.lifecycle import BoundTopic
from statestore.testing.kafka import Broker

DOCUMENT = (Path(__file__).parents[3] / "docs" / "tables.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("cls", [Table, BytesTable, TableSnapshot, BytesTableSnapshot])
def test_every_reading_method_is_named_and_takes_allow_stale(cls: type) -> None:
    named = set(re.findall(r"`(\w+)\(", DOCUMENT))
    others = {*dir(Queryable), *dir(BoundTopic), "explain", "positions", "name", "close", "to_ksql"}
    methods = {name for name in dir(cls) if not name.startswith("_")} - others
    methods -= {"window", "windows", "all_windows"}  # docs/windows.md
    methods -= {name for name in methods if name.startswith(("add", "delete", "wait"))}
    assert methods <= named
    for name in methods:
        if (cls, name) not in ((BytesTable, "get"), (BytesTableSnapshot, "get")):  # native
            assert "allow_stale" in inspect.signature(getattr(cls, name)).parameters, name


@pytest.mark.kafka
@pytest.mark.parametrize("sample", SAMPLES, ids=["reads", "no-key"])
def test_sample_prints_what_it_says(sample: str, broker: Broker, run_sample: Callable[..., None]) -> None:
    try:
        run_sample(sample, {"localhost:9092": broker.bootstrap})
    finally:
        broker.delete_topic("shop.lines")
