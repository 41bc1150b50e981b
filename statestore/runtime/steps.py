"""Work that waits, written once and run in two ways: blocking a thread, or awaited.

Such work is a generator that yields the futures it waits for; each is sent its result, or thrown its
exception. When time is up it is thrown ``TimeoutError``, and may clean up but not wait any longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from statestore.runtime.futures import complete

R = TypeVar("R")

Steps: TypeAlias = Generator["Future[Any]", Any, R]

PAUSE: Future[Any] = Future()
"""Yielded by long work that need not wait, so that others get their turn, and time can be up."""
PAUSE.set_result(None)


def in_thread(work: Callable[[], R]) -> Future[R]:
    """Return what is done when ``work`` is, on a thread of its own; that goes on if nobody waits any more."""
    done: Future[R] = Future()
    threading.Thread(target=complete, args=(done, work), name="statestore-asking", daemon=True).start()
    return done


def run_blocking(steps: Steps[R], timeout: float | None = None) -> R:
    """Do ``steps``, blocking for at most ``timeout`` seconds (``None``: as long as they take)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        waited = next(steps)
        while True:
            try:
                result = waited.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if waited is PAUSE and deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError
            except BaseException as error:  # noqa: BLE001 - also an interrupt: the work cleans up
                waited = steps.throw(error)
            else:
                waited = steps.send(result)
    except StopIteration as stop:
        done: R = stop.value
        return done


async def run_async(steps: Steps[R], timeout: float | None = None) -> R:
    """Do ``steps`` without blocking the event loop; a cancelled one leaves nothing behind."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    try:
        waited = next(steps)
        while True:
            try:
                result = await _result_of(waited, loop, deadline)
            except BaseException as error:  # noqa: BLE001 - also the cancellation
                waited = steps.throw(error)
            else:
                waited = steps.send(result)
    except StopIteration as stop:
        done: R = stop.value
        return done


async def _result_of(waited: Future[Any], loop: asyncio.AbstractEventLoop, deadline: float | None) -> Any:
    if waited.done():
        await asyncio.sleep(0)
        if waited is PAUSE and deadline is not None and loop.time() > deadline:
            raise TimeoutError
        return waited.result()
    awaited = loop.create_future()

    def finish() -> None:
        if not awaited.done():
            awaited.set_result(None)

    def wake(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish)

    waited.add_done_callback(wake)
    async with asyncio.timeout_at(deadline):
        await awaited
    return waited.result()
