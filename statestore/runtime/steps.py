"""Work that waits, written once and run in two ways: blocking a thread, or awaited.

Such work is a generator. It yields each future it waits for, and gets the result or the exception of the
future back. When the time is up it gets ``TimeOverError``: it may clean up then, but not wait any longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from statestore.runtime.futures import complete
from statestore.runtime.interrupts import Outcome, TimeOverError, await_future, start_thread

R = TypeVar("R")

Steps: TypeAlias = Generator["Future[Any]", Any, R]

PAUSE: Future[Any] = Future()
"""Yielded by long work that need not wait, so that other tasks run and a time-out is noticed."""
PAUSE.set_result(None)


def in_thread(name: str, work: Callable[[], R]) -> Future[R]:
    """Do ``work`` on a thread ``name`` of its own; return its future. It goes on if nobody waits for it."""
    done: Outcome[R] = Outcome()
    start_thread(name, lambda: complete(done, work))
    return done


def awaited_items(items: AsyncIterable[R]) -> Iterator[R | Future[None]]:
    """Give a future for each of ``items``, and the item itself once that is done. On an event loop only.

    A step that was not waited for to its end is cancelled when this generator is closed.
    """
    iterator = aiter(items)

    async def step() -> R:
        return await anext(iterator)

    while True:
        came: Future[None] = Future()
        task = asyncio.ensure_future(step())
        task.add_done_callback(lambda _, came=came: came.set_result(None))  # type: ignore[misc]
        try:
            yield came
        finally:
            task.cancel()
        try:
            item = task.result()
        except StopAsyncIteration:
            return
        yield item


def run_blocking(steps: Steps[R], timeout: float | None = None) -> R:
    """Do ``steps``, blocking for at most ``timeout`` seconds (``None``: without limit)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        waited = next(steps)
        while True:
            try:
                if waited is PAUSE:
                    result = None
                    if deadline is not None and time.monotonic() > deadline:
                        raise TimeOverError
                else:
                    result = await_future(
                        waited, None if deadline is None else max(0.0, deadline - time.monotonic())
                    )
            except BaseException as error:  # noqa: BLE001 - also an interrupt: the work cleans up
                waited = steps.throw(error)
            else:
                waited = steps.send(result)
    except StopIteration as stop:
        done: R = stop.value
        return done
    finally:
        steps.close()  # where an interrupt came between two steps


async def run_async(steps: Steps[R], timeout: float | None = None) -> R:
    """Do ``steps`` without blocking the event loop; when cancelled they clean up."""
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
    finally:
        steps.close()


async def _result_of(waited: Future[Any], loop: asyncio.AbstractEventLoop, deadline: float | None) -> Any:
    if waited is PAUSE:
        await asyncio.sleep(0)
        if deadline is not None and loop.time() > deadline:
            raise TimeOverError
        return None
    if waited.done():
        await asyncio.sleep(0)
        return waited.result()
    awaited = loop.create_future()

    def finish() -> None:
        if not awaited.done():
            awaited.set_result(None)

    def wake(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish)

    waited.add_done_callback(wake)
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            await awaited
    except TimeoutError:
        if limit.expired():
            raise TimeOverError from None
        raise
    return waited.result()
