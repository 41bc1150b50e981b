"""The client of one read of a topic, and how it ends."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from statestore.kafka import topic_records
from statestore.kafka.answers import Bounds
from statestore.kafka.topic_records import read_records
from statestore.runtime.weak import Living
from statestore.testing.interrupts import Interrupt, interrupted, raise_interrupt

clients: Living[Client] = Living()


class Client:
    """Stands in for a consumer, which ends when it is closed or freed, and has one record."""

    def __init__(self, properties: dict[str, Any], **_: Any) -> None:
        self.listener = properties["error_cb"]
        self.open = True
        clients.add(self)

    def close(self) -> None:
        self.open = False

    def list_topics(self, *_: Any, **__: Any) -> None: ...

    def assign(self, _: Any) -> None: ...

    def incremental_unassign(self, _: Any) -> None: ...

    def consume(self, *_: Any) -> list[Any]:
        return [
            SimpleNamespace(
                partition=lambda: 0,
                error=lambda: None,
                offset=lambda: 0,
                timestamp=lambda: (1, 0),
                key=lambda: None,
                value=lambda: b"",
            )
        ]


def test_a_read_that_is_interrupted_leaves_no_client_open(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(topic_records, "_bounds", lambda *_: {0: Bounds(0, 1)})
    source: Any = SimpleNamespace(consumer_properties=lambda _: {}, consumer=Client, request_timeout=60.0)

    def read() -> None:
        assert len(list(read_records(source, "topic", lambda: None))) == 1

    def tried(instant: int) -> bool:
        try:
            return interrupted(read, raise_interrupt, instant)
        except Interrupt:
            return True

    gc.collect()
    gc.disable()
    try:
        for instant in itertools.count():
            is_there = tried(instant)
            eventually(lambda: not any(one.open for one in clients))
            if not is_there:
                break
    finally:
        gc.enable()
