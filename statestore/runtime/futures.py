"""Futures that the library makes itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")


def complete(future: Future[R], work: Callable[[], R]) -> None:
    """Do ``work``, and give ``future`` its result or what it raised."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the future is waited for
        future.set_exception(error)
    else:
        future.set_result(result)


def when_all_done(futures: Iterable[Future[Any]], then: Callable[[], None]) -> None:
    """Call ``then`` when every future is done, on the thread that completes the last one."""
    waiting = list(futures)
    left = len(waiting)
    mutex = threading.Lock()

    def one_done(_: Future[Any]) -> None:
        nonlocal left
        with mutex:
            left -= 1
            is_last = left == 0
        if is_last:
            then()

    for future in waiting:
        future.add_done_callback(one_done)
