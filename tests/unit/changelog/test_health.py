"""The one line that ``str(health)`` gives."""

from __future__ import annotations

import json
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
        "ready_in": 1.2,
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


@pytest.mark.parametrize("health", [READY, RESTORING])
def test_the_words_of_the_line_are_keys_with_these_values(health: TableHealth) -> None:
    for part in str(health).split(", "):
        word, shown = part.split(": ")
        value = health[word.lower().replace(" ", "_")]
        assert shown in (str(value), f"{value}s", f"{value:.1f}s" if isinstance(value, float) else "")


def test_it_is_a_mapping_of_its_fields() -> None:
    assert (READY["status"], READY["lag"], READY.get("topic"), len(READY)) == (
        "READY",
        0,
        "orders",
        len(EMPTY),
    )
    assert list(READY) == list(EMPTY)
    assert {**READY} == dict(READY.items()) == READY.to_dict()
    assert json.loads(json.dumps(READY.to_dict()))["partitions"] == 4
    assert "status" in READY
    with pytest.raises(KeyError, match="TableHealth has no 'statuss': did you mean 'status'"):
        READY["statuss"]


def test_other_names_of_a_value_are_answered() -> None:
    assert READY["state"] == READY.state == READY.status
    assert READY["time_to_ready"] == READY.time_to_ready == READY.ready_in
    assert "state" not in list(READY)


def test_a_notebook_shows_a_table_of_it() -> None:
    shown = replace(READY, topic="a<b")._repr_html_()
    assert "<td style='text-align:left'>a&lt;b</td>" in shown
    assert ">Ready in</th>" in shown
