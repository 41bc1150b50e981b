"""Threads whose failures are the test's, and which cannot keep a test run from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

LIVENESS = 30.0
"""Seconds after which a thread counts as stuck; generous, since it guards against hanging, not slowness."""


LIMIT = 300
"""Seconds of each test of the suite: a hang is a failure, too."""


def limited(cls: type[Any]) -> None:
    """Give the tests of a class their limit, unless the class or a base of it says another.

    Of two marks on a class and its base pytest takes that of the base, so no base of the suite has one.
    """
    stated = [vars(one).get("pytestmark", []) for one in cls.__mro__]
    marks = [mark for some in stated for mark in (some if isinstance(some, list) else [some])]
    if not any(mark.name == "timeout" for mark in marks):
        own = vars(cls).get("pytestmark", [])
        cls.pytestmark = [*(own if isinstance(own, list) else [own]), pytest.mark.timeout(LIMIT)]


def run_threads(
    work: Sequence[Callable[[], object]], *, meanwhile: Callable[[], object] | None = None
) -> None:
    """Run each of ``work`` in a thread and ``meanwhile`` in this one; raise what went wrong in any."""
    failures: list[BaseException] = []

    def run(step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(step,), daemon=True) for step in work]
    for thread in threads:
        thread.start()
    if meanwhile is not None:
        run(meanwhile)
    deadline = time.monotonic() + LIVENESS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    stuck = sum(thread.is_alive() for thread in threads)
    if stuck:
        raise AssertionError(f"{stuck} of {len(threads)} threads are still running after {LIVENESS:.0f} s")
