"""Trying again what may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def retry(
    attempt: Callable[[float], R], timeout: float, wait: float, may_pass: Callable[[Exception], bool]
) -> R:
    """Return what ``attempt`` returns, trying again for ``timeout`` seconds while it raises what may pass.

    ``attempt`` is given the seconds that are left. There are ``wait`` seconds between two tries. When time is
    up the last error is raised, and at once one that ``may_pass`` is false for.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return attempt(max(0.0, deadline - time.monotonic()))
        except Exception as error:
            if not may_pass(error) or time.monotonic() + wait >= deadline:
                raise
        time.sleep(wait)
