"""Reads that meet a change of their table: another thread restarts or closes it between two looks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from statestore.changelog.status import Status
from statestore.errors import StoreFullError

FULL = StoreFullError(Path("store"), "no space left", "free some")


class ForSomeLooks:
    """What it is given, for so many looks at it; ``None`` from then on."""

    def __init__(self, value: object, looks: int) -> None:
        self._value = value
        self._looks = looks

    def __get__(self, owner: object, kind: type) -> Any:
        self._looks -= 1
        return self._value if self._looks >= 0 else None


def table_with(failure: object, view: object) -> Status:
    class Machine:
        closed = False

    class Mirror:
        foreign = None

    Machine.failure = failure  # type: ignore[attr-defined]
    Mirror.view = view  # type: ignore[attr-defined]
    table: Any = Status.__new__(Status)
    table.machine, table.mirror, table._forked_here = Machine(), Mirror(), False
    checked: Status = table
    return checked


@pytest.mark.parametrize("looks", [1, 2])
def test_a_failure_is_raised_although_a_restart_has_just_begun(looks: int) -> None:
    with pytest.raises(StoreFullError, match="no space left"):
        table_with(ForSomeLooks(FULL, looks), None).reading(False)
    with pytest.raises(StoreFullError, match="no space left"):
        table_with(ForSomeLooks(FULL, looks), None).check_may_become_ready()


def test_a_stale_read_never_gets_a_store_that_is_none() -> None:
    view: Any = SimpleNamespace()
    assert table_with(FULL, ForSomeLooks(view, 1)).reading(True) is view
