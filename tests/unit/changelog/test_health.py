"""The one line that ``str(health)`` gives."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from statestore import Reason, State, TableHealth

EMPTY: dict[str, Any] = {one.name: None for one in fields(TableHealth)}
READY = TableHealth(
    **{
        **EMPTY,
        "topic": "orders",
        "status": State.READY,
        "reason": Reason.NONE,
        "ready": True,
        "lag": 0,
        "partitions": 4,
        "time_to_ready": 1.2,
    }
)
RESTORING = replace(READY, status=State.RESTORING, reason=Reason.REPLAYING, ready=False, binding_for=3.44)


@pytest.mark.parametrize(
    ("health", "line"),
    [
        (READY, "Topic: orders, Status: READY, Lag: 0, Partitions: 4, Ready in: 1.2s"),
        (
            replace(RESTORING, lag=12),
            "Topic: orders, Status: RESTORING, Lag: 12, Partitions: 4, Binding for: 3.4s, Reason: replaying",
        ),
        (
            replace(RESTORING, lag=None, partitions=None, reason=Reason.STALLED),
            "Topic: orders, Status: RESTORING, Lag: unknown, Partitions: unknown, Binding for: 3.4s, "
            "Reason: stalled",
        ),
        (
            replace(READY, status=State.FAILED, ready=False, reason=Reason.FAILED),
            "Topic: orders, Status: FAILED, Lag: 0, Partitions: 4, Reason: failed",
        ),
    ],
)
def test_one_line(health: TableHealth, line: str) -> None:
    assert str(health) == line
