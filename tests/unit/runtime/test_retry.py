"""What is tried again, for how long, and what is not."""

from __future__ import annotations

import time

import pytest

from statestore.runtime.retry import retry


class Attempts:
    """Raises the given errors one after the other, then returns how many tries that took."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.lefts: list[float] = []

    def __call__(self, left: float) -> int:
        self.lefts.append(left)
        if self._errors:
            raise self._errors.pop(0)
        return len(self.lefts)


def may_pass(error: Exception) -> bool:
    return isinstance(error, OSError)


def test_what_may_pass_is_tried_again_with_the_time_that_is_left() -> None:
    attempt = Attempts(OSError("one"), OSError("two"))
    assert retry(attempt, timeout=60, wait=0.01, may_pass=may_pass) == 3
    first, second, third = attempt.lefts
    assert 60 >= first > second > third > 0


def test_what_will_not_pass_is_raised_at_once() -> None:
    attempt = Attempts(OSError("one"), KeyError("no"))
    with pytest.raises(KeyError):
        retry(attempt, timeout=60, wait=0, may_pass=may_pass)
    assert len(attempt.lefts) == 2


def test_when_time_is_up_the_last_error_is_raised_without_another_wait() -> None:
    attempt = Attempts(OSError("first"), OSError("second"))
    began = time.monotonic()
    with pytest.raises(OSError, match="first"):
        retry(attempt, timeout=5, wait=60, may_pass=may_pass)
    assert time.monotonic() - began < 5
