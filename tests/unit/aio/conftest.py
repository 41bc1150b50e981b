"""Both kinds of event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

R = TypeVar("R")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a new event loop."""
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None

    def run(main: Coroutine[Any, Any, R]) -> R:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run
