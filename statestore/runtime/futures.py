"""Futures that the library makes itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from statestore.runtime.interrupts import Outcome

R = TypeVar("R")


def complete(future: Future[R], work: Callable[[], R]) -> None:
    """Do ``work``, and give ``future`` its result or what it raised."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the future is waited for
        future.set_exception(error)
    else:
        future.set_result(result)


def all_or_first_error(futures: Iterable[Future[Any]]) -> Future[None]:
    """Return a future that is done when all of ``futures`` are, or as soon as one has failed."""
    waiting = list(futures)
    done: Future[None] = Outcome()
    left = len(waiting)
    mutex = threading.Lock()

    def one_done(future: Future[Any]) -> None:
        nonlocal left
        error = future.exception()
        with mutex:
            left -= 1
            if done.done() or (left and error is None):
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    for future in waiting:
        future.add_done_callback(one_done)
    if not waiting:
        done.set_result(None)
    return done


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
